"""The builds of a model as run events of OpenLineage (spec 2-0-2): when each began and ended, from what, to what.

Each build is a run whose id follows from its model and version, so that events may be sent again. Field names are
those of https://openlineage.io/spec/2-0-2/OpenLineage.json and of the facets of that project.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from driftd.config.model_schema import ModelConfig
from driftd.config.plugin_schema import PluginSourceConfig
from driftd.config.source_schema import DeltaSourceConfig, FilesSourceConfig, ProfilesSourceConfig, StoreSourceConfig
from driftd.formatting import json_safe_object
from driftd.registry import Manifest
from driftd.store.state.records import StoredAction

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = "https://openlineage.io/spec/facets"
RUNS = uuid.UUID("6e1d3a52-6a0b-5d0e-9e0a-6d7c51f1c8a4")  # the namespace of the ids of runs; never changes
BUILDS = ("train", "refresh")  # the kinds of actions that make a version
EventType = Literal["START", "COMPLETE", "FAIL"]
Facet = dict[str, object]


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One try to make a version; `manifest` is None where none came of it, or retention took it."""

    version: int
    started_at: float
    finished_at: float | None  # None: it is at work
    error: str | None = None
    manifest: Manifest | None = None
    action: int | None = None  # None: it was made before a daemon watched, by `driftd init` or an adoption
    snapshot: str = ""


def build_runs(manifests: Sequence[Manifest], actions: Sequence[StoredAction]) -> list[BuildRun]:
    """The builds of a model, oldest first: those that a daemon ran, and versions that came otherwise."""
    known = {manifest.version: manifest for manifest in manifests}
    runs = [_run_of(action, known) for action in actions if action.kind in BUILDS and action.started_at is not None]
    built = {run.version for run in runs if run.error is None}
    runs += [
        BuildRun(
            manifest.version, manifest.created_at, manifest.created_at, manifest=manifest, snapshot=manifest.snapshot
        )
        for manifest in manifests
        if manifest.version not in built
    ]
    return sorted(runs, key=lambda run: (run.started_at, run.version))


def _run_of(action: StoredAction, known: Mapping[int, Manifest]) -> BuildRun:
    number, result = int(action.arguments["version"]), action.result or {}
    failed = action.status in {"failed", "dropped"}
    error = str(result.get("error") or f"the build was {action.status}") if failed else None
    manifest = None if failed else known.get(number)
    snapshot = str(action.arguments.get("snapshot") or (manifest.snapshot if manifest else ""))
    assert action.started_at is not None  # the caller leaves out what never began
    return BuildRun(number, action.started_at, action.finished_at, error, manifest, action.id, snapshot)


@dataclass(frozen=True, slots=True)
class LineageEvents:
    """The events of one model, in a namespace of jobs and datasets that its owner chooses."""

    model: str
    config: ModelConfig | None  # None: it is no longer in the config
    namespace: str = "driftd"

    def of(self, runs: Sequence[BuildRun]) -> Iterator[Facet]:
        """Two events for each run that has ended, one for each that is at work."""
        for run in runs:
            yield self._event("START", run.started_at, run)
            if run.finished_at is not None:
                yield self._event("FAIL" if run.error is not None else "COMPLETE", run.finished_at, run)

    def run_id(self, run: BuildRun) -> str:
        """The same for the same build, whoever asks and whenever."""
        tried = "" if run.action is None else f"/{run.action}"
        return str(uuid.uuid5(RUNS, f"{self.namespace}/{self.model}/{run.version}{tried}"))

    def _event(self, kind: EventType, at: float, run: BuildRun) -> Facet:
        return {
            "eventType": kind,
            "eventTime": _iso(at),
            "producer": _producer(),
            "schemaURL": SPEC,
            "run": {"runId": self.run_id(run), "facets": self._run_facets(kind, run)},
            "job": {"namespace": self.namespace, "name": f"{self.model}.build", "facets": self._job_facets()},
            "inputs": self._inputs(run),
            "outputs": [self._output(run.manifest)] if kind == "COMPLETE" and run.manifest is not None else [],
        }

    def _run_facets(self, kind: EventType, run: BuildRun) -> Facet:
        facets: Facet = {
            "processing_engine": _facet("1-1-1/ProcessingEngineRunFacet.json", name="driftd", version=_version())
        }
        if kind == "FAIL":
            facets["errorMessage"] = _facet(
                "1-0-1/ErrorMessageRunFacet.json", message=run.error, programmingLanguage="PYTHON"
            )
        if run.manifest is not None:
            facets["driftd_build"] = _own_facet("build", **_build(run.manifest))
        return facets

    def _job_facets(self) -> Facet:
        kind = _facet("2-0-4/JobTypeJobFacet.json", processingType="BATCH", integration="DRIFTD", jobType="BUILD")
        sentence = f"Builds a version of the model {self.model} from labelled rows"
        return {"jobType": kind, "documentation": _facet("1-1-0/DocumentationJobFacet.json", description=sentence)}

    def _inputs(self, run: BuildRun) -> list[Facet]:
        """The snapshot, by its content, and the place that the rows were read from."""
        manifest, found = run.manifest, list[Facet]()
        if run.snapshot:
            facets: Facet = {"version": _version_facet(run.snapshot)}
            inputs: Facet = {}
            if manifest is not None:
                facets["schema"] = _schema(manifest)
                rows = manifest.data.get("rows")
                if isinstance(rows, int):
                    inputs["dataQualityMetrics"] = _input_facet(rows)
            name = f"{self.model}/snapshots/{run.snapshot}"
            found.append({"namespace": self.namespace, "name": name, "facets": facets, "inputFacets": inputs})
        if self.config is not None and (manifest is None or manifest.adopted is None):
            place, name = source_dataset(self.model, self.config, self.namespace)
            versions = {} if manifest is None else manifest.data.get("source_version") or {}
            facets = {"version": _version_facet(str(next(iter(versions.values()))))} if len(versions) == 1 else {}
            found.append({"namespace": place, "name": name, "facets": facets})
        return found

    def _output(self, manifest: Manifest) -> Facet:
        facets: Facet = {
            "version": _version_facet(manifest.files.get(manifest.artefact, str(manifest.version))),
            "driftd_version": _own_facet("version", **_quality(manifest)),
        }
        return {"namespace": self.namespace, "name": f"{self.model}/versions/{manifest.version}", "facets": facets}


def source_dataset(model: str, config: ModelConfig, namespace: str) -> tuple[str, str]:
    """The namespace and name of what a source reads, as OpenLineage names datasets; no address has a secret."""
    source = config.source
    if isinstance(source, StoreSourceConfig):
        return namespace, f"{model}/events"
    if isinstance(source, FilesSourceConfig | ProfilesSourceConfig):
        return _place(str(source.path))
    if isinstance(source, DeltaSourceConfig):
        return _place(str(source.predictions))
    if isinstance(source, PluginSourceConfig):
        return f"plugin:{source.plugin}", f"{model}/events"
    address = urlsplit(str(getattr(source, "url", None) or getattr(source, "remote", None) or ""))
    host = f"{address.scheme}://{address.hostname or ''}{f':{address.port}' if address.port else ''}"
    database = address.path.strip("/").replace("/", ".")
    name = f"{database}.{source.predictions}" if database else str(source.predictions)
    return (host if address.scheme else source.kind), name


def _place(path: str) -> tuple[str, str]:
    """A file or a folder: of this host, or of a bucket."""
    parts = urlsplit(path)
    if parts.scheme:
        return f"{parts.scheme}://{parts.hostname or ''}", parts.path.strip("/") or "/"
    return "file", str(Path(path).absolute())


def _build(manifest: Manifest) -> Facet:
    trainer = manifest.trainer
    return {
        "version": manifest.version,
        "parent": manifest.parent,
        "trigger": manifest.trigger,
        "reason": manifest.reason,
        "trainer": trainer.reference,
        "fingerprint": trainer.fingerprint,
        "commit": trainer.commit,
        "seed": manifest.seed,
        "parameters": json_safe_object(dict(manifest.parameters)),
        "libraries": dict(manifest.libraries),
    }


def _quality(manifest: Manifest) -> Facet:
    gate = manifest.gate or {}
    named = {name: gate.get(name) for name in ("decision", "metric", "gain", "lower", "upper")}
    return {"artefact": manifest.artefact, "metrics": json_safe_object(dict(manifest.metrics)), "gate": named}


def _schema(manifest: Manifest) -> Facet:
    schema = manifest.schema
    fields = [{"name": feature.name, "type": str(feature.kind)} for feature in schema.features]
    fields.append({"name": schema.target, "type": str(schema.task)})
    return _facet("1-2-0/SchemaDatasetFacet.json", fields=fields)


def _version_facet(content: str) -> Facet:
    return _facet("1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=content)


def _input_facet(rows: int) -> Facet:
    return _facet("1-0-3/DataQualityMetricsInputDatasetFacet.json", rowCount=rows, columnMetrics={})


def _facet(schema: str, **content: object) -> Facet:
    kind = schema.partition("/")[2].removesuffix(".json")
    return {"_producer": _producer(), "_schemaURL": f"{FACETS}/{schema}#/$defs/{kind}", **content}


def _own_facet(name: str, **content: object) -> Facet:
    """A facet that is driftd's own: docs/lineage.md describes it."""
    return {"_producer": _producer(), "_schemaURL": f"urn:driftd:openlineage:{name}:1", **content}


def _producer() -> str:
    return f"urn:driftd:{quote(_version())}"


def _version() -> str:
    try:
        return version("driftd")
    except PackageNotFoundError:  # run from a source tree
        return "unreleased"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
