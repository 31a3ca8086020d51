"""A report as one HTML file of one screen and one sheet: no script, nothing fetched; every text in it is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from urllib.parse import quote

from driftd.formatting import format_minute, format_time, visible_lines
from driftd.registry.version_quality import SegmentQuality
from driftd.views.decision_report import ChangedPart, DecisionReport
from driftd.views.report_plots import curve_plot, feature_plot
from driftd.views.report_steps import ReportStep

LONGEST, LONGEST_STEP, LONGEST_NAME = 420, 110, 60  # characters: what is longer stands whole on the page of driftd
STYLE = (resources.files("driftd.views") / "decision_report.css").read_text("utf-8")
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode("ascii")
_META_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
POLICY = f"{_META_POLICY}; frame-ancestors 'none'"  # of the answer: a page cannot say this one of itself


@dataclass(frozen=True, slots=True)
class ReportLinks:
    """Where a report leads to: whole addresses, since it is forwarded; empty where driftd's own is not known."""

    page: str = ""  # the same on driftd's page
    opinion: str = ""  # Evidently's page of its alarm


def links_under(address: str, report: DecisionReport, name: str) -> ReportLinks:
    """The links of a report under the address at which people open the page; `name` is `alarm/3` or `decision/17`."""
    base = address.rstrip("/")
    opinion = "" if report.alarm is None else f"{base}/reports/{quote(report.model, safe='')}/{report.alarm}"
    return ReportLinks(f"{base}/#/{name}", opinion)


def report_page(report: DecisionReport, links: ReportLinks) -> str:
    """The report as HTML."""
    title = f"{report.title}: {report.model}"
    left = [_curve(report), _features(report), _table("Where", _where(report))]
    right = [_costs(report), _history(report), _may_do(report, links), _second_page(report, links)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_META_POLICY, quote=True)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"{_header(report)}\n<main><div>{''.join(left)}</div><div>{''.join(right)}</div></main>\n"
        f"<footer>{_footer(report)}</footer>\n</body></html>\n"
    )


def _text(value: object, most: int = 0) -> str:
    """Any value as text of HTML: what would act is shown instead; cut at so many characters."""
    said = visible_lines(f"{value:.4g}" if isinstance(value, float) else str(value))
    if most and len(said) > most:
        said = said[: most - 1].rstrip() + "…"
    return escape(said)


def _header(report: DecisionReport) -> str:
    first, _, rest = report.what.partition(". ")
    first = f"{first}." if rest else first
    versions = f", {report.versions}" if report.versions else ""
    number = " · ".join(
        [f"alarm {report.alarm}"] * (report.alarm is not None)
        + [f"decision {report.decision}"] * (report.decision is not None)
    )
    kind = f'<span class="kind {report.severity}">{_text(report.title)}</span>'
    return (
        f"<header><p>{kind} · {_text(report.model, LONGEST_NAME)}{_text(versions)} · "
        f'<span class="dim">{number}</span></p>'
        f"<h1>{_text(first, LONGEST)}</h1>{_paragraph(rest)}"
        f"{_paragraph(report.sure)}<p>{_text(report.since)} <b>{_text(report.standing)}</b></p></header>"
    )


def _paragraph(text: str, name: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f"<p{kind}>{_text(text, LONGEST)}</p>" if text else ""


def _table(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>" if content else ""


def _curve(report: DecisionReport) -> str:
    curve = report.curve
    if curve is None:
        return _table("Over time", _paragraph("No evaluated window of that time is kept.", "dim"))
    level = f"; dashed: {curve.level_name}" if curve.level_name else ""
    caption = f"<figcaption>{_text(curve.title)}{_text(level)}. Times are UTC.</figcaption>"
    return _table("Over time", f"<figure>{curve_plot(curve)}{caption}</figure>")


def _features(report: DecisionReport) -> str:
    if not report.features:
        return _table("Before and after", _paragraph("No column moved, or no counts of that time are kept.", "dim"))
    figures = "".join(
        f"<figure><figcaption><b>{_text(each.feature, LONGEST_NAME)}</b> {_text(each.sentence, 90)}</figcaption>"
        f"{feature_plot(each)}</figure>"
        for each in report.features
    )
    first = report.features[0]
    rows = f"Grey: the reference, {first.reference_rows:,} rows. Coloured: {first.rows:,} rows since the change."
    return _table("Before and after", f'<div class="plots">{figures}</div>{_paragraph(rows, "dim")}')


def _where(report: DecisionReport) -> str:
    if report.segments:
        return _segment_table(report.segments, report.segments_metric)
    return _part_table(report.parts) if report.parts else ""


def _part_table(parts: Sequence[ChangedPart]) -> str:
    rows = "".join(
        f"<tr><td>{_text(part.name, LONGEST_NAME)}</td><td>{'column' if part.is_feature else 'segment'}</td>"
        f'<td class="number">{100 * part.share:.0f} %</td></tr>'
        for part in parts
    )
    return f"<table><caption>Shares of the alarm; parts that overlap do not add up to 100 %.</caption>{rows}</table>"


def _segment_table(segments: Sequence[SegmentQuality], metric: str | None) -> str:
    head = "".join(f'<th class="number">{name}</th>' for name in ("rows", "before", "after", "gain"))
    rows = "".join(
        f"<tr><td>{_text(each.segment or 'all rows', LONGEST_NAME)}</td>"
        + "".join(f'<td class="number">{value}</td>' for value in _figures(each))
        + "</tr>"
        for each in segments
    )
    name = _text(metric or "of the gate")
    caption = f"Loss ({name}) of the version before and of this one, as the gate judged; lower is better."
    return f"<table><caption>{caption}</caption><tr><th></th>{head}</tr>{rows}</table>"


def _figures(each: SegmentQuality) -> list[str]:
    losses = ["-" if value is None else _text(value) for value in (each.other_loss, each.loss)]
    return [f"{each.rows:,}", *losses, "-" if each.gain is None else f"{each.gain:+.3g}"]


def _costs(report: DecisionReport) -> str:
    rows = "".join(f"<tr><td>{_text(line.name)}</td><td>{_text(line.value, 200)}</td></tr>" for line in report.costs)
    return _table(
        "What it cost", f'<table class="pairs">{rows}</table>' if rows else _paragraph("Nothing is known of it.", "dim")
    )


def _history(report: DecisionReport) -> str:
    rows = [_step(step) for step in report.steps]
    if report.omitted:
        rows.insert(1, f'<tr><td></td><td class="dim">{report.omitted} more stand on the page of driftd</td></tr>')
    stages = _paragraph(f"Stages of the build: {report.stages}.", "dim") if report.stages else ""
    return _table("What was done", f"<table>{''.join(rows)}</table>{stages}")


def _step(step: ReportStep) -> str:
    here = ' class="here"' if step.is_here else ""
    when = f'<td class="when number">{_text(format_minute(step.at))}</td>'
    said = "" if step.is_here else step.sentence.partition(". ")[0]  # it is the heading of the page
    return f"<tr{here}>{when}<td>{_text(f'{step.title}: {said}' if said else step.title, LONGEST_STEP)}</td></tr>"


def _may_do(report: DecisionReport, links: ReportLinks) -> str:
    items = "".join(
        f'<li><code>{_text(each.command, 200)}</code> <span class="dim">{_text(each.effect)}</span></li>'
        for each in report.commands
    )
    page = f'<p>On the page: <a href="{_text(links.page)}">{_text(links.page)}</a></p>' if links.page else ""
    return _table("What you may do", f"{_paragraph(report.following)}<ul>{items}</ul>{page}")


def _second_page(report: DecisionReport, links: ReportLinks) -> str:
    if report.has_opinion and not links.opinion:
        said = _paragraph(f"Evidently's report of alarm {report.alarm}: driftd's page of this alarm shows it.")
    elif report.has_opinion:
        link = f'<a href="{_text(links.opinion)}">Evidently\'s report of alarm {report.alarm}</a>'
        said = f"<p>{link}, on driftd's page.</p>"
    elif report.alarm is None:
        said = _paragraph("There is none: no alarm led to this.", "dim")
    else:
        said = _paragraph("There is none: Evidently's report of this alarm is not rendered, or no longer kept.", "dim")
    return _table("Second page", said)


def _footer(report: DecisionReport) -> str:
    versions = f", {report.versions}" if report.versions else ""
    about = f"{report.program} · {report.model}{versions} · made {format_time(report.made_at)}"
    return " · ".join(_text(part, LONGEST) for part in (report.figures, about) if part)
