"""One decision: findings go in, transitions come out, and all of it lands in one transaction or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from driftd.observe.model_metrics import ModelMetrics
from driftd.observe.tally import Happened
from driftd.policy import Facts, Finding, Override, PolicySettings, advance
from driftd.records import ModelState, Transition
from driftd.store.state import StateStore

log = structlog.get_logger()


@dataclass(slots=True)
class Rules:
    """What policy is told besides the finding."""

    settings: PolicySettings
    override: Override
    config_hash: str


@dataclass(slots=True)
class Decision:
    """The findings of one moment, decided in order. `state` is what the model will be once this has landed."""

    state: ModelState
    rules: Rules
    store: StateStore
    now: float
    made: list[tuple[ModelState, Transition]] = field(default_factory=list)

    def advance(self, finding: Finding, facts: Facts, *, actor: str = "driftd") -> Transition:
        """Decide on one finding and write the decision into the open transaction."""
        before = self.state
        transition = advance(before, finding, facts, self.rules.settings, self.rules.override, self.now)
        if transition.event is not None or transition.actions or transition.state != before:
            who, config_hash = transition.actor or actor, self.rules.config_hash
            self.store.save_transition(before, transition, at=self.now, actor=who, config_hash=config_hash)
        self.made.append((before, transition))
        self.state = transition.state
        return transition


@contextmanager
def deciding(
    state: ModelState, rules: Rules, store: StateStore, metrics: ModelMetrics, now: float
) -> Iterator[Decision]:
    """Open a transaction for a decision; metrics and log lines follow only once it has landed."""
    decision = Decision(state, rules, store, now)
    with store.transaction():
        yield decision
    for before, transition in decision.made:
        _tell(before, transition, metrics, now)


def _tell(before: ModelState, transition: Transition, metrics: ModelMetrics, now: float) -> None:
    if transition.event is None:
        return
    state = transition.state
    metrics.decided(Happened(transition.event, now, transition.figures, before.phase, state.phase))
    log.info(
        "transition",
        model=state.model,
        happened=transition.event,
        phase_from=before.phase,
        phase_to=state.phase,
        reason=transition.reason,
        **{key: value for key, value in transition.figures.items() if key not in {"model", "event"}},
    )
