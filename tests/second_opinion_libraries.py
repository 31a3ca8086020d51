"""Loads what the report of an alarm needs: for the fork server of the tests, beside what it loads itself."""

from __future__ import annotations

import driftd.second_opinion.report  # noqa: F401
from driftd.second_opinion.adapter import load_evidently

load_evidently()
import evidently.presets  # noqa: E402, F401 - after Evidently was told to send nothing home
