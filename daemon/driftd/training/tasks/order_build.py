"""The `order` task: writes the rows of a build for a builder outside, and starts it there.

A task that was killed runs again: the rows are the same, and so is the order, word by word, with its idempotency key. A
builder that has used its token by then was started, and is not started again.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from driftd.config.trainer_schema import watched_part
from driftd.fsutil import sha256_of
from driftd.outside.exchange import (
    CONTEXT,
    ROWS,
    Answer,
    Exchange,
    Order,
    OrderedBy,
    make_token,
    token_hash,
)
from driftd.outside.start import Way, start_build
from driftd.outside.storage import StoragePlace, copy_files
from driftd.paths import Places
from driftd.training.call_trainer import TrainerSpec, context_fields, context_of, write_rows
from driftd.training.job_context import JobContext
from driftd.training.snapshots import read_snapshot
from driftd.training.tasks import train
from driftd.training.tasks.train import DataSplit, part, portion_of, source_rows
from driftd.training.trainer_code import build_settings
from driftd.training.trainer_files import TrainerReader
from driftd.training.training_rows import fixed_portion, rows_of


class Arguments(train.Arguments, frozen=True, kw_only=True):
    """A build to order: the arguments of `train`, how the builder is started, and where it finds what it needs."""

    folder: str  # of the exchange
    build: str  # its id
    way: Way
    deadline: float  # seconds from the first try on
    largest: int
    url: str  # of the daemon
    storage: StoragePlace | None = None


def run(arguments: Arguments) -> dict[str, object]:
    """Write the rows and start the build. Raises OutsideError, StorageError, and what reading the snapshot raises."""
    exchange = Exchange(Path(arguments.folder))
    if (answer := exchange.answer) is not None:
        return {"sentence": answer.sentence}
    exchange.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    context = JobContext.of(arguments)
    is_again = exchange.order is not None
    order = exchange.order or _new_order(arguments, context)
    message = _write_rows(exchange, context, arguments, order)
    exchange.write(order)
    if exchange.was_contacted:
        answer = Answer(sentence=f"{arguments.way.place} has begun it before")
    else:
        token = make_token(context.places, order.id, order.issued_at)
        answer = start_build(arguments.way, {**message, "token": token}, is_again=is_again)
    exchange.write(answer)
    print(answer.sentence, flush=True)  # noqa: T201 - the log
    return {"sentence": answer.sentence}


def _new_order(arguments: Arguments, context: JobContext) -> Order:
    issued_at = time.time()
    token = make_token(Places(Path(arguments.state_dir)), arguments.build, issued_at)
    return Order(
        id=arguments.build,
        model=arguments.model,
        version=arguments.version,
        token_hash=token_hash(token),
        issued_at=issued_at,
        deadline=issued_at + arguments.deadline,
        largest=arguments.largest,
        by=_ordered_by(context),
    )


def _ordered_by(context: JobContext) -> OrderedBy:
    """What the build goes by: the program that starts it is the code that can be looked at here."""
    config = context.config
    assert config.trainer is not None  # it builds outside
    watched = watched_part(config.trainer)
    found = TrainerReader(watched).read()
    settings = build_settings(config)
    return OrderedBy(parameters=dict(config.parameters), settings=settings, source=found.source, lock=found.lock)


def _write_rows(exchange: Exchange, context: JobContext, arguments: Arguments, order: Order) -> dict[str, object]:
    """Write what the builder trains on, and return what it is told, but for the token."""
    snapshot = read_snapshot(context.places, context.model, arguments.snapshot)
    parted = part(
        rows_of(snapshot.rows, snapshot.schema),
        arguments.until,
        arguments.change_at,
        context.config.promote.min_labels,
    )
    recipe = context.recipe(arguments.seed, outside=arguments.way.place)
    if context.config.retrain.data.keep == "in_place":
        rows = source_rows(context, snapshot.schema, parted, arguments.until, snapshot.digest)
        recipe = replace(recipe, in_place=rows)
    count = _write_training_rows(exchange.folder, context, parted, recipe, arguments.change_at)
    place = str(exchange.folder)
    if arguments.storage is not None:
        files = (exchange.folder / ROWS, exchange.folder / CONTEXT)
        place = copy_files(arguments.storage, files, order.model, f"build-{order.id}")
    return {
        "model": order.model,
        "build": order.version,
        "id": order.id,
        "key": f"{order.id}-{snapshot.digest[:12]}",
        "trigger": arguments.trigger,
        "reason": arguments.reason,
        "seed": arguments.seed,
        "parameters": dict(recipe.parameters if order.by is None else order.by.parameters),
        "deadline": datetime.fromtimestamp(order.deadline, UTC).isoformat(),
        "url": f"{arguments.url}/api/v1/builds/{order.id}",
        "snapshot": {
            "uri": f"{place}/{ROWS}",
            "context_uri": f"{place}/{CONTEXT}",
            "sha256": sha256_of(exchange.folder / ROWS),
            "digest": snapshot.digest,
            "format": "parquet",
            "rows": count,
        },
        "in_place": None if recipe.in_place is None else msgspec.to_builtins(recipe.in_place),
    }


def _write_training_rows(
    folder: Path, context: JobContext, parted: DataSplit, recipe: TrainerSpec, change_at: float | None
) -> int:
    """Write the rows that are trained on, and the context; returns how many rows there are."""
    data = context.config.retrain.data
    use = "all" if data.use == "auto" or data.keep == "in_place" else data.use
    portion = fixed_portion(use, parted.training.at, change_at, rows=data.rows, span=data.span)
    drawn = recipe.draw(*portion_of(parted.training, parted.weight, portion))
    described = context_of(recipe, drawn.rows, drawn.weight)
    if not (folder / ROWS).is_file():
        temporary = folder / f".{ROWS}"
        write_rows(temporary, drawn.rows, described)
        temporary.replace(folder / ROWS)
        (folder / CONTEXT).write_text(json.dumps(context_fields(described), indent=2))
    return len(drawn.rows)
