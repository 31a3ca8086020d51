"""What `driftd check-config` says of log files: a few rows are read as the daemon would, and nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from driftd.config.model_schema import FilesSourceConfig as FilesConfig
from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config
from driftd.loop.source_timeout import SourceHangsError, TimeoutWorker
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.sources.files import FilesSource
from driftd_detectors.schema import Feature, Schema

_SECONDS = 20.0


def source_warnings(config: Config) -> Iterator[str]:
    """What is wrong with the log files of each model, by the key in the config.

    They may come later, or be for another user: these are warnings.
    """
    for name, model in config.models.items():
        if isinstance(model.source, FilesConfig):
            for sentence in _sentences(name, model, _schema(config, name, model)):
                yield f"models.{name}.source: {sentence}"


def _sentences(name: str, model: ModelConfig, schema: Schema) -> Iterator[str]:
    guard = TimeoutWorker(name, _SECONDS)
    with TemporaryDirectory(prefix="driftd-preview-") as scratch:
        try:
            source = open_source(name, model, schema, Places(Path(scratch)))
            assert isinstance(source, FilesSource)
            found = guard.run(source.preview, time.time())
        except SourceHangsError:
            yield f"did not answer within {_SECONDS:.0f} s: look whether its files can be reached"
            return
        except Exception as error:  # noqa: BLE001 - whatever a source raises is what is to be told
            yield str(error)
            return
        finally:
            guard.close()
    yield from found.faults
    yield from found.remarks
    if not found.rows and not found.faults:
        yield "there is no row yet"


def _schema(config: Config, name: str, model: ModelConfig) -> Schema:
    """The schema of the version that serves; else what the config says of it, which may be no feature at all."""
    registry = Registry(Places(config.state_dir))
    served = registry.current(name)
    if served is not None:
        try:
            return registry.readable(name, served).schema
        except Exception:  # noqa: BLE001, S110 - the versions are not what is asked for here
            pass
    features = tuple(Feature(feature, kind) for feature, kind in (model.features or {}).items())
    return Schema(model.task, model.target, features)
