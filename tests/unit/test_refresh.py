"""Refreshes judged by siblings, over arrays of losses; the recipes, what is kept of them, and when one is due."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from driftd.cli.check_config import meaning
from driftd.config.load import parse
from driftd.events import Event, Trigger
from driftd.fsutil import sha256_of
from driftd.paths import Places
from driftd.policy import (
    ClockTick,
    Facts,
    Override,
    PolicySettings,
    ProbationResult,
    RefreshSettings,
    StepDone,
    advance,
)
from driftd.records import (
    ActionKind,
    ModelState,
    OpenAlarm,
    Phase,
    Probation,
    ProbationDecision,
    RefreshArguments,
    RefreshResult,
    RefreshState,
    SwapArguments,
    Transition,
)
from driftd.registry.artefact import store_estimator
from driftd.registry.loaded import LoadedVersion
from driftd.registry.manifest import Manifest, Trainer
from driftd.training.call_trainer import TrainerSpec
from driftd.training.recipes import Cadence, recipes_of, rows_known, training_part
from driftd.training.refit import Opponents
from driftd.training.siblings import Generation, load_generations, prune_generations, store_generation
from driftd.training.stretches import RefreshRows, cut_stretches, fit_generation, stretch_of
from driftd.training.training_rows import TrainingRows
from driftd_detectors.comparison.refresh import (
    DEPTH,
    FEWEST_JUDGED,
    Stretch,
    choose_recipe,
    compare_with_siblings,
    find_better,
    newest_stretches,
)
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY, NOW = 86_400.0, 1_800_000_000.0 // 86_400 * 86_400
SCHEMA = Schema(Task.REGRESSION, "y", (Feature("a", Kind.NUMBER),))


def stretch(built: int, rows: int = 400, *, recent: float = 0.0, old: float = 0.0, seed: int = 1) -> Stretch:
    """A fortnight of rows: losses of `all` about 1, of the others so much larger."""
    rng = np.random.default_rng([seed, built])
    base = 1 + 0.3 * rng.normal(size=rows)
    at = built * 14 * DAY + np.sort(rng.random(rows)) * 14 * DAY
    own = {"all": base, "recent": base + recent + 0.05 * rng.normal(size=rows)}
    return Stretch(built, at, own, {1: base + old + 0.05 * rng.normal(size=rows)})


def test_another_recipe_takes_charge_when_its_siblings_lost_less_on_unseen_rows() -> None:
    """A recipe that is 5 % better on the common rows takes charge; one that is half a per cent better does not."""
    better = choose_recipe([stretch(3, recent=-0.05), stretch(2, recent=-0.05)], "all", ("all", "recent"))
    assert better.recipe == "recent"
    assert better.gain == pytest.approx(0.05, abs=0.02)
    assert better.rows == 800
    assert "better on 800 rows that neither had seen" in better.sentence
    same = choose_recipe([stretch(3, recent=-0.005), stretch(2, recent=-0.005)], "all", ("all", "recent"))
    assert same.recipe == "all"
    assert same.losses["recent"] < same.losses["all"]


def test_below_a_hundred_rows_nothing_is_judged_and_that_is_said() -> None:
    """With too few later rows no recipe is exchanged and no version kept, and the sentence says so."""
    few = [stretch(2, rows=60, recent=-0.5, old=-0.5)]
    choice = choose_recipe(few, "all", ("all", "recent"))
    assert choice.recipe == "all"
    assert "nothing was judged" in choice.sentence
    assert find_better(few, "all", [1]) is None
    assert sum(map(len, few)) < FEWEST_JUDGED


def test_an_older_version_is_kept_only_when_it_is_surely_better() -> None:
    """A version that loses a fifth less than the siblings is found; an equal one is not."""
    found = find_better([stretch(3, old=-0.2), stretch(2, old=-0.2)], "all", [1])
    assert found is not None
    assert found.version == 1
    assert found.judgement.gain == pytest.approx(0.2, abs=0.03)
    assert find_better([stretch(3), stretch(2)], "all", [1]) is None


def test_rows_that_a_version_was_built_from_do_not_judge_it_nor_does_it_judge_itself() -> None:
    """NaN marks the rows that a version saw; the sibling that is the version itself is left out of the comparison."""
    seen = stretch(2, old=-0.2)
    seen.versions[1][:350] = np.nan
    assert compare_with_siblings([seen], "all", 1, confidence=0.95, siblings_win=False) is None
    itself = replace(stretch(1, old=-0.2), published="all")
    assert compare_with_siblings([itself], "all", 1, confidence=0.95, siblings_win=False) is None
    assert compare_with_siblings([itself], "recent", 1, confidence=0.95, siblings_win=False) is not None


def test_more_stretches_are_looked_at_until_there_are_rows_enough() -> None:
    """Two stretches are looked at, more where these are thin, and never more than are kept."""
    full = [stretch(number) for number in range(5, 0, -1)]
    assert [found.built for found in newest_stretches(full)] == [5, 4]
    thin = [stretch(number, rows=30) for number in range(11, 0, -1)]
    assert [found.built for found in newest_stretches(thin)] == [11, 10, 9, 8]
    assert len(newest_stretches([stretch(number, rows=5) for number in range(11, 0, -1)])) == DEPTH


def test_short_stretches_are_looked_at_until_they_cover_days_enough_to_judge() -> None:
    """Of refreshes seven hours apart so many judge that three whole days are covered; two choose the recipe."""
    hours = [
        replace(stretch(number, old=-0.2), at=number * 7 * 3600.0 + np.arange(400) * 63.0)
        for number in range(12, 0, -1)
    ]
    assert find_better(newest_stretches(hours), "all", [1]) is None
    apart = [
        replace(stretch(number, old=-0.2), at=number * DAY / 2 + np.arange(400) * 108.0) for number in range(12, 0, -1)
    ]
    judging = newest_stretches(apart, day=DAY)
    assert 4 <= len(judging) <= DEPTH
    assert find_better(judging, "all", [1]) is not None
    assert len(newest_stretches(judging)) == 2


def opponents(built_at: float, *, day: float = DAY) -> Opponents:
    """What a refresh of today finds, whose last siblings were built at a time."""
    known = rows_known(rows_of_days(20), NOW, DAILY)
    generation = Generation(1, built_at, SCHEMA, ("all",), built_at=built_at)
    return Opponents(known, DAILY, None, [], [RefreshRows(generation, known.rows.take(slice(0, 0)))], [], "mae", day)


def test_siblings_are_half_a_day_apart_so_that_those_kept_cover_the_days_of_a_judgement() -> None:
    """Refreshes that follow one another within half a day build the recipe in charge alone."""
    assert not opponents(NOW - 7 * 3600).wants_siblings
    assert opponents(NOW - 12 * 3600).wants_siblings
    assert opponents(NOW - 7 * 3600, day=3600.0).wants_siblings


def rows_of_days(days: int, a_day: int = 50, *, delay: float = 3600.0) -> TrainingRows:
    """Rows that come evenly and get their labels after about so many seconds."""
    rng = np.random.default_rng(days)
    at = NOW - days * DAY + np.arange(days * a_day) * DAY / a_day
    a = rng.normal(size=len(at))
    label_at = at + delay * (0.5 + rng.random(len(at)))
    target = 2 * a + np.where(np.arange(len(at)) > len(at) // 2, 1.0, 0.0)
    return TrainingRows(SCHEMA, pd.DataFrame({"a": a}), target, at, label_at, np.ones(len(at), dtype=np.int64))


DAILY = Cadence(DAY, None, 7)


def test_recipes_take_mature_rows_with_their_weights() -> None:
    """`all` has every mature row, `recent` the newest fifth, `half_life` halves in 28 windows and weighs fewer rows."""
    known = rows_known(rows_of_days(100), NOW, DAILY)
    assert not known.is_late
    assert known.mature_until == NOW - DAY or known.mature_until == NOW
    whole, recent, half = (training_part(recipe, known, DAILY, None) for recipe in ("all", "recent", "half_life"))
    assert whole is not None
    assert recent is not None
    assert half is not None
    assert whole.effective == known.mature == whole.end
    assert recent.end - recent.start == pytest.approx(0.2 * known.mature, abs=1)
    assert half.weight is not None
    old, new = half.weight[known.mature - 28 * 50 - 1], half.weight[known.mature - 1]
    assert new / old == pytest.approx(2.0, rel=0.01)
    assert half.effective == pytest.approx(50 * 28 * 2 / np.log(2), rel=0.25)
    since = training_part("since_change", known, DAILY, NOW - 10 * DAY)
    assert since is not None
    assert known.rows.at[since.start] == NOW - 10 * DAY


def test_where_labels_come_later_than_the_cadence_recipes_get_twins_weighted_by_arrival() -> None:
    """Labels after ten days and more: mature rows for `all` and `recent`, and younger ones, weighted, for the twins."""
    known = rows_known(rows_of_days(100, delay=20 * DAY), NOW, DAILY)
    assert known.is_late
    assert recipes_of(("all", "recent", "half_life"), known, DAILY, None) == [
        "all",
        "recent",
        "all_weighted",
        "half_life_weighted",
    ]
    plain, twin = training_part("all", known, DAILY, None), training_part("all_weighted", known, DAILY, None)
    assert plain is not None
    assert twin is not None
    assert twin.end > plain.end == known.mature
    assert twin.weight is not None
    assert twin.weight[-1] > 1.2 * twin.weight[0]


def test_a_siblings_training_rows_end_before_its_judged_rows() -> None:
    """The rows after a refresh and before the next are later than all that its siblings were trained on."""
    rows = rows_of_days(60)
    generations = []
    for number, until in enumerate((NOW - 20 * DAY, NOW - 10 * DAY), start=1):
        known = rows_known(rows, until, DAILY)
        trained = known.rows.at[known.mature - 1]
        generations.append(Generation(number, float(np.nextafter(trained, np.inf)), SCHEMA, ("all",)))
        assert trained < until
    first, second = cut_stretches(generations, rows_known(rows, NOW, DAILY))
    assert first.rows.at[0] >= generations[0].seen_until
    assert first.rows.at[-1] < generations[1].seen_until <= second.rows.at[0]


def version_of(number: int, built_at: float, seen: float, **data: object) -> LoadedVersion:
    """A version that was built at a time and saw no row from `seen` on."""
    schema, trainer = SCHEMA, Trainer("a:b", "f")
    found = Manifest("demand", number, built_at, schema, "s", trainer, 0, "refresh", "due", "model.skops", data=data)
    model = LinearRegression().fit(pd.DataFrame({"a": [0.0, 1.0]}), [0.0, 2.0])
    return LoadedVersion(number, model, schema, replace(found, data={"seen_until": seen, **data}))


def test_a_version_is_not_judged_by_siblings_that_are_older_than_it() -> None:
    """Where labels come late not each refresh leaves siblings: what was built between two is fresher than the first."""
    known, seen = rows_known(rows_of_days(60), NOW, DAILY), NOW - 40 * DAY
    model = LinearRegression().fit(pd.DataFrame({"a": [0.0, 1.0]}), [0.0, 2.0])
    siblings = Generation(3, seen, SCHEMA, ("all",), estimators={"all": model}, built_at=NOW - 30 * DAY)
    (rows,) = cut_stretches([siblings], known)
    own = version_of(3, NOW - 30 * DAY, seen, refresh={}, chosen="all")
    older, fresher = (version_of(number, NOW - days * DAY, seen, refresh={}) for number, days in ((2, 37), (4, 23)))
    held_out = replace(
        version_of(1, NOW - 20 * DAY, seen), manifest=replace(own.manifest, data={"held_out_from": seen})
    )
    assert set(stretch_of(rows, [own, older, fresher, held_out], "mae").versions) == {3, 2, 1}


def line(data: pd.DataFrame, context: object) -> LinearRegression:
    """A trainer that takes weights."""
    weight = getattr(context, "weight")  # noqa: B009 - the context is of any trainer
    return LinearRegression().fit(data[["a"]], data["y"], sample_weight=weight)


def blind(data: pd.DataFrame, _context: object) -> LinearRegression:
    """A trainer that takes no weights."""
    return LinearRegression().fit(data[["a"]], data["y"])


@pytest.mark.parametrize(("trainer", "recipes"), [("line", ("all", "half_life")), ("blind", ("all",))])
def test_a_trainer_without_weights_loses_that_recipe_aloud(trainer: str, recipes: tuple[str, ...]) -> None:
    """What is built alike with and without weights is no recipe of its own, and why is said."""
    known, said = rows_known(rows_of_days(100), NOW, DAILY), []
    spec = TrainerSpec(f"{__name__}:{trainer}", seed=1)
    made = fit_generation(2, spec, known, ("all", "half_life"), DAILY, None, lambda *why: said.append(why))
    assert made.recipes == recipes
    assert made.takes_weights is (trainer == "line")
    assert [recipe for recipe, _ in said] == ([] if trainer == "line" else ["half_life"])


def test_siblings_are_stored_in_one_step_pruned_and_left_out_when_damaged(tmp_path: Path) -> None:
    """Six generations stay, what an interrupted run left goes, and a damaged sibling is no sibling."""
    places = Places(tmp_path)
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    for number in range(1, 9):
        made = Generation(number, NOW + number, SCHEMA, ("all",), estimators={"all": model})
        store_generation(places, "demand", made, allow_joblib=False)
    (places.siblings("demand") / ".staged-left").mkdir()
    prune_generations(places, "demand")
    assert {path.name for path in places.siblings("demand").iterdir()} == {str(number) for number in range(3, 9)}
    found = load_generations(places, "demand", 8, allow_joblib=False)
    assert [generation.number for generation in found] == [3, 4, 5, 6, 7]
    assert found[-1].seen_until == NOW + 7
    whole = found[-1].load("all")
    assert whole is not None
    assert whole.estimator.predict(np.array([[2.0]])) == pytest.approx(2.0)
    artefact = next((places.siblings("demand") / "6" / "all").iterdir())
    artefact.write_bytes(artefact.read_bytes()[:-1])
    assert found[-2].load("all") is None


def test_a_sibling_that_is_a_version_is_neither_written_nor_read_again(tmp_path: Path) -> None:
    """The artefact of the version is copied, and the estimator that was loaded for it is taken by its SHA-256."""
    places, version = Places(tmp_path), tmp_path / "version"
    version.mkdir()
    estimators = {name: LinearRegression().fit([[0.0], [1.0]], [0.0, slope]) for name, slope in SLOPES.items()}
    artefact = version / store_estimator(estimators["all"], version, allow_joblib=False)
    made = Generation(1, NOW, SCHEMA, tuple(SLOPES), estimators=dict(estimators))
    store_generation(places, "demand", made, allow_joblib=False, stored={"all": artefact})
    (found,) = load_generations(places, "demand", 2, allow_joblib=False)
    found.take_loaded({sha256_of(artefact): estimators["all"]})
    chosen, other = found.load("all"), found.load("recent")
    assert chosen is not None
    assert chosen.estimator is estimators["all"]
    assert other is not None
    assert other.estimator.predict(np.array([[1.0]])) == pytest.approx(2.0)
    (again,) = load_generations(places, "demand", 2, allow_joblib=False)
    copied = again.load("all")
    assert copied is not None
    assert copied.estimator.predict(np.array([[1.0]])) == pytest.approx(1.0)


SLOPES = {"all": 1.0, "recent": 2.0}
SETTINGS = PolicySettings(
    retrain_on=frozenset({Trigger.PERFORMANCE, Trigger.REFRESH}), refresh=RefreshSettings(), cooldown=0.0
)
STATE = ModelState("demand", champion=2, refresh=RefreshState(100, 1000.0, NOW, "all"), served=(1, 2))
ALARM = OpenAlarm(5, "performance", "mae rose", NOW, NOW - DAY)


def tick(
    state: ModelState, window: int, fresh: int, settings: PolicySettings = SETTINGS, **facts: object
) -> Transition:
    given = Facts(next_version=3, versions=frozenset({1, 2}), window=window, fresh_labels=fresh, **facts)  # type: ignore[arg-type]
    return advance(state, ClockTick(), given, settings, Override(), NOW)


def result(serves: int, **said: object) -> RefreshResult:
    common = {"sentence": "because", "recipe": "recent", "rows": 900, "effective": 700.0, "mature_until": NOW}
    return RefreshResult(serves=serves, **common, **said)  # type: ignore[arg-type]


def finish(
    state: ModelState, value: RefreshResult, window: int = 107, settings: PolicySettings = SETTINGS
) -> Transition:
    arguments = RefreshArguments(version=3, champion=2, trigger=Trigger.REFRESH, reason="")
    facts = Facts(next_version=4, versions=frozenset({1, 2, 3}), window=window)
    return advance(state, StepDone(arguments, value), facts, settings, Override(), NOW)


def test_a_refresh_is_due_by_growth_at_most_every_seven_windows() -> None:
    """A tenth of the effective rows and seven windows are both needed; both are told while they are awaited."""
    assert tick(STATE, 106, 500).reason == "the next refresh waits for 6 of 7 windows"
    assert tick(STATE, 107, 99).reason == "the next refresh waits for 99 of 100 new labelled rows"
    begun = tick(STATE, 107, 100)
    assert begun.event == Event.BUILD_STARTED
    (action,) = begun.actions
    assert action.arguments == RefreshArguments(
        version=3,
        champion=2,
        served=(1, 2),
        recipe="all",
        trigger=Trigger.REFRESH,
        reason="100 labelled rows came since the last refresh; it weighed 1000, and from 100 on one is due",
    )
    small = replace(STATE, refresh=RefreshState(100, 50.0, NOW))
    assert tick(small, 107, 19).event is None
    assert tick(small, 107, 20).event == Event.BUILD_STARTED


def test_storm_control_faults_pauses_and_pins_hold_a_refresh_back() -> None:
    """Cool-down, a broken pipeline and a pin delay a refresh, and say so; it starts once they are over."""
    for held in (
        replace(STATE, cooldown_until=NOW + 60),
        replace(STATE, blocked="a column is gone"),
        replace(STATE, build_starts=(NOW - 1,) * 4),
    ):
        waits = tick(held, 107, 500)
        assert waits.event is None
        assert waits.state.waits is not None
        assert "a refresh is due" in waits.reason
    assert tick(STATE, 107, 500, working=frozenset({ActionKind.SHADOW})).event is None


def test_what_a_refresh_built_serves_and_is_watched_until_the_next_which_it_does_not_hold_up() -> None:
    """The refit is swapped in; its probation is never over before the next refresh, which begins during it."""
    begun = tick(STATE, 107, 500).state
    swap = finish(begun, result(3))
    assert swap.event == Event.SWAP_STARTED
    (action,) = swap.actions
    served = advance(swap.state, StepDone(action.arguments), Facts(window=107), SETTINGS, Override(), NOW)
    state = served.state
    assert state.phase is Phase.PROBATION
    assert state.probation == Probation(2, NOW, until_refresh=True)
    assert state.refresh == RefreshState(107, 700.0, NOW, "recent")
    assert state.served == (1, 2, 3)
    looking = tick(state, 108, 10, labels=500)
    (shadow,) = looking.actions
    assert shadow.kind is ActionKind.SHADOW
    assert tick(state, 114, 500).event == Event.BUILD_STARTED


def test_an_older_version_that_is_surely_better_serves_and_the_champion_may_stay() -> None:
    """The refresh's choice is what serves: an older version by a swap, the champion by none, a wreck never."""
    begun = tick(STATE, 107, 500).state
    older = finish(begun, result(1))
    (action,) = older.actions
    assert isinstance(action.arguments, SwapArguments)
    assert action.arguments.version == 1
    kept = finish(begun, result(2))
    assert (kept.event, kept.state.phase, kept.actions) == (Event.CHAMPION_KEPT, Phase.STEADY, ())
    assert kept.state.refresh is not None
    assert kept.state.refresh.recipe == "recent"
    broken = finish(begun, result(2, is_broken=True))
    assert broken.event == Event.REFIT_REFUSED
    rolled_back = finish(replace(begun, champion=1), result(3))
    assert rolled_back.event == Event.CHAMPION_KEPT
    assert "put aside" in rolled_back.reason


def test_approval_holds_for_refreshes_and_a_newer_one_takes_the_place_of_one_that_waits() -> None:
    """With approval: manual a refit waits for a person; when the next refresh is due it gives way to that."""
    manual = replace(SETTINGS, approval="manual")
    waiting = finish(tick(STATE, 107, 500).state, result(3), settings=manual)
    assert waiting.event == Event.APPROVAL_WANTED
    assert waiting.state.phase is Phase.AWAITING_APPROVAL
    assert tick(waiting.state, 113, 500, manual).event is None
    newer = tick(waiting.state, 114, 500, manual)
    assert newer.event == Event.BUILD_STARTED
    assert "waited for a person, and ends" in newer.reason


def test_an_alarm_brings_three_refreshes_and_then_one_every_seven_windows_while_it_stands() -> None:
    """At once, after four and after seven windows; then, while it stands, rows need not have grown."""
    state = replace(STATE, open_alarms=(ALARM,))
    wanted = tick(state, 102, 0)
    assert wanted.event == Event.BUILD_WANTED
    begun = tick(wanted.state, 102, 0)
    assert begun.event == Event.BUILD_STARTED
    assert begun.figures.trigger is Trigger.PERFORMANCE
    kept = finish(begun.state, result(2), window=102).state
    assert kept.refresh is not None
    assert (kept.refresh.alarm, kept.refresh.extra, kept.refresh.change_at) == (5, (106, 109), NOW - DAY)
    assert tick(kept, 105, 500).event is None
    again = tick(kept, 106, 0)
    assert again.figures.alarm == 5
    kept = finish(again.state, result(2), window=106).state
    third = tick(kept, 109, 0)
    assert third.event == Event.BUILD_STARTED
    kept = finish(third.state, result(2), window=109).state
    assert kept.refresh is not None
    assert kept.refresh.extra == ()
    assert tick(kept, 115, 500).event is None
    assert tick(kept, 116, 20).figures.alarm == 5


def test_the_version_before_takes_over_when_the_bet_is_won_and_serves_until_the_next_refresh() -> None:
    """A probation that is lost during a refresh's watch goes back, and the next refresh is due as ever."""
    state = replace(
        STATE, champion=3, phase=Phase.PROBATION, probation=Probation(2, NOW, until_refresh=True), previous=2
    )
    lost = advance(
        state, ProbationResult(ProbationDecision.ROLL_BACK, "worse", 400, 3), Facts(), SETTINGS, Override(), NOW
    )
    (action,) = lost.actions
    back = advance(lost.state, StepDone(action.arguments), Facts(), SETTINGS, Override(), NOW).state
    assert (back.champion, back.phase, back.probation) == (2, Phase.STEADY, None)
    assert tick(back, 107, 100).event == Event.BUILD_STARTED


def test_a_fresh_state_counts_from_the_champion_as_it_was_built() -> None:
    """A model that never had a refresh (of an earlier driftd, or new) counts new rows from its champion's snapshot."""
    old = ModelState("demand", champion=2)
    first = RefreshState(100, 1000.0, NOW)
    assert tick(old, 106, 500, first_refresh=first).state.refresh == first
    assert tick(old, 107, 500, first_refresh=first).event == Event.BUILD_STARTED
    assert tick(old, 107, 500).event is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("window: {every: 1d}", "at most every 7 windows: about 42 builds a year, at most 52, each of 3 fits"),
        ("window: {every: 1h}", "about 1008 builds a year, at most 1252"),
        ("window: {every: 5m}, promote: {serve: surely_better}", "at most 1461, each of 3 fits"),
        ("window: {every: 1d}, retrain: {refresh: {rows: 50%}, on: [performance]}", "never refreshes"),
    ],
)
def test_check_config_says_about_how_many_builds_a_year_there_will_be(keys: str, said: str) -> None:
    """The pace follows from the windows and the growth, and storm control bounds it."""
    config = parse(f"models:\n  demand: {{task: regression, target: y, {keys}}}\n".encode())
    assert any(said in sentence for sentence in meaning(config, NOW)["demand"]), meaning(config, NOW)["demand"]


def test_check_config_is_silent_about_refreshes_that_are_off() -> None:
    """With `refresh: off` builds start by alarms alone, through the promoting gate."""
    config = parse(b"models:\n  demand: {task: regression, target: y, retrain: {refresh: off}}\n")
    assert not any("refreshes" in sentence for sentence in meaning(config, NOW)["demand"])
