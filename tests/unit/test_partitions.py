"""Which partitions a look lists again, over folders of this host that stand for prefixes of a store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow.fs import FileInfo, FileSelector, LocalFileSystem

from driftd.sources.file_system import FileStat, matches
from driftd.sources.partitions import DAY, RecentPartitions

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


class Bucket:
    """Objects below a folder, and which folders were listed."""

    def __init__(self, root: Path, *paths: str) -> None:
        self.base, self.listed = str(root), list[str]()
        self.put(*paths)

    def put(self, *paths: str) -> None:
        for path in paths:
            file = Path(self.base) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")

    def children(self, folder: str, *, deep: bool) -> list[FileInfo]:
        self.listed.append(folder.removeprefix(self.base).lstrip("/") + ("/**" if deep else ""))
        return list(LocalFileSystem().get_file_info(FileSelector(folder, recursive=deep)))

    def objects(self, found: list[FileInfo]) -> Iterable[tuple[str, FileStat]]:
        return ((info.path, FileStat(0, info.size, 0)) for info in found if info.size is not None)

    def whole(self) -> RecentPartitions:
        known = RecentPartitions()
        known.replace_all(self.base, self.objects(self.children(self.base, deep=True)))
        self.listed.clear()
        return known

    def look(self, known: RecentPartitions, now: float = NOW, since: float = NOW) -> list[str]:
        """The partitions that a look lists again."""
        self.listed.clear()
        assert known.update(self.base, now, since, self.children, self.objects)
        return sorted(folder for folder in self.listed if folder.endswith("/**"))

    def known(self, known: RecentPartitions) -> list[str]:
        return sorted(path.removeprefix(f"{self.base}/") for path, _ in known.items())


def days(*numbers: int, key: str = "day={}") -> list[str]:
    """An object in each of some days before NOW."""
    times = [datetime.fromtimestamp(NOW - number * DAY, UTC) for number in numbers]
    return [f"{key.format(time.date())}/part.parquet" for time in times]


@pytest.mark.parametrize("key", ["day={}", "dt={}T00", "region=eu/date={}", "d={}/hour=05"])
def test_the_newest_two_days_are_listed_again(tmp_path: Path, key: str) -> None:
    """Whatever the key is called, with keys above or below it; a new object there is found, one in an old day not."""
    bucket = Bucket(tmp_path, *days(0, 1, 2, 300, key=key))
    known = bucket.whole()
    assert known.are_keyed
    bucket.put(*(path.replace("part", "new") for path in days(0, 1, 2, key=key)))
    folders = bucket.look(known)
    assert len(folders) == 2
    assert all(any(day in folder for day in ("2026-11-30", "2026-11-29")) for folder in folders)
    assert len(bucket.known(known)) == 6
    assert bucket.known(bucket.whole()) == sorted([*bucket.known(known), days(2, key=key)[0].replace("part", "new")])


def test_the_days_of_windows_that_are_open_are_listed_again(tmp_path: Path) -> None:
    """What comes late for its day and in time for its window is found at once."""
    bucket = Bucket(tmp_path, *days(0, 1, 2, 3, 4, 5, 6))
    assert len(bucket.look(bucket.whole(), since=NOW - 3 * DAY)) == 5


def test_years_and_months_are_walked_down_only_where_they_are_recent(tmp_path: Path) -> None:
    """Of year=/month=/day=/hour= the folders of the newest days are listed, across the end of a month."""
    names = [f"year={y}/month={m:02}/day={d:02}/hour=3/a" for y, m, d in ((2024, 5, 1), (2026, 10, 31), (2026, 11, 1))]
    bucket = Bucket(tmp_path, *names)
    now = datetime(2026, 11, 1, 3, tzinfo=UTC).timestamp()
    assert bucket.look(bucket.whole(), now) == ["year=2026/month=10/day=31/**", "year=2026/month=11/day=01/**"]
    assert not any("2024/" in folder for folder in bucket.listed)


def test_partitions_that_are_new_are_listed_however_old_their_day(tmp_path: Path) -> None:
    """A day, a month or a region that appears is found at the next look, once."""
    bucket = Bucket(tmp_path, *days(0, 1, 2, key="region=eu/day={}"))
    known = bucket.whole()
    bucket.put("region=eu/day=2021-03-04/a", "region=us/day=2020-01-01/a")
    assert {"region=eu/day=2021-03-04/**", "region=us/day=2020-01-01/**"} <= set(bucket.look(known))
    assert len(bucket.look(known)) == 2
    assert len(bucket.known(known)) == 5


def test_a_day_that_has_not_come_hides_nothing(tmp_path: Path) -> None:
    """A partition of the year 2099 and one without a day are listed beside the newest days."""
    bucket = Bucket(tmp_path, *days(0, 1, 2), "day=2099-01-01/a", "day=__HIVE_DEFAULT_PARTITION__/a")
    assert bucket.look(bucket.whole()) == [
        "day=2026-11-29/**",
        "day=2026-11-30/**",
        "day=2099-01-01/**",
        "day=__HIVE_DEFAULT_PARTITION__/**",
    ]


def test_a_feed_that_stopped_is_looked_for_where_it_stopped(tmp_path: Path) -> None:
    """The newest day that is there counts, not the clock alone."""
    bucket = Bucket(tmp_path, *days(40, 41, 42))
    assert bucket.look(bucket.whole()) == ["day=2026-10-20/**", "day=2026-10-21/**"]


def test_what_lies_beside_the_partitions_ends_the_listing_by_days(tmp_path: Path) -> None:
    """An object without a key is not missed: the look says that everything must be listed."""
    for number, stray in enumerate(("a.parquet", "misc/a.parquet", "day=unknown/a.parquet")):
        bucket = Bucket(tmp_path / str(number), *days(0, 1))
        known = bucket.whole()
        (Path(bucket.base) / "_SUCCESS").write_text("")
        assert known.update(bucket.base, NOW, NOW, bucket.children, bucket.objects)
        bucket.put(stray)
        assert not known.update(bucket.base, NOW, NOW, bucket.children, bucket.objects)
        assert not bucket.whole().are_keyed


def test_folders_that_are_not_shown_any_more_end_the_listing_by_days(tmp_path: Path) -> None:
    """Where a listing shows no folder at all, nothing is concluded from it."""
    bucket = Bucket(tmp_path, *days(0, 1))
    assert not bucket.whole().update(bucket.base, NOW, NOW, lambda _folder, *, deep: [], bucket.objects)


def test_objects_that_are_gone_from_a_recent_day_are_gone(tmp_path: Path) -> None:
    """A day that is listed again holds what it holds now."""
    bucket = Bucket(tmp_path, *days(0, 1, 2))
    known = bucket.whole()
    (tmp_path / days(0)[0]).unlink()
    bucket.look(known)
    assert bucket.known(known) == sorted(days(1, 2))


@pytest.mark.parametrize(
    ("path", "pattern", "is_one"),
    [
        ("a.jsonl", "*.jsonl", True),
        ("x/a.jsonl", "*.jsonl", False),
        ("x/a.jsonl", "*/a.jsonl", True),
        ("a.jsonl", "**/a.jsonl", True),
        ("x/y/a.jsonl", "**/a.jsonl", True),
        ("x/y/a.jsonl", "x/**", True),
        ("day=2026-01-01/a", "day=2026-*/[ab]", True),
        ("day=2026-01-01/c", "day=2026-*/[ab]", False),
    ],
)
def test_patterns_match_as_on_this_host(path: str, pattern: str, is_one: bool) -> None:
    """A sign stands for a part of a name, and two stars for any number of folders."""
    assert matches(path.split("/"), pattern.split("/")) is is_one
