"""Looks every round whether the code or the settings that builds go by have changed, and waits until they rest."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from driftd.config.model_schema import ModelConfig
from driftd.config.trainer_schema import watched_part
from driftd.errors import DriftdError
from driftd.formatting import format_duration
from driftd.records import BuildSpec
from driftd.training.trainer_code import build_settings, settings_digest
from driftd.training.trainer_files import TrainerDigest, TrainerReader

log = structlog.get_logger()

SETTLED_AFTER = 60.0  # seconds without a change: an edit is over, and not only saved in its middle
LOOK_BUDGET = 0.005  # seconds of a round for looks at trainers; the others are looked at in the next rounds
LOOK_SHARE = 100.0  # a trainer is looked at no sooner than so many times what its last look took

T = TypeVar("T")
Trainer = str | tuple[str, ...]


@dataclass(slots=True)
class Settled(Generic[T]):
    """A value that counts once it has stayed the same for a while."""

    value: T | None = None
    seen: T | None = None
    since: float = 0.0  # when it was seen first, epoch seconds

    def see(self, seen: T, now: float) -> bool:
        """See a value; whether it has just become the one that counts."""
        if seen != self.seen or now < self.since:  # or the clock was set back
            self.seen, self.since = seen, now
        if self.is_settled or now - self.since < SETTLED_AFTER:
            return False
        self.value = seen
        return True

    @property
    def is_settled(self) -> bool:
        """Whether what was seen last is what counts."""
        return self.seen is not None and self.seen == self.value

    def describe(self, name: str, now: float) -> str:
        """What is waited for, in one sentence; empty where nothing is."""
        if self.is_settled or self.seen is None:
            return ""
        rests = f"{name} was seen {format_duration(max(0.0, now - self.since))} ago"
        return f"{rests}; it counts once it has not changed for {format_duration(SETTLED_AFTER)}"


@dataclass(slots=True)
class _WatchedTrainer:
    """One trainer, of one model or of a thousand."""

    reader: TrainerReader
    digest: Settled[tuple[str, str | None]] = field(default_factory=Settled)
    fault: str | None = None
    looked_at: float = 0.0  # epoch seconds
    took: float = 0.0  # seconds, of that look

    def look(self, now: float) -> bool:
        """Look at its files; whether another source, or lock file, counts from now on."""
        began = time.perf_counter()
        before, fault = self.digest.value, self.fault
        try:
            found = self.reader.read()
            self.fault = found.fault
            if found.fault is None and self._is_sure(found, now):
                self.digest.see((found.source, found.lock), now)
        except (DriftdError, OSError) as error:
            self.fault = str(error)
        if self.fault is not None:
            self.digest.seen = None  # what comes after a fault has to rest anew
            if self.fault != fault:
                log.warning("trainer_not_whole", trainer=self.reader.reference, reason=self.fault)
        self.looked_at, self.took = now, time.perf_counter() - began
        return self.digest.value != before

    def is_due(self, now: float) -> bool:
        """Whether it may be looked at again: looks take a small share of the time, however many files there are."""
        return not 0 <= now - self.looked_at < LOOK_SHARE * self.took

    def _is_sure(self, found: TrainerDigest, now: float) -> bool:
        """Read everything once more before it counts: a file's time may not tell two changes apart."""
        seen, since = self.digest.seen, self.digest.since
        if seen != (found.source, found.lock) or self.digest.is_settled or not 0 <= now - since >= SETTLED_AFTER:
            return True
        self.reader.forget()
        again = self.reader.read()
        return (again.source, again.lock, again.fault) == (found.source, found.lock, None)


@dataclass(slots=True)
class TrainerWatch:
    """What every model's next build would be made by. A trainer that many models share is looked at once for all."""

    _trainers: dict[Trainer, _WatchedTrainer] = field(default_factory=dict)  # the one that waits longest first
    _of_model: dict[str, Trainer] = field(default_factory=dict)
    _settings: dict[str, Settled[str]] = field(default_factory=dict)
    _restless: set[str] = field(default_factory=set)  # the models whose settings do not count yet

    def use(self, model: str, config: ModelConfig, now: float) -> None:
        """Watch the trainer and the settings of a model, as its config has them now."""
        if config.trainer is None:
            self.forget(model)
            return
        trainer = watched_part(config.trainer)
        if self._of_model.get(model, trainer) != trainer:
            self._drop_trainer(model)
        self._of_model[model] = trainer
        if trainer not in self._trainers:
            self._trainers[trainer] = _WatchedTrainer(TrainerReader(_words(trainer)))
            self._trainers[trainer].look(now)
        self._settings.setdefault(model, Settled()).see(settings_digest(build_settings(config)), now)
        self._restless.add(model)

    def keep(self, models: Collection[str]) -> None:
        """Forget all other models."""
        for model in self._of_model.keys() - set(models):
            self.forget(model)

    def forget(self, model: str) -> None:
        """Watch nothing for a model any more."""
        self._drop_trainer(model)
        self._settings.pop(model, None)
        self._restless.discard(model)

    def _drop_trainer(self, model: str) -> None:
        trainer = self._of_model.pop(model, None)
        if trainer is not None and trainer not in self._of_model.values():
            del self._trainers[trainer]

    def look(self, now: float) -> set[str]:
        """Look at the trainers, as many as the time for it allows; the models of which something counts anew."""
        changed: set[str] = set()
        end = time.perf_counter() + LOOK_BUDGET
        for trainer in list(self._trainers):
            watched = self._trainers[trainer]
            if not watched.is_due(now):
                continue
            self._trainers[trainer] = self._trainers.pop(trainer)
            if watched.look(now):
                changed.update(model for model, used in self._of_model.items() if used == trainer)
            if time.perf_counter() > end:
                break
        for model in list(self._restless):
            settings = self._settings[model]
            if settings.seen is not None and settings.see(settings.seen, now):
                changed.add(model)
            if settings.is_settled:
                self._restless.discard(model)
        return changed

    def spec(self, model: str, now: float) -> tuple[BuildSpec | None, str]:
        """What a build of a model would be made by, as far as it rests; and what is waited for, in one sentence."""
        if model not in self._of_model:
            return None, ""
        watched, settings = self._trainers[self._of_model[model]], self._settings[model]
        waits = watched.fault or watched.digest.describe("another source of the trainer", now)
        waits = waits or settings.describe("another setting of training", now)
        if watched.digest.value is None or settings.value is None:
            return None, waits
        return BuildSpec(*watched.digest.value, settings.value), waits


def _words(trainer: Trainer) -> str | Sequence[str]:
    return trainer if isinstance(trainer, str) else list(trainer)
