"""Replacing files in one step, hashing them, forcing them to the disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from driftd.fsutil import sha256_of, sync, sync_tree, write_durably


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new content stands in the old one's place, readable by the group alone, and nothing is left beside it."""
    path = tmp_path / "result.json"
    for content in (b"old", b"new and longer"):
        write_durably(path, content)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    """A failed replacement removes its temporary file and raises."""
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError, match="taken"):
        write_durably(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_the_digest_is_that_of_the_whole_content(tmp_path: Path) -> None:
    """A file of more than one chunk has the SHA-256 of its bytes."""
    content = bytes(range(256)) * 9000
    (tmp_path / "data").write_bytes(content)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(content).hexdigest()


def test_files_and_folders_are_synced_and_stay_as_they_are(tmp_path: Path) -> None:
    """A tree is forced to the disk without a change; what is not there is an error."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    sync_tree(tmp_path)
    sync(tmp_path / "folder" / "file")
    assert (tmp_path / "folder" / "file").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "absent")
