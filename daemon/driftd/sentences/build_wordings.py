"""What is said of builds, of the comparison with the champion, and of reviews."""

from __future__ import annotations

from driftd.events import Event
from driftd.sentences.record_form import BETTER, SURE_ROWS, TIME, WORSE, Wording

BUILD_WORDINGS: dict[Event, tuple[Wording, ...]] = {
    Event.BUILD_WANTED: (
        Wording(
            r"(?P<detail>alarm (?P<n>\d+) still stands: .*)", "A new version is requested, because alarm {n} stands."
        ),
        Wording(r"the override asks for a build: (?P<why>.*)", "A new version is requested by the override.{why}"),
        Wording(
            r"(?P<who>.+?) asks for a build from snapshot (?P<rows>\w+): (?P<why>.*)",
            "A new version from the rows of snapshot {rows} is requested by {who}.{why}",
        ),
        Wording(r"(?P<who>.+?) asks for a build: (?P<why>.*)", "A new version is requested by {who}.{why}"),
        Wording(
            rf"(?P<who>.+?) submits a version that was trained until (?P<until>{TIME})(?:: (?P<why>.*))?",
            "A version that was trained until {until} is handed in by {who}.{why}",
            "It is compared with the champion on later rows before it may serve; nothing to do.",
        ),
        Wording(
            r"(?P<detail>(?P<count>\d+) labels came since the last build .*)",
            "A new version is requested, because {count} new labels came.",
        ),
        Wording(
            r"(?P<detail>the (?P<name>.+?) changed since the last build .*)",
            "A new version is requested, because the {name} changed since the last build.",
        ),
        Wording(r"(?P<detail>.*)", "A new version is requested.{why}"),
    ),
    Event.BUILD_STARTED: (
        Wording(
            r"building version (?P<v>\d+) because of (?P<cause>.+?): (?P<detail>.*); warning: the pipeline may be "
            r"broken \((?P<fault>.*)\), rows of such windows are left out.*",
            "Version {v} is being built, because {cause}. The pipeline may be broken ({fault}): rows of such windows "
            "are left out.",
        ),
        Wording(
            r"building version (?P<v>\d+) because of (?P<cause>.+?): (?P<detail>.*); build (?P<b>\d+) (?:waited|only)"
            r".*, and ends",
            "Version {v} is being built, because {cause}. It comes instead of build {b}, which ends.",
        ),
        Wording(
            r"building version (?P<v>\d+) because of (?P<cause>.+?): (?P<detail>.*)",
            "Version {v} is being built, because {cause}.",
        ),
    ),
    Event.BUILD_FAILED: (
        Wording(
            r"build (?P<v>\d+) failed at (?P<step>\w+): (?P<error>.*); the champion still serves; (?P<after>.*?)",
            "The build of version {v} failed at {step}: {error}.",
            "The champion serves on; {after}. Read the error, and mend what it names.",
        ),
    ),
    Event.BUILD_RETRIED: (
        Wording(
            r"(?P<who>.+?) retries build (?P<b>\d+) as build (?P<v>\d+) from (?P<stage>[a-z ]+?)(?:: (?P<why>.*?))?"
            r"(?:; build \d+ only collected rows, and ends)?",
            "Build {b} is begun again by {who}, as version {v}, from the stage {stage}.{why}",
            "It goes on from that stage; nothing to do.",
        ),
        Wording(
            r"(?P<who>.+?) retries build (?P<v>\d+) from (?P<stage>[a-z ]+?)(?:: (?P<why>.*?))?"
            r"(?:; build \d+ only collected rows, and ends)?",
            "Build {v} is begun again by {who} from the stage {stage}.{why}",
            "It goes on from that stage; nothing to do.",
        ),
    ),
    Event.TESTS_FAILED: (
        Wording(
            r"version (?P<v>\d+) is refused by its tests: (?P<error>.*); the champion still serves",
            "Version {v} does not serve, because it failed its tests: {error}.",
        ),
    ),
    Event.GATE_INCONCLUSIVE: (
        Wording(
            r"not yet clear whether version (?P<v>\d+) is better: (?P<detail>.*); the champion stays while rows are "
            r"collected",
            "Version {v} is neither surely better nor surely worse than the champion so far.",
        ),
    ),
    Event.JUDGED_AGAIN: (
        Wording(
            r"(?P<detail>.*?version (?P<v>\d+) .*; judging again)",
            "Version {v} is compared again: another version serves than the one that it was compared with.",
        ),
    ),
    Event.CHALLENGER_REJECTED: (
        Wording(
            rf"version (?P<v>\d+) is refused: {WORSE}",
            "Version {v} does not serve: it is worse than the champion.",
            sure=SURE_ROWS,
        ),
        Wording(
            r"version (?P<v>\d+) is refused: (?P<detail>.*)",
            "Version {v} does not serve: it did not pass the comparison with the champion.",
        ),
        Wording(
            r"version (?P<v>\d+) is rejected by (?P<who>.+?)(?:: (?P<why>.*))?",
            "Version {v} is rejected by {who}.{why}",
        ),
    ),
    Event.CHAMPION_KEPT: (
        Wording(
            r"version (?P<c>\d+) serves on, and not the refreshed (?P<v>\d+): (?P<detail>.*)",
            "Version {c} serves on: on rows that neither had seen, the refreshed version {v} is no better choice.",
        ),
        Wording(
            r"version (?P<v>\d+) is put aside: version (?P<c>\d+) serves since it was (?:begun|tested)",
            "Version {v} is put aside: version {c} came to serve while it was being built.",
        ),
    ),
    Event.REFIT_REFUSED: (
        Wording(
            r"version (?P<v>\d+) is refused: (?P<detail>.*)",
            "The refreshed version {v} does not serve: it is broken, or worse for a segment.",
        ),
    ),
    Event.CHALLENGER_INCONCLUSIVE: (
        Wording(
            r"version (?P<v>\d+) never became clearly better within (?P<long>.+?): (?P<detail>.*)",
            "Version {v} is put aside: within {long} it did not become clearly better than the champion.",
        ),
    ),
    Event.APPROVAL_WANTED: (
        Wording(
            rf"version (?P<v>\d+) won its gate \({BETTER}\) and waits for a person: (?P<waits>.*)",
            "Version {v} is better than the champion, and waits for approval ({waits}).",
            sure=SURE_ROWS,
        ),
        Wording(
            r"version (?P<v>\d+) won its gate \((?P<detail>.*)\) and waits for a person: (?P<waits>.*)",
            "Version {v} passed the comparison with the champion, and waits for approval ({waits}).",
        ),
        Wording(
            r"version (?P<v>\d+) serves rather than the refreshed (?P<r>\d+) \((?P<detail>.*)\) and waits for a "
            r"person: (?P<waits>.*)",
            "Version {v} is better than the refreshed version {r}, and waits for approval ({waits}).",
        ),
        Wording(
            r"version (?P<v>\d+) is refreshed \((?P<detail>.*)\) and waits for a person: (?P<waits>.*)",
            "Version {v} is built from the newest rows, and waits for approval ({waits}).",
        ),
        Wording(
            r"version (?P<v>\d+) waits no longer for the alias: (?P<waits>.*)",
            "Version {v} waits for approval again: {waits}.",
        ),
    ),
    Event.APPROVED: (
        Wording(
            r"version (?P<v>\d+) is approved by (?P<who>.+?)(?:: (?P<why>.*))? \((?P<given>\d+ of \d+)\): .*",
            "Version {v} is approved by {who} ({given} approvals).{why}",
        ),
    ),
    Event.REVIEW_EXPIRED: (
        Wording(
            r"version (?P<v>\d+) is put aside: its review was not answered within (?P<long>.+?) \(approved by "
            r"(?P<who>.*)\)",
            "Version {v} is put aside: within {long} only {who} approved it.",
        ),
        Wording(
            r"version (?P<v>\d+) is put aside: its review was not answered within (?P<long>.+?)",
            "Version {v} is put aside: nobody approved or rejected it within {long}.",
        ),
    ),
}
