"""Trainers that a config can name, and the context that every trainer gets."""

from __future__ import annotations

from driftd.trainers.boosting import gradient_boosting
from driftd.trainers.context import TrainingContext

__all__ = ["TrainingContext", "gradient_boosting"]
