"""Every call to the system fails once, with every error, reads too: nothing lost, no exception, the truth told."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.deletion import removal
from dedup.deletion.folders import Folder
from tests.removal_faults import CHANGING, Killed, failing
from tests.removal_world import TRASH, World, cluster, decodes, no_waiting

DRIVER = Path(__file__).parent.with_name("removal_driver.py")
__all__ = ["no_waiting"]
pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="on Windows the calls have other names")
OTHERS = ["ENOSPC", "EACCES", "EXDEV", "EROFS"]  # beside EIO
CALLS = {
    "apply": lambda world: world.apply(),
    "undo": lambda world: removal.undo(world.root),
    "undo without hard links": lambda world: removal.undo(world.root),
    "purge": lambda world: removal.purge(world.root, older_than=timedelta(0), decodes=decodes),
}


def no_links(*_):
    raise OSError(errno.EOPNOTSUPP, "no hard links here")


def prepared(folder: Path, name: str, **more: bool) -> World:
    world = World(folder, **more)
    if name != "apply":
        assert world.apply(run="run").exit_code == 0
    return world


def assert_told_the_truth(world: World, name: str, outcome: removal.Outcome) -> None:
    """What is told to be done is done; what is refused has not moved, or is told to be in the trash."""
    files = world.files()
    for path in map(str, outcome.done):
        assert (path in files) == name.startswith("undo")
    for path, reason in outcome.refused:
        assert (str(path) in files) == (name == "apply") or "stays in the trash" in reason or name.startswith("undo")
    stays = any("stays in the trash" in reason for _, reason in outcome.refused)
    for unit in world.units() if name == "apply" and outcome.exit_code < 4 and not stays else ():
        assert len(unit & set(files)) in (0, len(unit))
    if outcome.exit_code == 0:
        assert len(outcome.done) == len(world.dropped)
    assert outcome.exit_code < 2 or outcome.message


def assert_recovers(world: World, name: str) -> None:
    purged = world.destroyed()
    assert name == "purge" or not (purged or world.lost())
    assert set(purged) <= {*world.dropped, *world.beside}
    assert all(world.files()[keeper] == world.before[keeper] for keeper in world.keepers)
    assert removal.undo(world.root).exit_code in (0, 2) or purged
    gone = {*purged, *(world.beside if purged else ())}  # what is told there stays for what was destroyed
    files = {path: facts for path, facts in world.files().items() if path not in gone}
    assert files == {path: facts for path, facts in world.before.items() if path not in gone}


@pytest.mark.parametrize("more", [{}, {"films": True}, {"merges": True}], ids=["", "films", "merges"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("error", ["EIO", "KILL", *(pytest.param(error, marks=pytest.mark.slow) for error in OTHERS)])
def test_every_call_fails_once(tmp_path, monkeypatch, name, error, more):
    if name == "undo without hard links":
        monkeypatch.setattr(Folder, "link", no_links)
    world = prepared(tmp_path / "counted", name, **more)
    with failing(0, error) as calls:
        CALLS[name](world)
    print(f"{name}, {error}: {calls.count} calls")
    assert calls.count >= (4 if error == "KILL" else 30)
    for number in range(1, calls.count + 1):
        world = prepared(tmp_path / str(number), name, **more)
        try:
            with failing(number, error):
                outcome = CALLS[name](world)
        except Killed:
            assert error == "KILL"
        else:
            assert error != "KILL"
            assert_told_the_truth(world, name, outcome)
        assert_recovers(world, name)
        shutil.rmtree(world.folder)


@pytest.mark.parametrize("error", ["ENOSPC", "EACCES"])
def test_a_write_cut_short_at_every_byte(tmp_path, monkeypatch, error):
    """The journal takes some bytes of a line and then no more."""
    write, whole = os.write, World(tmp_path / "whole")
    assert whole.apply().exit_code == 0
    length = sum(path.stat().st_size for path in whole.root.glob(".dedup-trash/*/journal.jsonl"))
    assert length > 500
    for room in range(0, length + 40, 19):
        world, left = World(tmp_path / str(room)), [room]

        def cut(descriptor, data, left=left):
            if left[0] == 0:
                raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))
            written = write(descriptor, bytes(data[: left[0]]))
            left[0] -= written
            return written

        monkeypatch.setattr(os, "write", cut)
        outcome = world.apply()
        monkeypatch.setattr(os, "write", write)
        if abs(room - length) > 12:  # digits of the file numbers, by which journals differ
            assert outcome.exit_code == (0 if room > length else 4), (room, outcome)
        assert_told_the_truth(world, "apply", outcome)
        assert_recovers(world, "apply")
        assert world.apply().exit_code == 0


@pytest.mark.parametrize("most", [1, 7, 100])
def test_short_writes_are_continued(tmp_path, monkeypatch, most):
    world, write = World(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:most])))
    assert world.apply().exit_code == 0
    monkeypatch.undo()
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.parametrize("room", [0, 20, 300, 600])
def test_the_system_itself_cuts_a_write_short(tmp_path, room):
    resource = pytest.importorskip("resource")
    world = World(tmp_path)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    call = [sys.executable, "-B", str(DRIVER), "apply", str(world.root), str(world.plan)]
    result = subprocess.run(call, preexec_fn=limit, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (4, "")
    assert world.trashed() == (room > 500)
    assert_recovers(world, "apply")


def test_a_folder_without_write_permission_is_refused(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    world = World(tmp_path)
    (world.root / "deep" / "er").chmod(0o500)
    outcome = world.apply()
    (world.root / "deep" / "er").chmod(0o700)
    assert [path.name for path, _ in outcome.refused] == ["copy 1.jpg"] and len(outcome.done) == 1
    assert_recovers(world, "apply")


def test_a_disk_mounted_below_the_folder(tmp_path):
    """A real EXDEV: the duplicate is refused, the rest goes on."""
    world = World(tmp_path)
    (world.root / "disk").mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(world.root / "disk")]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("mounting needs Linux and root")
    try:
        (world.root / "disk" / "copy.jpg").write_bytes(b"picture on another disk")
        removal.make_plan([cluster(world.root, "keeper 0.jpg", "disk/copy.jpg", "copy 0.jpg")], world.root, world.plan)
        outcome = world.apply()
        assert (outcome.done, outcome.exit_code) == ((Path("copy 0.jpg"),), 1)
        assert "cross-device" in outcome.refused[0][1] and (world.root / "disk" / "copy.jpg").exists()
        assert not (world.root / "disk" / TRASH).exists() and removal.undo(world.root).exit_code == 0
    finally:
        subprocess.run(["umount", str(world.root / "disk")], check=True)


def recorded(world: World, call, monkeypatch) -> list[str]:
    """The changes that a call makes, and what it has reach the disk, in their order."""
    events = []
    places = {world.root.stat().st_ino: "images", (world.root / "deep" / "er").stat().st_ino: "home"}

    def place(descriptor: int) -> str:
        status = os.fstat(descriptor)
        return "journal" if stat.S_ISREG(status.st_mode) else places.get(status.st_ino, "trash")

    def record(name: str, original):
        def called(*args, **options):
            what = place(args[0]) if name in ("write", "fsync") else str(args[0])
            events.append(f"{name} {what}")
            return original(*args, **options)

        return called

    for name in CHANGING:
        monkeypatch.setattr(os, name, record(name, getattr(os, name)))
    call(world)
    monkeypatch.undo()
    return events


WRITTEN = {
    "apply": [
        *(
            "mkdir .dedup-trash",
            "fsync images",
            "mkdir run",
            "fsync trash",
            "write journal",
            "fsync journal",
            "fsync trash",
        ),
        *("write journal", "fsync journal", "rename copy 1.jpg", "fsync home", "fsync trash"),
    ],
    "undo": ["link 1", "fsync home", "unlink 1", "fsync trash"],
    "undo without hard links": ["rename 1", "fsync home", "fsync trash", "unlink 1.home"],
    "purge": ["unlink 1", "fsync trash"],
}


def test_of_a_unit_all_is_written_down_before_any_of_it_moves(tmp_path, monkeypatch):
    world = World(tmp_path, 1, films=True)
    events = recorded(world, lambda world: world.apply(run="run"), monkeypatch)
    moved = ["rename copy 0.jpg", "fsync images", "fsync trash", "rename copy 0.mov", "fsync images", "fsync trash"]
    assert [event for event in events if "/" not in event][-8:] == ["write journal", "fsync journal", *moved]


@pytest.mark.parametrize("name", CALLS)
def test_what_has_to_be_on_disk_before_what(tmp_path, monkeypatch, name):
    """A test can kill a process but not cut the power, so that the order of syncs is written out here."""
    world = World(tmp_path)
    removal.make_plan([cluster(world.root, "keeper 0.jpg", "deep/er/copy 1.jpg")], world.root, world.plan)
    if name != "apply":
        world.apply(run="run")
    if name == "undo without hard links":
        monkeypatch.setattr(Folder, "link", no_links)
    call = (lambda world: world.apply(run="run")) if name == "apply" else CALLS[name]
    events = recorded(world, call, monkeypatch)
    assert [event for event in events if "/" not in event] == WRITTEN[name]  # filelock makes its folder by its path
