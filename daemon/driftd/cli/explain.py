"""`driftd explain`: a decision in words: what was seen, against which threshold, what followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    console,
    json_option,
    number,
    open_places,
    print_json,
    say,
)
from driftd.config.schema import Config
from driftd.formatting import format_duration, format_minute, format_time
from driftd.registry.manifest import Manifest
from driftd.sentences.alarms import kind_name
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm, StoredTransition
from driftd.views.decision import ActionLine, DecisionDetail, Explanation, StoryLine, explain_decision
from driftd.views.stages import StageLine, StageStatus

LEADERS_SHOWN = 5
_SAID_ELSEWHERE = {"alarm", "kind", "evidence", "threshold"}


def print_explanation(explanation: Explanation, to: Console) -> None:
    """Print what `explain_decision` gathered."""
    if explanation.decision is not None:
        _decision(explanation.decision, to, has_alarm=explanation.alarm is not None)
    if explanation.alarm is not None:
        _alarm(explanation.alarm, explanation, to)
    for action in explanation.actions:
        said = _outcome(action)
        say(to, f"then: {action.kind}, {action.status}" + (f": {said}" if said else ""))
    if explanation.version is not None:
        _version(Manifest.from_dict(explanation.version), to)
    if explanation.stages is not msgspec.UNSET:
        _stages(explanation.stages, to)
    if explanation.story:
        _story(explanation.story, explanation.decision, to)


def _decision(decision: DecisionDetail, to: Console, *, has_alarm: bool) -> None:
    event = decision.event.replace("_", " ")
    say(to, f"{decision.id}  {format_time(decision.at)}  {decision.model}  {event}", "bold")
    for part in (decision.parts.what, decision.parts.sure, decision.parts.next):
        if part:
            say(to, part)
    if decision.meaning:
        say(to, decision.meaning, "dim")
    if decision.parts.figures and not has_alarm:
        say(to, f"  figures: {decision.parts.figures}")
    config = f"config {decision.config_hash}" if decision.config_hash else "no config"
    say(to, f"phase {decision.phase_from} -> {decision.phase_to}; by {decision.by}; {config}")
    for name, value in decision.figures.items():
        if value is not None and not (has_alarm and name in _SAID_ELSEWHERE):
            said = format_time(value) if name.endswith("_at") and isinstance(value, float) else number(value)
            say(to, f"  {name.replace('_', ' ')}: {said}")


def _alarm(alarm: StoredAlarm, explanation: Explanation, to: Console) -> None:
    say(to, f"alarm {alarm.id}: {kind_name(alarm.kind)} of {alarm.model}/{alarm.version}", "bold")
    if explanation.decision is None:  # else it stands above, with what is sure and what is next
        say(to, f"  seen: {alarm.sentence}")
    counted = f", {explanation.rows:,} rows" if isinstance(explanation.rows, int) else ""
    say(to, f"  in the window {_window(alarm, by_rows=explanation.window_by == 'rows')}{counted}")
    say(to, f"  evidence {alarm.evidence:,.0f} reached the threshold {alarm.threshold:,.0f} of the false-alarm budget")
    if explanation.decision is not None and explanation.decision.parts.figures:
        say(to, f"  figures: {explanation.decision.parts.figures}")
    if alarm.change_start:
        say(to, f"  the change most likely began at {format_time(alarm.change_start)}")
    whole = "rise" if alarm.kind == "performance" else "evidence"
    for subject, share in alarm.leaders[:LEADERS_SHOWN]:
        say(to, f"  {share:.0%} of the {whole}: {subject}")
    for opinion in alarm.second_opinion or []:
        say(to, f"  second opinion: {opinion.get('sentence', opinion)}")
    say(to, f"  report: {alarm.report or 'not rendered (yet)'}")
    if alarm.absorbed_at:
        say(to, f"  accepted as the new normal at {format_time(alarm.absorbed_at)}")
    if alarm.cleared_at:
        say(to, f"  cleared at {format_time(alarm.cleared_at)}: its evidence fell")


def _window(alarm: StoredAlarm, *, by_rows: bool) -> str:
    if by_rows:
        return f"of rows {alarm.window_start:,.0f} to {alarm.window_end:,.0f} in order of arrival"
    return f"from {format_minute(alarm.window_start)} to {format_time(alarm.window_end)}"


def _version(manifest: Manifest, to: Console) -> None:
    gate, data = manifest.gate, manifest.data
    say(to, f"version {manifest.version} of {manifest.model}", "bold")
    if manifest.is_logged:
        say(to, f"  {manifest.reason}; there is no artefact of it")
    else:
        say(to, f"  made from snapshot {manifest.snapshot[:12]} by {manifest.trainer.reference}, seed {manifest.seed}")
    if data.get("rows") is not None:
        choice = f", the choice {str(data['chosen']).replace('_', ' ')!r}" if data.get("chosen") else ""
        say(to, f"  trained on {data['rows']:,} rows{choice}{_describe_trials(data.get('tried'))}")
    if data.get("sample"):
        say(to, f"  {_describe_sample(msgspec.convert(data['sample'], SampleLine))}")
    if gate:
        say(to, f"  gate: {gate.get('decision')}: {gate.get('sentence')}")


class SampleLine(msgspec.Struct, frozen=True):
    """What the lineage says of a sample; see `driftd.training.training_sample.SampleRecord`."""

    kept: int
    seed: int
    weighted: bool
    strata: dict[str, tuple[int, int]]


def _describe_sample(sample: SampleLine) -> str:
    newer = ", newer rows more often as the recipe weighs them" if sample.weighted else ""
    strata = ", ".join(f"{name} {kept:,} of {seen:,}" for name, (seen, kept) in sample.strata.items())
    return f"of them the trainer got a sample of {sample.kept:,} (seed {sample.seed}{newer}): {strata}"


def _describe_trials(tried: object) -> str:
    if not isinstance(tried, Mapping) or not tried:
        return ""
    losses = ", ".join(f"{str(name).replace('_', ' ')} {number(loss)}" for name, loss in tried.items())
    return f" (losses of what was tried: {losses})"


def _story(story: Sequence[StoryLine], decision: DecisionDetail | None, to: Console) -> None:
    say(to, "how it came about, and what followed", "bold")
    for event in story:
        here = ">" if decision is not None and event.id == decision.id else " "
        name = event.event.replace("_", " ")
        say(to, f"{here} {event.id:>4}  {format_minute(event.at)}  {name:<18}  {event.sentence}")


def _stages(stages: Sequence[StageLine], to: Console) -> None:
    say(to, "its stages", "bold")
    for line in stages:
        began = "" if line.started_at is None else format_minute(line.started_at)
        again = f" (attempt {line.attempt})" if line.attempt > 1 else ""
        took = (
            "" if line.ended_at is None or line.started_at is None else format_duration(line.ended_at - line.started_at)
        )
        name = str(line.stage).replace("_", " ")
        say(to, f"  {began:<17}  {name:<10}  {line.result:<9}  {took:>8}  {line.sentence}{again}")
        if line.log is not None and line.result == StageStatus.FAILED:
            say(to, f"    log: {line.log}")
        for failure in _failures(line):
            say(to, f"    {failure}")


def _failures(line: StageLine) -> list[str]:
    """What of a check or of tests failed, one line each; the first of them stand in its sentence already."""
    failed = line.details.get("failures", [])
    return [str(failure) for failure in failed] if isinstance(failed, list) else []


def _outcome(action: ActionLine) -> str:
    result = action.result or {}
    return str(result.get("sentence") or result.get("error") or result.get("path") or "")


@click.command()
@click.argument("what", default="last")
@click.option("--model", "-m", type=MODEL, help="Which model `last` is about; all by default.")
@click.option("--alarm", "is_alarm", is_flag=True, help="WHAT is the number of an alarm, not of a decision.")
@config_option
@json_option
def explain(config_path: Path, what: str, model: str | None, is_alarm: bool, as_json: bool) -> None:
    """Tell one decision whole: WHAT is its id in `driftd history`, or `last`.

    \b
    Example:
      driftd explain last
      driftd explain 17
      driftd explain --alarm 3
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name = chosen_model(config, model) if model is not None else None
    with StateReader.read_only(places.state_db) as reader:
        line = None if is_alarm else _line(reader, what, name)
        alarm = _explaining_alarm(reader, what if is_alarm else line)
        if is_alarm and alarm is not None:
            line = reader.decision_of_alarm(alarm.id)  # None where the history is kept no longer than its alarms
        explanation = explain_decision(reader, lambda model: _by_rows(config, model), places, line, alarm)
    if as_json:
        print_json(explanation)
    else:
        print_explanation(explanation, console())


def _line(reader: StateReader, what: str, model: str | None) -> StoredTransition:
    if what == "last":
        lines = reader.history(model, 1)
        if not lines:
            raise AbsentError("nothing was decided yet")
        return lines[0]
    if not what.isdecimal():
        raise click.UsageError(f"{what!r} is neither `last` nor an id of `driftd history`")
    line = reader.transition(_id(what))
    if line is None or (model is not None and line.model != model):
        raise AbsentError(f"there is no decision {what}; `driftd history` lists them")
    return line


def _by_rows(config: Config, model: str) -> bool:
    return model in config.models and config.models[model].window.rows is not None


def _id(digits: str) -> int:
    """An id as SQLite can look it up; beyond that there is none, so the greatest will do."""
    return min(int(digits[:20]), 2**63 - 1)


def _explaining_alarm(reader: StateReader, of: StoredTransition | str | None) -> StoredAlarm | None:
    number = of.decision_figures.alarm if isinstance(of, StoredTransition) else of
    if number is None:
        return None
    if number == "last":
        alarm = next(iter(reader.alarms(limit=1)), None)
    elif str(number).isdecimal():
        alarm = reader.alarm(_id(str(number)))
    else:
        raise click.UsageError(f"{number!r} is no number of an alarm")
    if alarm is None:
        raise AbsentError("there is no such alarm; `driftd history` lists what was decided on each")
    return alarm
