"""Reading `state.db`: what the CLI, the status page and the metrics ask. Never writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

import msgspec

from driftd.errors import DriftdError, ExitCode
from driftd.events import Event, Stage
from driftd.records import ModelState, Verdict, Window
from driftd.store.chain import all_chained_versions, broken_entries, chained_versions, has_entry, head, newest_content
from driftd.store.descriptors import open_lasting, open_to_read
from driftd.store.schema_versions import KINDS, DatabaseError, pending_steps
from driftd.store.state.label_draws import LabelDraw, read_draw, read_draw_times, read_drawn, read_requested
from driftd.store.state.records import (
    StoredAction,
    StoredAlarm,
    StoredCheck,
    StoredConfig,
    StoredRequest,
    StoredRestore,
    StoredScore,
    StoredTransition,
)
from driftd.store.state.stages import StageRun, count_stages, stages_of
from driftd_detectors.performance.requested_labels import DrawnLabels, RequestedLabels


class StateAbsentError(DriftdError):
    """There is no state database yet: `driftd run` makes it at its first start."""

    exit_code: ClassVar[int] = ExitCode.ABSENT


class StateReader:
    """The questions that may be asked of a state database. Every listing is newest first."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._db = connection

    @classmethod
    def read_only(cls, path: Path, *, lasts: bool = False) -> StateReader:
        """Open an existing database for reading only: for a short look, unless it `lasts` beside who writes.

        Raises StateAbsentError when there is none, DatabaseError when it has not the schema of this program: a newer
        one could be misread, an older one lacks what is asked.
        """
        if not path.exists():
            raise StateAbsentError(f"no state database at {path}: start `driftd run` first")
        missing = pending_steps(path, "state")
        if missing == KINDS["state"].names:
            raise StateAbsentError(f"the state database {path} is just being made: ask again in a moment")
        if missing:
            raise DatabaseError(
                f"{path} was last used by an older driftd (it lacks the step {missing[0]}): the daemon migrates it "
                "when it starts, after a backup. Restart it, or ask again in a moment if it is just starting"
            )
        return StateReader(open_lasting(path) if lasts else open_to_read(path, timeout=5))

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @property
    def folder(self) -> Path:
        """Where the database lies: the state directory."""
        return Path(self._db.execute("pragma database_list").fetchone()["file"]).parent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def models(self) -> list[ModelState]:
        """The state of every model that was ever watched, by name."""
        rows = self._db.execute("select state from models order by model")
        return [msgspec.json.decode(row["state"], type=ModelState) for row in rows]

    def model(self, model: str) -> ModelState | None:
        """The state of one model, None when the daemon has never watched it."""
        row = self._db.execute("select state from models where model = ?", (model,)).fetchone()
        return msgspec.json.decode(row["state"], type=ModelState) if row else None

    def history(self, model: str | None = None, limit: int = 50) -> list[StoredTransition]:
        """The latest transitions of one model or of all."""
        everywhere = "select * from transitions order by id desc limit ?"
        of_model = "select * from transitions where model = ? order by id desc limit ?"
        return [StoredTransition.from_row(row) for row in self._latest(everywhere, of_model, model, limit)]

    def decisions_of(self, model: str) -> list[StoredTransition]:
        """All transitions of a model, oldest first; they are few, and stay."""
        query = "select * from transitions where model = ? order by id"
        return [StoredTransition.from_row(row) for row in self._db.execute(query, (model,))]

    def count_decisions(self) -> int:
        """How many transitions there are."""
        return int(self._db.execute("select count(*) from transitions").fetchone()[0])

    def chained_content(self, model: str, version: int) -> str | None:
        """What the chain says that the lineage of a version is; None where it has no entry."""
        return newest_content(self._db, model, version)

    def chained_versions(self, model: str) -> frozenset[int]:
        """The versions of a model that the chain has an entry of."""
        return chained_versions(self._db, model)

    def recorded_versions(self, model: str) -> frozenset[int]:
        """The versions of a model that `versions` tells of."""
        rows = self._db.execute("select version from versions where model = ?", (model,))
        return frozenset(int(version) for (version,) in rows)

    def chained_contents(self, model: str) -> list[tuple[int, str]]:
        """Each version of a model that the chain knows, and what its lineage was when it was bound last."""
        return all_chained_versions(self._db, model)

    def chain_faults(self) -> list[str]:
        """What does not fit in the chain of decisions and versions, in a sentence each."""
        return list(broken_entries(self._db))

    def chain_head(self) -> str:
        """The hash of the newest entry of the chain."""
        return head(self._db)

    def is_chained(self, anchor: str) -> bool:
        """Whether the chain has an entry with this hash."""
        return has_entry(self._db, anchor)

    def begun_at(self, model: str) -> float | None:
        """When the first decision on a model was made; None before it."""
        row = self._db.execute("select at from transitions where model = ? order by id limit 1", (model,)).fetchone()
        return None if row is None else float(row["at"])

    def transition(self, transition: int) -> StoredTransition | None:
        """One transition by its id."""
        row = self._db.execute("select * from transitions where id = ?", (transition,)).fetchone()
        return StoredTransition.from_row(row) if row else None

    def decided_after(self, transition: int, limit: int) -> list[StoredTransition]:
        """The transitions after one, oldest first."""
        query = "select * from transitions where id > ? order by id limit ?"
        return [StoredTransition.from_row(row) for row in self._db.execute(query, (transition, limit))]

    def told_until(self, receiver: str) -> int | None:
        """The last transition that a receiver of notifications was told of, None for one that is not known."""
        row = self._db.execute("select told_until from receivers where receiver = ?", (receiver,)).fetchone()
        return int(row["told_until"]) if row else None

    def alarms(self, model: str | None = None, limit: int = 50) -> list[StoredAlarm]:
        """The latest alarms of one model or of all."""
        everywhere = "select * from alarms order by id desc limit ?"
        of_model = "select * from alarms where model = ? order by id desc limit ?"
        return [StoredAlarm.from_row(row) for row in self._latest(everywhere, of_model, model, limit)]

    def decision_of_alarm(self, alarm: int) -> StoredTransition | None:
        """The line of history that told of an alarm."""
        query = """select * from transitions where model = (select model from alarms where id = ?)
                   and event = ? and json_extract(figures, '$.alarm') = ? order by id limit 1"""
        row = self._db.execute(query, (alarm, Event.ALARM, alarm)).fetchone()
        return StoredTransition.from_row(row) if row else None

    def alarm(self, alarm: int) -> StoredAlarm | None:
        """One alarm by its id."""
        row = self._db.execute("select * from alarms where id = ?", (alarm,)).fetchone()
        return StoredAlarm.from_row(row) if row else None

    def standing_alarms(self, model: str, version: int | None) -> list[StoredAlarm]:
        """The alarms raised against a version that were not absorbed, not cleared and not ended by a swap."""
        query = """select * from alarms where model = ? and version is ? and absorbed_at is null and cleared_at is null
                   order by id desc"""
        return [StoredAlarm.from_row(row) for row in self._db.execute(query, (model, version))]

    def profiles_since(self, model: str, version: int, since: float, limit: int) -> list[bytes]:
        """The newest Profiles of a version's windows that start at `since` (epoch seconds, or a row) or later."""
        query = """select profile from profiles where model = ? and version = ? and window_start >= ?
                   order by window_index desc limit ?"""
        return [row["profile"] for row in self._db.execute(query, (model, version, since, limit))]

    def faulty_spans(self, model: str, since: float, known_by: float) -> list[tuple[float, float]]:
        """The times `start <= at < end` of the windows with a fault of the pipeline, oldest first.

        Those that end after `since`, as far as their checks were made by `known_by` (all epoch seconds).
        """
        query = """select start_at, end_at from faulty_windows
                   where model = ? and end_at > ? and at <= ? order by start_at"""
        rows = self._db.execute(query, (model, since, known_by))
        return [(row["start_at"], row["end_at"]) for row in rows]

    def is_faulty(self, model: str, window_index: int) -> bool:
        """Whether a window had a fault of the pipeline beyond doubt."""
        query = "select 1 from faulty_windows where model = ? and window_index = ?"
        return self._db.execute(query, (model, window_index)).fetchone() is not None

    def checks(self, model: str | None = None, limit: int = 50, kind: str | None = None) -> list[StoredCheck]:
        """The latest checks of one model or of all; `kind` is `window` or `labels`."""
        models = [model] if model is not None else [state.model for state in self.models()]
        kinds = [kind] if kind is not None else ["window", "labels"]
        found = [check for name in models for each in kinds for check in self.newest_checks(name, each, limit)]
        found.sort(key=lambda check: check.id, reverse=True)
        return found if limit < 0 else found[:limit]

    def checks_after(self, model: str, check: int) -> list[StoredCheck]:
        """The checks of a model that were made after one, oldest first."""
        rows = self._db.execute("select * from checks where model = ? and id > ? order by id", (model, check))
        return [StoredCheck.from_row(row) for row in rows]

    def last_check(self, model: str, kind: str, version: int | None) -> StoredCheck | None:
        """The last check of a kind that could look at a version's window, whatever came after it."""
        query = """select * from checks where model = ? and kind = ? and version is ? and verdict <> ?
                   order by window_index desc limit 1"""
        row = self._db.execute(query, (model, kind, version, Verdict.ERROR)).fetchone()
        return StoredCheck.from_row(row) if row else None

    def check(self, model: str, kind: str, window_index: int) -> StoredCheck | None:
        """What was said of one window."""
        query = "select * from checks where model = ? and kind = ? and window_index = ?"
        row = self._db.execute(query, (model, kind, window_index)).fetchone()
        return StoredCheck.from_row(row) if row else None

    def check_times(self, model: str) -> list[float]:
        """When each check of a model's windows was made (epoch seconds), as far as checks are kept."""
        query = "select at from checks where model = ? and kind = 'window'"
        return [row["at"] for row in self._db.execute(query, (model,))]

    def count_checks_after(self, model: str, at: float) -> tuple[int, int]:
        """How many checks of windows with rows were made after a time, and how many there are."""
        query = """select count(*) filter (where at > ?) as ahead, count(*) as total
                   from checks where model = ? and kind = 'window' and rows > 0"""
        row = self._db.execute(query, (at, model)).fetchone()
        return int(row["ahead"]), int(row["total"])

    def newest_checks(self, model: str, kind: str, limit: int) -> list[StoredCheck]:
        """The checks of the latest windows of one model: by its index, so as quick among many models as alone."""
        query = "select * from checks where model = ? and kind = ? order by window_index desc limit ?"
        return [StoredCheck.from_row(row) for row in self._db.execute(query, (model, kind, limit))]

    def scores(self, model: str, since_index: int = 0) -> list[StoredScore]:
        """The scores of a model's windows from an index on, oldest first."""
        query = """select window_index, kind, subject, component, scores.value, evidence from scores
                   where model = :model and window_index >= :since
                   union all
                   select window_index, kind, subject, component, score_codes.value, evidence
                   from score_codes cross join score_streams on score_streams.id = stream
                   where model = (select id from score_models where model = :model) and window_index >= :since
                   order by window_index"""
        return [StoredScore.from_row(row) for row in self._db.execute(query, {"model": model, "since": since_index})]

    def window_scores(self, model: str, index: int) -> list[StoredScore]:
        """The scores of one window."""
        query = """select window_index, kind, subject, component, scores.value, evidence from scores
                   where model = :model and window_index = :index
                   union all
                   select window_index, kind, subject, component, score_codes.value, evidence
                   from score_codes cross join score_streams on score_streams.id = stream
                   where model = (select id from score_models where model = :model) and window_index = :index"""
        return [StoredScore.from_row(row) for row in self._db.execute(query, {"model": model, "index": index})]

    def actions(self, model: str | None = None, limit: int = 50) -> list[StoredAction]:
        """The latest intended actions."""
        everywhere = "select * from actions order by id desc limit ?"
        of_model = "select * from actions where model = ? order by id desc limit ?"
        return [StoredAction.from_row(row) for row in self._latest(everywhere, of_model, model, limit)]

    def actions_of(self, transition: int) -> list[StoredAction]:
        """The actions that a transition intended."""
        query = "select * from actions where transition_id = ? order by id"
        return [StoredAction.from_row(row) for row in self._db.execute(query, (transition,))]

    def stages(self, model: str, version: int) -> list[StageRun]:
        """How the stages of a build ended, in that order."""
        return stages_of(self._db, model, version)

    def count_stages(self, model: str, version: int, stage: Stage) -> int:
        """How often a build came to a stage so far."""
        return count_stages(self._db, model, version, stage)

    def open_actions(self, model: str) -> list[StoredAction]:
        """The actions of a model that are intended or started, oldest first."""
        query = "select * from actions where model = ? and status in ('intended', 'started') order by id"
        return [StoredAction.from_row(row) for row in self._db.execute(query, (model,))]

    def requested_labels(self, model: str, window: Window) -> RequestedLabels | None:
        """The predictions of a window whose labels were asked for; of a window of rows, all of the model's."""
        return read_requested(self._db, model, (window.start, window.end) if window.by == "time" else None)

    def label_draw(self, model: str, drawn_at: float | None = None) -> LabelDraw | None:
        """The newest draw of predictions to label, or the newest by then, with what was drawn; None: there is none."""
        return read_draw(self._db, model, drawn_at)

    def drawn_labels(self, model: str, since: float) -> list[DrawnLabels]:
        """The draws with predictions from a time on."""
        return read_drawn(self._db, model, since)

    def label_draw_times(self, model: str, most: int = 100) -> list[float]:
        """When the newest draws were made, newest first."""
        return read_draw_times(self._db, model, most)

    def build_actions(self, model: str) -> list[StoredAction]:
        """The actions of a model that were to make a version, oldest first."""
        query = "select * from actions where model = ? and kind in ('train', 'refresh') order by id"
        return [StoredAction.from_row(row) for row in self._db.execute(query, (model,))]

    def request(self, request: int) -> StoredRequest | None:
        """One request by its id."""
        row = self._db.execute("select * from requests where id = ?", (request,)).fetchone()
        return StoredRequest.from_row(row) if row else None

    def waiting_requests(self) -> list[StoredRequest]:
        """What was asked and not answered yet, oldest first."""
        rows = self._db.execute("select * from requests where handled_at is null order by id")
        return [StoredRequest.from_row(row) for row in rows]

    def submissions_in_use(self, model: str) -> frozenset[str]:
        """The keys of versions that were handed in and wait for the loop, for rows or for the end of their build."""
        state = self.model(model)
        begun = () if state is None else (state.want, state.build)
        of_state = (build.submission for build in begun if build is not None)
        asked = (request.arguments.get("submission") for request in self.waiting_requests() if request.model == model)
        return frozenset(key for key in (*of_state, *asked) if isinstance(key, str))

    def count_waiting_requests(self) -> int:
        """How much was asked and not answered yet."""
        return int(self._db.execute("select count(*) from requests where handled_at is null").fetchone()[0])

    def newest_request(self) -> int:
        """The id of what was asked last; 0 before anything was."""
        return int(self._db.execute("select coalesce(max(id), 0) from requests").fetchone()[0])

    def configs(self, limit: int = 50) -> list[StoredConfig]:
        """The configs that were read, applied and refused."""
        rows = self._db.execute("select * from configs order by id desc limit ?", (limit,))
        return [StoredConfig.from_row(row) for row in rows]

    def applied_configs(self, limit: int) -> Iterator[StoredConfig]:
        """The configs that were applied, newest first; each is read when it is asked for: a fleet's are large."""
        query = "select * from configs where error is null order by id desc limit ?"
        return map(StoredConfig.from_row, self._db.execute(query, (limit,)))

    def config_in_force(self) -> StoredConfig | None:
        """The config that was applied last; None before a daemon ran."""
        row = self._db.execute("select * from configs where error is null order by id desc limit 1").fetchone()
        return StoredConfig.from_row(row) if row else None

    def config(self, digest: str) -> StoredConfig | None:
        """The config of a hash, as it was last applied."""
        query = "select * from configs where hash = ? and error is null order by id desc limit 1"
        row = self._db.execute(query, (digest,)).fetchone()
        return StoredConfig.from_row(row) if row else None

    def restore_waiting(self, model: str) -> StoredRestore | None:
        """The last restore of a model's state that was not yet compared with the disk."""
        query = "select * from restores where model = ? and reconciled_at is null order by id desc limit 1"
        row = self._db.execute(query, (model,)).fetchone()
        return StoredRestore.from_row(row) if row else None

    def cursor(self, model: str, kind: str) -> int | None:
        """The index of the next window to check (`window`) or cohort to evaluate (`labels`)."""
        query = "select next_index from cursors where model = ? and kind = ?"
        row = self._db.execute(query, (model, kind)).fetchone()
        return int(row["next_index"]) if row else None

    def monitor(self, model: str) -> tuple[int, dict[str, object], bytes] | None:
        """The stored evidence of a model: the version it belongs to, its settings, its bytes."""
        row = self._db.execute("select version, settings, monitor from monitors where model = ?", (model,)).fetchone()
        return (row["version"], json.loads(row["settings"]), row["monitor"]) if row else None

    def _latest(self, everywhere: str, of_model: str, model: str | None, limit: int) -> sqlite3.Cursor:
        """The rows of all models or of one: two statements, because one for both could use no index."""
        if model is None:
            return self._db.execute(everywhere, (limit,))
        return self._db.execute(of_model, (model, limit))


def read_cursor(path: Path, model: str) -> tuple[int | None, Mapping[str, object] | None]:
    """The index of the next window that the daemon at `path` checks, and the config in force; for who writes events.

    Raises StateAbsentError, and DatabaseError when it cannot be read just now.
    """
    try:
        with StateReader.read_only(path) as reader:
            config = reader.config_in_force()
            return reader.cursor(model, "window"), config.content if config is not None else None
    except sqlite3.Error as error:
        raise DatabaseError(f"{path} cannot be read: {error}") from error
