"""What there is to say of systems of others: one that serves instead of driftd, and a registry of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftd.formatting import format_time
from driftd.observe.alert_rule import REGISTRY_FAILURES
from driftd.outside.exchange import Exchange
from driftd.paths import Places
from driftd.records import Build, BuildStep, HandOver, HandOverStage, ModelState, RegistryState
from driftd.store.state.reader import StateReader

if TYPE_CHECKING:
    from driftd.views.status import ModelStatus


def is_awaited(hand_over: HandOver) -> bool:
    """Whether a person can do something about a hand-over: confirm it, or see why it cannot be told."""
    failing = hand_over.stage is HandOverStage.DELIVER and hand_over.error != ""
    return failing or hand_over.stage is HandOverStage.AWAIT


def describe_hand_over(model: str, hand_over: HandOver) -> str:
    """What is awaited of a version that another system is to serve."""
    version, until = hand_over.version, format_time(hand_over.until)
    confirm = f"`driftd confirm {model} {version}`"
    if hand_over.error:
        return (
            f"version {version} could not be handed over ({hand_over.attempts} tries): {hand_over.error}; it is tried "
            f"again until {until}, and {confirm} says that it serves all the same"
        )
    return (
        f"version {version} was handed over ({hand_over.delivery}): {confirm} or its first prediction confirms it, "
        f"else it is taken back at {until}"
    )


_STAGES = {  # of a hand-over in which nobody need do anything
    HandOverStage.DELIVER: "the other system is being told to serve version {0}",
    HandOverStage.CONFIRMED: "version {0} is confirmed and is being taken up",
    HandOverStage.TAKE_BACK: "the other system is being told to serve version {1} again instead of {0}; builds "
    "wait until it was told, or until `driftd confirm` says that version {1} serves",
}


def external_sentences(status: ModelStatus) -> list[str]:
    """What there is to say of a model because another system serves it."""
    said = [f"another system serves it, with version {status.version} as far as driftd knows"]
    if status.version_asked is not None and status.wanted:
        said.append(f"a new version was asked for: {status.version_asked}")
    if status.hand_over is not None and not is_awaited(status.hand_over):
        said.append(_STAGES[status.hand_over.stage].format(status.hand_over.version, status.version))
    return said if status.is_external else []


def outside_wait(reader: StateReader, state: ModelState) -> str | None:
    """What a build waits for that is made outside, in a clause; None where none waits."""
    if state.build is None or state.build.step is not BuildStep.TRAIN:
        return None
    for action in reader.open_actions(state.model):
        exchange = Exchange.of(Places(reader.folder), f"{state.model}-{action.id}")
        is_begun = exchange is not None and exchange.answer is not None and exchange.outcome is None
        order = exchange.order if exchange is not None and is_begun else None
        if order is not None and order.version == state.build.number:
            return f"waits for the builder outside until {format_time(order.deadline)}"
    return None


def needs_look(registry: RegistryState | None) -> bool:
    """Whether a person should look at the registry: it fails again and again, or somebody moved the alias."""
    return registry is not None and (registry.failures >= REGISTRY_FAILURES or registry.moved is not None)


def describe_registry(registry: RegistryState | None, build: Build | None) -> str | None:
    """What is wrong with the registry, in one sentence; None where nothing is. A promotion may wait for it."""
    if registry is None or not (registry.failures or registry.moved):
        return None
    waits = build is not None and build.step is BuildStep.SWAP and registry.alias != build.candidate
    held = f"; version {build.candidate} waits for it" if waits and build is not None else ""
    if registry.failures:
        retry = f"; next try at {format_time(registry.retry_at)}" if registry.retry_at is not None else ""
        return f"the registry of models fails ({registry.failures} tries): {registry.error}{held}{retry}"
    assert registry.moved is not None
    named = "no version" if registry.moved.number is None else f"version {registry.moved.number} there"
    return f"somebody moved the alias in the registry: it names {named}, seen {format_time(registry.moved.since)}"
