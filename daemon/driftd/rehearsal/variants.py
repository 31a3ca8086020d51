"""Several configs from one: `--vary key=a,b,c`, each value checked as the config is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from driftd.config.deploy_schema import Deploy
from driftd.config.included import Included, included_files, join_models
from driftd.config.load import load, parse
from driftd.config.registry_schema import RegistryConfig
from driftd.config.schema import Config
from driftd.config.source_schema import StoreSourceConfig
from driftd.config.yaml_reader import Plain, read
from driftd.errors import ExitCode
from driftd.rehearsal.child_process import RehearsalError

MOST_CONFIGS = 12
AS_IT_IS = "as it is"
OF_THE_FIRST = ("task", "target", "classes", "features", "source", "serving")  # all configs begin with one version
_OPENING, _CLOSING = "[{", "]}"


class VariationError(RehearsalError):
    """A `--vary` that cannot be followed; the message says what is allowed."""

    exit_code: ClassVar[int] = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Variation:
    """A key of the model's section, and the values that it is to have, as they were written."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Variation:
        """`key=a,b,c`; commas within brackets part nothing. Raises VariationError."""
        key, equals, rest = text.partition("=")
        values = tuple(value.strip() for value in _split(rest))
        if not equals or not key.strip() or not all(values):
            raise VariationError(
                f"--vary {text!r} is not KEY=VALUE,VALUE, such as detect.false_alarms_per_year=0.5,1,4"
            )
        return cls(key.strip(), tuple(dict.fromkeys(values)))


@dataclass(frozen=True, slots=True)
class Variant:
    """One config of a rehearsal, and what in it differs from the file."""

    name: str
    changes: Mapping[str, str]
    config: Config  # of one model


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def variants_of(path: Path, model: str, variations: Sequence[Variation]) -> list[Variant]:
    """The config as it is, and every combination of the values that differs from it.

    Raises VariationError where there are too many or a key cannot be set, ConfigError where a value is not allowed.
    """
    keys = [variation.key for variation in variations]
    if len(set(keys)) < len(keys):
        raise VariationError(
            f"--vary names a key twice: {', '.join(sorted(key for key in keys if keys.count(key) > 1))}"
        )
    found = [Variant(AS_IT_IS, {}, load(path))]
    count = 1
    for variation in variations:
        count *= len(variation.values)
    if count + 1 > MOST_CONFIGS:
        raise VariationError(
            f"--vary asks for {count} configs besides the one that is; at most {MOST_CONFIGS} are rehearsed at once: "
            "vary fewer keys, or fewer values of each"
        )
    for values in itertools.product(*(variation.values for variation in variations)) if variations else ():
        changes = dict(zip(keys, values, strict=True))
        name = ", ".join(f"{key}={value}" for key, value in changes.items())
        config = changed_config(path, model, changes)
        if all(config.models[model] != known.config.models[model] for known in found):
            found.append(Variant(name, changes, config))
    return found


def changed_config(path: Path, model: str, changes: Mapping[str, str]) -> Config:
    """The config of a file with some keys of one model set to other values. Raises VariationError, ConfigError."""
    content = path.read_bytes()
    included = [Included(file, file.read_bytes()) for file in included_files(path, content)]
    data = join_models(read(content), str(path), included).document.data
    assert data is not None  # the config was loaded before
    whole: dict[str, Plain] = {key: value for key, value in data.items() if key != "models_from"}
    models = whole["models"]
    assert isinstance(models, Mapping)
    section = json.loads(json.dumps(models[model]))
    for key, value in changes.items():
        _set(section, key.removeprefix(f"models.{model}."), _value(key, value))
    whole["models"] = {**models, model: section}
    said = " ".join(f"--vary {key}={value}" for key, value in changes.items())
    return parse(json.dumps(whole).encode(), f"{path} with {said}")


def _value(key: str, text: str) -> Plain:
    """A value as YAML has it."""
    document = read(f"value: {text}".encode())
    if document.data is None or document.problems:
        raise VariationError(f"--vary {key}: {text!r} is no value that a config can hold")
    return document.data["value"]


def _set(section: dict[str, Plain], key: str, value: Plain) -> None:
    *above, last = key.split(".")
    if key.split(".", maxsplit=1)[0] in OF_THE_FIRST:
        fixed = ", ".join(OF_THE_FIRST)
        raise VariationError(f"--vary {key}: all configs begin with the same version; {fixed} cannot be varied")
    for depth, name in enumerate(above):
        below = section.setdefault(name, {})
        if not isinstance(below, dict):
            where = ".".join(above[: depth + 1])
            raise VariationError(f"--vary {key}: {where} is {below!r} in the config: nothing below it can be set")
        section = below
    section[last] = value


def isolate_config(config: Config, model: str, state: Path) -> tuple[Config, tuple[str, ...]]:
    """A config that touches nothing outside of a state folder, and what it leaves out, in a sentence each.

    Rows come from the folder's own store; nobody is told, nothing is handed over or registered, and a person who would
    be asked says yes.
    """
    settings, said = config.models[model], []
    changes: dict[str, object] = {"source": StoreSourceConfig(), "deploy": Deploy(), "registry": RegistryConfig()}
    if settings.promote.approval == "manual":
        changes["promote"] = settings.promote.model_copy(update={"approval": "auto"})
        said.append("promote.approval is manual: the rehearsal takes it that a person says yes at once")
    if settings.retrain.data.keep == "in_place":
        data = settings.retrain.data.model_copy(update={"keep": "copy"})
        changes["retrain"] = settings.retrain.model_copy(update={"data": data})
        said.append("retrain.data.keep is in_place: in the rehearsal the rows are copied")
    if settings.registry.mlflow is not None:
        said.append("no version is registered with MLflow")
    if settings.deploy.way is not None:
        said.append("nothing is handed over: the other system takes each version up at once")
    alone = Config(
        state_dir=state,
        limits=config.limits,
        retention=config.retention,
        models={model: settings.model_copy(update=changes)},
    )
    return alone.with_hash(config.hash), tuple(said)
