"""The base of the exceptions of this package."""

from __future__ import annotations


class DetectorError(ValueError):
    """Data, settings or stored bytes that cannot be used; the message is a sentence for people.

    A wrong argument of a caller stays a plain ValueError.
    """
