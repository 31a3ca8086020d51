"""What a plug-in of each kind is: the protocols, and the records that pass. One page each in docs/plug-ins/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import ArrayLike

Options = Mapping[str, object]  # of the config, as they stand there


@dataclass(frozen=True, slots=True)
class RowExtent:
    """How far the rows of a source reach, in epoch seconds; None where there is nothing, or where nobody knows."""

    first_at: float | None
    newest_at: float | None
    newest_label_at: float | None = None


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows are wanted: predictions with `start <= at < end` (epoch seconds), all columns that are named.

    With `known_by` each row comes with the newest label that was known by then; without it no label is needed.
    """

    columns: tuple[
        str, ...
    ]  # `prediction_id`, `at`, `prediction`, `score`, `version` and features, as they are asked for
    start: float
    end: float
    known_by: float | None = None


class SourcePlugin(Protocol):
    """Where predictions and labels are read from. Made by `factory(options)`, in a child process."""

    def extent(self) -> RowExtent:
        """How far the rows reach; cheap: it is asked often."""
        ...

    def rows(self, query: RowQuery) -> Iterable[pa.RecordBatch | pa.Table]:
        """The rows, in batches of bounded memory.

        Columns: those of the query and `at` (epoch seconds, or timestamps of Arrow); with `known_by` also `label` and
        `label_at`, null where no label was known. Other columns may be there. A prediction comes once.
        """
        ...

    def close(self) -> None:
        """Give connections back; the next call opens them again."""
        ...


class MetricPlugin(Protocol):
    """A loss of each row, lower is better; NaN for a row that counts for nothing."""

    def __call__(self, label: ArrayLike, prediction: ArrayLike, score: ArrayLike) -> ArrayLike:
        """Labels and predictions are class names or numbers, scores are floats (NaN where there is none)."""
        ...


class DetectorPlugin(Protocol):
    """How far some rows are from the reference: a finite number, larger is farther."""

    def __call__(self, current: pd.DataFrame, reference: pd.DataFrame) -> float:
        """`parameters` of the config come as further arguments by name. The frames are not to be changed."""
        ...


class ReceiverPlugin(Protocol):
    """Who is told of decisions. Called as `receiver(message, options)`, in a process of its own for each message."""

    def __call__(self, message: Mapping[str, object], options: Options) -> None:
        """Take a message (docs/notifications.md); raise where it was not taken: it comes again, perhaps twice."""
        ...


class DeployerPlugin(Protocol):
    """How another version is handed over to the system that serves. Called as `deployer(order, options)`."""

    def __call__(self, order: Mapping[str, object], options: Options) -> str | None:
        """Do what `order["action"]` says (docs/external.md); raise where it was not done: it comes again.

        What it returns is told in the history, in a clause.
        """
        ...


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """A version of a model, as a registry of others gets it."""

    model: str
    version: int
    identity: str  # by which the same version is known again
    artefact: Path  # in a folder with `manifest.json`, `reference.bin` and the other files of the version
    manifest: Mapping[str, object]


class RegistryPlugin(Protocol):
    """A registry of others, with an alias that names the version that serves. Made by `factory(options)`.

    Every method raises where it cannot be done; it comes again. What is done twice is done once.
    """

    def register(self, version: VersionFiles) -> str:
        """The number or name of the version there; that of before, where its identity is there already."""
        ...

    def identity(self, number: str) -> str | None:
        """The identity of the version there that has this number; None where there is none."""
        ...

    def alias(self) -> str | None:
        """The number that the alias names; None where it names none."""
        ...

    def move(self, number: str) -> None:
        """Have the alias name this one."""
        ...


PLUGIN_KINDS: Sequence[str] = ("source", "metric", "detector", "receiver", "registry", "deployer")
