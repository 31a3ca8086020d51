"""What `driftd init` reads off a file, and the config that it writes of it."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.cli.adoption import external_lines, extra_lines, log_source, require_logged
from driftd.cli.build_summary import loop_sentences
from driftd.cli.column_remarks import written_numbers
from driftd.cli.init import TRIGGERS_ELSEWHERE, config_text, quote
from driftd.cli.init_defaults import Guess, guess_settings, possible_rows
from driftd.cli.labelled_file import read_file, read_rows
from driftd.config.load import parse
from driftd.config.yaml_reader import read
from driftd.sources.column_kinds import MOST_COLUMNS
from driftd.sources.dialects import Dialect
from driftd.training.bootstrap import FileColumns
from driftd_detectors.schema import Kind, Task

ROWS = 8_640
NOW = pd.Timestamp("2026-01-01").timestamp()


MILLISECONDS = 1_700_000_000_000 + np.arange(ROWS) * 600_000


def rows(**columns: object) -> pd.DataFrame:
    """Sixty days of rows, one every ten minutes."""
    rng = np.random.default_rng(5)
    frame = {"a": rng.normal(size=ROWS), "b": rng.choice(["north", "south"], ROWS), "y": rng.normal(size=ROWS)}
    return pd.DataFrame(frame | columns)


def stamps(every: str = "10min", count: int = ROWS) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=count, freq=every)


def guess(frame: pd.DataFrame, target: str = "y", **said: object) -> Guess:
    columns = FileColumns(**{key: said.pop(key) for key in ("id", "time", "label_time") if key in said})
    defaults = {"task": None, "columns": columns, "window": None, "name": "demand"}
    return guess_settings(frame, target, **(defaults | said))


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (np.arange(ROWS) % 2, Task.CLASSIFICATION),
        (np.arange(ROWS) % 2 == 0, Task.CLASSIFICATION),
        (np.where(np.arange(ROWS) % 3, "yes", "no"), Task.CLASSIFICATION),
        (np.arange(ROWS) / 7, Task.REGRESSION),
        (np.arange(ROWS) % 400, Task.REGRESSION),
        (np.arange(ROWS) % 5 / 2, Task.REGRESSION),
    ],
)
def test_the_task_follows_from_the_target(target: np.ndarray, task: Task) -> None:
    """Text, booleans and few whole numbers are classes; everything else is a number to predict."""
    assert guess(rows(y=target)).task is task


def test_what_is_said_wins_over_what_is_guessed() -> None:
    """The task, the times and the window may be said."""
    frame = rows(y=np.arange(ROWS) % 2, ts=stamps(), seen=stamps("1h"))
    said = guess(frame, task="regression", time="seen", window="6h")
    assert (said.task, said.columns.time, said.window) == (Task.REGRESSION, "seen", "{every: 6h}")
    assert "ts" in said.features


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ts", stamps()),
        ("Timestamp", stamps().astype(str)),
        ("time", stamps().as_unit("s").astype("int64")),
        ("booked", stamps().tz_localize("UTC")),
    ],
)
def test_the_time_is_found_by_its_name_or_as_the_only_dates(name: str, values: object) -> None:
    """Dates, text that reads as dates and epoch seconds are taken for the time of a row, and this is said."""
    found = guess(rows(**{name: values}))
    assert found.columns.time == name
    assert name not in found.features
    assert any(remark.startswith(f"{name} is taken for the time of a row") for remark in found.remarks)
    assert found.last_at == pytest.approx(stamps()[-1].timestamp())


def test_an_hour_of_the_day_is_no_time_of_a_row() -> None:
    """A column called `time` that holds small numbers stays a feature."""
    found = guess(rows(time=np.arange(ROWS) % 24))
    assert found.columns.time is None
    assert found.features["time"] is Kind.NUMBER


def test_of_several_dates_none_is_taken() -> None:
    """Where several columns hold dates and none has a usual name, the user is asked to say."""
    found = guess(rows(arrived=stamps(), left=stamps("11min")))
    assert found.columns.time is None
    assert any("say with --time" in remark for remark in found.remarks)


def test_columns_that_are_no_features_are_left_out_aloud() -> None:
    """meta_*, constant and row-naming columns and columns of lists are left out, each with its reason."""
    frame = rows(
        meta_x=1.5, same="x", number=np.arange(ROWS), tags=[["t"]] * ROWS, many=np.random.default_rng(1).random(ROWS)
    )
    found = guess(frame)
    assert set(found.features) == {"a", "b", "many"}
    reasons = {remark.split(" ")[0]: remark for remark in found.remarks if "left out" in remark}
    assert set(reasons) == {"meta_x", "same", "number", "tags"}


@pytest.mark.parametrize(
    ("every", "window"),
    [("10min", "{every: 1d}"), ("1min", "{every: 1h}"), ("2h", "{every: 1w}"), ("4s", "{every: 15m}")],
)
def test_the_window_leaves_enough_windows_with_enough_rows(every: str, window: str) -> None:
    """A day where the file holds 56 with 100 rows each, else the longest of which it holds 56, else the shortest."""
    assert guess(rows(ts=stamps(every))).window == window


def test_times_in_milliseconds_are_remarked() -> None:
    """A column of milliseconds is no feature and names no row: the remark says what to do, since times are lost."""
    found = guess(rows(when=MILLISECONDS))
    assert "when" not in found.features
    assert any("when" in remark and "divide by 1,000" in remark for remark in found.remarks)


@pytest.mark.parametrize(("every", "count", "window"), [("1h", 8_000, "{every: 1w}"), ("30min", 1_500, "{every: 1d}")])
def test_the_window_has_rows_to_judge(every: str, count: int, window: str) -> None:
    """Where windows that are many would have too few rows to say anything, longer ones are proposed."""
    found = guess(rows().head(count).assign(ts=stamps(every, count)))
    assert found.window == window
    assert not any("few rows" in remark for remark in found.remarks)


def test_windows_that_are_not_judged_are_remarked() -> None:
    """A file too small for windows with rows to judge gets a window, and a remark that says so."""
    assert any("few rows" in remark for remark in guess(rows().head(40).assign(ts=stamps("1h", 40))).remarks)


def test_rows_without_times_are_cut_by_count() -> None:
    """Without a time, windows are of so many rows that the file holds 56, and of at least 100."""
    assert guess(rows()).window == f"{{rows: {ROWS // 56}}}"
    assert guess(rows().head(1000)).window == "{rows: 100}"
    assert guess(rows(), window="500").window == "{rows: 500}"


@pytest.mark.parametrize(
    ("frame", "said", "output"),
    [
        (rows(), {"target": "z"}, "no column 'z' in the file; it has 'a', 'b', 'y'"),
        (rows(y=np.nan), {}, "the target y is empty in every row"),
        (rows(y="yes"), {}, "the target y is yes in every row"),
        (rows(), {"time": "b"}, "b does not hold times"),
        (rows(when=MILLISECONDS), {"time": "when"}, "when does not hold times.*in milliseconds: divide by 1,000"),
        (rows()[["y"]], {}, "no feature column is left"),
        (rows(), {"window": "hourly"}, "a span of time is a number and a unit"),
    ],
)
def test_what_cannot_be_is_told(frame: pd.DataFrame, said: dict[str, object], output: str) -> None:
    """A wrong column name, an empty target, a time that is none and a bad window end with a sentence."""
    with pytest.raises(click.ClickException, match=output):
        guess(frame, **said)


def test_the_config_says_what_was_guessed(tmp_path: Path) -> None:
    """The written config is valid and holds the guesses, whatever the columns are called."""
    frame = rows(**{"ts": stamps(), "no": 1.5 * np.arange(ROWS), "[odd]: 'name' #1": np.arange(ROWS) % 9})
    found = guess(frame)
    text = config_text(found, Path("my rows: #1.csv"), tmp_path / "a state # folder")
    config = parse(text.encode())
    model = config.models["demand"]
    assert model.features == dict(found.features)
    assert (model.task, model.target, model.window.every) == (Task.REGRESSION, "y", 86_400.0)
    assert config.state_dir == tmp_path / "a state # folder"


def test_a_model_that_is_served_elsewhere_is_not_refreshed() -> None:
    """Its config builds on performance alone, and `check-config` says of another one that nothing is refreshed."""
    found = guess(rows(ts=stamps()))
    lines = external_lines(None, "driftd.trainers:gradient_boosting")
    text = config_text(found, Path("log.csv"), Path("state"), lines, triggers=TRIGGERS_ELSEWHERE)
    model = parse(text.encode(), "log.csv").models["demand"]
    assert (model.retrain.on, model.retrain.refresh.enabled) == (("performance",), False)
    text = config_text(found, Path("log.csv"), Path("state"), lines)
    said = loop_sentences(parse(text.encode(), "log.csv").models["demand"])
    assert said[0] == "builds on performance; data drift alone informs"
    assert any(sentence.startswith("never refreshes: each refresh would be a hand-over") for sentence in said)


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc", "Cn", "Co"]), max_size=20))
def test_every_text_reads_back_as_it_was_quoted(text: str) -> None:
    """A column's name becomes a YAML scalar that reads back as the very same text, as a key and as a value."""
    document = read(f"{quote(text)}: {quote(text)}".encode())
    assert document.problems == []
    assert document.data == {text: text}


def test_a_file_that_is_no_table_is_told(tmp_path: Path) -> None:
    """A broken file, one that is absent or of an unknown format, and files without rows end with a sentence."""
    for name, content, output in (
        ("x.parquet", b"PAR1", "cannot be read just now: Parquet file size is 4 bytes"),
        ("x.csv", b"", "holds no rows"),
        ("y.csv", b"a,b\n", "holds no rows"),
        ("z.jsonl", b'[{"a": 1}]\n', "is one JSON array"),
        ("z.xlsx", b"PK\x03\x04", "a spreadsheet, which driftd does not read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(click.ClickException, match=output):
            read_rows(tmp_path / name)
    with pytest.raises(click.ClickException, match="does not exist"):
        read_rows(tmp_path / "absent.csv")


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.tsv", "rows.jsonl", "rows.parquet", "folder"])
def test_every_format_that_a_source_reads_is_read(tmp_path: Path, name: str) -> None:
    """Files of each format, compressed ones and folders give the same rows, and each column is said to be of a kind."""
    frame = pd.DataFrame({"ts": stamps(count=100), "x": np.arange(100) * 0.5, "c": ["a", "b"] * 50, "y": [0, 1] * 50})
    path = tmp_path / name
    if name == "folder":
        for place, part in enumerate((frame.head(40), frame.tail(60))):
            (folder := path / f"day={place}").mkdir(parents=True)
            part.to_csv(folder / "part.csv", index=False)
    elif name.endswith("parquet"):
        frame.to_parquet(path)
    elif name.endswith("jsonl"):
        frame.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        frame.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    found = read_rows(path)
    assert found["x"].tolist() == frame["x"].tolist()
    assert found["c"].tolist() == frame["c"].tolist()
    assert found["y"].tolist() == frame["y"].tolist()
    assert (found["ts"].dt.tz_localize(None) == frame["ts"]).all()
    output = guess(found)
    assert "taken for categories: c" in output.remarks
    assert "ts is taken for the time of a row" in output.remarks


def test_numbers_of_any_type_are_numbers() -> None:
    """A decimal target is a regression, decimal features are numbers, and distinct decimals name no row."""
    cents = [Decimal(number) / 100 for number in range(ROWS)]
    found = guess(rows(y=cents, amount=cents, price=[Decimal(number % 90) for number in range(ROWS)]))
    assert found.task is Task.REGRESSION
    assert {name: found.features[name] for name in ("amount", "price")} == {"amount": Kind.NUMBER, "price": Kind.NUMBER}


@pytest.mark.parametrize("as_text", [False, True])
def test_dates_are_timestamps(as_text: bool) -> None:
    """Dates as objects (date32) and as text are timestamp features beside a time of the row."""
    days = [day.isoformat() if as_text else day for day in stamps("1h").date]
    found = guess(rows(ts=stamps(), signup=days))
    assert (found.columns.time, found.features["signup"]) == ("ts", Kind.TIMESTAMP)
    alone = guess(rows(signup=days))
    assert alone.columns.time == "signup"


def test_no_classification_of_very_many_classes_is_guessed() -> None:
    """More than twenty different texts are no guess: the user is told what to say."""
    texts = [f"text {number % 21}" for number in range(ROWS)]
    with pytest.raises(click.ClickException, match="has 21 different texts, such as 'text 0': hardly classes"):
        guess(rows(y=texts))
    assert guess(rows(y=texts), task="classification").task is Task.CLASSIFICATION
    with pytest.raises(click.ClickException, match="holds no numbers"):
        guess(rows(y=texts), task="regression")
    with pytest.raises(click.ClickException, match="holds times"):
        guess(rows(y=stamps()))


def test_surprises_are_said() -> None:
    """Categories whose values never come back, codes with leading zeros and rows without a time are remarked."""
    weeks = [f"week {number // 1008}" for number in range(ROWS)]
    codes = [f"{number % 7:02d}" for number in range(ROWS)]
    times = pd.Series(stamps()).where(np.arange(ROWS) > 2)
    found = guess(rows(ts=times, week=weeks, code=codes))
    assert any(item.startswith("the values of week rarely come back: ") for item in found.remarks)
    assert not any(item.startswith("the values of b rarely") for item in found.remarks)
    assert "code is a category, not a number: its digits have leading zeros" in found.remarks
    assert "3 rows have no readable time in ts and are left out" in found.remarks


def test_times_with_the_short_name_of_a_zone_are_told() -> None:
    """They are no times, and the remark says why and what to write; the same where the column is named."""
    frame = rows(when=stamps().strftime("%Y-%m-%d %H:%M CET"))
    told = "zone abbreviations such as CET are not read, because they name no one zone; write the offset (+01:00), or"
    assert any(
        "when is left out of the features: it holds texts" in text and told in text for text in guess(frame).remarks
    )
    with pytest.raises(click.ClickException, match="zone abbreviations such as CET are not read"):
        guess(frame, time="when")


@pytest.mark.parametrize("time", ["booked", "ts", None])
def test_the_time_of_a_file_wins_over_that_of_its_folder(tmp_path: Path, time: str | None) -> None:
    """A date in a folder's name is the time of a row only where the file has none of its own, whatever its name."""
    frame = pd.DataFrame({"x": np.arange(100) * 0.5, "y": [0, 1] * 50})
    if time is not None:
        frame[time] = stamps(count=100)
    for day, part in (("2024-01-01", frame.head(40)), ("2024-01-02", frame.tail(60))):
        (folder := tmp_path / "rows" / f"date={day}").mkdir(parents=True)
        part.to_csv(folder / "part.csv", index=False)
    read = read_file(tmp_path / "rows")
    found, folders = read.rows, read.folders
    assert folders == ("date",)
    assert guess(found, folders=folders).columns.time == (time or "date")


def test_signs_among_numbers_are_told(tmp_path: Path) -> None:
    """A column that is a category for one sign alone is remarked; the null of Hive and MySQL is missing."""
    values = [str(number / 7) for number in range(100)]
    for sign in ("-", "\\N"):
        some = [sign if place % 5 == 0 else value for place, value in enumerate(values)]
        frame = pd.DataFrame({"ts": stamps(count=100), "x": some, "c": ["a", "b"] * 50, "y": [0, 1] * 50})
        frame.to_csv(tmp_path / "rows.csv", index=False)
        found = guess(read_rows(tmp_path / "rows.csv"))
        if sign == "-":
            assert "x is a category for 20 of its 100 values ('-')" in " ".join(found.remarks)
        else:
            assert found.features["x"] is Kind.NUMBER


def test_a_time_that_cannot_be_is_left_out() -> None:
    """A few rows of the year 2099 are left out aloud and do not stretch the windows; many are no times of rows."""
    frame = rows(ts=pd.Series(stamps()).where(np.arange(ROWS) != 5, pd.Timestamp("2099-01-01")))
    found = guess(frame, now=NOW)
    assert found.window == guess(rows(ts=stamps())).window
    assert found.last_at == stamps()[-1].timestamp()
    assert "1 rows are left out: an impossible time in ts (4070908800 " in " ".join(found.remarks)
    assert len(possible_rows(frame, found, NOW)) == ROWS - 1
    many = pd.Series(stamps()).where(np.arange(ROWS) % 60 > 0, pd.Timestamp("2099-01-01"))
    with pytest.raises(click.ClickException, match=r"ts does not hold times.* is more than a day ahead"):
        guess(rows(ts=many), time="ts", now=NOW)


def test_a_label_of_the_year_9999_is_not_known() -> None:
    """Where the time of a label says `not yet`, the label is missing; the column stays the time of labels."""
    at = pd.Series(stamps().astype("datetime64[us]"))
    frame = rows(ts=at, label_at=(at + pd.Timedelta("1D")).where(np.arange(ROWS) % 4 > 0, pd.Timestamp("9999-12-31")))
    found = guess(frame, now=NOW)
    assert found.columns.label_time == "label_at"
    assert found.last_at == (stamps()[-1] + pd.Timedelta("1D")).timestamp()
    assert f"{ROWS // 4:,} labels are left out: an impossible time in label_at (253402214400 " in " ".join(
        found.remarks
    )
    kept = possible_rows(frame, found, NOW)
    assert (len(kept), int(kept["y"].isna().sum())) == (ROWS, ROWS // 4)


def test_the_source_reads_dates_as_init_did(tmp_path: Path) -> None:
    """The order of dates that a log shows is in the source that `init` writes for it."""
    days = stamps("6h", 100).strftime("%d/%m/%Y %H:%M")
    log = pd.DataFrame({"at": days, "x": np.arange(100) % 7 / 2, "prediction": [0, 1] * 50, "label": [0, 1] * 50})
    log.to_csv(path := tmp_path / "log.csv", index=False, sep=";")
    read = read_file(path, dialect=Dialect(";"))
    found = guess_settings(
        read.rows, "label", task=None, columns=FileColumns(prediction="prediction"), window=None, name="m", now=NOW
    )
    source = json.loads(log_source(path, "auto", read.dialect, found, read.rows))
    assert source["dialect"] == {"separator": ";", "day_first": True}
    assert source["columns"] == {"at": "at", "prediction": "prediction", "label": "label"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["140,82", "1,5", "7"], "'140,82'"),
        (["14,082.00", "1,082.50"], "'14,082.00'"),
        (["1 082,50", "7 000"], "'1 082,50'"),
        (["12%", "7 %"], "'12%'"),
        (["€7", "$8.50"], "'€7'"),
        ([str(number) for number in range(100)], "'0'"),
        (["1", "2", "3"], None),
        (["01234", "56789"], None),
        (["10.0.0.1", "10.0.0.2"], None),
        (["2024-01-31", "2024-02-01"], None),
        (["north", "12"], None),
    ],
)
def test_numbers_as_people_write_them_are_told(texts: list[str], said: str | None) -> None:
    """A column of texts that look like numbers is remarked with an example; codes and addresses are not."""
    written = written_numbers(pd.Series(texts))
    assert written is None if said is None else f"texts such as {said}" in str(written)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_file_of_very_many_columns_is_refused(tmp_path: Path, suffix: str) -> None:
    """Before any value is looked at, with the limit."""
    wide = pd.DataFrame(np.zeros((2, MOST_COLUMNS + 1)), columns=[f"f{number}" for number in range(MOST_COLUMNS + 1)])
    path = tmp_path / f"wide{suffix}"
    {".csv": wide.to_csv, ".parquet": wide.to_parquet, ".jsonl": partial(wide.to_json, orient="records", lines=True)}[
        suffix
    ](path)
    with pytest.raises(click.ClickException, match=r"wide.* is not read: it has more than 5,000 columns"):
        read_rows(path)


def test_a_long_list_of_columns_is_cut() -> None:
    """An absent target is told with the first columns alone."""
    with pytest.raises(click.ClickException, match="'f11' and 88 more") as refused:
        guess(pd.DataFrame(np.zeros((2, 100)), columns=[f"f{number}" for number in range(100)]), "y")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(("per_second", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")])
def test_epoch_times_in_smaller_units_are_told(per_second: float, unit: str) -> None:
    """They are no times of rows and no features, and the remark says by what to divide."""
    numbers = ((1_700_000_000 + np.arange(ROWS) * 600) * per_second).astype("int64")
    found = guess(rows(when=numbers))
    assert "when" not in found.features
    assert f"looks like times in {unit}: divide by {per_second:,.0f}" in " ".join(found.remarks)


LOGGED = pd.DataFrame(
    {
        "price": np.arange(200) % 40 / 2,
        "prediction": np.where(np.arange(200) % 2, "yes", "no"),
        "label": np.where(np.arange(200) % 3, "yes", "no"),
        "score": 0.4,
        "version": 7,
    }
)


def logged_remarks(**columns: Any) -> list[str]:
    log = LOGGED.assign(**columns)
    said = FileColumns(prediction="prediction", score="score", version="version")
    return require_logged(log, guess(log, "label", columns=said))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, None),
        ({"label": LOGGED["label"] == "yes", "prediction": LOGGED["prediction"].map({"yes": 1.0, "no": 0.0})}, None),
        ({"version": LOGGED["version"].where(LOGGED.index % 9 > 0)}, None),
        ({"score": 40.0}, "200 of 200 values of score are no probabilities from 0 to 1, such as 40.0"),
        ({"score": "40 %"}, "200 of 200 values of score are no probabilities from 0 to 1, such as '40 %'"),
        ({"version": "v3.2"}, "200 of 200 values of version are no whole numbers, such as 'v3.2'"),
        ({"prediction": LOGGED["prediction"].where(LOGGED.index >= 10)}, "10 rows have no prediction"),
        ({"label": LOGGED["label"].where(LOGGED.index >= 10, "odd")}, "label holds odd, which prediction never says"),
    ],
)
def test_what_a_log_holds_that_is_not_used_is_told(columns: dict[str, Any], expected: str | None) -> None:
    """Scores, versions and predictions that cannot be used, and labels that are never predicted, are remarks."""
    remarks = logged_remarks(**columns)
    assert [remark for remark in remarks if expected is None or not remark.startswith(expected)] == []
    assert bool(remarks) == (expected is not None)


@pytest.mark.parametrize("said", [LOGGED["prediction"].str.upper(), LOGGED["prediction"] == "yes"])
def test_predictions_that_share_no_class_with_the_labels_are_refused(said: pd.Series) -> None:
    """A log whose predictions are written otherwise than its labels would be watched as wrong in every row."""
    with pytest.raises(click.ClickException, match=r"and label holds no, yes: no class of both"):
        logged_remarks(prediction=said)


def test_an_id_that_comes_twice_is_a_remark() -> None:
    """Of several rows with one id one is kept, and how many are not is told."""
    remarks = guess(rows(number=np.minimum(np.arange(ROWS), ROWS - 5)), id="number").remarks
    assert "4 rows have an id in number that another row has: one row of each id is kept" in remarks


@pytest.mark.parametrize(("trainer", "allowed"), [("own:train", True), ("own:train", False), (None, True)])
def test_a_trainer_may_be_allowed_to_store_pickles(trainer: str | None, allowed: bool) -> None:
    """Who says --allow-pickle beside a trainer gets `allow_joblib: true` before the first version is made."""
    lines = extra_lines(None, trainer, allow_pickle=allowed)
    assert ("    trainer: own:train\n" in lines) == (trainer is not None)
    assert ("allow_joblib: true" in lines) == (trainer is not None and allowed)


def test_a_label_that_is_hardly_ever_seen_is_a_remark() -> None:
    """One slip among the labels would make three classes of two: classes of few rows are named, with their number."""
    labels = np.where(np.arange(ROWS) % 2, "yes", "no").astype(object)
    assert not any("few rows" in remark for remark in guess(rows(y=labels)).remarks)
    labels[7] = "maybe"
    assert "y has classes of few rows: 'maybe' (1); mend those that are slips" in guess(rows(y=labels)).remarks


def test_numbers_with_a_decimal_comma_are_numbers(tmp_path: Path) -> None:
    """A file of a country that writes 1,81 has numbers to learn from, and a text with a comma stays what it is."""
    path = tmp_path / "log.csv"
    path.write_text("km;where;y\n" + "".join(f"{n % 9},5;here, there;{n % 7},25\n" for n in range(100)), "utf-8-sig")
    read = read_file(path, dialect=Dialect(";", ",", "utf-8-sig"))
    found = guess(read.rows)
    assert found.task is Task.REGRESSION
    assert (read.rows["km"][1], read.rows["y"][1]) == (1.5, 1.25)
    assert set(read.rows["where"]) == {"here, there"}
