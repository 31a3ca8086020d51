"""Where a model's events come from: windows of time or of rows, and one small protocol that every source keeps."""

from driftd.sources.open import open_source

__all__ = ["open_source"]
