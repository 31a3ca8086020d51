"""Keeping the event stores small, off the main loop: what is cold is sealed, what is over its age goes."""

from __future__ import annotations

import structlog

from driftd.config.model import Config
from driftd.places import Places
from driftd.store.apart import ChildError
from driftd.store.events_retention import Limits
from driftd.store.migrate import DatabaseError
from driftd.store.upkeep import upkeep_apart

log = structlog.get_logger()

EVERY_SECONDS = 600.0


def keep_house(config: Config, places: Places, now: float) -> dict[str, bool]:
    """Seal and prune the event store of each model in a child; one model's failure never touches another.

    A run that fails (a full disk) loses nothing: the next one goes on from there. Returns, by model, whether it ended
    well.
    """
    ended_well = dict.fromkeys(config.models, True)
    limits = Limits(keep_seconds=config.retention.events)
    for model in config.models:
        try:
            done = upkeep_apart(places.events_db(model), places.segments(model), now, limits)
        except (ChildError, DatabaseError, OSError) as error:
            log.warning("upkeep_failed", model=model, error=str(error))
            ended_well[model] = False
            continue
        if done.sealed or done.pruned.rows:
            log.info(
                "upkeep_done",
                model=model,
                sealed_rows=sum(one.rows for one in done.sealed),
                pruned_rows=done.pruned.rows,
                pruned_segments=done.pruned.segments,
            )
    return ended_well
