"""The look of every round at trainers and settings: what counts, since when, and what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftd.config.model_schema import ModelConfig
from driftd.loop import trainer_watch
from driftd.loop.trainer_watch import SETTLED_AFTER, Settled, TrainerWatch
from driftd.training.trainer_files import TrainerReader

NOW = 1_700_000_000.0


def model(trainer: str = "shop:train", **changes: object) -> ModelConfig:
    return ModelConfig.model_validate({"task": "regression", "target": "y", "trainer": trainer, **changes})


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shop.py"
    path.write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


def test_a_value_counts_once_it_has_rested() -> None:
    """Another value begins the rest anew, one that goes back ends it, and a clock that was set back counts anew."""
    value: Settled[str] = Settled()
    assert not value.see("a", NOW)
    assert value.see("a", NOW + SETTLED_AFTER)
    assert not value.see("b", NOW + 100)
    assert not value.see("c", NOW + 130)
    assert not value.see("c", NOW + 189)
    assert value.value == "a"
    assert not value.see("a", NOW + 189)
    assert value.is_settled
    assert not value.see("b", NOW + 200)
    assert not value.see("b", NOW - 500)
    assert not value.see("b", NOW - 450)
    assert value.see("b", NOW - 440)


def test_a_thousand_models_of_one_trainer_are_one_look(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer that they share is read once a round; when it has changed, all of them are told."""
    reads: list[str] = []
    read = TrainerReader.read
    monkeypatch.setattr(TrainerReader, "read", lambda reader: (reads.append(reader.reference), read(reader))[1])
    watch, names = TrainerWatch(), [f"m{number}" for number in range(1000)]
    for name in names:
        watch.use(name, model(), NOW)
    assert reads == ["shop:train"]
    assert watch.look(NOW + 50) == set()
    assert reads == ["shop:train"] * 2
    assert watch.spec("m0", NOW + 50)[0] is None
    assert watch.look(NOW + SETTLED_AFTER) == set(names)
    before, waits = watch.spec("m0", NOW + 61)
    assert (before is not None, waits) == (True, "")
    shop.write_text("X = 22\n")
    assert watch.look(NOW + 100) == set()
    assert "another source of the trainer was seen" in watch.spec("m7", NOW + 110)[1]
    assert watch.look(NOW + 100 + SETTLED_AFTER) == set(names)
    after, _ = watch.spec("m7", NOW + 161)
    assert after is not None
    assert before is not None
    assert (after.source != before.source, after.settings) == (True, before.settings)


def test_a_round_gives_many_trainers_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time of a round is over, the others are looked at in the next rounds, each in its turn."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(trainer_watch, "LOOK_BUDGET", 0.0)
    watch = TrainerWatch()
    for number in range(5):
        (tmp_path / f"own{number}.py").write_text("X = 1\n")
        watch.use(f"m{number}", model(f"own{number}:train"), NOW)
    looked = [watch.look(NOW + 1000 + number) for number in range(5)]
    assert sorted(name for found in looked for name in found if len(found) == 1) == ["m1", "m2", "m3", "m4"]


def test_a_trainer_that_is_gone_or_half_written_is_told_and_keeps_what_counted(shop: Path) -> None:
    """The last whole code counts on; the sentence says what is wrong; a file that came back whole must rest again."""
    watch = TrainerWatch()
    watch.use("demand", model(), NOW)
    watch.look(NOW + SETTLED_AFTER)
    before, _ = watch.spec("demand", NOW + 60)
    shop.write_text("X = (\n")
    watch.look(NOW + 200)
    assert watch.spec("demand", NOW + 200)[0] == before
    assert "does not parse" in watch.spec("demand", NOW + 200)[1]
    shop.unlink()
    watch.look(NOW + 400)
    assert "there is no module 'shop'" in watch.spec("demand", NOW + 400)[1]
    shop.write_text("X = 3\n")
    assert watch.look(NOW + 500) == set()
    assert watch.look(NOW + 500 + SETTLED_AFTER) == {"demand"}


def test_settings_count_beside_the_code_and_models_come_and_go(shop: Path) -> None:
    """Parameters, the choice of rows and the metric are settings; a model that leaves takes its trainer along."""
    watch = TrainerWatch()
    watch.use("demand", model(), NOW)
    watch.look(NOW + SETTLED_AFTER)
    before, _ = watch.spec("demand", NOW + 60)
    assert before is not None
    for number, changed in enumerate(
        (
            {"parameters": {"depth": 3}},
            {"retrain": {"data": {"rows": 1000}}},
            {"detect": {"performance": {"metric": "mae"}}},
        )
    ):
        at = NOW + 1000 * (number + 1)
        watch.use("demand", model(**changed), at)
        assert watch.look(at + SETTLED_AFTER) == {"demand"}
        after, _ = watch.spec("demand", at + 60)
        assert after is not None
        assert (after.source, after.settings != before.settings) == (before.source, True)
        before = after
    watch.use("demand", model(promote={"approval": "manual"}, detect={"performance": {"metric": "mae"}}), NOW + 9000)
    watch.use("demand", model("driftd.trainers:gradient_boosting"), NOW + 9000)
    watch.keep(())
    assert watch.spec("demand", NOW + 9000) == (None, "")
    assert watch.look(NOW + 9999) == set()
