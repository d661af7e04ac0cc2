"""Files that are written in one way: whole or not at all, tables as CSV."""

import os

import pytest

from dedup import words
from dedup.words import write_table, write_whole


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "some.txt"
    write_whole(path, b"first")
    write_whole(path, b"second", sync=True)
    assert path.read_bytes() == b"second" and os.listdir(tmp_path) == ["some.txt"]


@pytest.mark.parametrize("fails", ["replace", "fsync"])
def test_what_can_not_be_written_leaves_the_old_file_and_nothing_else(fails, tmp_path, monkeypatch):
    path = tmp_path / "some.txt"
    write_whole(path, b"first")

    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr(words.os, fails, fail)
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"second", sync=True)
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["some.txt"]
    if fails == "fsync":
        write_whole(path, b"second")  # is not asked for
        assert path.read_bytes() == b"second"


def test_a_table_has_its_header_and_unix_line_ends(tmp_path):
    write_table(tmp_path / "table.csv", ("path", "reason"), [("a,b.png", 'says "no"'), ("ü.png", "")])
    assert (tmp_path / "table.csv").read_bytes() == 'path,reason\n"a,b.png","says ""no"""\nü.png,\n'.encode()
