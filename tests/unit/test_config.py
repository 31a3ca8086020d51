"""Reading config.yaml: every fault told exactly, nothing but ConfigError raised, what is good read as it is meant."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from driftd.config import document
from driftd.config.load import LONGEST, ConfigError, load, parse
from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config
from driftd.config.types import seconds, spell_duration
from driftd_detectors.schema import Kind

ROOT = Path(__file__).resolve().parents[2]
BAD = sorted((Path(__file__).parent / "bad_configs").glob("*.yaml"))
LEAST = "models:\n  demand: {task: regression, target: y}\n"


def model(keys: str = "") -> ModelConfig:
    """The model of a config with some keys more."""
    return parse(f"models:\n  demand: {{task: regression, target: y, {keys}}}\n".encode()).models["demand"]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_fault_is_told_with_its_line_its_key_and_what_is_allowed(path: Path) -> None:
    """A config with one fault is refused with exactly the report that lies beside it."""
    with pytest.raises(ConfigError) as refused:
        parse(path.read_bytes(), path.name)
    assert f"{refused.value}\n" == path.with_suffix(".txt").read_text("utf-8")


def test_every_bad_config_has_its_report_and_every_report_its_config() -> None:
    """The folder of bad configs holds pairs."""
    folder = Path(__file__).parent / "bad_configs"
    assert {path.stem for path in folder.glob("*.txt")} == {path.stem for path in BAD}
    assert len(BAD) > 50


def test_faults_are_told_in_the_order_of_the_file() -> None:
    """The lines of a report with many faults never go back."""
    with pytest.raises(ConfigError) as refused:
        parse((Path(__file__).parent / "bad_configs" / "many_at_once.yaml").read_bytes())
    lines = [int(line.split(":")[1]) for line in str(refused.value).splitlines()]
    assert len(lines) == 7
    assert lines == sorted(lines)


def test_the_shipped_config_is_good() -> None:
    """The commented config at the top of the repository is valid, and so is all that its comments offer."""
    path = ROOT / "config.yaml"
    assert load(path).models["demand"].features == {
        "region": Kind.CATEGORY,
        "price": Kind.NUMBER,
        "weekend": Kind.BOOLEAN,
    }
    text = path.read_text("utf-8").replace("# override:", "override:").replace("# notify:", "notify:")
    text = text.replace("#   ", "  ")
    uncommented = "\n".join(
        line for line in text.splitlines() if "docs/configuration" not in line and "driftd " not in line
    )
    config = parse(uncommented.encode())
    assert set(config.notify) == {"team-chat", "pager"}
    override = config.override
    assert override.pin == {"demand": 3}
    assert override.expires == datetime(2026, 12, 1, tzinfo=UTC)


def test_the_shape_of_the_design_is_read() -> None:
    """The contract's own example, with its key `on`, is valid and means what it says."""
    config = model(
        'retrain: {on: [performance, schedule], schedule: "0 3 * * sun", cooldown: 6h, budget: {builds: 4, per: 1d}, '
        "data: auto}, promote: {approval: auto, margin: 0.0, confidence: 0.95, min_labels: 300}, "
        "probation: {span: 24h, min_labels: 300}, window: {rows: 500}"
    )
    assert config.retrain.on == ("performance", "schedule")
    assert config.retrain.cooldown == 6 * 3600
    assert config.retrain.data.use == "auto"
    assert config.probation.span == 86_400
    assert config.window.rows == 500
    assert config.window.every is None


def test_values_are_read_as_yaml_1_2_means_them() -> None:
    """`no` is text, `1e-3` a number, quoted numbers are text: what trainers get is what was written."""
    read = model(
        "parameters: {a: no, b: 1e-3, c: '5', d: 0x10, e: 12:30, f: .inf, g: null, h: [true, 2.0], i: 2020-01-01}"
    )
    expected = {"a": "no", "b": 0.001, "c": "5", "d": 16, "e": "12:30", "f": math.inf, "g": None, "h": [True, 2.0]}
    assert read.parameters == expected | {"i": "2020-01-01"}


def test_keys_may_be_shared_by_anchors_and_merged() -> None:
    """`<<` takes the keys of another mapping over, the mapping's own keys win, and faults are told where they stand."""
    base = "models:\n  a: &base\n    task: regression\n    target: y\n    window: {rows: 500}\n"
    text = base + "  b:\n    <<: *base\n    target: z\n"
    config = parse(text.encode())
    assert config.models["b"].target == "z"
    assert config.models["b"].window == config.models["a"].window
    with pytest.raises(
        ConfigError, match=r"^config.yaml:9: models.b.windw: there is no such key; did you mean 'window'"
    ):
        parse((text + "    windw: 1\n").encode())


def test_aliases_cannot_grow_without_end() -> None:
    """A few lines of aliases of aliases are refused in a moment instead of filling the memory."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(ConfigError, match="a config holds at most"):
        parse(bomb.encode())


@pytest.mark.parametrize("text", ["[" * 1500, "a: " + "[" * 200 + "]" * 200, "- " * 3000 + "x"])
def test_bottomless_nesting_is_refused(text: str) -> None:
    """Nesting beyond any config is a fault like others."""
    with pytest.raises(ConfigError):
        parse(text.encode())


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """An absent file, a folder and a file far too long are refused with their name and why."""
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot be read: No such file.*driftd init"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "long.yaml").write_bytes(b"#" * (LONGEST + 1))
    with pytest.raises(ConfigError, match="a config has at most"):
        load(tmp_path / "long.yaml")


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    """Two files differ in their hash when a comment does, and the hash is no key of the file."""
    path = tmp_path / "config.yaml"
    path.write_text(LEAST)
    first = load(path)
    path.write_text(LEAST + "# looked at\n")
    second = load(path)
    assert first.hash != second.hash
    assert len(first.hash) == 12
    assert first.models == second.models
    assert "hash" not in first.model_dump()


def test_a_model_survives_the_way_into_a_job() -> None:
    """The JSON form of a model's section, which child processes get, reads back as the same section."""
    config = model(
        "trainer: {command: [make, model]}, source: {kind: files, path: /logs}, window: {every: 15m}, "
        "detect: {data: {weights: {a: 2}}}, retrain: {data: {use: recent, rows: 5000}}"
    )
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", 90.0), ("15m", 900.0), ("6h", 21_600.0), ("1.5 d", 129_600.0), ("2w", 1_209_600.0), (5, 5.0)],
)
def test_spans_are_read(text: str | int, span: float) -> None:
    """A span is a number and a unit, or seconds."""
    assert seconds(text) == span


@given(st.integers(1, 10**9))
def test_a_span_reads_back_as_it_is_spelled(span: int) -> None:
    """`spelled` and `seconds` are inverse to each other."""
    assert seconds(spell_duration(float(span))) == span


def test_costs_are_a_metric_that_their_name_holds() -> None:
    """Costs in another order are the same metric, other costs another; numbers and booleans name classes too."""
    path = {"task": "classification", "target": "y"}
    names = []
    for costs in ({"1": {0: 5}, "0": {True: 1}}, {0: {1: 1.0}, 1: {"0": 5}}, {0: {1: 2}, 1: {0: 5}}):
        model = ModelConfig.model_validate({**path, "detect": {"performance": {"metric": {"costs": costs}}}})
        names.append(model.detect.performance.metric_name)
    assert names[0] == names[1] == 'cost{"0":{"1":1.0},"1":{"0":5.0}}'
    assert names[2] != names[0]
    dumped = ModelConfig.model_validate(model.model_dump(mode="json"))
    assert dumped.detect.performance.metric_name == names[2]


def test_the_documentation_is_that_of_the_types() -> None:
    """docs/configuration.md is what `python -m driftd.config.document` prints."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == document.document()


def test_every_key_says_what_it_is_for() -> None:
    """No field of the config is without a description."""
    silent = [
        f"{path}.{name}"
        for path, section in document.sections()
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert not silent


def test_reading_a_config_loads_nothing_heavy() -> None:
    """The config room leaves pandas, SciPy, scikit-learn and Evidently alone."""
    code = (
        "import sys; from driftd.config.load import parse; parse(sys.argv[1].encode()); "
        "print(*{'pandas', 'scipy', 'sklearn', 'evidently', 'pyarrow'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, LEAST], capture_output=True, text=True, check=True, env=environment()
    )
    assert run.stdout.strip() == ""


def environment() -> dict[str, str]:
    """Where child processes find our packages."""
    return {"PYTHONPATH": f"{ROOT / 'daemon'}:{ROOT / 'detectors'}", "PATH": "/usr/bin:/bin"}


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
    st.sampled_from(
        ["auto", "1h", "files", "store", "performance", "demand", "regression", "0 3 * * sun", "~", "1e400"]
    ),
)
KEYS = st.one_of(
    st.sampled_from(
        sorted(
            {name for _, section in document.sections() for name in section.model_fields}
            | {"demand", "a", "y", "<<", "on"}
        )
    ),
    SCALARS,
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)


def good_tree(key: str, value: object) -> dict[str, object]:
    """A good config with one key of its model replaced."""
    return {"models": {"demand": {"task": "regression", "target": "y", key: value}}}


@settings(max_examples=150, deadline=None)
@given(st.one_of(TREES, st.builds(good_tree, st.sampled_from(sorted(ModelConfig.model_fields)), TREES)))
def test_no_tree_of_values_raises_anything_but_config_error(tree: object) -> None:
    """Whatever YAML says, the answer is a Config or a ConfigError whose every line names the file and a line."""
    only_config_error(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60), st.text(alphabet="-:[]{}&*!|>%@`'\"#,?<~ \n\tab01.é", max_size=60).map(str.encode)
    )
)
def test_no_bytes_raise_anything_but_config_error(content: bytes) -> None:
    """Whatever bytes a file holds, the answer is a Config or a ConfigError."""
    only_config_error(content)


def only_config_error(content: bytes) -> None:
    """Parse; a refusal names the file and a line in each of its lines."""
    try:
        config = parse(content, "c.yaml")
    except ConfigError as refused:
        report = str(refused)
    else:
        assert isinstance(config, Config)
        return
    assert all(re.match(r"c\.yaml:[1-9]\d*: .", line) for line in report.split("\n")), report
