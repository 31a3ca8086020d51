"""driftd: watches a deployed tabular model, and retrains, swaps and rolls back by itself when evidence says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driftd.serving.client import Answer, Driftd

__all__ = ["Answer", "Driftd"]


def __getattr__(name: str) -> Any:
    """Load the SDK only where it is used: the daemon imports this package too, and must stay small."""
    if name in __all__:
        from driftd.serving import client  # noqa: PLC0415 - see above

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
