"""The views of `state.db` that others may ask: stable names and columns, names instead of codes, ISO times.

docs/state-database.md describes each column. A view only ever gets columns at its end; a step that has landed is never
edited, so a change is a new step that replaces the view.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SHORT = {  # written in the queries below like a function of a column
    "iso": "strftime('%Y-%m-%dT%H:%M:%fZ', {0}, 'unixepoch')",
    # The bounds of a window of rows are positions, not times.
    "window_iso": "case when {0} > 1e8 then strftime('%Y-%m-%dT%H:%M:%fZ', {0}, 'unixepoch') end",
    "figure": "json_extract(figures, '$.{0}')",
}


def _expand(query: str) -> str:
    return re.sub(r"\b(iso|window_iso|figure)\(([\w.]+)\)", lambda found: _SHORT[found[1]].format(found[2]), query)


# A cross join keeps its order: the checks come first, which have an index by model and one by time.
_SCORES = """
    select c.model as model, c.window_index as window_index, c.window_start as window_start,
           window_iso(c.window_start) as window_start_iso, c.at as at, iso(c.at) as at_iso,
           {stream}.kind as kind, {stream}.subject as subject, {stream}.component as component,
           s.value as value, s.evidence as evidence
    from checks c cross join {tables} where c.kind = 'window'"""
_CODED = """score_models m on m.model = c.model
    cross join score_codes s on s.model = m.id and s.window_index = c.window_index
    cross join score_streams t on t.id = s.stream"""
_NAMED = "scores s on s.model = c.model and s.window_index = c.window_index"  # of an earlier driftd

_QUERIES = {  # of the step m011
    "public_alarms": """
        select id, at, iso(at) as at_iso, model, kind, subject, version, window_index,
               window_start, window_iso(window_start) as window_start_iso,
               window_end, window_iso(window_end) as window_end_iso,
               evidence, threshold, sentence, leaders, change_start, window_iso(change_start) as change_start_iso,
               cleared_at, iso(cleared_at) as cleared_at_iso,
               absorbed_at, iso(absorbed_at) as absorbed_at_iso,
               cleared_at is null and absorbed_at is null as is_open, report
        from alarms""",
    "public_checks": """
        select id, at, iso(at) as at_iso, model, kind, window_index,
               window_start, window_iso(window_start) as window_start_iso,
               window_end, window_iso(window_end) as window_end_iso,
               rows, verdict, reason, version, figure(loss) as loss, figure(low) as loss_low,
               figure(high) as loss_high, figure(baseline) as baseline, figure(labels) as labels,
               figure(coverage) as coverage, figure(estimated) as estimated_loss,
               figures, evidence
        from checks""",
    "public_scores": " union all ".join(
        [_SCORES.format(stream="t", tables=_CODED), _SCORES.format(stream="s", tables=_NAMED)]
    ),
    "public_transitions": """
        select id, at, iso(at) as at_iso, model, event, phase_from, phase_to, reason, actor,
               figure(version) as version, figures, config_hash
        from transitions""",
    "public_versions": """
        select model, version, created_at, iso(created_at) as created_at_iso, parent, trigger, reason, trainer,
               fingerprint, snapshot, artefact, seed, rows, decision, metric, loss, gain, gain_lower, gain_upper,
               content
        from versions""",
    "public_requests": """
        select id, at, iso(at) as at_iso, who, model, kind, arguments,
               handled_at, iso(handled_at) as handled_at_iso, outcome, refused
        from requests""",
    "public_label_requests": """
        select model, prediction_id, predicted_at, iso(predicted_at) as predicted_at_iso, probability,
               1.0 / probability as weight, drawn_at, iso(drawn_at) as drawn_at_iso
        from label_requests""",
}
VIEWS: Mapping[str, str] = {name: _expand(query) for name, query in _QUERIES.items()}
