"""The folder in which a build outside is ordered and comes back: the order, the rows, the artefact, the outcome.

Whoever settles the outcome first wins: the artefact that came, the failure, the deadline, or that the build was put
aside. From then on the token of the order opens nothing any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from driftd.errors import DriftdError
from driftd.fsutil import write_durably
from driftd.paths import Places

ORDER, ANSWER, OUTCOME, CONTEXT, ROWS = "order.json", "answer.json", "outcome.json", "context.json", "rows.parquet"
CONTACT = "contact"  # is there once the builder has used its token
ENDINGS = (".skops", ".onnx", ".joblib", ".pkl")
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}-[0-9]{1,18}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")  # of git, whole or its first digits
MOST_SUBMISSIONS = 20  # of one model
MOST_WORDS = 4000  # characters of a builder's log that are kept

Record = TypeVar("Record", bound=msgspec.Struct)


class ExchangeError(DriftdError):
    """What came back is not taken; the message says why and what to do."""


class TooLargeError(ExchangeError):
    """An artefact has more bytes than `trainer.largest` allows."""


class SettledError(ExchangeError):
    """The build has an outcome already."""


class OrderedBy(msgspec.Struct, frozen=True, kw_only=True):
    """What a build goes by, as it was when it was ordered: the config may be another one when it comes back."""

    parameters: dict[str, Any]
    settings: dict[str, Any]  # of training, in the config
    source: str  # SHA-256 of what of the trainer can be looked at here
    lock: str | None = None  # of its lock file


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A build that was ordered outside. Times are epoch seconds."""

    id: str
    model: str
    version: int
    token_hash: str  # SHA-256, hexadecimal
    issued_at: float
    deadline: float
    largest: int  # bytes of the artefact
    by: OrderedBy | None = None  # none of an order of an earlier driftd


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """That the builder was started, and where it is asked how it goes."""

    sentence: str
    status_url: str | None = None
    cancel_url: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a build outside ended."""

    state: Literal["received", "failed", "late", "closed"]
    sentence: str
    file: str | None = None  # of the folder, where an artefact was received
    sha256: str | None = None
    commit: str | None = None  # of the sources that it was made of, as its builder says


@dataclass(frozen=True, slots=True)
class Exchange:
    """The folder of one build outside."""

    folder: Path

    @classmethod
    def of(cls, places: Places, build: str) -> Exchange | None:
        """The folder of a build by its id (`MODEL-NUMBER`); None where there is none."""
        if _ID.fullmatch(build) is None:
            return None
        found = cls(exchange_folder(places.job(f"{build}-train")))
        return found if (found.folder / ORDER).is_file() else None

    @property
    def order(self) -> Order | None:
        """The order; None before it was written."""
        return _read(self.folder / ORDER, Order)

    @property
    def answer(self) -> Answer | None:
        """What the start gave; None before it was known."""
        return _read(self.folder / ANSWER, Answer)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not."""
        return _read(self.folder / OUTCOME, Outcome)

    @property
    def was_contacted(self) -> bool:
        """Whether the builder has used its token: then it was started."""
        return (self.folder / CONTACT).exists()

    def write(self, record: Order | Answer) -> None:
        """Keep the order or the answer, durably and for this user alone."""
        name = ORDER if isinstance(record, Order) else ANSWER
        write_durably(self.folder / name, msgspec.json.encode(record))
        (self.folder / name).chmod(0o600)

    def settle(self, outcome: Outcome) -> bool:
        """Make this the outcome; whether it is, because there was none before."""
        temporary = self.folder / f".{OUTCOME}-{secrets.token_hex(8)}"
        write_durably(temporary, msgspec.json.encode(outcome))
        try:
            os.link(temporary, self.folder / OUTCOME)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def opens(self, token: str) -> bool:
        """Whether a token is that of the order."""
        order = self.order
        return order is not None and hmac.compare_digest(order.token_hash, token_hash(token))

    def note_contact(self) -> None:
        """Remember that the builder has used its token."""
        (self.folder / CONTACT).touch()

    def drop_content(self) -> None:
        """Remove the rows and the artefact, which may be large; what was ordered and how it ended stays."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.suffix != ".json" and path.name != CONTACT:
                with contextlib.suppress(OSError):
                    path.unlink()


def exchange_folder(job: Path) -> Path:
    """The folder of the exchange of a job of training."""
    return job / "outside"


def submission_folder(places: Places, model: str, submission: str) -> Path:
    """The folder of a version that somebody submitted, by the key of the submission."""
    return places.root / "submitted" / model / submission


def open_submission(places: Places, model: str, submission: str, in_use: Container[str]) -> Exchange:
    """The folder into which a submitted version goes; of a model's earlier ones the newest and those `in_use` stay."""
    folder = submission_folder(places, model, submission)
    if folder.parent.is_dir():
        done = (path for path in folder.parent.iterdir() if path.name not in in_use)
        by_age = sorted(done, key=lambda path: path.stat().st_mtime)
        for old in by_age[: -MOST_SUBMISSIONS + 1]:
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Exchange(folder)


def submission_key(who: str, key: str) -> str:
    """The key of a submission that names an idempotency key of its own; without one it is like no other."""
    return hashlib.sha256(f"{who}\0{key}".encode()).hexdigest()[:32] if key else secrets.token_hex(16)


def token_hash(token: str) -> str:
    """The SHA-256 of a token, as it is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def make_token(places: Places, build: str, issued_at: float) -> str:
    """The token of a build: the same whenever it is asked for, and made from a key that only this user reads.

    So an order that may not have been heard is sent again word by word, and no token is stored.
    """
    path = places.root / "outside.key"
    if not path.exists():
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # of several at once one stays
        temporary.unlink()
    return hmac.new(path.read_bytes(), f"{build} {issued_at!r}".encode(), "sha256").hexdigest()


class ArtefactWriter:
    """Takes an artefact in, piece by piece, to the disk: at most so many bytes, and only with the hash promised."""

    def __init__(self, exchange: Exchange, name: str, sha256: str, largest: int, *, commit: str | None = None) -> None:
        """Raises ExchangeError for a name, a hash or a commit that is none."""
        if _FILE.fullmatch(name) is None or Path(name).suffix.lower() not in ENDINGS:
            raise ExchangeError(f"an artefact is a file {', '.join(ENDINGS)}: model.skops, not {name[:80]!r}")
        if _SHA256.fullmatch(sha256) is None:
            raise ExchangeError("its SHA-256 is missing: 64 hexadecimal digits, small letters")
        if commit and _COMMIT.fullmatch(commit) is None:
            raise ExchangeError(f"a commit is 7 to 64 hexadecimal digits, small letters, not {commit[:80]!r}")
        self._exchange, self._name, self._sha256, self._largest = exchange, name, sha256, largest
        self._commit = commit or None
        self._path = exchange.folder / f".incoming-{secrets.token_hex(8)}"
        self._digest, self._size = hashlib.sha256(), 0

    def __enter__(self) -> Self:
        self._file = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, piece: bytes) -> None:
        """Write a piece. Raises TooLargeError, OSError."""
        self._size += len(piece)
        if self._size > self._largest:
            raise TooLargeError(f"the artefact has more than {self._largest:,} bytes (trainer.largest)")
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> Outcome:
        """The artefact is whole: it becomes the outcome. Raises ExchangeError where it is not what was promised."""
        if self._size == 0:
            raise ExchangeError("the artefact is empty")
        if self._digest.hexdigest() != self._sha256:
            raise ExchangeError(
                f"what came has the SHA-256 {self._digest.hexdigest()}, and not {self._sha256}: send it again"
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        if Path(self._name).suffix.lower() == ".skops" and not _is_skops(self._path):
            raise ExchangeError(f"{self._name} is no file of skops: write it with skops.io.dump(model, file)")
        kept = f"artefact-{secrets.token_hex(4)}{Path(self._name).suffix.lower()}"
        self._path.rename(self._exchange.folder / kept)
        sentence = f"{self._name} of {self._size:,} bytes came back"
        outcome = Outcome(state="received", sentence=sentence, file=kept, sha256=self._sha256, commit=self._commit)
        if not self._exchange.settle(outcome):
            (self._exchange.folder / kept).unlink(missing_ok=True)
            raise SettledError(describe_settled(self._exchange))
        return outcome


def _is_skops(path: Path) -> bool:
    """Whether a file is what skops writes, as far as that is told without reading the model."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "schema.json" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def describe_settled(exchange: Exchange) -> str:
    """Why nothing more is taken for a build."""
    outcome = exchange.outcome
    return "the build has ended" if outcome is None else f"nothing more is taken for this build: {outcome.sentence}"


def shorten_log(text: str) -> str:
    """The end of a builder's log."""
    return text.strip()[-MOST_WORDS:]


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
