"""Plans and journals from strangers: refused before anything is touched, inside the folder or outside."""

import copy
import json
import os
import sys
from datetime import timedelta

import pytest

from dedup.deletion import removal
from tests.removal_world import TRASH, World, decodes, no_waiting, scan

__all__ = ["no_waiting"]
pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the links of these tests need a POSIX system")
PATHS = [
    *("", "/", "..", ".", "../outside/secret.jpg", "deep/../../outside/secret.jpg", "./copy 0.jpg", "deep//copy.jpg"),
    *("/etc/passwd", "copy 0.jpg/", "copy 0.jpg\0", "\0", "deep/./x.jpg", "\ud800.jpg", "deep/.."),
    *(
        f"{TRASH}/run/1",
        f"{TRASH}/lock",
        f"deep/{TRASH}/1",
        TRASH,
        TRASH.upper() + "/run/1",
        ".dedup\u200c-trash/run/1",
    ),
    *("．dedup-trash/run/1", ".DEDUP\uff0dTRASH/run/1"),
]


def with_value(record: dict, keys: tuple, value: object) -> dict:
    """A copy of `record` with another value somewhere inside."""
    record = copy.deepcopy(record)
    inner = record
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return record


def bad_items(item: dict) -> list:
    """Lines that must not be taken for an item."""
    paths = [with_value(item, (role, "path"), path) for role in ("keep", "drop") for path in PATHS]
    values = [
        with_value(item, ("drop", key), value)
        for key, value in [
            *(("path", None), ("path", 7), ("path", ["a"]), ("size", -1), ("size", 0), ("size", True), ("size", 1.5)),
            *(("size", "9"), ("inode", None), ("mtime_ns", {}), ("device", []), ("blake2b", ""), ("blake2b", "0" * 63)),
            *(("blake2b", "G" * 64), ("blake2b", None), ("blake2b", "0" * 64 + "\n"), ("extra", 1)),
        ]
    ]
    kinds = [with_value(item, ("kind",), kind) for kind in ("similar", "contains", "", None, 1, ["crop"])]
    shapes = [[], "text", None, 1, {}, {"keep": item["keep"]}, item | {"more": 1}, with_value(item, ("keep",), [])]
    missing = [
        {**item, "drop": {key: item["drop"][key] for key in item["drop"] if key != left}} for left in item["drop"]
    ]
    return paths + values + kinds + shapes + missing


BROKEN = [
    *(b"", b"\n", b"{", b"\xff\xfe\n", b"[" * 100_000, b'{"plan": 1', b"null", b'{"plan": 2}\n', b'{"plan": true}\n'),
    *(b'{"plan": 1, "x": 1}\n', b'{"plan": "1"}\n', b'{"plan": 1, "plan": 1}\n', b'{"plan": 1}\x00\n', b"\x89PNG\r\n"),
    *(b'{"plan": 1e400}\n', b'{"plan": NaN}\n', b'{"plan": ' + b"9" * 5000 + b"}\n", b'{"journal": 1, "created": 1}\n'),
]


@pytest.fixture
def world(tmp_path) -> World:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"picture outside")
    return World(tmp_path)


def assert_untouched(world: World, before: dict, outcome: removal.Outcome) -> None:
    assert (outcome.exit_code, outcome.done) == (2, ()) and outcome.message.isprintable(), outcome
    assert without_lock(world) == before


def without_lock(world: World) -> dict:
    """All files in and around the images, but the empty one that is locked."""
    return {path: facts for path, facts in scan(world.folder).items() if path != f"images/{TRASH}/lock"}


def test_hostile_plans_touch_nothing(world):
    header, first, second = (json.loads(line) for line in world.plan.read_text().splitlines())
    plans = [(header, bad) for bad in bad_items(first)] + [(header, second, bad) for bad in bad_items(first)[:5]]
    plans += [(header, first, first), (header, first, with_value(second, ("keep",), first["drop"]))]
    plans += [(header, second, header), (first, second), (header, with_value(first, ("drop", "path"), "keeper 0.jpg"))]
    texts = ["".join(json.dumps(line) + "\n" for line in plan).encode() for plan in plans] + BROKEN
    twice = json.dumps(first).replace('"path": "copy', '"path": "other.jpg", "path": "copy')
    texts.append(f"{json.dumps(header)}\n{twice}\n".encode())
    for text in texts:
        world.plan.write_bytes(text)
        before = without_lock(world)
        assert_untouched(world, before, world.apply())
    assert not (world.root / TRASH).exists()
    print(f"hostile plans: {len(texts)}")
    assert len(texts) > 100


def test_hostile_journals_touch_nothing(world):
    world.apply(run="run")
    journal = world.root / TRASH / "run" / "journal.jsonl"
    header, first, second = (json.loads(line) for line in journal.read_text().splitlines())
    journals = [(header, bad) for bad in bad_items(first)] + [(header, first, bad) for bad in bad_items(second)[:5]]
    journals += [(header, with_value(first, ("move",), number)) for number in (0, -1, "1", True, None, 1.0, "../1")]
    journals += [
        (header, second, first),
        (header, first, first),
        (first, second),
        (header, header),
        (header, {"purge": 1}),
    ]
    journals += [(header, first, {"back": number}) for number in (0, 2, -1, True, "1", None, "../1")]
    journals += [({"journal": 1, "created": created}, first) for created in (None, "1", True, [], 1.5)]
    texts = ["".join(json.dumps(line) + "\n" for line in lines).encode() for lines in journals]
    texts += [text + b"\n" for text in BROKEN if text.strip() and text != BROKEN[-1]]
    for text in texts:
        journal.write_bytes(text)
        before = without_lock(world)
        for run in (None, "run"):
            assert_untouched(world, before, removal.undo(world.root, run=run))
        purge = {"older_than": timedelta(0), "decodes": decodes}
        assert_untouched(world, before, removal.purge(world.root, **purge))
        assert_untouched(world, before, removal.purge(world.root, run="run", **purge))
    print(f"hostile journals: {len(texts)}")
    assert len(texts) > 100


def test_a_cut_journal_is_read_up_to_the_cut(world):
    world.apply(run="run")
    journal = world.root / TRASH / "run" / "journal.jsonl"
    whole = journal.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(0, len(whole), 7):
        journal.write_bytes(whole[:cut])
        undone = removal.undo(world.root, run="run")
        assert undone.exit_code == 0 and not world.lost()
        assert len(world.files()) == 1 + sum(end < cut for end in ends[1:])


@pytest.mark.parametrize("part", ["deep", "deep/er", "deep/er/copy 1.jpg", "copy 0.jpg", "keeper 0.jpg"])
def test_a_link_anywhere_in_a_plan_refuses_it_whole(world, part):
    moved = world.folder / "outside" / "moved"
    (world.root / part).rename(moved)
    (world.root / part).symlink_to(moved)
    before = without_lock(world)
    assert_untouched(world, before, world.apply())


def test_undo_goes_through_no_link(world):
    world.apply()
    (world.root / "deep" / "er").rmdir()
    (world.root / "deep" / "er").symlink_to(world.folder / "outside")
    outcome = removal.undo(world.root)
    assert [path.name for path, _ in outcome.refused] == ["copy 1.jpg"] and not world.lost()
    assert os.listdir(world.folder / "outside") == ["secret.jpg"]


@pytest.mark.parametrize("part", [TRASH, f"{TRASH}/lock", f"{TRASH}/run", f"{TRASH}/run/journal.jsonl"])
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_trash_that_is_none_is_refused(world, part, kind):
    world.apply(run="run")
    path, elsewhere = world.root / part, world.folder / "outside" / "moved"
    path.rename(elsewhere)
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "folder" and part in (TRASH, f"{TRASH}/run"):
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = without_lock(world)
    for outcome in (removal.undo(world.root), removal.purge(world.root, older_than=timedelta(0), decodes=decodes)):
        assert outcome.exit_code in (0, 2) and not outcome.done and without_lock(world) == before
    assert removal.undo(world.root, run="run").exit_code == 2 and without_lock(world) == before


def test_files_that_are_none_are_passed_over_in_no_time(world):
    for name, make in (("copy 0.jpg", os.mkfifo), ("deep/er/copy 1.jpg", os.mkdir)):
        (world.root / name).unlink()
        make(world.root / name)
    outcome = world.apply()
    assert [reason.split(":")[1] for _, reason in outcome.refused] == [" not a regular file"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero")
def test_a_link_to_an_endless_device_is_refused(world):
    (world.root / "copy 0.jpg").unlink()
    (world.root / "copy 0.jpg").symlink_to("/dev/zero")
    assert world.apply().exit_code == 2


def test_a_plan_edited_by_hand_still_works(world):
    header, first, _ = world.plan.read_bytes().splitlines()
    world.plan.write_bytes(b"\xef\xbb\xbf" + header + b"\r\n\r\n" + first + b"\r\n\r\n")
    assert len(world.apply().done) == 1 and not world.lost()
