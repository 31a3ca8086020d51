"""Values that cannot be read as their column's type."""

from __future__ import annotations

from driftd_detectors.faults.suspicion import ColumnWindow, QualitySettings, Suspicion, percent, suspect


def unreadable(one: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """Values cannot be read as the column's type, as when the type changed upstream.

    Parameters
    ----------
    one, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of delivered values that could not be read, against that of the reference.

    Examples
    --------
    >>> QualitySettings().unreadable
    0.05

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    usual = one.reference_unreadable / max(1, int(one.reference.sum()))
    share = percent(one.unreadable, one.delivered)
    said = f"cannot be read as {one.column.kind} in {share} of {one.delivered} rows (reference {usual:.1%})"
    return suspect(one.unreadable, one.delivered, usual, settings.unreadable, said, settings)
