"""The cache: what was put comes back, or nothing does; broken, foreign and busy files never end a run."""

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dedup.store import cache as module
from dedup.store.cache import Cache


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "cache.sqlite"


def filled(path, count=3):
    cache = Cache(path)
    cache.put("files", [(b"key%d" % k, b"value%d" % k) for k in range(count)])
    cache.close()
    return path


def get(path, *keys):
    cache = Cache(path)
    found = cache.get("files", keys)
    cache.close()
    return found


def test_what_was_put_comes_back(path):
    filled(path)
    assert get(path, b"key0", b"key2", b"missing", b"key0") == {b"key0": b"value0", b"key2": b"value2"}
    cache = Cache(path)
    cache.put("files", [(b"key0", b"")])
    assert cache.get("files", [b"key0"]) == {b"key0": b""} and cache.get("pictures", [b"key0"]) == {}
    assert (cache.count("files"), cache.count("pairs"), sorted(cache.keys("files", b"key1"))) == (3, 0, [b"key1"])


def test_more_keys_than_one_query_asks_for(path):
    count = 2 * module.TOGETHER + 1
    filled(path, count)
    assert len(get(path, *(b"key%d" % k for k in range(count)))) == count


def test_without_a_file_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = Cache(None)
    cache.put("files", [(b"a", b"b")])
    assert (cache.get("files", [b"a"]), cache.keys("files", b""), cache.count("files")) == ({}, [], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_value_is_not_there(path):
    with sqlite3.connect(filled(path)) as other:
        other.execute("UPDATE files SET value = CAST(value || 'x' AS BLOB) WHERE key = CAST('key0' AS BLOB)")
        other.execute("UPDATE files SET value = (SELECT value FROM files WHERE key = CAST('key2' AS BLOB))"
                      " WHERE key = CAST('key1' AS BLOB)")  # fmt: skip
    other.close()
    assert get(path, b"key0", b"key1", b"key2") == {b"key2": b"value2"}


@pytest.mark.parametrize("what", ["text", "cut", "scribbled", "newer"])
def test_a_broken_or_newer_file_is_thrown_away_with_a_line(path, what, caplog):
    data = bytearray(filled(path, 200).read_bytes())
    if what == "text":
        path.write_text("no database " * 1000)
    if what == "cut":
        path.write_bytes(data[: len(data) // 2])
    if what == "scribbled":
        path.write_bytes(data[:4096] + bytes([255]) * (len(data) - 4096))
    if what == "newer":
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
    cache = Cache(path)
    cache.get("files", [b"key%d" % k for k in range(200)])
    cache.put("files", [(b"new", b"value")])
    assert cache.get("files", [b"new"]) == {b"new": b"value"}
    cache.close()
    assert [record.message for record in caplog.records if "thrown away and begun anew" in record.message]
    assert get(path, b"new", b"key0") == {b"new": b"value"}


def test_another_programs_file_is_left_alone(path, caplog):
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE files (name)")
    other.close()
    before = path.read_bytes()
    cache = Cache(path)
    cache.put("files", [(b"a", b"b")])
    assert cache.get("files", [b"a"]) == {}
    cache.close()
    assert path.read_bytes() == before and "another program's" in caplog.text


@pytest.mark.parametrize("what", ["folder", "no folder"])
def test_where_no_file_can_be_a_run_goes_on_without(path, what, caplog):
    if what == "folder":
        path.mkdir(parents=True)
    else:
        path.parent.write_text("a file where the folder should be")
    cache = Cache(path)
    cache.put("files", [(b"a", b"b")])
    assert cache.get("files", [b"a"]) == {}
    assert "remembers nothing" in caplog.text and (path.is_dir() or path.parent.is_file())


def test_a_cache_that_another_run_holds_is_done_without_and_stays(path, monkeypatch, caplog):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    cache = Cache(filled(path))
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put("files", [(b"a", b"b")])
        other.execute("ROLLBACK")
    other.close()
    assert "remembers nothing" in caplog.text and cache.get("files", [b"key0"]) == {}
    assert get(path, b"key0", b"a") == {b"key0": b"value0"}


def test_runs_that_begin_the_file_at_once_all_remember(path, caplog):
    for k in range(30):
        file, together = path.with_name(f"{k}.sqlite"), threading.Barrier(4)

        def begin(name, file=file, together=together):
            together.wait()
            cache = Cache(file)
            cache.put("files", [(name, b"kept")])
            cache.close()

        names = [b"0", b"1", b"2", b"3"]
        with ThreadPoolExecutor(4) as runs:
            list(runs.map(begin, names))
        assert get(file, *names) == dict.fromkeys(names, b"kept")
    assert not caplog.text


def write_forever(path, first):
    cache, number = Cache(path), first
    while True:
        cache.put("files", [(b"%d" % number, b"x" * 50), (b"-%d" % number, b"x" * 50)])
        number += 2


def test_two_runs_at_once_and_their_sudden_ends_lose_no_more_than_what_was_not_put(path):
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=write_forever, args=(path, first)) for first in (0, 1)]
    for run in runs:
        run.start()
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and all(get(path, b"%d" % k) for k in (10, 11))) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for run in runs:
            os.kill(run.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            run.join()
    cache = Cache(path)
    keys = set(cache.keys("files", b""))
    assert {b"10", b"11"} <= keys and all(b"-" + key in keys for key in keys if not key.startswith(b"-"))


def stays(path, *keys):
    assert get(path, *keys).keys() == set(keys)


@pytest.mark.parametrize("prefix", [b"bb", b"\xff\xff", b"\x00\x00"])
def test_keys_of_another_beginning_are_forgotten(path, prefix, monkeypatch):
    monkeypatch.setattr(module, "FORGOTTEN", 3)
    own = [prefix, prefix + b"\x00", prefix + b"\xff\xff\xff"]
    others = [b"", b"\x00", b"b", b"ba\xff", b"bc", b"\xfe", b"\xff", *(b"a%d" % k for k in range(10))]
    cache = Cache(path)
    cache.put("files", [(key, b"value") for key in own + others])
    cache.put("pairs", [(b"a", b"value")])
    cache.forget("files", prefix)
    assert sorted(cache.keys("files", b"")) == sorted(own) and cache.count("pairs") == 1
    cache.close()


def test_a_file_that_is_mostly_free_becomes_smaller(path, monkeypatch):
    cache = Cache(path)
    cache.put("files", [(b"a%d" % k, bytes(1000)) for k in range(1000)])
    cache.put("files", [(b"b", b"value")])
    cache.forget("files", b"b")
    monkeypatch.setattr(module, "LEFT", 0)
    cache.compact()
    assert cache._mark("freelist_count") > 100  # too much would have to be copied
    monkeypatch.undo()
    cache.compact()
    assert cache._mark("freelist_count") == 0 and cache.get("files", [b"b"]) == {b"b": b"value"}
    cache.put("files", [(b"c", b"value")])
    cache.close()
    assert path.stat().st_size < 50_000
    stays(path, b"b", b"c")


def test_a_file_that_another_run_writes_stays_as_large(path, caplog):
    cache, other = Cache(path), Cache(path)
    cache.put("files", [(b"a%d" % k, bytes(1000)) for k in range(1000)])
    cache.forget("files", b"b")
    other._connection.execute("BEGIN IMMEDIATE")
    cache.compact()
    assert cache._mark("freelist_count") > 100
    other._connection.execute("ROLLBACK")
    cache.put("files", [(b"b", b"value")])
    assert other.get("files", [b"b"]) == {b"b": b"value"} and not caplog.text
    for each in (cache, other):
        each.close()


def forget_forever(path):
    cache, number = Cache(path), 0
    module.FORGOTTEN = 10
    while True:
        cache.put("files", [(b"old %d" % k, bytes(500)) for k in range(number, number + 200)])
        cache.put("files", [(b"kept %d" % number, b"value")])
        cache.forget("files", b"kept")
        cache.compact()
        number += 200


def test_forgetting_beside_another_run_and_its_sudden_end_lose_nothing_else(path):
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=forget_forever, args=(path,))]
    runs += [context.Process(target=forget_forever, args=(path,))]
    for run in runs:
        run.start()
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and get(path, b"kept 1000")) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for run in runs:
            os.kill(run.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            run.join()
    stays(path, *(b"kept %d" % number for number in range(0, 1001, 200)))
    cache = Cache(path)
    cache.forget("files", b"kept")
    cache.compact()
    assert cache.keys("files", b"old") == [] and cache.get("files", [b"kept 0"]) == {b"kept 0": b"value"}
    cache.close()
