"""Opens the source that a config names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from driftd.paths import Places
from driftd.sources.protocol import Source
from driftd.sources.store import StoreSource
from driftd.sources.windows import closed_until, default_lateness
from driftd_detectors.schema import Schema

if TYPE_CHECKING:
    from driftd.config.model_schema import ModelConfig


def open_source(model: str, config: ModelConfig, schema: Schema, places: Places) -> Source:
    """The source that the config of `model` names. Nothing is read before the first call of a method."""
    window = config.window
    lateness = default_lateness(window) if window.lateness is None else window.lateness
    closed = partial(closed_until, window, lateness=lateness)
    if config.source.kind == "store":
        return StoreSource(model, schema, places, closed)
    from driftd.sources.dialects import Dialect  # noqa: PLC0415 - Arrow only where files are read
    from driftd.sources.files import FilesSettings, FilesSource  # noqa: PLC0415 - Arrow only where files are read

    chosen = config.source
    names = {str(meaning): name for meaning, name in chosen.columns.items()}
    feedback_names = {str(meaning): name for meaning, name in chosen.feedback_columns.items()}
    written = chosen.dialect
    dialect = Dialect(written.separator, written.decimal, written.encoding, written.compression)
    settings = FilesSettings(chosen.path, chosen.format, names, chosen.feedback, feedback_names, dialect)
    return FilesSource(model, schema, places, settings, closed)
