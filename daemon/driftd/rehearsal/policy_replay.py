"""The policy over the daemon's own record: what a changed config would have decided otherwise.

Two courses are followed at once by the pure policy, over the same checks and results: one under the config that was in
force, which must come to what is on record, and one under the changed config. Where the first fails to, or the second
leaves what is on record, the replay ends and says why: nobody knows what would have followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import msgspec
from apscheduler.triggers.cron import CronTrigger

from driftd.config.model_schema import ModelConfig
from driftd.events import Event
from driftd.loop.config_history import monitor_settings, policy_settings
from driftd.loop.label_counts import labels_count_from
from driftd.policy import (
    LEVELS,
    AlarmCleared,
    AlarmRaised,
    ClockTick,
    Facts,
    Finding,
    Override,
    PolicySettings,
    QualityFault,
    QualityOk,
    advance,
)
from driftd.records import (
    ActionKind,
    Alarm,
    ModelState,
    Transition,
    Verdict,
    Window,
)
from driftd.rehearsal.history import History, Moment, finding_of, is_readable, told_events
from driftd.sources.protocol import window_index
from driftd.store.state.records import KindEvidence, StoredCheck, StoredTransition

ROUNDS = 16  # decisions that may follow from one another at one moment
NEW_ALARMS = 1_000_000_000  # numbers of alarms that nobody raised begin here
NOTHING = "nothing"
BUILD_FACTS = (Event.BUILD_STARTED,)


class Difference(msgspec.Struct, frozen=True):
    """What was decided at a time (epoch seconds), and what the changed config would have decided instead."""

    at: float
    recorded: str
    changed: str
    sentence: str


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `driftd replay` says."""

    model: str
    start: float = msgspec.field(name="from")
    end: float = msgspec.field(name="to")  # of what could be replayed
    decisions: int  # on record until then
    differences: list[Difference]
    changes: list[str]  # keys that differ, and that the replay follows
    not_followed: list[str]  # those that it cannot, with why, a sentence each
    ends: str | None  # why the replay ends before the record does


@dataclass(slots=True)
class Course:
    """What one config comes to: its state, and the jobs that it waits for."""

    history: History
    state: ModelState
    is_recorded: bool
    pending: list[tuple[ActionKind, int | None]] = field(default_factory=list)
    raised: set[str] = field(default_factory=set)  # kinds whose evidence is over the threshold
    next_alarm: int = NEW_ALARMS

    def take(self, finding: Finding, facts: Facts, settings: PolicySettings, now: float) -> Transition:
        """One decision."""
        before = self.state.champion
        decided = advance(self.state, finding, facts, settings, Override(), now)
        self.state = decided.state
        if before != self.state.champion:
            self.raised.clear()  # the evidence begins anew against another version
        begun = (action for action in decided.actions if action.kind is not ActionKind.SHADOW)
        self.pending += [(action.kind, _version_of(action.arguments)) for action in begun]
        return decided

    def expects(self, kind: ActionKind, version: int | None) -> bool:
        """Whether a job of this kind and version was begun; it is then waited for no more.

        When two versions are compared depends on each label that came: a comparison counts for whoever is on probation.
        """
        if kind is ActionKind.SHADOW:
            return self.state.probation is not None and self.state.champion == version
        if (kind, version) not in self.pending:
            return False
        self.pending.remove((kind, version))
        return True


def _version_of(arguments: object) -> int | None:
    version = getattr(arguments, "version", None)
    return version if version is not None else getattr(arguments, "new", None)


class PolicyReplay:
    """One model's record under a changed config."""

    def __init__(self, history: History, changed: ModelConfig) -> None:
        self._history, self._changed = history, changed
        first = history.moments[0]
        champion = next((line.decision_figures.version for line in first.decided if line.event == Event.ADOPTED), None)
        begin = ModelState(history.model, champion=champion, last_schedule=first.at)
        self._recorded, self._other = Course(history, begin, True), Course(history, begin, False)  # noqa: FBT003 - fields
        self._next_version = (champion or 0) + 1

    def run(self) -> tuple[list[Difference], float, int, str | None]:
        """The differences, until when it could be followed, how many decisions that were, and why it ends there."""
        differences: list[Difference] = []
        decisions, at = 0, self._history.moments[0].at
        if self._recorded.state.champion is None:
            return [], at, 0, "the record does not begin with the adoption of a version: its oldest part is gone"
        for moment in self._history.moments:
            at, recorded = moment.at, told_events(moment)
            control, other = self._pass(self._recorded, moment), self._pass(self._other, moment)
            obstacle = _mismatch(recorded, control)
            if obstacle is not None:
                return differences, at, decisions, obstacle
            decisions += len(recorded)
            started = [line.decision_figures.version for line in recorded if line.event == Event.BUILD_STARTED]
            self._next_version = max([self._next_version, *(number + 1 for number in started if number is not None)])
            if (found := _difference(moment.at, control, other)) is not None:
                differences.append(found)
            if (end := self._divergence(control, other)) is not None:
                return differences, at, decisions, end
        return differences, at, decisions, None

    def _divergence(self, control: Sequence[Transition], other: Sequence[Transition]) -> str | None:
        """Why nobody knows what would follow; None while the record still tells."""
        builds = [[line.figures for line in lines if line.event is Event.BUILD_STARTED] for lines in (control, other)]
        if builds[1] and not builds[0]:
            return "the changed config builds here, and what that build would have given is not on record"
        if builds[1] and [each.change_at for each in builds[0]] != [each.change_at for each in builds[1]]:
            return "the changed config builds here from rows since another change, and what that gives is not on record"
        champions = self._recorded.state.champion, self._other.state.champion
        if champions[0] != champions[1]:
            return (
                f"from here on the record is of version {champions[0]}, and under the changed config version "
                f"{champions[1]} would still have served"
            )
        return None

    def _pass(self, course: Course, moment: Moment) -> list[Transition]:
        """Everything that one course decides at a moment, in the order of a step of the loop."""
        config = self._history.config_at(moment.at) if course.is_recorded else self._changed
        settings, done = policy_settings(config), []
        settings = replace(settings, registry=None)
        take = partial(self._take, course, moment, settings, config)
        waiting = [action for action in moment.finished if is_readable(action)]
        for check in moment.checks:
            done += [take(finding) for finding in self._findings(course, check, config)]
        for _ in range(ROUNDS):
            ready = [action for action in waiting if course.expects(action.kind, _version_of(action.typed_arguments))]
            waiting = [action for action in waiting if action not in ready]
            done += [take(finding_of(action)) for action in ready]
            done.append(take(ClockTick()))
            if done[-1].event is None and not done[-1].actions and not ready:
                break
        return [line for line in done if line.event is not None]

    def _take(
        self, course: Course, moment: Moment, settings: PolicySettings, config: ModelConfig, finding: Finding
    ) -> Transition:
        """Decide; where the recorded course begins a build that is not on record, it counted too many labels."""
        begun, facts = course.state, self._facts(course, moment, settings, config)
        pending = list(course.pending)
        decided = course.take(finding, facts, settings, moment.at)
        on_record = any(line.event == Event.BUILD_STARTED for line in moment.decided)
        if not course.is_recorded or decided.event is not Event.BUILD_STARTED or on_record:
            return decided
        course.state, course.pending = begun, pending
        return course.take(finding, replace(facts, labels=0, fresh_labels=0, labels_since_build=0), settings, moment.at)

    def _facts(self, course: Course, moment: Moment, settings: PolicySettings, config: ModelConfig) -> Facts:
        """The facts of a moment: counts of labels are those of the checked cohorts, or what a decision itself names."""
        state, now, count = course.state, moment.at, self._history.count_labels
        first = self._history.firsts.get(state.champion or 0) if settings.refresh is not None else None
        refresh, since = state.refresh or first, labels_count_from(state)
        named = [line.decision_figures.labels for line in moment.decided if line.event in BUILD_FACTS]
        exact = next((labels for labels in named if labels is not None), None)
        fresh = count(refresh.mature_until, now) if refresh is not None and settings.refresh is not None else 0
        labels = count(since, now) if since is not None else 0
        return Facts(
            next_version=self._next_version,
            versions=frozenset(range(1, self._next_version + 1)),
            labels=labels if exact is None else max(labels, exact),
            labels_since_build=count(state.build_starts[-1] if state.build_starts else 0.0, now),
            window=0 if config.window.every is None else window_index(now, config.window.every),
            fresh_labels=fresh if exact is None else max(fresh, exact),
            first_refresh=first if state.refresh is None else None,
            schedule_due=_schedule_due(config, state, now),
            working=frozenset(kind for kind, _ in course.pending),
        )

    def _findings(self, course: Course, check: StoredCheck, config: ModelConfig) -> Iterator[Finding]:
        """What a check says to policy under a config's thresholds."""
        quality = check.evidence.get("quality")
        if check.kind == "window" and quality is not None and quality.verdict in (Verdict.OK, Verdict.DRIFT):
            yield QualityOk() if quality.verdict is Verdict.OK else QualityFault(quality.sentence)
        scale = self._scale(config, check.at)
        for kind, found in check.evidence.items():
            yield from self._of_kind(course, check, kind, found, found.threshold * scale)

    def _of_kind(
        self, course: Course, check: StoredCheck, kind: str, found: KindEvidence, threshold: float
    ) -> Iterator[Finding]:
        alarm = self._history.alarms.get((kind, check.window_index))
        is_same = threshold == found.threshold
        crosses = alarm is not None if is_same else found.evidence >= threshold and kind not in course.raised
        if crosses:
            course.raised.add(kind)
            yield self._alarm_of(course, check, kind, found, threshold)
            return
        is_open = any(standing.kind == kind for standing in course.state.open_alarms)
        is_calm = found.verdict in (Verdict.OK, Verdict.SUSPECTED) if is_same else found.evidence < threshold
        if is_calm:
            course.raised.discard(kind)
        if is_calm and is_open and kind in LEVELS and found.verdict is not Verdict.INCONCLUSIVE:
            yield AlarmCleared(kind, found.sentence)

    def _alarm_of(
        self, course: Course, check: StoredCheck, kind: str, found: KindEvidence, threshold: float
    ) -> AlarmRaised:
        known = self._history.alarms.get((kind, check.window_index))
        window = Window(check.window_index, check.window_start, check.window_end)
        if known is not None:
            alarm = Alarm(kind, known.subject, known.evidence, threshold, known.sentence, known.change_start)
            return AlarmRaised(alarm, known.id, window)
        course.next_alarm += 1
        sentence = f"{kind}: evidence {found.evidence:.4g} against a threshold of {threshold:.4g}"
        return AlarmRaised(Alarm(kind, kind, found.evidence, threshold, sentence), course.next_alarm, window)

    def _scale(self, config: ModelConfig, at: float) -> float:
        """How much higher the thresholds of a config are than those that a check was held against."""
        then = self._history.config_at(at)
        if config.detect.false_alarms_per_year == then.detect.false_alarms_per_year:
            return 1.0
        budgets = [monitor_settings(each).budget.windows_between_alarms for each in (config, then)]
        return budgets[0] / budgets[1]


def _schedule_due(config: ModelConfig, state: ModelState, now: float) -> bool:
    if config.retrain.schedule is None or state.last_schedule <= 0:
        return False

    trigger = CronTrigger.from_crontab(config.retrain.schedule, "UTC")
    last = datetime.fromtimestamp(state.last_schedule, UTC)
    due = trigger.get_next_fire_time(last, last)
    return due is not None and due.timestamp() <= now


def _mismatch(recorded: Sequence[StoredTransition], control: Sequence[Transition]) -> str | None:
    """Why the recorded course is not what is on record; None where it is, event by event."""
    on_record = [line.event for line in recorded]
    followed = [str(line.event) for line in control]
    if on_record == followed:
        return None
    extra = [line.reason for line in recorded if line.event not in followed]
    why = f" ({extra[0]})" if extra else ""
    return (
        f"the stored checks and results do not come to what is on record: {', '.join(on_record) or NOTHING}{why}; "
        f"followed: {', '.join(followed) or NOTHING}. A person, the override or labels that the checks do not count "
        "may have decided it"
    )


def _difference(at: float, control: Sequence[Transition], other: Sequence[Transition]) -> Difference | None:
    """What the two courses decided differently; None where the same."""
    there, here = [_key(line) for line in control], [_key(line) for line in other]
    if there == here:
        return None
    lacking = [line for line in control if _key(line) not in here]
    fresh = [line for line in other if _key(line) not in there]
    if not lacking and not fresh:
        return None
    said = "; ".join(line.reason for line in fresh) or f"not: {'; '.join(line.reason for line in lacking)}"
    return Difference(at, _events(lacking), _events(fresh), said)


def _key(line: Transition) -> tuple[str, object, object]:
    figures = line.figures
    kind = figures.kind if line.event is Event.ALARM else figures.version
    return str(line.event), kind, figures.trigger


def _events(lines: Sequence[Transition]) -> str:
    return ", ".join(str(line.event).replace("_", " ") for line in lines) or NOTHING
