"""Which of Prometheus's formats a client gets."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Encoder = Callable[[Collector], bytes]


def encoder_for(accept: str) -> tuple[Encoder, str]:
    """An encoder and its content type for an `Accept` header; the plain one for a header that makes no sense."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # prometheus_client compares a version that is no number, and fails
        return choose_encoder("")
