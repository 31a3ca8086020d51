"""What driftd expects of receivers, registries and deployers: what comes twice is done once."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from driftd.events import Event
from driftd.notify.message import encode, message, message_of_test
from driftd.plugin_protocols import DeployerPlugin, ReceiverPlugin, RegistryPlugin, VersionFiles
from driftd.store.state.records import StoredTransition

_AT = 1_700_000_000.0


def check_receiver(receiver: ReceiverPlugin, options: Mapping[str, object]) -> None:
    """Hold a receiver to what driftd expects of it: it takes a test, a decision, and the same decision again.

    Raises AssertionError with what does not hold, and what the receiver raises.
    """
    decision = StoredTransition(
        7, _AT, "demand", str(Event.PROMOTED), "retraining", "probation", "it won", {}, "driftd", "c"
    )
    for given in (message_of_test("kit", _AT), message("kit", [decision]), message("kit", [decision])):
        facts = json.loads(encode(given.facts))
        kept = copy.deepcopy(facts)
        call: Callable[..., object] = receiver
        said = call(facts, options)
        assert said is None, f"a receiver returns nothing and raises where it fails; this one returned {said!r}"
        assert facts == kept, "the receiver changed the message that it was given"


def check_registry(make: Callable[[], RegistryPlugin], scratch: Path) -> None:
    """Hold a registry to what driftd expects of it. Raises AssertionError with what does not hold.

    Parameters
    ----------
    make
        Gives the registry anew, as driftd does for each task; at the first time no version is there.
    scratch
        A folder in which files of two versions are written.
    """
    first, second = (_version(scratch, number) for number in (1, 2))
    assert make().alias() is None, "the alias names a version before there is one"
    number = make().register(first)
    assert isinstance(number, str) and number, "register() gives a number or a name as text"  # noqa: PT018 - one fault
    assert make().register(first) == number, "a version that is registered again gets another number"
    other = make().register(second)
    assert other != number, "two versions have one number"
    for files, named in ((first, number), (second, other)):
        assert make().identity(named) == files.identity, f"identity({named!r}) is not that of the version registered"
    assert make().identity(f"{other}999") is None, "identity() of a number that is not there is None"
    for named in (number, other, other, number):
        make().move(named)
        assert make().alias() == named, f"the alias does not name {named!r} after it was moved there"
    assert make().register(second) == other, "a version is not known again after the alias has moved"


def check_deployer(deployer: DeployerPlugin, options: Mapping[str, object], scratch: Path) -> None:
    """Hold a deployer to what driftd expects of it: each order is taken, also a second time. `scratch` gets files.

    Raises AssertionError with what does not hold, and what the deployer raises.
    """
    first, second = (_version(scratch, number) for number in (1, 2))
    for action, files, before in (
        ("deploy", first, None),
        ("deploy", second, 1),
        ("roll_back", first, 2),
        ("take_back", first, 2),
        ("take_back", None, 1),
        ("ask", None, None),
    ):
        order = _order(action, files, before)
        for _ in range(2):
            kept = copy.deepcopy(order)
            said = deployer(order, options)
            assert said is None or isinstance(said, str), f"a deployer returns a clause or nothing, not {said!r}"
            assert order == kept, "the deployer changed the order that it was given"


def _order(action: str, files: VersionFiles | None, before: int | None) -> dict[str, object]:
    """An order as driftd gives it; see `driftd.training.tasks.hand_over.message_of`."""
    sha256 = None if files is None else hashlib.sha256(files.artefact.read_bytes()).hexdigest()
    return {
        "action": action,
        "model": "demand",
        "version": None if files is None else files.version,
        "from": before,
        "artefact": None if files is None else str(files.artefact),
        "sha256": sha256,
        "reason": "the kit asks for it",
        "confirm_by": None if action == "ask" else "2023-11-15T22:13:20+00:00",
    }


def _version(scratch: Path, number: int) -> VersionFiles:
    folder = scratch / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    artefact = folder / "model.skops"
    artefact.write_bytes(f"version {number}".encode())
    identity = hashlib.sha256(artefact.read_bytes()).hexdigest()
    manifest = {"model": "demand", "version": number, "artefact": artefact.name}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return VersionFiles("demand", number, identity, artefact, manifest)
