"""Labels never seen, in a gross share."""

from __future__ import annotations

from driftd_detectors.faults.suspicion import ColumnWindow, QualitySettings, Suspicion, percent, suspect


def new_category(one: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """Labels that the reference never held make up a gross share.

    Parameters
    ----------
    one, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of present values with an unseen label. What is usual is the share of labels that the reference held
    once (Good, 1953): where new labels always come, they are no fault.

    Examples
    --------
    >>> QualitySettings().new_category
    0.3

    References
    ----------
    Good, *The population frequencies of species and the estimation of population parameters*, Biometrika, 1953.
    """
    if one.column.numeric or int(one.reference[:-1].sum()) == 0:
        return None
    hits = int(one.counts[-2])
    share = percent(hits, one.present)
    said = f"has labels never seen before in {share} of {one.present} values (usual {one.column.unseen:.1%})"
    return suspect(hits, one.present, one.column.unseen, settings.new_category, said, settings)
