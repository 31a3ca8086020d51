"""The tasks of a build, one module each, with `Arguments` and `run(arguments) -> value`, for child processes only.

What a child is told is JSON; `job_main` decodes it to the task's `Arguments` before anything else happens.
"""

from __future__ import annotations

import msgspec


class TaskArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What every task of a build is told: the model, its section of the config, and the state directory."""

    model: str
    model_config: dict[str, object]
    state_dir: str
    faulty: tuple[tuple[float, float], ...] = ()  # times of windows with a fault of the pipeline: `start <= at < end`
