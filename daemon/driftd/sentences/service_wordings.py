"""What is said of the version that serves: swaps, probation, rollbacks, pins, hand-overs, the registry of models."""

from __future__ import annotations

import re

from driftd.events import Event
from driftd.sentences.record_form import BETTER, SURE_ROWS, TIME, TOLERANCE, TOLERATED, Wording

WATCHES = "driftd watches on; nothing to do."
_WORN = (
    r"on (?P<rows>\d+) labelled rows the new version's loss is \S+ (?:higher|lower) than the old one's; a bet against "
    r"it reached \S+ \(limit (?P<limit>\S+)\): it is worse"
)
_SO_FAR = re.compile(
    r"on (?P<rows>\d+) labelled rows the new version's loss is (?P<off>\S+) (?P<side>higher|lower) than the old one's; "
    r"a bet against it stands at most at \S+ of [^\s;]+(?P<more>.*)",
    re.DOTALL,
)


def describe_probation(record: str) -> str:
    """How a probation stands, of the record of its last comparison: which version is better, on how many rows."""
    found = _SO_FAR.fullmatch(record)
    if found is None:
        return record
    doubt = "" if found["side"] == "lower" else ", by no more than chance explains"
    return (
        f"on {int(found['rows']):,} labelled rows its loss is {found['side']} than that of the version before{doubt}"
        f"{found['more']}"
    )


SERVICE_WORDINGS: dict[Event, tuple[Wording, ...]] = {
    Event.SWAP_STARTED: (
        Wording(
            rf"version (?P<v>\d+) won its gate: {BETTER}",
            "Version {v} is better than the champion, and is about to serve.",
            sure=SURE_ROWS,
        ),
        Wording(
            rf"version (?P<v>\d+) won its gate: {TOLERATED}",
            "Version {v} passed the comparison with the champion, and is about to serve.",
            sure=TOLERANCE,
        ),
        Wording(
            r"version (?P<v>\d+) won its gate: (?P<detail>.*)",
            "Version {v} passed the comparison with the champion, and is about to serve.",
        ),
        Wording(
            r"version (?P<v>\d+) is refreshed: (?P<detail>.*)",
            "Version {v} is built from the newest rows, and is about to serve.",
        ),
        Wording(
            r"version (?P<v>\d+) serves rather than the refreshed (?P<r>\d+): (?P<detail>.*)",
            "Version {v} is better than the refreshed version {r}, and is about to serve again.",
        ),
        Wording(
            r"version (?P<v>\d+) is approved by (?P<who>.+?)(?:: (?P<why>.*))?",
            "Version {v} is approved by {who}, and is about to serve.{why}",
        ),
        Wording(r"version (?P<v>\d+) was approved", "Version {v} was approved, and is about to serve."),
        Wording(
            r"nothing holds version (?P<v>\d+) back any more, which (?P<detail>.*)",
            "Version {v} is about to serve: nothing stands in its way any more.",
        ),
    ),
    Event.PROMOTED: (
        Wording(
            r"version (?P<v>\d+) serves as the first champion",
            "Version {v} serves now, as the first champion.",
            WATCHES,
        ),
        Wording(
            rf"version (?P<v>\d+) serves instead of (?P<old>\d+) and is on probation: {BETTER}",
            "Version {v} serves now instead of version {old}, which is worse.",
            sure=SURE_ROWS,
        ),
        Wording(
            r"version (?P<v>\d+) serves instead of (?P<old>\d+) and is on probation: (?P<detail>.*)",
            "Version {v} serves now instead of version {old}.",
        ),
    ),
    Event.CONFIRMED: (
        Wording(
            r"version (?P<v>\d+) is confirmed: (?P<detail>on (?P<rows>\d+) labelled rows the new version's loss .*)",
            "Version {v} passed its probation: on the same rows it was not worse than the version before.",
            sure="Compared on {rows} labelled rows.",
        ),
        Wording(
            r"version (?P<v>\d+) is confirmed: "
            r"(?P<detail>.*; (?P<rows>\d+) labelled rows, and no alarm of performance)",
            "Version {v} passed its probation: no alarm of performance was raised.",
            sure="Watched on {rows} labelled rows.",
        ),
        Wording(
            r"version (?P<v>\d+) stays, but it was hardly watched: only (?P<rows>\d+) labels came; (?P<detail>.*)",
            "Version {v} stays after its probation, though hardly any labels came to check it.",
            sure="Not sure: there were {rows} labels.",
        ),
        Wording(r"version (?P<v>\d+) is confirmed: (?P<detail>.*)", "Version {v} passed its probation."),
    ),
    Event.ROLLBACK_STARTED: (
        Wording(
            rf"version (?P<old>\d+) is worse than (?P<v>\d+), going back: (?P<detail>{_WORN})",
            "Version {old} is worse than version {v} on the same rows: version {v} is about to serve again.",
            sure="Very likely: of {limit} versions that are no worse, chance takes at most one for worse.",
        ),
        Wording(
            r"version (?P<old>\d+) is worse than (?P<v>\d+), going back: (?P<detail>.*)",
            "Version {old} is worse than version {v} on the same rows: version {v} is about to serve again.",
        ),
        Wording(
            r"\S+ alias rolls back from version (?P<old>\d+) to (?P<v>\d+): (?P<detail>somebody moved the alias: .*)",
            "Version {v} is about to serve instead of version {old}, because somebody moved the alias to it.",
        ),
        Wording(
            r"(?P<who>.+?) rolls back from version (?P<old>\d+) to (?P<v>\d+)(?:: (?P<why>.*))?",
            "Version {v} is about to serve again instead of version {old}, as {who} asked.{why}",
        ),
    ),
    Event.ROLLED_BACK: (
        Wording(
            r"version (?P<v>\d+) serves again instead of (?P<old>\d+)",
            "Version {v} serves again instead of version {old}.",
            "Version {old} is not promoted again by itself. Find out why it was worse.",
        ),
    ),
    Event.ROLLBACK_REFUSED: (
        Wording(
            r"version (?P<v>\d+) cannot be served \(rollback refused\): (?P<error>.*)",
            "The rollback to version {v} failed, and the version that was to be left still serves: {error}.",
        ),
        Wording(
            r"the rollback to version (?P<v>\d+) is taken back: (?P<error>.*); version (?P<c>\d+) stays",
            "The rollback to version {v} did not take place, and version {c} still serves: {error}.",
        ),
    ),
    Event.SHADOW_FAILED: (
        Wording(r"shadow failed: (?P<error>.*)", "The comparison of the two versions on probation failed: {error}."),
    ),
    Event.PIN_STARTED: (
        Wording(
            r"the override pins version (?P<v>\d+): (?P<why>.*)",
            "Version {v} is about to serve, because the override pins it.{why}",
        ),
    ),
    Event.PINNED: (
        Wording(
            r"version (?P<v>\d+) serves because the override pins it",
            "Version {v} serves now, because the override pins it.",
        ),
        Wording(
            r"the override pins version (?P<v>\d+): (?P<why>.*); it serves already",
            "Version {v} is pinned by the override; it serves already.{why}",
        ),
    ),
    Event.PIN_REFUSED: (
        Wording(
            r"the override pins version (?P<v>\d+): .*; but there is no such version \(there are: (?P<known>.*?)\).*",
            "Version {v}, which the override pins, does not exist (there are: {known}).",
        ),
        Wording(
            r"version (?P<v>\d+) cannot be served \(pin refused\): (?P<error>.*?)(?:; any change of the override.*)?",
            "Version {v}, which the override pins, cannot be served: {error}.",
        ),
        Wording(
            r"version (?P<v>\d+), which is pinned, is taken back: (?P<error>.*); version (?P<c>\d+) stays.*",
            "Version {v}, which the override pins, does not serve: {error}.",
        ),
    ),
    Event.UNPINNED: (
        Wording(
            r"version (?P<v>\d+) is no longer pinned; version (?P<c>\d+) goes on serving",
            "Version {v} is no longer pinned; version {c} serves on.",
        ),
    ),
    Event.RESTORED: (
        Wording(
            rf"the state is that of the backup of (?P<at>{TIME}); what was decided after it is forgotten; (?P<rest>.*)",
            "The state came from the backup of {at}: what was decided after it is forgotten. In short: {rest}.",
        ),
    ),
    Event.HANDED_OVER: (
        Wording(
            rf"version (?P<v>\d+) is handed over(?: \((?P<detail>.*)\))?; .* it is taken back at (?P<until>{TIME})",
            "Version {v} is handed over to the system that serves. Unconfirmed, it is taken back at {until}.",
        ),
    ),
    Event.HAND_OVER_FAILED: (
        Wording(
            rf"version (?P<v>\d+) could not be handed over: (?P<error>.*); next try at (?P<at>{TIME}), taken back at "
            rf"(?P<until>{TIME}) unless it is confirmed",
            "Version {v} could not be handed over to the system that serves: {error}.",
            "The next try is at {at}; unconfirmed, it is taken back at {until}. Mend what the error names.",
        ),
        Wording(
            r"the take-back of version (?P<v>\d+) could not be told: (?P<error>.*?); it is given up after "
            r"(?P<tries>\d+) tries: see that version (?P<c>\d+) serves",
            "The system that serves could not be told to leave version {v}: {error}.",
            "driftd tried {tries} times and gives up: see that version {c} serves.",
        ),
        Wording(
            rf"the take-back of version (?P<v>\d+) could not be told: (?P<error>.*?); next try at (?P<at>{TIME})",
            "The system that serves could not be told to leave version {v}: {error}.",
            "The next try is at {at}. Mend what the error names.",
        ),
        Wording(
            rf"a new version could not be asked for: (?P<error>.*?); next try at (?P<at>{TIME})",
            "A new version could not be asked for: {error}.",
            "The next try is at {at}. Mend what the error names.",
        ),
        Wording(
            r"a new version could not be asked for: (?P<error>.*?); no further try",
            "A new version could not be asked for: {error}.",
            "It is not tried again. Mend what the error names.",
        ),
    ),
    Event.HAND_OVER_CONFIRMED: (
        Wording(
            r"version (?P<v>\d+) is confirmed: predictions of version \d+ have come",
            "Version {v} serves in the other system: predictions of it have come.",
        ),
        Wording(
            r"version (?P<v>\d+) is confirmed: (?P<who>.+?) says that it serves(?:: (?P<why>.*))?",
            "Version {v} serves in the other system, as {who} says.{why}",
        ),
        Wording(r"version (?P<v>\d+) is confirmed: (?P<how>.*)", "Version {v} serves in the other system: {how}."),
    ),
    Event.HAND_OVER_TAKEN_BACK: (
        Wording(
            rf"the hand-over of version (?P<v>\d+) is taken back: (?P<error>.*); version (?P<c>\d+) stays"
            rf"(?:; no build begins before (?P<at>{TIME}))?",
            "The hand-over of version {v} is taken back, and version {c} stays: {error}.",
        ),
    ),
    Event.VERSION_WANTED: (
        Wording(
            r"a new version is asked for: (?P<detail>.*); .*", "A new version is needed, and no trainer is configured."
        ),
    ),
    Event.PROBATION_ENDED: (
        Wording(
            r"version (?P<v>\d+) is worse than its reference: (?P<detail>.*); version (?P<old>\d+) cannot be handed "
            r"over, because there is no artefact of it.*",
            "Version {v} became worse on probation, and version {old} before it has no artefact to go back to.",
        ),
    ),
    Event.VERSION_REGISTERED: (
        Wording(r"version (?P<v>\d+) is registered: (?P<detail>.*)", "Version {v} is in the registry of models."),
    ),
    Event.ALIAS_SET: (
        Wording(
            r"the alias names version (?P<v>\d+): (?P<detail>.*)",
            "The alias in the registry of models names version {v}.",
        ),
    ),
    Event.ALIAS_MOVED: (
        Wording(
            r"somebody moved the alias: (?P<detail>.*), and driftd had it name version (?P<v>\d+); (?P<then>.*)",
            "The alias in the registry of models no longer names version {v}: somebody moved it.",
            "What follows: {then}.",
        ),
    ),
    Event.REGISTRY_FAILED: (
        Wording(
            rf"(?P<failed>[^:]*): (?P<error>.*); it is tried again from (?P<at>{TIME}) on, with growing pauses",
            "In the registry of models, {failed}: {error}.",
            "It is tried again from {at} on; promotions wait until it answers. Check the registry.",
        ),
        Wording(
            r"version (?P<v>\d+) cannot be registered, which is not tried again: (?P<error>.*)",
            "Version {v} cannot be registered in the registry of models: {error}.",
            "It is not tried again; the version serves as any other.",
        ),
    ),
}
