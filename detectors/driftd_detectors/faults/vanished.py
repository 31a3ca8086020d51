"""A column that is not delivered at all."""

from __future__ import annotations

from driftd_detectors.faults.suspicion import ColumnWindow, QualitySettings, Suspicion, percent, suspect


def vanished(one: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """The column was not delivered at all.

    Parameters
    ----------
    one, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of the window's rows that came without the column, against that of the reference.

    Examples
    --------
    >>> QualitySettings().vanished
    0.3

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    usual = one.reference_absent / max(1, one.reference_absent + int(one.reference.sum()))
    said = f"was not delivered in {percent(one.absent, one.rows)} of {one.rows} rows (reference {usual:.1%})"
    return suspect(one.absent, one.rows, usual, settings.vanished, said, settings)
