"""Numbers absurdly far out of range."""

from __future__ import annotations

from driftd_detectors.faults.suspicion import ColumnWindow, QualitySettings, Suspicion, percent, suspect


def out_of_range(one: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """Numbers are absurdly far from all that the reference held, as after a change of unit or with sentinel values.

    Parameters
    ----------
    one, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of present values that are infinite, or more than nine times the reference's reach (the larger of its
    width and of its largest absolute value) outside it. Values just outside are drift: seasons and growth do that.

    Examples
    --------
    >>> QualitySettings().range
    0.1

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    if not one.column.numeric or not one.column.edges:
        return None
    strange = [0, 1, -3, -2]  # -inf, far below, far above, +inf
    hits = int(one.counts[strange].sum())
    usual = float(one.reference[strange].sum()) / max(1, int(one.reference[:-1].sum()))
    share = percent(hits, one.present)
    reach = f"{one.column.edges[0]:.4g} to {one.column.edges[-1]:.4g}"
    said = f"is far out of the reference's range ({reach}) in {share} of {one.present} values"
    return suspect(hits, one.present, usual, settings.range, said, settings)
