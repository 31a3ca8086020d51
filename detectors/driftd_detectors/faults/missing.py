"""A jump in the share of missing values."""

from __future__ import annotations

from driftd_detectors.faults.suspicion import ColumnWindow, QualitySettings, Suspicion, percent, suspect


def missing(one: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """The share of missing values jumped.

    Parameters
    ----------
    one, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of delivered rows without a value, against that of the reference.

    Examples
    --------
    >>> QualitySettings(missing=0.2).missing
    0.2

    References
    ----------
    Schelter et al., *Automating large-scale data quality verification*, VLDB, 2018.
    """
    usual = float(one.reference[-1]) / max(1, int(one.reference.sum()))
    hits = int(one.counts[-1])
    share = percent(hits, one.delivered)
    said = f"is missing in {share} of {one.delivered} rows (reference {usual:.1%})"
    return suspect(hits - one.unreadable, one.delivered, usual, settings.missing, said, settings)
