"""The `report` job: Evidently's opinion of one alarm, and its HTML page. Runs in a child process only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from driftd.config.model_schema import ModelConfig
from driftd.fsutil import write_durably
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion
from driftd.registry.manifest import LOGGED
from driftd.second_opinion.adapter import EvidentlyError, Roles, render
from driftd.second_opinion.opinions import Prepared, convert_column, opinions, prepare
from driftd.sources.open import open_source
from driftd.stattests import Opinion
from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.schema import Kind

if TYPE_CHECKING:
    import pandas as pd

    from driftd_detectors.schema import Schema

MOST_COLUMNS = 30  # each takes Evidently half a second and is several plots; beyond this a browser chokes
FEWEST_LABELS = 30  # on either side, for the part about the model's quality

TARGET, PREDICTION, SCORE = "driftd_label", "driftd_prediction", "driftd_score"  # no feature starts with driftd_

HEADING = Template("""
<style>
.driftd { margin: 1rem auto; max-width: 75rem; padding: 1rem 1.5rem; border: 1px solid #b8c2cc; border-radius: 6px;
          background: #fff; color: #1c2733; font: 15px/1.5 system-ui, sans-serif; }
@media (max-width: 760px) { .driftd { padding: .75rem; margin: .5rem; overflow-wrap: anywhere; }
  .MuiCard-root { overflow-x: auto !important; } } /* Evidently's cards cut off what is wider than a phone */
.driftd h1 { font-size: 1.25rem; margin: 0 0 .5rem; } .driftd p { margin: .4rem 0; } .driftd li { margin: .2rem 0; }
</style>
<section class="driftd">
<h1>$title</h1>
<p><strong>Why driftd raised it:</strong> $sentence</p>
<p>$samples Below is a second opinion by Evidently. It had no part in the alarm, and its verdicts do not keep to your
budget of false alarms.</p>
$opinions
$notes
</section>
""")


@dataclass(frozen=True, slots=True)
class Case:
    """What a page is about.

    Both frames have the features, and may have the target, `PREDICTION` and, for two classes, `SCORE`. With `quality`
    the page is about the labelled rows alone and shows how good the model is on them; otherwise it is about all rows,
    and the prediction is one more column. `leaders` are the columns to show first when there are too many.
    """

    title: str
    sentence: str
    reference: pd.DataFrame
    current: pd.DataFrame
    schema: Schema
    methods: Mapping[str, str]
    quality: bool = False
    leaders: Sequence[str] = ()
    notes: Sequence[str] = ()  # what whoever made the samples has to say of them


def page(case: Case, opinions: Sequence[Opinion]) -> tuple[str, list[str]]:
    """Render the page; returns its HTML and the sentences about what is missing from it.

    It never raises for the data's sake: a column or a part that Evidently cannot bear is left out and named, and when
    nothing is left the page still has its heading.
    """
    columns, notes = _choose(case, opinions)
    prepared = prepare(case.reference, case.current, case.schema, columns)
    notes = [*case.notes, *notes, *prepared.notes]
    roles = _with_prediction(_roles(case.schema, prepared.columns), case, prepared)
    if case.quality:
        roles, note = _with_quality(roles, case, prepared)
        notes += note
    body, failures = _largest_possible(prepared, roles, _methods(case.methods, opinions))
    notes += failures
    return _with_heading(body, case, opinions, notes), notes


def _choose(case: Case, opinions: Sequence[Opinion]) -> tuple[list[str], list[str]]:
    names = list(case.schema.names)
    if len(names) <= MOST_COLUMNS:
        return names, []
    first = dict.fromkeys([*case.leaders, *(opinion.column for opinion in opinions)])
    order = [*(name for name in first if name in names), *(name for name in names if name not in first)]
    note = f"The model has {len(names)} features; {MOST_COLUMNS} are shown: those that the alarm points at come first."
    return order[:MOST_COLUMNS], [note]


def _methods(methods: Mapping[str, str], opinions: Sequence[Opinion]) -> dict[str, str]:
    """The chosen stattests that could be asked; the others would end the whole report."""
    tested = {opinion.column for opinion in opinions if opinion.drifted is not None}
    return {column: name for column, name in methods.items() if column in tested}


def _roles(schema: Schema, columns: Sequence[str]) -> Roles:
    kinds = {name: schema.kind_of(name) for name in columns}
    return Roles(
        numbers=[name for name, kind in kinds.items() if kind is Kind.NUMBER],
        categories=[name for name, kind in kinds.items() if kind in {Kind.CATEGORY, Kind.BOOLEAN}],
        times=[name for name, kind in kinds.items() if kind is Kind.TIMESTAMP],
    )


def _with_prediction(roles: Roles, case: Case, prepared: Prepared) -> Roles:
    """The roles with the prediction as one more column, where both samples have it; the frames gain it."""
    samples = (case.reference, case.current)
    if not all(PREDICTION in frame and frame[PREDICTION].notna().any() for frame in samples):
        return roles
    kind = Kind.CATEGORY if case.schema.classes else Kind.NUMBER
    for into, frame in zip((prepared.reference, prepared.current), samples, strict=True):
        into[PREDICTION] = convert_column(frame[PREDICTION], kind).to_numpy()
    if case.schema.classes:
        return replace(roles, categories=[*roles.categories, PREDICTION])
    return replace(roles, numbers=[*roles.numbers, PREDICTION])


def _with_quality(roles: Roles, case: Case, prepared: Prepared) -> tuple[Roles, list[str]]:
    """The roles with the target, if both samples have enough labels; the frames gain it and lose the other rows."""
    schema, samples = case.schema, (case.reference, case.current)
    without = [
        where for frame, where in zip(samples, ("reference", "window"), strict=True) if not _labels(frame, schema)
    ]
    if without or PREDICTION not in prepared.current:
        few = f"fewer than {FEWEST_LABELS} sampled rows of the {' and the '.join(without)} have prediction and label"
        return roles, [f"The model's quality is not shown: {few}."]
    kind = Kind.CATEGORY if schema.classes else Kind.NUMBER
    scored = schema.is_binary and all(SCORE in frame and frame[SCORE].notna().all() for frame in samples)
    cut = []
    for into, frame in zip((prepared.reference, prepared.current), samples, strict=True):
        labelled = into.assign(**{TARGET: convert_column(frame[schema.target], kind).to_numpy()})
        if scored:
            labelled[SCORE] = frame[SCORE].to_numpy()
        cut.append(labelled.dropna(subset=[TARGET, PREDICTION]).reset_index(drop=True))
    prepared.reference, prepared.current = cut
    counts = f"{len(cut[0]):,} of the reference and {len(cut[1]):,} of the window"
    return replace(
        roles, target=TARGET, prediction=PREDICTION, score=SCORE if scored else None, classes=schema.classes
    ), [f"Only rows with a label are shown: {counts}."]


def _labels(frame: pd.DataFrame, schema: Schema) -> bool:
    """Whether a sample has enough labelled predictions to speak of the model's quality."""
    if not {schema.target, PREDICTION} <= set(frame.columns):
        return False
    return int(frame[[schema.target, PREDICTION]].notna().all(axis=1).sum()) >= FEWEST_LABELS


def _largest_possible(prepared: Prepared, roles: Roles, methods: Mapping[str, str]) -> tuple[str, list[str]]:
    """Evidently's page without the columns and parts that fail, and a sentence for each of these."""
    presets, notes = _presets(roles), list[str]()
    try:
        if presets:
            return _render(prepared, roles, presets, methods), notes
    except EvidentlyError:
        roles, notes = _without_bad_columns(prepared, roles, methods)
        presets = _presets(roles)
    while presets:
        try:
            return _render(prepared, roles, presets, methods), notes
        except EvidentlyError as error:
            notes.append(f"Evidently's part {presets.pop(0)!r} is left out: it answered {error}.")
    return "", [*notes, "Evidently could show nothing of these samples."]


def _presets(roles: Roles) -> list[str]:
    columns = ["drift", "summary"] if roles.numbers or roles.categories else []
    return ["quality", *columns] if roles.target is not None else columns


def _without_bad_columns(prepared: Prepared, roles: Roles, methods: Mapping[str, str]) -> tuple[Roles, list[str]]:
    """Try each column alone and keep those that pass."""
    notes = []
    for name in [*roles.numbers, *roles.categories]:
        try:
            _render(prepared, _only(roles, name), ("drift", "summary"), methods)
        except EvidentlyError as error:
            notes.append(f"Column {name!r} is left out: Evidently answered {error}.")
            roles = replace(
                roles,
                numbers=[number for number in roles.numbers if number != name],
                categories=[category for category in roles.categories if category != name],
            )
    return roles, notes


def _only(roles: Roles, name: str) -> Roles:
    """The role of one column alone."""
    return Roles(
        numbers=[number for number in roles.numbers if name == number],
        categories=[category for category in roles.categories if name == category],
        times=[],
    )


def _render(prepared: Prepared, roles: Roles, presets: Sequence[str], methods: Mapping[str, str]) -> str:
    names = [*roles.numbers, *roles.categories, *roles.times, roles.target, roles.prediction, roles.score]
    chosen = list(dict.fromkeys(name for name in names if name is not None))
    return render(prepared.reference[chosen], prepared.current[chosen], roles, presets, methods)


def _with_heading(body: str, case: Case, opinions: Sequence[Opinion], notes: Sequence[str]) -> str:
    heading = HEADING.substitute(
        title=escape(case.title),
        sentence=escape(case.sentence),
        samples=f"Reference: {len(case.reference):,} sampled rows. Window: {len(case.current):,} sampled rows.",
        opinions=_list("The stattests that you chose:", [opinion.sentence for opinion in opinions]),
        notes=_list("Not in this page, or changed:", notes),
    )
    if not body:
        head = f'<meta charset="utf-8"><title>{escape(case.title)}</title>'
        return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{heading}</body></html>\n'
    start = body.index(">", body.index("<body")) + 1
    return body[:start] + heading + body[start:]


def _list(lead: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<p>{escape(lead)}</p><ul>{items}</ul>"


SAMPLE_ROWS = 5_000
NEVER_SEEN = "rows of its snapshot that its trainer never saw"
LOGGED_ROWS = "what the system that serves it logged"
HELD_OUT = 0.25  # of a snapshot, where the manifest does not say which rows the trainer never saw


class AlarmToReport(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as the page needs it; `leaders` are subjects, or pairs of a subject and its share of the evidence."""

    id: int
    sentence: str
    kind: str | None = None
    leaders: list[str | tuple[str, float]] = []


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm, its window, and the `version` whose reference it was judged by."""

    model: str
    model_config: dict[str, object]
    state_dir: str
    version: int
    window: Window
    alarm: AlarmToReport


def run(arguments: Arguments) -> dict[str, object]:
    """Ask the chosen stattests, render the page, and write it to `Places.report` by rename.

    Value: `path`, `stattests` (one `Opinion` each, as JSON), `notes` (what is
    missing from the page). What the data make impossible becomes a sentence; raises only when the version, its snapshot
    or the source cannot be read at all, or the page cannot be written.
    """
    model, version, alarm, window = arguments.model, arguments.version, arguments.alarm, arguments.window
    number = alarm.id
    places, config = Places(Path(arguments.state_dir)), ModelConfig.model_validate(arguments.model_config)
    registry = Registry(places)
    manifest = registry.manifest(model, version)
    schema, notes_of_reference = manifest.schema, NEVER_SEEN
    if manifest.is_logged:
        reference, notes_of_reference = _logged_reference(registry.file(model, version, LOGGED)), LOGGED_ROWS
    else:
        reference = _reference(places, model, registry.load(model, version, allow_joblib=config.allow_joblib))
    source = open_source(model, config, schema, places)
    current = source.sample(window, SAMPLE_ROWS, number).to_pandas()
    source.close()

    chosen = dict(config.detect.data.stattests)
    answers = opinions(reference, current, schema, chosen, seed=number)
    case = Case(
        title=f"Alarm {number} of {model}",
        sentence=alarm.sentence,
        reference=reference,
        current=current,
        schema=schema,
        methods=chosen,
        quality=alarm.kind == EvidenceKind.PERFORMANCE,
        leaders=_leaders(alarm.leaders),
        notes=[f"The reference is of version {version}: {notes_of_reference}."],
    )
    html, notes = page(case, answers)
    path = _write(places.report(model, number), html)
    return {"path": str(path), "stattests": [opinion.to_dict() for opinion in answers], "notes": notes}


def _reference(places: Places, model: str, loaded: LoadedVersion) -> pd.DataFrame:
    """A sample of the hold-out of the version's snapshot, oldest first, with what this version says of each row."""
    path = places.snapshot(model, loaded.manifest.snapshot) / "data.parquet"
    rows = held_out_rows(path, loaded.manifest.data.get("held_out_rows"))
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE_ROWS)).astype(int))]
    rows = rows.reset_index(drop=True)
    predictions = loaded.predict(feature_frame(rows, loaded.schema))
    return rows.assign(**{PREDICTION: predictions.values(), SCORE: predictions.score})


def _logged_reference(path: Path) -> pd.DataFrame:
    """An even sample of the log of a version that is served elsewhere, oldest first, with what it predicted."""
    table = pq.read_table(path)
    places = np.unique(np.linspace(0, table.num_rows - 1, min(table.num_rows, SAMPLE_ROWS)).astype(int))
    rows: pd.DataFrame = table.take(places).to_pandas()
    return rows


def held_out_rows(path: Path, held_out: int | None) -> pd.DataFrame:
    """The hold-out: the newest rows of a snapshot, read from the file's end so that little more is in memory.

    Where the manifest does not say how many they are, a quarter.
    """
    file = pq.ParquetFile(path)
    wanted = max(1, int(held_out or HELD_OUT * file.metadata.num_rows))
    groups, rows = file.metadata.num_row_groups, 0
    while groups > 0 and rows < wanted:
        groups -= 1
        rows += file.metadata.row_group(groups).num_rows
    table = file.read_row_groups(list(range(groups, file.metadata.num_row_groups)))
    frame: pd.DataFrame = table.to_pandas().sort_values("driftd_at", kind="stable")
    return frame.iloc[-wanted:].reset_index(drop=True)


def _leaders(leaders: Sequence[str | tuple[str, float]]) -> list[str]:
    """The subjects of an alarm, largest share first, from names or (name, share) pairs."""
    return [leader if isinstance(leader, str) else leader[0] for leader in leaders]


def _write(path: Path, html: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, html.encode())
    return path
