"""A model card as one HTML file: no script, nothing fetched, printable; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from driftd.formatting import visible_lines
from driftd.registry.version_quality import SegmentQuality
from driftd.views.model_card import Decision, ModelCard

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2024; }
h1 { margin-bottom: 0; } h2 { border-bottom: 1px solid #c9ced6; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; }
td.number, th.number { text-align: right; } th { font-weight: 600; } caption { text-align: left; color: #5b626c; }
td, li, p { overflow-wrap: anywhere; } .muted { color: #5b626c; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2, tr { break-inside: avoid; } }
@media (prefers-color-scheme: dark) { @media screen { body { background: #16191d; color: #e6e8eb; } } }
"""


def card_page(card: ModelCard) -> str:
    """The card as HTML."""
    details = card.model_details
    title = f"{details.name}, version {details.version}"
    sections = [
        ("Model details", _details(card)),
        ("Intended use", _intended_use(card)),
        ("Factors", _list(card.factors, "No column is named whose values are segments.")),
        ("Quantitative analyses", _quantities(card)),
        ("Evaluation data", _pairs(_fields(card.evaluation_data))),
        ("Training data", _pairs(_fields(card.training_data))),
        ("Ethical considerations", _paragraph(card.ethical_considerations)),
        ("Caveats and recommendations", _list(card.caveats_and_recommendations, "None is known.")),
        ("In service", _operations(card)),
    ]
    body = "\n".join(f"<section><h2>{_text(name)}</h2>\n{content}</section>" for name, content in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Model card: {_text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f'<h1>{_text(title)}</h1><p class="muted">Model card, made {_text(card.made_at)} by driftd</p>\n'
        f"{body}\n</body></html>\n"
    )


def _text(value: object) -> str:
    """Any value as text of HTML: what would act is shown instead."""
    if value is None:
        return "-"
    return escape(visible_lines(f"{value:.6g}" if isinstance(value, float) else str(value)))


def _paragraph(text: str) -> str:
    if not text:
        return '<p class="muted">The config says nothing of it.</p>'
    return "".join(f"<p>{_text(part)}</p>" for part in text.split("\n\n"))


def _list(items: Iterable[object], otherwise: str) -> str:
    rows = "".join(f"<li>{_text(item)}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else f'<p class="muted">{_text(otherwise)}</p>'


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    rows = "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in pairs)
    return f"<table>{rows}</table>"


def _fields(record: object) -> list[tuple[str, object]]:
    names = getattr(record, "__struct_fields__", ())
    return [(name.replace("_", " "), getattr(record, name)) for name in names]


def _table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in headings)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return f"<td{kind}>{_text(value)}</td>"


def _details(card: ModelCard) -> str:
    details = card.model_details
    whole = {"description", "features", "parameters", "libraries", "owners", "classes"}
    pairs = [(name, value) for name, value in _fields(details) if name not in whole]
    lists = [("owners", ", ".join(details.owners) or None), ("classes", ", ".join(details.classes) or None)]
    return "".join(
        [
            _paragraph(details.description) if details.description else "",
            _pairs([*pairs, *lists]),
            _table("Features", ["feature", "kind"], list(details.features.items())),
            _table("Parameters", ["parameter", "value"], list(details.parameters.items()))
            if details.parameters
            else "",
            _table("Libraries", ["library", "version"], list(details.libraries.items())) if details.libraries else "",
        ]
    )


def _intended_use(card: ModelCard) -> str:
    out = card.intended_use.out_of_scope
    return _paragraph(card.intended_use.intended_use) + (f"<h3>Out of scope</h3>{_paragraph(out)}" if out else "")


def _quantities(card: ModelCard) -> str:
    found = card.quantitative_analyses
    pairs = [(name, value) for name, value in _fields(found) if name not in {"metrics", "segments"}]
    headings = ["segment", "rows", "loss", "from", "to", "loss of the version before", "gain", "from", "to"]
    return "".join(
        [
            _pairs([*pairs, *found.metrics.items()]),
            _table(
                "Loss by segment, with 95 % intervals over whole days", headings, list(map(_segment, found.segments))
            )
            if found.segments
            else "",
        ]
    )


def _segment(each: SegmentQuality) -> list[object]:
    losses = [each.loss, each.lower, each.upper, each.other_loss]
    return [each.segment or "all rows", each.rows, *losses, each.gain, each.gain_lower, each.gain_upper]


def _operations(card: ModelCard) -> str:
    found = card.operations
    alarms = [[alarm.at, alarm.kind, alarm.sentence, "stands" if alarm.is_open else "over"] for alarm in found.alarms]
    return "".join(
        [
            "" if found.live is None else _pairs(_fields(found.live)),
            _table("Alarms while it served", ["at", "kind", "alarm", "now"], alarms) if alarms else "",
            _decisions("Approvals and other decisions of people", found.approvals),
            _decisions("All decisions about it", found.decisions),
        ]
    )


def _decisions(caption: str, lines: Sequence[Decision]) -> str:
    rows = [[line.at, line.event, line.reason, line.actor] for line in lines]
    return _table(caption, ["at", "event", "reason", "by"], rows) if rows else ""
