"""The pure parts of serving: bodies, names, answers, and rows that become features."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from driftd.paths import Places
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.manifest import write_manifest
from driftd.registry.versions import NothingServedError, version_of
from driftd.serving.client import Driftd, FeedbackError
from driftd.serving.endpoint import Endpoint
from driftd.serving.event_log import EventLog
from driftd.serving.predict import answer, new_ids, records_of
from driftd.serving.requests import RefusedError, RequestLimits, read_posted
from driftd.serving.served_version import ServedVersion
from driftd_detectors.schema import Feature, Kind, Schema, Task

MODEL = "demand"
FEATURES = (Feature("x", Kind.NUMBER), Feature("c", Kind.CATEGORY), Feature("b", Kind.BOOLEAN))
SCHEMA = Schema(Task.REGRESSION, "y", FEATURES)
NUMBER_ONLY = Schema(Task.REGRESSION, "y", FEATURES[:1])
BOUNDS = RequestLimits(1000, 3)


def publish(places: Places, version: int, slope: float, parent: int | None = None) -> None:
    """A version that predicts `slope` times x."""
    registry = Registry(places)
    frame = pd.DataFrame({"x": np.arange(10.0)})
    folder = registry.stage(MODEL)
    artefact = store_estimator(LinearRegression().fit(frame, slope * frame["x"]), folder, allow_joblib=False)
    trainer = Trainer("a:b", "f")
    manifest = Manifest(MODEL, version, 0.0, NUMBER_ONLY, "s", trainer, 0, "manual", "asked", artefact, parent)
    write_manifest(folder, manifest)
    registry.publish(MODEL, version, folder)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path)
    publish(found, 1, 2.0)
    publish(found, 2, 3.0)
    Registry(found).point(MODEL, 1)
    return found


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"", 400), (b"7", 400), (b"[]", 400), (b"[" * 100_000, 400), (b"[{},{},{},{}]", 413)],
)
def test_a_body_that_holds_no_events_is_refused(body: bytes, status: int) -> None:
    """No JSON, no events or too many are refused with their status, however deep the nesting."""
    with pytest.raises(RefusedError) as caught:
        read_posted(body, BOUNDS)
    assert caught.value.status == status


def test_new_ids_are_valid_distinct_and_begin_with_the_time() -> None:
    """Made-up ids are UUIDs of version 7 that carry the time in milliseconds."""
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(item) for item in new_ids(1000)]
    assert len(set(ids)) == 1000
    assert {(item.version, item.variant) for item in ids} == {(7, uuid.RFC_4122)}
    assert all(before <= item.int >> 80 <= time.time_ns() // 1_000_000 for item in ids)


@pytest.mark.parametrize(("target", "number"), [("versions/7", 7), ("", None), ("versions/x", None), ("../12", 12)])
def test_the_links_target_names_a_version(target: str, number: int | None) -> None:
    """The last part of the target is the number; anything else names no version."""
    assert version_of(target) == number


NUMBERS = st.lists(st.none() | st.floats() | st.integers(), min_size=1)
TEXTS = st.lists(st.none() | st.text(), min_size=1)
BOOLEANS = st.lists(st.none() | st.booleans(), min_size=1)


@given(NUMBERS, TEXTS, BOOLEANS)
def test_lists_are_read_as_frames_are(numbers: list[object], texts: list[object], booleans: list[object]) -> None:
    """The quick way for plain lists gives an estimator the very rows that a frame gives it."""
    rows = min(len(numbers), len(texts), len(booleans))
    lists = {"x": numbers[:rows], "c": texts[:rows], "b": booleans[:rows]}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in lists.items()})
    pd.testing.assert_frame_equal(feature_frame(lists, SCHEMA), feature_frame(frame, SCHEMA))


def test_a_frame_is_taken_apart_into_plain_values() -> None:
    """Rows of a frame hold Python's own values, None for missing, and only the asked columns."""
    frame = pd.DataFrame({"x": [1.5, np.nan], "when": pd.to_datetime(["2026-01-01", None]), "other": [1, 2]})
    rows = records_of(frame, ["x", "when", "absent"])
    assert rows == [{"x": 1.5, "when": pd.Timestamp("2026-01-01")}, {"x": None, "when": None}]


def test_refused_rows_are_answered_only_where_asked(places: Places) -> None:
    """A row that the store refuses is predicted for the SDK, not for HTTP; only its neighbours are kept."""
    version = Registry(places).load(MODEL, 1)
    asked = [{"features": {"x": 1.0}}, {"features": {"x": "2"}}, 7, {"features": {"x": 3.0}}]
    strict = answer(version, asked, 1e9, refused_too=False)
    assert strict.predictions == [pytest.approx(2.0), None, None, pytest.approx(6.0)]
    assert {place: item.field for place, item in strict.refused.items()} == {1: "features.x", 2: ""}
    assert [row[3] for row in strict.batch.predictions] == pytest.approx([2.0, 6.0])
    lenient = answer(version, asked[:2], 1e9, refused_too=True)
    assert lenient.predictions == pytest.approx([2.0, 4.0])
    assert len(lenient.batch.predictions) == 1


def test_a_swap_is_taken_up_and_a_bad_version_is_not(places: Places) -> None:
    """The next call sees a swap; a version that is damaged leaves the old one serving, tells why, and is forgotten."""
    served = ServedVersion(places, MODEL)
    assert served.number is None
    assert served.get().version == 1
    Registry(places).point(MODEL, 2)
    assert served.get().version == 2
    artefact = places.version(MODEL, 1) / "model.skops"
    artefact.write_bytes(artefact.read_bytes()[:-1])
    Registry(places).point(MODEL, 1)
    assert served.get().version == 2
    assert served.fault is not None
    assert "does not match its manifest" in served.fault
    Registry(places).point(MODEL, 2)
    assert (served.get().version, served.fault) == (2, None)


def test_while_a_version_is_loaded_the_old_one_answers(places: Places) -> None:
    """A call that finds another one loading the new version is answered by the old one at once."""
    served = ServedVersion(places, MODEL)
    served.get()
    Registry(places).point(MODEL, 2)
    with served._loading:
        assert served.get().version == 1
    assert served.get().version == 2


def damage(places: Places, version: int) -> None:
    """Take a byte of a version's artefact away."""
    artefact = places.version(MODEL, version) / "model.skops"
    artefact.write_bytes(artefact.read_bytes()[:-1])


def test_a_version_that_is_damaged_at_the_start_is_replaced_where_that_is_allowed(places: Places) -> None:
    """The versions that it was built to replace are tried, newest first; one that never served is not among them."""
    publish(places, 3, 4.0, parent=1)
    publish(places, 4, 5.0, parent=3)
    Registry(places).point(MODEL, 4)
    damage(places, 4)
    damage(places, 3)
    with pytest.raises(NothingServedError, match="version 4 of demand cannot be loaded"):
        ServedVersion(places, MODEL).get()
    served = ServedVersion(places, MODEL, fallback=True)
    assert [served.get().version, served.get().version] == [1, 1]
    assert served.fault is not None
    assert served.fault.endswith("; version 1 answers instead")
    Registry(places).point(MODEL, 2)
    assert (served.get().version, served.fault) == (2, None)
    damage(places, 1)
    Registry(places).point(MODEL, 4)
    with pytest.raises(NothingServedError):
        ServedVersion(places, MODEL, fallback=True).get()


def test_an_endpoint_is_ready_when_its_version_is_warm(places: Places) -> None:
    """Before it is loaded and has predicted a row there is an obstacle, and no version answers; a swap brings none."""
    endpoint = Endpoint(MODEL, places, allow_joblib=False, preload=True)
    assert (endpoint.version, endpoint.obstacle) == (None, "version 1 is being loaded")
    endpoint.prepare()
    assert (endpoint.version, endpoint.obstacle) == (1, None)
    Registry(places).point(MODEL, 2)
    assert (endpoint.version, endpoint.linked, endpoint.obstacle) == (1, 2, None)
    endpoint.prepare()
    assert (endpoint.version, endpoint.obstacle) == (2, None)
    damage(places, 2)
    anew = Endpoint(MODEL, places, allow_joblib=False, preload=True)
    anew.prepare()
    assert anew.version is None
    assert "does not match its manifest" in (anew.obstacle or "")
    lazy = Endpoint(MODEL, places, allow_joblib=False)
    lazy.prepare()
    assert (lazy.version, lazy.obstacle) == (2, None)  # as far as anybody has asked
    elsewhere = Endpoint(MODEL, places, allow_joblib=False, preload=True, is_external=True)
    elsewhere.prepare()
    assert elsewhere.obstacle is None


def test_nothing_is_served_where_nothing_is_linked(tmp_path: Path) -> None:
    """Without a version a prediction fails with what to do."""
    with pytest.raises(NothingServedError, match="driftd init"):
        ServedVersion(Places(tmp_path), MODEL).get()


@pytest.mark.parametrize("durable", [True, False])
def test_predictions_go_on_where_nothing_can_be_logged(places: Places, durable: bool) -> None:
    """With a file where the store's folder should be, predictions are answered, say so, and are counted."""
    (places.root / "events").write_text("in the way")
    with Driftd(places.root, MODEL, durable=durable) as sdk:
        answers = sdk.predict(pd.DataFrame({"x": [1.0, 2.0]}))
        assert [item.prediction for item in answers] == pytest.approx([2.0, 4.0])
        assert not any(item.logged for item in answers)
        assert all(item.reason for item in answers)
        assert sdk.dropped == 2


def test_a_stalled_disk_holds_up_one_call_only(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a commit takes too long the answer comes without it; the next call does not wait, and late is not lost."""
    with Driftd(places.root, MODEL) as sdk:
        assert sdk.predict({"x": 1.0}).logged
        opened = sdk._events._open
        assert opened is not None
        with opened[0]._lock:  # the store is as busy as a stalled disk makes it
            monkeypatch.setattr("driftd.serving.client.LONGEST_WAIT", 0.05)
            first = sdk.predict({"x": 1.0})
            stalled = sdk._stalled
            assert isinstance(stalled, Future)
            monkeypatch.setattr("driftd.serving.client.LONGEST_WAIT", 60.0)
            second = sdk.predict({"x": 1.0})  # would wait a minute
            assert not stalled.done()
        assert (first.logged, second.logged) == (False, False)
        assert "did not answer" in str(first.reason)
        stalled.result(5)
        assert sdk.predict({"x": 1.0}).logged
        assert sdk.dropped == 0


def test_good_labels_are_kept_beside_bad_ones(places: Places) -> None:
    """Malformed labels raise with each one named; the others are kept."""
    with Driftd(places.root, MODEL) as sdk:
        answers = sdk.predict([{"x": 1.0}, {"x": 2.0}])
        with pytest.raises(FeedbackError, match=r"1 labels were refused, 1 are kept.*label 1 .*: label: ") as caught:
            sdk.feedback([item.prediction_id for item in answers], [1.5, "high"])
        assert [item.index for item in caught.value.refused] == [1]


def test_the_label_of_one_prediction_whatever_its_id_is(places: Places) -> None:
    """One id may be a number or a UUID as well as a text; 5 and 5.0 are one."""
    with Driftd(places.root, MODEL) as sdk:
        row = uuid.UUID(int=7)
        assert [sdk.predict({"x": 1.0}, ids=name).prediction_id for name in (5, row)] == ["5", str(row)]
        assert sdk.feedback(5.0, 1.5).feedback == 1
        assert sdk.feedback(np.int64(5), 2.5).feedback == 1
        assert sdk.feedback(row, 2.5).feedback == 1


@pytest.mark.parametrize(("ids", "at"), [(["one"], None), (None, [1.0])])
def test_ids_and_times_are_as_many_as_rows(places: Places, ids: list[str] | None, at: list[float] | None) -> None:
    """Too few ids or times are refused before anything is predicted."""
    with Driftd(places.root, MODEL) as sdk, pytest.raises(ValueError, match="2 rows"):
        sdk.predict([{"x": 1.0}, {"x": 2.0}], ids=ids, at=at)


def test_a_text_is_never_taken_for_a_list_of_letters(places: Places) -> None:
    """One id for several rows, or one label for several ids, is an error that says so."""
    with Driftd(places.root, MODEL) as sdk:
        with pytest.raises(TypeError, match="several rows take several ids, as a list: got 'ab'"):
            sdk.predict([{"x": 1.0}, {"x": 2.0}], ids="ab")  # type: ignore[arg-type]  # what users do
        for labels in ("ab", 1.5):
            with pytest.raises(TypeError, match="several rows take several labels"):
                sdk.feedback(["a", "b"], labels)
        with pytest.raises(TypeError, match="put this one into a list"):
            sdk.log({"prediction_id": "a", "label": 1.5})  # type: ignore[arg-type]  # what users do


@pytest.mark.parametrize(
    "at",
    [np.datetime64("2026-01-31T10:00"), dt.date(2026, 1, 31), np.float64(1_769_853_600), np.int64(1_769_853_600)],
    ids=["datetime64", "date", "float64", "int64"],
)
def test_one_time_holds_for_all_rows_whatever_its_type(places: Places, at: object) -> None:
    """A batch takes what a single row takes."""
    with Driftd(places.root, MODEL) as sdk:
        single = sdk.predict({"x": 1.0}, at=at)  # type: ignore[arg-type]  # what users do
        batch = sdk.predict([{"x": 1.0}, {"x": 2.0}], at=at)  # type: ignore[arg-type]
        assert [item.reason for item in batch] == [single.reason] * 2


def test_the_log_keeps_one_kind_where_one_is_expected(places: Places) -> None:
    """Labels are refused among predictions, and predictions among labels, each with its field."""
    log = EventLog(places, MODEL)
    both = [{"prediction_id": "a", "features": {}, "prediction": 1.0, "label": 2.0}]
    assert [item.field for item in log.read(both, 1e9, only="prediction")[1]] == ["label"]
    bare = [{"prediction_id": "a", "features": {}, "prediction": 1.0}]
    assert [item.field for item in log.read(bare, 1e9, only="feedback")[1]] == ["label"]
