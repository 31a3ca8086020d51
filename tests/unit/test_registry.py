"""The registry on a real disk: publication, hashes, the link, loading."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from driftd.paths import Places
from driftd.registry import Adopted, Manifest, ManifestError, Registry, RegistryError, Trainer
from driftd.registry.artefact import ArtefactError, store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.loaded import PredictionError, predict_with
from driftd.registry.manifest import read_manifest, write_manifest
from driftd.training.mlflow_versions import figures_of, lineage_tags
from driftd_detectors.schema import Feature, Kind, Schema, Task

SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
CLASSES = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER),), ("0", "1"))


def linear(slope: float = 2.0) -> LinearRegression:
    frame = feature_frame({"x": np.arange(10.0)}, SCHEMA)
    return LinearRegression().fit(frame, slope * frame["x"])


def staged(registry: Registry, version: int, estimator: object = None, **changes: object) -> Path:
    folder = registry.stage("demand")
    artefact = store_estimator(estimator or linear(), folder, allow_joblib=bool(changes.pop("allow_joblib", False)))
    manifest = Manifest("demand", version, 0.0, SCHEMA, "s", Trainer("a:b", "f"), 0, "manual", "asked", artefact)
    write_manifest(folder, replace(manifest, **changes))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Places(tmp_path))


def publish(registry: Registry, version: int, **changes: object) -> Manifest:
    return registry.publish("demand", version, staged(registry, version, **changes))


def test_a_half_written_version_is_invisible(registry: Registry) -> None:
    """What is staged but not published is listed nowhere and can be swept away."""
    folder = staged(registry, 1)
    assert registry.versions("demand") == ()
    with pytest.raises(ManifestError, match="there is no version 1 of demand"):
        registry.manifest("demand", 1)
    assert registry.sweep("demand") == 1
    assert not folder.exists()


def test_publishing_lists_every_file_with_its_hash(registry: Registry, tmp_path: Path) -> None:
    """A published manifest names all other files of its folder, and reads back as it was written."""
    manifest = publish(registry, 1)
    assert set(manifest.files) == {"model.skops"}
    assert registry.manifest("demand", 1) == manifest
    assert registry.versions("demand") == (1,)
    assert not list((tmp_path / "models" / "demand" / "versions").glob(".staged*"))


def test_a_version_is_published_once(registry: Registry) -> None:
    """Publishing a version again is refused, and the first one stays."""
    first = publish(registry, 1)
    with pytest.raises(RegistryError, match="immutable"):
        publish(registry, 1, seed=7)
    assert registry.manifest("demand", 1) == first


def test_another_versions_folder_is_not_published(registry: Registry) -> None:
    """A staged folder can only become the version that its manifest names."""
    with pytest.raises(ManifestError, match="demand/1, not demand/2"):
        registry.publish("demand", 2, staged(registry, 1))


def test_the_link_is_replaced_and_read_back(registry: Registry, tmp_path: Path) -> None:
    """`current` is a relative symlink that always names a whole version; the swap leaves no second link behind."""
    publish(registry, 1)
    publish(registry, 2)
    assert registry.current("demand") is None
    registry.point("demand", 1)
    inode = os.lstat(tmp_path / "models/demand/current").st_ino
    registry.point("demand", 2)
    assert registry.current("demand") == 2
    assert os.lstat(tmp_path / "models/demand/current").st_ino != inode  # another link, put there by rename
    assert (tmp_path / "models/demand/current").readlink() == Path("versions/2")
    assert sorted(path.name for path in (tmp_path / "models/demand").iterdir()) == ["current", "versions"]


def test_an_unpublished_version_is_never_pointed_to(registry: Registry) -> None:
    """Pointing to a version that is not there is refused, with those that are."""
    publish(registry, 1)
    registry.point("demand", 1)
    with pytest.raises(RegistryError, match="published: 1"):
        registry.point("demand", 9)
    assert registry.current("demand") == 1


def test_a_dangling_link_names_no_version(registry: Registry, tmp_path: Path) -> None:
    """A link to a version that was removed by hand counts as no link."""
    publish(registry, 1)
    (tmp_path / "models/demand/current").symlink_to("versions/5")
    assert registry.current("demand") is None


def test_an_artefact_that_was_changed_is_not_loaded(registry: Registry, tmp_path: Path) -> None:
    """One flipped byte refuses the load, before anything of the file is read as a model."""
    publish(registry, 1)
    path = tmp_path / "models/demand/versions/1/model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"does not match its manifest.*Restore"):
        registry.load("demand", 1)


def test_a_loaded_version_predicts_as_it_did(registry: Registry) -> None:
    """What is loaded predicts what was stored."""
    publish(registry, 1)
    found = registry.load("demand", 1).predict(feature_frame({"x": [3.0]}, SCHEMA))
    assert found.values() == pytest.approx([6.0])


def test_amending_replaces_a_derived_file_with_its_hash(registry: Registry, tmp_path: Path) -> None:
    """The reference can be learned again; the manifest follows; the artefact itself never changes."""
    publish(registry, 1)
    registry.amend("demand", 1, files={"reference.bin": b"one"}, status="inconclusive")
    manifest = registry.amend("demand", 1, files={"reference.bin": b"two"}, status="promote")
    assert registry.file("demand", 1, "reference.bin").read_bytes() == b"two"
    assert (manifest.status, read_manifest(tmp_path / "models/demand/versions/1").status) == ("promote", "promote")
    with pytest.raises(RegistryError, match="never changes"):
        registry.amend("demand", 1, files={"model.skops": b""})


def test_a_crash_while_amending_leaves_a_version_that_loads(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying between the file and the manifest leaves the model whole and the file not listed."""
    publish(registry, 1)
    registry.amend("demand", 1, files={"reference.bin": b"one"})

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("driftd.registry.versions.with_hashes", dies)
    with pytest.raises(KeyboardInterrupt):
        registry.amend("demand", 1, files={"reference.bin": b"two"})
    assert registry.load("demand", 1).version == 1
    with pytest.raises(ManifestError, match="lists no file"):
        registry.file("demand", 1, "reference.bin")


def test_a_manifest_of_a_newer_program_is_refused(registry: Registry, tmp_path: Path) -> None:
    """A later format says that driftd must be upgraded, rather than being half understood."""
    publish(registry, 1)
    path = tmp_path / "models/demand/versions/1/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ManifestError, match="upgrade"):
        registry.manifest("demand", 1)


class Foreign(LinearRegression):
    """An estimator whose type skops does not know."""


def test_an_unknown_type_needs_the_configs_word(registry: Registry) -> None:
    """A foreign estimator is refused with its type named; with joblib allowed it is stored, and loaded only so."""
    frame = feature_frame({"x": np.arange(10.0)}, SCHEMA)
    foreign = Foreign().fit(frame, frame["x"])
    with pytest.raises(ArtefactError, match=r"Foreign.*allow_joblib"):
        staged(registry, 1, foreign)
    registry.publish("demand", 1, staged(registry, 1, foreign, allow_joblib=True))
    with pytest.raises(ArtefactError, match="allow_joblib"):
        registry.load("demand", 1)
    assert registry.load("demand", 1, allow_joblib=True).predict(frame).values()[3] == pytest.approx(3.0)


def test_a_pickle_in_skops_clothes_runs_nothing(registry: Registry, tmp_path: Path) -> None:
    """A file that is no skops archive is refused, even where its hash is right."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = staged(registry, 1)
    joblib.dump(Bomb(), folder / "model.skops")
    registry.publish("demand", 1, folder)
    with pytest.raises(ArtefactError):
        registry.load("demand", 1)
    assert not (tmp_path / "exploded").exists()


def test_the_same_estimator_gives_the_same_bytes(tmp_path: Path) -> None:
    """Artefacts hold no time stamps and no memory addresses."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        store_estimator(linear(), tmp_path / name, allow_joblib=False)
    assert (tmp_path / "one/model.skops").read_bytes() == (tmp_path / "other/model.skops").read_bytes()


class Rubbish:
    """An estimator that answers whatever it is told to."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def predict(self, _: object) -> object:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "schema", "message"),
    [
        ([1.0], SCHEMA, r"shape \(1,\) where \(2,\)"),
        ([np.nan, 1.0], SCHEMA, "NaN or infinite"),
        ([[1.0, 2.0], [2.0, 3.0]], SCHEMA, "shape"),
        (["0", "maybe"], CLASSES, r"'maybe'.*not among the classes"),
    ],
)
def test_rubbish_is_no_prediction(answer: object, schema: Schema, message: str) -> None:
    """Wrong lengths, NaN and foreign classes are refused with what was wrong."""
    with pytest.raises(PredictionError, match=message):
        predict_with(Rubbish(answer), schema, feature_frame({"x": [1.0, 2.0]}, schema))


def test_an_object_without_predict_is_no_estimator() -> None:
    """The error says which method is missing."""
    with pytest.raises(PredictionError, match="no predict method"):
        predict_with(object(), SCHEMA, feature_frame({"x": [1.0]}, SCHEMA))


@pytest.mark.parametrize("labels", [np.array([0, 1] * 5), np.array([False, True] * 5), np.array(["0", "1"] * 5)])
def test_classes_of_any_type_meet_as_text(labels: np.ndarray) -> None:
    """An estimator that knows its classes as numbers, booleans or text predicts the same codes and scores."""
    frame = feature_frame({"x": np.tile([0.0, 1.0], 5)}, CLASSES)
    found = predict_with(LogisticRegression().fit(frame, labels), CLASSES, frame)
    assert found.values() == ["0", "1"] * 5
    assert (found.score[1::2] > 0.5).all()
    assert (found.score[::2] < 0.5).all()


def test_features_are_read_by_kind_and_never_fail() -> None:
    """Each kind reads what it can and calls the rest missing; absent features are missing in every row."""
    schema = Schema(
        Task.REGRESSION,
        "y",
        (
            Feature("n", Kind.NUMBER),
            Feature("c", Kind.CATEGORY),
            Feature("b", Kind.BOOLEAN),
            Feature("t", Kind.TIMESTAMP),
            Feature("gone", Kind.CATEGORY),
        ),
    )
    rows = {
        "n": [1, "2.5", "x", None],
        "c": ["a", 1.0, None, True],
        "b": [True, "false", 2, None],
        "t": [0, "1970-01-02T00:00:00Z", "soon", None],
    }
    frame = feature_frame(rows, schema)
    assert frame["n"].tolist()[:2] == [1.0, 2.5]
    assert frame["n"].isna().tolist() == [False, False, True, True]
    assert frame["c"].tolist()[:2] == ["a", "1"]
    assert frame["c"].isna().tolist() == [False, False, True, False]
    assert frame["b"].tolist()[:2] == [1.0, 0.0]
    assert frame["b"].isna().tolist() == [False, False, True, True]
    assert frame["t"].tolist()[:2] == [0.0, 86400.0]
    assert frame["t"].isna().tolist() == [False, False, True, True]
    assert frame["gone"].isna().all()
    again = feature_frame(frame, schema)
    assert again.equals(frame)


def snapshot_of(places: Places, digest: str) -> None:
    folder = places.snapshot("demand", digest)
    folder.mkdir(parents=True)
    (folder / "data.parquet").write_bytes(b"x" * 50_000)


def snapshots_in(places: Places) -> set[str]:
    return {path.name for path in places.snapshot("demand", "x").parent.iterdir()}


def test_the_oldest_snapshots_go_over_the_limit_and_those_in_use_stay(registry: Registry, tmp_path: Path) -> None:
    """What no version was built from goes first, then the oldest; within the limit nothing goes."""
    places = Places(tmp_path)
    for version, digest in ((1, "a"), (2, "b"), (3, "c"), (4, "d")):
        publish(registry, version, snapshot=digest)
    for digest in ("a", "b", "c", "d", "of-a-failed-build"):
        snapshot_of(places, digest)
    assert registry.prune_snapshots("demand", {1, 4}, 1 << 30) == ()
    assert registry.prune_snapshots("demand", {1, 4}, 4 * 53_248) == ("of-a-failed-build",)
    assert registry.prune_snapshots("demand", {1, 4}, 0) == ("b", "c")
    assert snapshots_in(places) == {"a", "d"}
    assert registry.prune_snapshots("other", (), 0) == ()


def test_while_a_manifest_is_damaged_what_it_was_built_from_stays(registry: Registry, tmp_path: Path) -> None:
    """A snapshot that seems to belong to no version may belong to the one whose manifest cannot be read."""
    places = Places(tmp_path)
    publish(registry, 1, snapshot="a")
    publish(registry, 2, snapshot="b")
    for digest in ("a", "b"):
        snapshot_of(places, digest)
    (places.version("demand", 2) / "manifest.json").write_text("{")
    assert registry.prune_snapshots("demand", (), 0) == ("a",)
    assert snapshots_in(places) == {"b"}


def test_a_version_keeps_its_identity(registry: Registry) -> None:
    """What a judgement adds changes it not; another version, snapshot or artefact is another one."""
    made = publish(registry, 1)
    assert len(made.identity) == 64
    judged = registry.amend("demand", 1, status="promote", gate={"gain": 0.5, "sentence": "better"})
    assert registry.manifest("demand", 1).identity == judged.identity == made.identity
    assert publish(registry, 2).identity != made.identity
    for other in (replace(made, snapshot="x"), replace(made, files={**made.files, made.artefact: "0" * 64})):
        assert other.identity != made.identity


def test_lineage_becomes_tags_and_figures(registry: Registry) -> None:
    """A registry of others gets texts without gaps and numbers that are finite."""
    made = publish(registry, 1, parent=None, reason="mae rose " * 200)
    gate = {"gain": 0.5, "sentence": "better", "is_new": True}
    judged = replace(made, status="promote", gate=gate, metrics={"loss": 0.25, "odd": float("inf")})
    tags, figures = lineage_tags(judged), figures_of(judged)
    assert (tags["driftd_model"], tags["driftd_version"], tags["driftd_gate"]) == ("demand", "1", "promote")
    assert (tags["driftd_manifest"], "driftd_parent" in tags, len(tags["driftd_reason"])) == (made.identity, False, 500)
    assert (figures["loss"], figures["gate_gain"]) == (0.25, 0.5)
    assert not {"odd", "gate_sentence", "gate_is_new"} & set(figures)
    adopted = replace(judged, adopted=Adopted("mlflow:models:/late@champion", "ab", "7", (), "run-1"))
    assert Adopted.from_dict({"source": "a", "sha256": "b", "version": None, "classes": []}).run_id is None
    assert lineage_tags(adopted)["driftd_adopted_run"] == "run-1"


def test_a_version_that_is_not_there_is_told_without_a_folder_of_the_host(tmp_path: Path) -> None:
    """Whoever compares versions on the page learns which there are, and not where they lie."""
    registry = Registry(Places(tmp_path / "state"))
    for version in (1, 2):
        registry._places.version("demand", version).mkdir(parents=True)
    with pytest.raises(ManifestError) as refused:
        registry.manifest("demand", 9)
    assert str(refused.value) == "there is no version 9 of demand; the newest that are there: 1, 2"
