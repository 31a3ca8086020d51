"""Labels outside the classes of the version."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from driftd_detectors.assessment import Fault
from driftd_detectors.columns import Outcomes
from driftd_detectors.quality.faults import QualitySettings, percent, suspect

NAME = "unseen_label"
_MOST_NAMED = 3


def unseen_label(
    outcomes: Outcomes, expected: Collection[str] = (), settings: QualitySettings | None = None
) -> Fault | None:
    """Labels that are no class of the version that predicted their rows; None where there is none.

    Parameters
    ----------
    outcomes
        A cohort in the classes of its version.
    expected
        Texts that the config names as classes: the next version learns them, so they are no fault.
    settings
        What is tolerated, and when a fault is certain; the defaults when not given.

    Notes
    -----
    The share of the labels, against a tolerated 5 %: that of unreadable values, because a label that no model of ours
    can predict is one. Single strays are counted and cost their rows; from about a tenth on they move the loss more
    than any drift that is worth an alarm. The evidence is that of one cohort (see `suspect`).

    Examples
    --------
    >>> QualitySettings().unseen_label
    0.05

    References
    ----------
    Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """
    chosen = settings or QualitySettings()
    names = outcomes.texts(outcomes.label)
    strays = np.flatnonzero(outcomes.strays)
    texts = [names.labels[code] if code >= 0 else "" for code in names.codes[strays].tolist()]
    foreign = [text for text in texts if text not in set(expected)]
    labels = int(outcomes.labelled.sum())
    examples = ", ".join(map(repr, list(dict.fromkeys(foreign))[:_MOST_NAMED]))
    said = f"has values outside the classes of the version in {percent(len(foreign), labels)} of {labels} labels"
    said += f" ({examples}); a class that is new belongs into `classes`"
    seen = suspect(len(foreign), labels, 0.0, chosen.unseen_label, said, chosen)
    if seen is None:
        return None
    certain = seen.evidence >= chosen.certain
    return Fault("label", NAME, f"label {seen.sentence}", seen.share, seen.evidence, certain)
