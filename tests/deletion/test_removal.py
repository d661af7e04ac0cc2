"""Plan, apply, undo, purge on a handful of files: what is done, what is refused and why, and every exit code."""

import ctypes
import errno
import hashlib
import json
import os
import stat
import sys
import time
import unicodedata
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.deletion import checks, folders, removal, trash
from dedup.workers import job
from tests.removal_world import TRASH, World, cluster, decodes, no_waiting, scan

__all__ = ["no_waiting"]
NOW = timedelta(0)


@pytest.fixture(params=["openat", "paths"])
def world(request, tmp_path, monkeypatch) -> World:
    """Two duplicates of one keeper; as on Linux and macOS, and as on Windows, where no folder can be held open."""
    monkeypatch.setattr(folders, "HAS_OPENAT", request.param == "openat" and folders.HAS_OPENAT)
    return World(tmp_path)


def purge(world: World, **options) -> removal.Outcome:
    return removal.purge(world.root, **{"older_than": NOW, "decodes": decodes, **options})


def reasons(outcome: removal.Outcome) -> list[str]:
    return [reason for _, reason in outcome.refused]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# plan


def test_plan_names_keeper_and_duplicate_with_all_that_identifies_them(world):
    header, first, _ = lines(world.plan)
    status = (world.root / "copy 0.jpg").stat()
    assert header == {"plan": 1}
    assert first["keep"]["path"] == "keeper 0.jpg" and first["kind"] == "resaved"
    digest = first["drop"].pop("blake2b")
    assert len(digest) == 64 and digest != first["keep"]["blake2b"]
    assert first["drop"] == {
        "path": "copy 0.jpg",
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }


def test_plan_is_the_same_every_time(world):
    first = world.plan.read_bytes()
    removal.make_plan(world.clusters(), world.root, world.plan)
    assert world.plan.read_bytes() == first


def test_plan_leaves_out_what_may_not_go(world):
    kept = cluster(world.root, "keeper 0.jpg", "copy 0.jpg", removable=False)
    similar = cluster(world.root, "keeper 0.jpg", "deep/er/copy 1.jpg", kind="similar")
    outcome = removal.make_plan([kept, similar], world.root, world.plan)
    assert (outcome.done, outcome.exit_code) == ((), 1)
    assert reasons(outcome) == ["similar, or in more than one cluster"]
    assert lines(world.plan) == [{"plan": 1}]


def test_plan_never_drops_what_it_keeps_and_drops_nothing_twice(world):
    first = cluster(world.root, "keeper 0.jpg", "copy 0.jpg")
    chain = cluster(world.root, "copy 0.jpg", "deep/er/copy 1.jpg")
    again = cluster(world.root, "keeper 0.jpg", "deep/er/copy 1.jpg")
    outcome = removal.make_plan([first, chain, again], world.root, world.plan)
    assert outcome.done == (Path("deep/er/copy 1.jpg"),)
    assert [path for path, _ in outcome.refused] == [Path("copy 0.jpg"), Path("deep/er/copy 1.jpg")]


def test_plan_refuses_what_changed_since_it_was_read(world):
    clusters = world.clusters()
    (world.root / "copy 0.jpg").write_bytes(b"picture, a longer one than before")
    assert removal.make_plan(clusters, world.root, world.plan).refused == (
        (Path("copy 0.jpg"), "copy 0.jpg changed since it was read"),
    )
    changed = (world.root / "deep/er/copy 1.jpg").stat().st_ctime
    late, early = (removal.make_plan(clusters, world.root, world.plan, read_since=changed + s) for s in (1, -1))
    assert len(late.refused) == 1 and len(early.refused) == 2


def test_a_plan_by_what_is_known_is_the_same_and_what_is_wrong_moves_nothing(world):
    contents = {world.root / each: content for each, (content, _, _) in world.before.items()}
    held = {each: hashlib.blake2b(content, digest_size=32).digest() + b".tga" for each, content in contents.items()}
    plan, path = world.plan.read_bytes(), world.root / "copy 0.jpg"
    before = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    planned = removal.make_plan(world.clusters(), world.root, world.plan, known=lambda path, status: held[path])
    assert world.plan.read_bytes() == plan and len(planned.done) == 2
    assert reasons(world.apply()) == ["it no longer holds what it held"] and path.exists()


def test_nothing_is_known_of_a_link(world):
    (world.root / "copy 0.jpg").rename(world.folder / "elsewhere.jpg")
    (world.root / "copy 0.jpg").symlink_to(world.folder / "elsewhere.jpg")
    outcome = removal.make_plan(world.clusters(), world.root, world.plan, known=lambda path, status: bytes(32))
    assert reasons(outcome) == ["resaved can't be read: a link: 'copy 0.jpg'"]


@pytest.mark.parametrize("name", ["copy 0.jpg", "keeper 0.jpg"])
def test_plan_refuses_other_bytes_of_the_same_size_and_time(world, name):
    path, clusters = world.root / name, world.clusters()
    contents = {world.root / each: content for each, (content, _, _) in world.before.items()}
    contents = {each: hashlib.blake2b(held, digest_size=32).digest() + b".tga" for each, held in contents.items()}
    assert removal.make_plan(clusters, world.root, world.plan, contents=contents).exit_code == 0
    before = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    outcome = removal.make_plan(clusters, world.root, world.plan, contents=contents)
    assert set(reasons(outcome)) == {f"{name} has changed since it was looked at"}
    planned = [line["drop"]["path"] for line in lines(world.plan)[1:]]
    assert planned == (["deep/er/copy 1.jpg"] if name == "copy 0.jpg" else [])


# apply, undo, purge


def test_apply_moves_and_undo_brings_back_the_very_files(world):
    applied = world.apply()
    assert (applied.exit_code, applied.refused, applied.message) == (0, (), "")
    assert applied.done == (Path("copy 0.jpg"), Path("deep/er/copy 1.jpg"))
    assert list(world.files()) == ["keeper 0.jpg"] and world.trashed() == 2
    undone = removal.undo(world.root)
    assert (undone.done, undone.exit_code, undone.run) == (applied.done, 0, applied.run)
    assert world.files() == world.before
    again = removal.undo(world.root)
    assert (again.done, again.exit_code) == ((), 0) and world.files() == world.before


def test_only_purge_destroys_and_only_what_it_was_told_to(world):
    applied = world.apply()
    assert purge(world, older_than=None).exit_code == 2
    assert purge(world, older_than=timedelta(days=1)).done == ()
    assert purge(world, older_than=timedelta(days=1), run=applied.run).done == () and not world.lost()
    purged = purge(world, older_than=None, run=applied.run)
    assert (purged.done, purged.exit_code) == (applied.done, 0)
    assert len(world.lost()) == 2 and list(world.files()) == ["keeper 0.jpg"]
    assert purge(world).done == ()
    assert reasons(removal.undo(world.root)) == ["it is no longer in the trash: purged, or taken out by hand"] * 2


def test_undo_takes_the_latest_run_that_moved_anything_or_the_one_it_is_told(world):
    first = world.apply(run="first")
    (world.root / "copy 0.jpg").write_bytes(b"picture, another")
    removal.make_plan([cluster(world.root, "keeper 0.jpg", "copy 0.jpg")], world.root, world.plan)
    assert world.apply(run="second").done == (Path("copy 0.jpg"),)
    assert world.apply(run="third").done == ()
    assert removal.undo(world.root).run == "second"
    undone = removal.undo(world.root)  # nothing of the second is in the trash any more
    assert undone.run == "first" and undone.done == (Path("deep/er/copy 1.jpg"),) and first.run == "first"
    assert reasons(undone) == ["something else is there now; move it away and undo again"]
    (world.root / "copy 0.jpg").unlink()
    assert removal.undo(world.root, run="first").done == (Path("copy 0.jpg"),)
    assert world.files() == world.before


def test_undo_passes_over_a_run_that_put_everything_back_itself(world, monkeypatch):
    world.apply(run="first")
    (world.root / "copy 2.jpg").write_bytes(b"picture, another copy")
    removal.make_plan([cluster(world.root, "keeper 0.jpg", "copy 2.jpg")], world.root, world.plan)
    intend, content = removal.Run.intend, (world.root / "keeper 0.jpg").read_bytes()

    def edit(run, item):
        intend(run, item)
        (world.root / "keeper 0.jpg").write_bytes(content + b"!")

    monkeypatch.setattr(removal.Run, "intend", edit)
    assert reasons(world.apply(run="second")) == ["its keeper was changed meanwhile"]
    monkeypatch.undo()
    assert (world.root / "copy 2.jpg").exists() and removal.undo(world.root).run == "first"


def test_undo_after_a_refusal_among_the_moved(world):
    (world.root / "copy 0.jpg").rename(world.root / "elsewhere.jpg")
    applied = world.apply()
    assert (len(applied.done), len(applied.refused)) == (1, 1)
    undone = removal.undo(world.root)
    assert (undone.done, undone.exit_code) == (applied.done, 0) and world.trashed() == 0


def test_undo_makes_folders_that_are_gone(world):
    world.apply()
    (world.root / "deep" / "er").rmdir()
    (world.root / "deep").rmdir()
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.parametrize("role", ["keeper 0.jpg", "copy 0.jpg"])
def test_apply_refuses_what_no_longer_holds_the_planned_content(world, role):
    path, status = world.root / role, (world.root / role).stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same inode, size and time: only the content tells
    outcome = world.apply()
    assert outcome.exit_code == 1 and world.lost() == {world.before[role][0]}
    assert (world.root / "copy 0.jpg").exists()
    assert all(reason.endswith("no longer holds what it held") for reason in reasons(outcome))


def test_apply_refuses_a_keeper_that_does_not_decode(world):
    def broken(path):
        raise ValueError("cut short")

    assert reasons(world.apply(decodes=broken)) == ["its keeper can't be decoded: cut short"] * 2
    assert world.files() == world.before


def test_every_keeper_is_decoded(tmp_path):
    world = World(tmp_path, count=4)

    def second_is_broken(path):
        if path.name == "keeper 1.jpg":
            raise ValueError("cut short")

    outcome = world.apply(decodes=second_is_broken)
    assert [str(path) for path in outcome.done] == world.dropped[:2]
    assert [str(path) for path, _ in outcome.refused] == world.dropped[2:]


def test_keepers_are_decoded_by_default(world):
    assert all(reason.startswith("its keeper can't be decoded") for reason in reasons(world.apply(decodes=None)))
    assert world.files() == world.before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere keepers are decoded in the process itself")
@pytest.mark.parametrize(
    ("harm", "said"), [(ctypes.string_at, "crashed its process"), (time.sleep, "took longer than")]
)
def test_a_keeper_that_brings_its_decoder_down_costs_its_duplicates_alone(world, monkeypatch, harm, said):
    monkeypatch.setattr(checks, "_why_unreadable", job(lambda path: harm(60 if harm is time.sleep else 0)))
    monkeypatch.setattr(checks, "LONGEST", 1.0)
    outcome = world.apply(decodes=None)
    assert outcome.exit_code == 1 and len(outcome.refused) == 2 and all(said in reason for reason in reasons(outcome))
    assert world.files() == world.before


@pytest.mark.parametrize("change", ["edited", "gone", "undecodable", "linked"])
def test_purge_refuses_without_its_keeper(world, change):
    run, keeper = world.apply().run, world.root / "keeper 0.jpg"
    if change == "edited":
        keeper.write_bytes(b"picture, a new one")
    elif change == "linked":
        keeper.unlink()
        os.link(world.root / TRASH / run / "1", keeper)
        (world.root / TRASH / run / "2").unlink()
    elif change == "gone":
        keeper.unlink()
    outcome = purge(world, decodes=(lambda path: 1 / 0) if change == "undecodable" else decodes)
    assert (outcome.done, outcome.exit_code) == ((), 1)
    assert world.trashed() == (1 if change == "linked" else 2)


def test_purge_refuses_a_file_that_was_edited_in_the_trash(world):
    run = world.apply().run
    (world.root / TRASH / run / "1").write_bytes(b"picture with work in it")
    outcome = purge(world)
    assert reasons(outcome) == ["it no longer holds what it held"] and len(outcome.done) == 1


def test_hard_links_of_one_file_are_refused(world):
    (world.root / "copy 0.jpg").unlink()
    os.link(world.root / "keeper 0.jpg", world.root / "copy 0.jpg")
    removal.make_plan([cluster(world.root, "keeper 0.jpg", "copy 0.jpg")], world.root, world.plan)
    assert reasons(world.apply()) == ["it and its keeper are one file"]


def test_a_keeper_under_another_name_is_not_dropped(world):
    os.link(world.root / "keeper 0.jpg", world.root / "alias.jpg")
    (world.root / "other.jpg").write_bytes(b"picture, the other keeper")
    chain = [cluster(world.root, "keeper 0.jpg", "copy 0.jpg"), cluster(world.root, "other.jpg", "alias.jpg")]
    removal.make_plan(chain, world.root, world.plan)
    assert reasons(world.apply()) == ["the plan keeps this very file under another name"]


def test_another_disk_below_the_folder_refuses_and_goes_on(world, monkeypatch):
    rename = folders.Folder.rename

    def crossing(self, name, to, new_name):
        if name == "copy 0.jpg":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
        rename(self, name, to, new_name)

    monkeypatch.setattr(folders.Folder, "rename", crossing)
    outcome = world.apply()
    assert (outcome.done, outcome.exit_code) == ((Path("deep/er/copy 1.jpg"),), 1)
    assert "cross-device" in reasons(outcome)[0].lower()
    monkeypatch.undo()
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.skipif(sys.platform == "win32", reason="there a rename replaces nothing")
def test_undo_without_hard_links_uses_a_placeholder(world, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    world.apply()
    monkeypatch.setattr(folders.Folder, "link", no_links)
    (world.root / "copy 0.jpg").write_bytes(b"")  # empty, but not ours
    assert reasons(removal.undo(world.root)) == ["something else is there now; move it away and undo again"]
    (world.root / "copy 0.jpg").unlink()
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.skipif(sys.platform == "win32", reason="there a rename replaces nothing")
def test_a_placeholder_that_someone_wrote_to_is_left_alone(world, monkeypatch):
    reserve = trash._reserve

    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    def reserve_and_write(box, stored, home, name):
        reserve(box, stored, home, name)
        (home.path / name).write_bytes(b"picture of someone")

    world.apply()
    monkeypatch.setattr(folders.Folder, "link", no_links)
    monkeypatch.setattr(trash, "_reserve", reserve_and_write)
    assert removal.undo(world.root).exit_code == 1 and not world.lost()
    assert (world.root / "copy 0.jpg").read_bytes() == b"picture of someone"


# names


ODD = ["a\nb.jpg", "é.jpg", unicodedata.normalize("NFD", "é.jpg"), "A.jpg", "a.jpg", "-rf .jpg", " .jpg", "日本.jpg"]
ODD += ["x" * 251 + ".jpg", "\x1b[31m.jpg", "a\\b.jpg", '"quoted".jpg', "%00.jpg", "con.jpg", "\u202egpj.a.jpg"]
ODD += [os.fsdecode(b"\xff\xfe not UTF-8.jpg"), "=cmd().jpg", "~.jpg", "a:b.jpg", "trailing .jpg "]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
def test_odd_names_survive_the_round_trip(tmp_path):
    world = World(tmp_path, count=2)
    for number, name in enumerate(ODD):
        (world.root / name).write_bytes(b"picture odd %d" % number)
    before = world.files()
    removal.make_plan([cluster(world.root, "keeper 0.jpg", *ODD)], world.root, world.plan)
    assert {str(path) for path in world.apply().done} == set(ODD)
    assert world.trashed() == len(ODD) and removal.undo(world.root).exit_code == 0
    assert world.files() == before


# exit codes that stop a call


def test_a_second_run_is_locked_out(world):
    with folders.Folder.open(world.root) as root, trash.open_trash(root, create=True):
        outcomes = [world.apply(), removal.undo(world.root), purge(world)]
    assert [outcome.exit_code for outcome in outcomes] == [3, 3, 3]
    assert world.files() == world.before and world.apply().exit_code == 0


def test_a_full_disk_stops_with_a_valid_undo(world, monkeypatch):
    write, calls = os.write, []

    def filling(descriptor, data):
        calls.append(data)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", filling)
    outcome = world.apply()
    assert (outcome.exit_code, outcome.done) == (4, (Path("copy 0.jpg"),))
    assert "copy 1.jpg" in outcome.message and "No space left" in outcome.message
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before  # still full


def test_a_folder_that_can_not_be_synced_stops_with_a_valid_undo(tmp_path, monkeypatch):
    world = World(tmp_path)

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and world.trashed():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "fsync", fail)
    outcome = world.apply()
    assert (outcome.exit_code, outcome.done, outcome.refused) == (4, (), ())
    monkeypatch.undo()
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.parametrize("folder", ["missing", "plan.jsonl", f"images/{TRASH}", f"images/{TRASH}/run"])
def test_a_folder_that_is_none_is_refused(world, folder):
    world.apply(run="run")
    before = scan(world.folder)
    for outcome in (
        removal.apply_plan(world.plan, world.folder / folder),
        removal.undo(world.folder / folder),
        removal.purge(world.folder / folder, older_than=NOW),
        removal.make_plan([], world.folder / folder, world.folder / "other.jsonl"),
    ):
        assert outcome.exit_code == 2 and outcome.message
    assert scan(world.folder) == before


def test_nothing_to_undo(world):
    assert removal.undo(world.root).exit_code == purge(world).exit_code == 2
    assert world.files() == scan(world.root) == world.before
    world.apply()
    unknown = removal.undo(world.root, run="unknown")
    assert unknown.exit_code == 2 and "there is no run unknown; in the trash are files of " in unknown.message
    assert "lock" not in unknown.message
    assert world.apply(run=removal.undo(world.root).run).exit_code == 2


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x", "a" * 65, "a\n", "é", "-a", ".hidden", "a b"])
def test_a_run_has_a_plain_name(world, name):
    assert world.apply(run=name).exit_code == 2 and world.files() == world.before
    world.apply(run="good")
    assert removal.undo(world.root, run=name).exit_code == purge(world, run=name).exit_code == 2
