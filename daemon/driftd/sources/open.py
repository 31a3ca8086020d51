"""Opens the source that a config names, and limits one to what was known at a time, for backtests."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.config.object_store_schema import scheme_of
from driftd.paths import Places, credential
from driftd.records import Window
from driftd.sources.engines.protocol import ENGINE_START_SECONDS, Engine
from driftd.sources.protocol import Extent, Source, closed_until, default_lateness
from driftd.sources.store import StoreSource
from driftd_detectors.cohort import Cohort
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import Bins, ServedBy, WindowData

if TYPE_CHECKING:
    import pyarrow as pa

    from driftd.config.model_schema import ModelConfig
    from driftd.sources.engines.engine_source import EngineSource


@dataclass(slots=True)
class RecordedSource:
    """The rows of another source. It is looked at once, at `recorded_at`: what comes later is not on record.

    `so_far` says how far the past has come: up to which event time, and up to which row (only row windows need it).
    """

    source: Source
    recorded_at: float
    so_far: Callable[[], tuple[float, int]]
    _recorded: Extent | None = field(default=None)

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`: complete until `now`, an earlier moment."""
        if self._recorded is None:
            self._recorded = self.source.refresh(self.recorded_at)
        (until, rows), recorded = self.so_far(), self._recorded
        return replace(recorded, complete_until=min(recorded.complete_until, until, now), rows=rows, late=0)

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`."""
        return self.source.chunks(window)

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`."""
        return self.source.outcomes(window, known_by)

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """See `Source.profile`."""
        return self.source.profile(window, bins, served)

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """See `Source.cohort`."""
        return self.source.cohort(window, known_by, features, served)

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """See `Source.labelled`."""
        return self.source.read_labelled(since, until, known_by)

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`."""
        return self.source.count_labelled(since, known_by)

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """See `Source.newest_labelled`."""
        return self.source.newest_labelled(rows, since, known_by)

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """See `Source.sample`."""
        return self.source.sample(window, rows, seed)

    def use_schema(self, schema: Schema) -> None:
        """See `Source.use_schema`."""
        self.source.use_schema(schema)

    def close(self) -> None:
        """See `Source.close`."""
        self.source.close()


def paths_of(model: str, config: ModelConfig, places: Places) -> tuple[str, ...]:
    """The files, folders and patterns that the source of a model reads from; of an object store a web address."""
    if config.source.kind == "store":
        return (str(places.events_db(model)),)
    if config.source.kind == "profiles":
        return (config.source.path,)
    if config.source.kind != "files":
        return ()  # an engine
    store = config.source.object_store
    paths = [path for path in (config.source.path, config.source.feedback) if path is not None]
    if any(scheme_of(path) is not None for path in paths):
        from driftd.sources.store_client import probe_address  # noqa: PLC0415 - only where a path is in a store

        paths = [path if scheme_of(path) is None else probe_address(path, store) for path in paths]
    return tuple(paths)


def config_for_children(config: ModelConfig) -> dict[str, object]:
    """The config of a model as JSON for a child process, which systemd gives no credentials: by their whole paths."""
    content: dict[str, object] = config.model_dump(mode="json")
    content["source"] = _with_whole_paths(content["source"])
    return content


_SECRET_FILES = frozenset({"credentials_file", "token_file"})


def _with_whole_paths(section: object) -> object:
    if not isinstance(section, dict):
        return section
    return {
        key: str(credential(Path(value)))
        if key in {"credentials_file", "token_file"} and value
        else _with_whole_paths(value)
        for key, value in section.items()
    }


def hang_seconds(config: ModelConfig) -> float:
    """After how many seconds a source may be called hung, beside `limits.check_timeout`: an engine has its own time."""
    timeout: float | None = getattr(config.source, "timeout", None)
    return 0.0 if timeout is None else 2 * timeout + ENGINE_START_SECONDS


ENGINES: tuple[str, ...] = ("sql", "spark", "delta", "iceberg", "plugin")  # kinds of sources whose rows an engine holds


def open_engine(model: str, config: ModelConfig, places: Places, *, watches: bool = False) -> Engine:
    """The connection that the config of `model` names. Nothing is connected before the first call of a method.

    `watches` is for the process that the daemon asks alone: it may end what an earlier one left in the engine.
    """
    if config.source.kind == "sql":
        from driftd.sources.engines.sql_engine import SqlEngine  # noqa: PLC0415 - Arrow

        return SqlEngine(config.source)
    if config.source.kind == "spark":
        from driftd.sources.engines.spark_engine import SparkEngine  # noqa: PLC0415 - Arrow

        return SparkEngine(config.source, _session_of(model, places) if watches else None)
    if config.source.kind == "delta":
        from driftd.sources.engines.delta_tables import DeltaTables  # noqa: PLC0415 - Arrow
        from driftd.sources.engines.table_engine import TableEngine  # noqa: PLC0415 - Arrow

        return TableEngine(config.source, DeltaTables(config.source).open, keeps=not watches)
    if config.source.kind == "iceberg":
        from driftd.sources.engines.iceberg_tables import IcebergTables  # noqa: PLC0415 - Arrow
        from driftd.sources.engines.table_engine import TableEngine  # noqa: PLC0415 - Arrow

        return TableEngine(config.source, IcebergTables(config.source).open, keeps=not watches)
    if config.source.kind == "plugin":
        from driftd.sources.engines.plugin_engine import PluginEngine  # noqa: PLC0415 - Arrow

        return PluginEngine(config.source)
    raise ValueError(f"{model}: {config.source.kind} is no engine ({places.root})")


def _session_of(model: str, places: Places) -> str:
    """What names the session of a model: hosts have the same folders, and one must not end what another one asks."""
    return f"{platform.node()} {places.root.resolve()} {model}"


def open_engine_source(
    model: str, config: ModelConfig, schema: Schema, places: Places, *, watches: bool = False
) -> EngineSource:
    """The rows of an engine, for jobs, commands and the child that the daemon asks; see `open_engine`."""
    from driftd.sources.engines.engine_source import EngineSource  # noqa: PLC0415 - Arrow
    from driftd_detectors.batches.rows import RowNames  # noqa: PLC0415 - Arrow

    names = RowNames(**getattr(config.source, "columns", {}))
    return EngineSource(open_engine(model, config, places, watches=watches), schema, names)


def open_source(model: str, config: ModelConfig, schema: Schema, places: Places) -> Source:
    """The source that the config of `model` names. Nothing is read before the first call of a method."""
    window = config.window
    lateness = default_lateness(window) if window.lateness is None else window.lateness
    closed = partial(closed_until, window, lateness=lateness)
    if config.source.kind == "store":
        return StoreSource(model, schema, places, closed)
    if config.source.kind == "profiles":
        from driftd.sources.dropped import DroppedSource  # noqa: PLC0415 - Arrow only where others count

        return DroppedSource(model, schema, Path(config.source.path), lateness)
    if config.source.kind != "files":
        return open_engine_source(model, config, schema, places)
    from driftd.sources.dialects import Dialect  # noqa: PLC0415 - Arrow only where files are read
    from driftd.sources.files import FilesSettings, FilesSource  # noqa: PLC0415 - Arrow only where files are read

    chosen = config.source
    names = {str(meaning): name for meaning, name in chosen.columns.items()}
    feedback_names = {str(meaning): name for meaning, name in chosen.feedback_columns.items()}
    written = chosen.dialect
    dialect = Dialect(written.separator, written.decimal, written.encoding, written.compression, written.day_first)
    settings = FilesSettings(
        chosen.path, chosen.format, names, chosen.feedback, feedback_names, dialect, chosen.object_store
    )
    return FilesSource(model, schema, places, settings, closed)


def versions_of(source: Source) -> dict[str, str]:
    """The version of each table that a source reads, where it keeps versions; from then on it reads these."""
    ask: Callable[[], Mapping[str, str]] | None = getattr(source, "versions", None)
    return {} if ask is None else dict(ask())


def open_watched_source(
    model: str, config: ModelConfig, schema: Schema, places: Places, *, memory: int | None = None
) -> Source:
    """The same for the daemon, which stays small: a child process holds an engine's libraries and connection.

    The child may have `memory` bytes of address space.
    """
    if config.source.kind not in ENGINES:
        return open_source(model, config, schema, places)
    from driftd.sources.engines.child_source import ChildSource  # noqa: PLC0415 - for engines alone

    return ChildSource(model, config, schema, places, getattr(config.source, "timeout", 0.0), memory)
