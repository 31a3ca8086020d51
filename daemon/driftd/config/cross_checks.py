"""Checks keys against each other. Works on the plain data, so that a fault is told beside every other fault."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from driftd.config.trainer_schema import OUTSIDE_WAYS
from driftd.config.types import is_reached, read_holidays
from driftd.config.yaml_reader import KeyPath, Plain
from driftd_detectors.schema import METRICS, Task

Contradiction = tuple[KeyPath, str]
_BY_MODEL = ("pin", "silence", "retrain", "approve", "reject")


def contradictions(data: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """The key paths that contradict another, with what is wrong. Passes over whatever has not the expected type."""
    models = _mapping(data.get("models"))
    yield from _same_address(data)
    yield from _open_addresses(data)
    yield from _override(_mapping(data.get("override")), models)
    yield from _receivers(_mapping(data.get("notify")), models)
    yield from _same_alias(models)
    for name, model in models.items():
        for path, sentence in _model(_mapping(model)):
            yield ("models", name, *path), sentence


def choices(word: str, allowed: Sequence[str], name: str = "allowed") -> str:
    """`; did you mean 'every'? Allowed: every, lateness, rows`."""
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    listed = f"{name}: {', '.join(allowed) or 'none'}"
    return f"; did you mean {near[0]!r}? {listed.capitalize()[0]}{listed[1:]}" if near else f"; {listed}"


def _same_address(data: Mapping[str, Plain]) -> Iterator[Contradiction]:
    listen = _mapping(data.get("serve")).get("listen")
    own = _mapping(data.get("http")).get("listen", "127.0.0.1:9464")
    if isinstance(listen, str) and listen == own and not listen.endswith(":0"):
        yield ("serve", "listen"), f"{listen} is the daemon's own address (http.listen); choose another port"


def _same_alias(models: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """An alias names one version: two models that move it would take turns."""
    owners: dict[tuple[Plain, ...], str] = {}
    for name, model in models.items():
        place = _mapping(_mapping(_mapping(model).get("registry")).get("mlflow"))
        where = (place.get("tracking_uri"), place.get("name"), place.get("alias", "champion"))
        if isinstance(place.get("name"), str) and all(isinstance(part, str | None) for part in where):
            owner = owners.setdefault(where, name)
            if owner != name:
                path: KeyPath = ("models", name, "registry", "mlflow", "name")
                yield path, f"{owner} moves the alias {where[1]}@{where[2]} already: give each model a name of its own"


def _open_addresses(data: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """An address that others reach needs tokens, or the operator's word that something else guards it."""
    for section in ("http", "serve"):
        given = _mapping(data.get(section))
        listen = given.get("listen")
        guarded = given.get("token_file") or given.get("allow_anonymous") is True
        if isinstance(listen, str) and not guarded and is_reached(listen):
            ways = "set token_file, or allow_anonymous: true where a proxy guards it"
            yield (section, "listen"), f"{listen} is reached from other hosts: {ways}"
        if given.get("protect") == "all" and not given.get("token_file"):
            yield (section, "protect"), "all needs tokens: set token_file (docs/security.md), or leave protect out"


def _override(override: Mapping[str, Plain], models: Mapping[str, Plain]) -> Iterator[Contradiction]:
    set_keys = [key for key in ("pause", *_BY_MODEL) if override.get(key)]
    if set_keys and not override.get("reason"):
        yield ("override",), f'an override needs a reason when {set_keys[0]} is set: reason: "INC-123 ..."'
    for key in (*_BY_MODEL, "models"):
        for name in _mapping(override.get(key)):
            if name not in models:
                yield ("override", key, name), f"there is no such model{choices(name, list(models), 'models')}"
    for name, version in _mapping(override.get("approve")).items():
        if _mapping(override.get("reject")).get(name) == version:
            yield ("override", "reject", name), f"version {version} is approved in the same override; keep one of them"
    yield from _check_silences(_mapping(override.get("silence")), models)
    for name, own in _mapping(override.get("models")).items():
        known = [str(feature) for feature in _mapping(_mapping(models.get(name)).get("features"))]
        for index, feature in enumerate(_list(_mapping(own).get("silence")) if known else ()):
            if feature not in known:
                text = f"{feature!r} is not one of the features{choices(str(feature), known, 'features')}"
                yield ("override", "models", name, "silence", index), text


def _check_silences(silence: Mapping[str, Plain], models: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """Features are known here only where the config names them; the daemon says it of those that it learned."""
    for name, silent in silence.items():
        known = [str(feature) for feature in _mapping(_mapping(models.get(name)).get("features"))]
        for feature in _mapping(silent) if known else ():
            if feature not in known:
                text = f"{feature!r} is not one of the features{choices(str(feature), known, 'features')}"
                yield ("override", "silence", name, feature), text


def _receivers(receivers: Mapping[str, Plain], models: Mapping[str, Plain]) -> Iterator[Contradiction]:
    for name, receiver in receivers.items():
        for index, model in enumerate(_list(_mapping(receiver).get("models"))):
            if isinstance(model, str) and model not in models:
                path: KeyPath = ("notify", name, "models", index)
                yield path, f"there is no model {model!r}{choices(model, list(models), 'models')}"


def _model(model: Mapping[str, Plain]) -> Iterator[Contradiction]:
    features = model.get("features")
    if isinstance(features, Mapping):
        if model.get("target") in features:
            yield ("features", str(model["target"])), "the target cannot be a feature of itself"
        yield from _check_named_features(_mapping(model.get("detect")), [str(name) for name in features])
    if model.get("classes") and model.get("task") == Task.REGRESSION:
        yield ("classes",), "a regression has no classes: leave them out, or say task: classification"
    metric = _mapping(_mapping(model.get("detect")).get("performance")).get("metric")
    yield from _metric(model.get("task"), metric, [str(name) for name in _list(model.get("classes"))])
    yield from _schedule(_mapping(model.get("retrain")))
    yield from _check_serving(model)
    yield from _check_engine(model)
    yield from _check_in_place(model)
    yield from _check_outside(model)
    yield from _check_profiles(model)
    yield from _holidays(_mapping(_mapping(model.get("detect")).get("calendar")).get("holidays"))


def _check_named_features(detect: Mapping[str, Plain], features: list[str]) -> Iterator[Contradiction]:
    data = _mapping(detect.get("data"))
    for key, names in (
        (("data", "ignore"), _list(data.get("ignore"))),
        (("segments",), _list(detect.get("segments"))),
        (("data", "weights"), list(_mapping(data.get("weights")))),
        (("data", "stattests"), list(_mapping(data.get("stattests")))),
        *(
            (("detectors", number, "columns"), _list(_mapping(detector).get("columns")))
            for number, detector in enumerate(_list(detect.get("detectors")))
        ),
    ):
        for index, name in enumerate(names):
            if isinstance(name, str) and name not in features:
                step = name if key[-1] in {"weights", "stattests"} else index
                path: KeyPath = ("detect", *key, step)
                yield path, f"{name!r} is not one of the features{choices(name, features, 'features')}"


def _metric(task: Plain, metric: Plain, classes: Sequence[str]) -> Iterator[Contradiction]:
    allowed = METRICS[Task(task)] if isinstance(task, str) and task in set(Task) else None
    path: KeyPath = ("detect", "performance", "metric")
    if allowed is not None and isinstance(metric, str) and metric not in ("auto", *allowed) and ":" not in metric:
        listed = choices(metric, ("auto", *allowed))
        yield path, f"{metric!r} is no metric of a {task}{listed}; or your own: package.module:function"
    costs = _mapping(_mapping(metric).get("costs"))
    if costs and task == Task.REGRESSION and set(costs) != {"over", "under"}:
        yield (*path, "costs"), "the costs of numbers are two: over (of a unit too much) and under (of one too little)"
    if costs and task == Task.CLASSIFICATION:
        yield from _class_costs((*path, "costs"), costs, classes)


def _class_costs(path: KeyPath, costs: Mapping[str, Plain], classes: Sequence[str]) -> Iterator[Contradiction]:
    if not any(isinstance(row, Mapping) and row for row in costs.values()):
        yield path, "the costs of classes stand by label, then by prediction: {bad: {good: 5}, good: {bad: 1}}"
    for label, row in costs.items():
        for name in (label, *_mapping(row)):
            if classes and name not in classes:
                yield (*path, label), f"{name!r} is not one of the classes{choices(str(name), classes, 'classes')}"


def _holidays(path: object) -> Iterator[Contradiction]:
    if isinstance(path, str) and path:
        try:
            read_holidays(path)
        except (OSError, ValueError) as error:
            yield ("detect", "calendar", "holidays"), f"the calendar cannot be read: {error}"


def _schedule(retrain: Mapping[str, Plain]) -> Iterator[Contradiction]:
    triggers, schedule = retrain.get("on"), retrain.get("schedule")
    if isinstance(triggers, list) and "schedule" in triggers and schedule is None:
        yield ("retrain", "on", triggers.index("schedule")), 'the trigger needs its times: schedule: "0 3 * * sun"'


def _check_serving(model: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """What belongs to a model that is served elsewhere alone, and what does not."""
    places = _mapping(model.get("registry"))
    registry = _mapping(places.get("mlflow"))
    if model.get("serving") == "external":
        for place in ("mlflow", "plugin"):
            if _mapping(places.get(place)).get("moved") != "follow":
                continue
            path: KeyPath = ("registry", place, "moved")
            yield path, "an alias is followed only by a model that driftd serves itself: say tell or restore"
        if registry and _mapping(model.get("deploy")).get("mlflow"):
            yield (
                ("registry", "mlflow"),
                "deploy.mlflow registers and moves an alias already: keep one of the two",
            )
        return
    if "trainer" in model and model["trainer"] is None:
        yield ("trainer",), "a model that driftd serves needs a trainer: name one, or say serving: external"
    if model.get("deploy"):
        yield ("deploy",), "a version is handed over only to another system: say serving: external, or leave it out"


def _check_profiles(model: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """What a source of counts cannot give: rows, for builds, for windows of rows and for the user's detectors."""
    if _mapping(model.get("source")).get("kind") != "profiles":
        return
    if model.get("serving") != "external":
        yield ("source", "kind"), "profiles are of a model that another system serves: say serving: external"
    elif "trainer" not in model or model["trainer"] is not None:
        yield ("trainer",), "no version can be built of counts: say trainer: null, and a new version is asked for"
    if "rows" in _mapping(model.get("window")):
        yield ("window", "rows"), "counts are of spans of time: set window: {every: ...}"
    if _mapping(model.get("detect")).get("detectors"):
        yield ("detect", "detectors"), "detectors of your own read rows, and profiles have none: leave them out"


def _mapping(value: Plain) -> Mapping[str, Plain]:
    return value if isinstance(value, Mapping) else {}


def _check_engine(model: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """An engine numbers no rows, so only time cuts windows there."""
    kind = _mapping(model.get("source")).get("kind")
    if kind not in {None, "store", "files", "profiles"} and _mapping(model.get("window")).get("rows") is not None:
        yield ("window", "rows"), f"a source of kind {kind} numbers no rows: cut windows by time (every: 1h)"


def _check_in_place(model: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """What rows that stay in the source ask for: a program that trains there, and one way of training."""
    retrain = _mapping(model.get("retrain"))
    data = _mapping(retrain.get("data"))
    if data.get("keep") != "in_place":
        return
    key = ("retrain", "data", "keep")
    if not isinstance(model.get("trainer"), Mapping):
        yield key, "in_place needs a trainer that is a program: trainer: {command: [...]}"
    if _mapping(model.get("source")).get("kind") in {None, "store"}:
        yield key, "in_place needs a source that others can read, such as files, sql, spark; the store is driftd's own"
    if data.get("use") not in {None, "auto", "all"}:
        yield ("retrain", "data", "use"), "rows in place are one portion: leave `use` out, and bound them by `span`"
    refresh = retrain.get("refresh")
    if refresh not in ("off", False) and _mapping(refresh).get("enabled") is not False:
        yield key, "in_place needs refresh: off: a refresh trains several times on rows that are copied"


def _check_outside(model: Mapping[str, Plain]) -> Iterator[Contradiction]:
    """What a builder outside cannot do: train several times for one refresh, and show its code to a webhook."""
    trainer = _mapping(model.get("trainer"))
    if not any(way in trainer for way in OUTSIDE_WAYS):
        return
    retrain = _mapping(model.get("retrain"))
    refresh = retrain.get("refresh")
    if refresh not in ("off", False) and _mapping(refresh).get("enabled") is not False:
        path: KeyPath = ("retrain", "refresh")
        yield path, "a builder outside needs refresh: off: a refresh trains several times, in one job of driftd's own"
    if "code_changed" in _list(retrain.get("on")) and trainer.get("start") is None:
        unseen = "driftd does not see the code of a builder that a webhook starts"
        yield ("retrain", "on"), f"{unseen}: leave code_changed out, or start it by a program (trainer.start)"


def _list(value: Plain) -> Sequence[Plain]:
    return value if isinstance(value, list) else []
