"""Killed by the system and failed by the system, at each system call that changes anything: nothing is ever lost.

strace counts `when=N` per kind of call, so that each point is one kind and its number; calls before /removal-begins are
Python's start-up and left alone. A kill before call N is the same as one after call N - 1 of any kind.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.deletion import removal
from tests.removal_world import World, decodes

DRIVER = Path(__file__).parent.with_name("removal_driver.py")
CHANGING = set(  # all that Linux has
    """
    write writev pwrite64 pwritev pwritev2 fsync fdatasync sync syncfs sync_file_range msync fallocate
    truncate ftruncate sendfile splice tee vmsplice copy_file_range mkdir mkdirat rmdir mknod mknodat creat
    openat2 io_uring_enter rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat chmod
    fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat setxattr lsetxattr
    fsetxattr removexattr lremovexattr fremovexattr mount umount2
    """.split()
)
SCENARIOS = {
    "apply": ("apply", "", ()),
    "apply, every file comes back": ("apply", "edit keepers", ()),
    "apply without hard links": ("apply", "", ("linkat:error=EOPNOTSUPP",)),  # which matter to merges alone
    "undo": ("undo", "", ()),
    "undo without hard links": ("undo", "", ("linkat:error=EOPNOTSUPP",)),
    "purge": ("purge", "", ()),
}
ERRORS = ("ENOSPC", "EIO", "EACCES", "EXDEV", "EROFS")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def prepared(folder: Path, action: str, count: int, **more: bool) -> World:
    world = World(folder, count, **more)
    for keeper in world.keepers:
        (world.folder / f"edited {keeper}").write_bytes(b"picture edited")
    if action != "apply":
        assert world.apply().exit_code == 0
    return world


def traced(world: World, scenario: str, *strace: str) -> subprocess.CompletedProcess:
    action, event, faults = SCENARIOS[scenario]
    injections = [f"--inject={fault}" for fault in faults]
    call = [sys.executable, "-B", str(DRIVER), action, str(world.root), str(world.plan), event]
    return subprocess.run(
        ["strace", "-f", "-qq", *injections, *strace, *call],
        capture_output=True,
        text=True,
        timeout=60,
    )


def changing_calls(world: World, scenario: str, log: Path) -> list[tuple[str, int]]:
    """Kind and number of every call that changes something, in their order, of one whole run."""
    kinds = ",".join(f"?{kind}" for kind in [*sorted(CHANGING), "open", "openat", "stat", "newfstatat", "statx"])
    result = traced(world, scenario, "-o", str(log), "-e", f"trace={kinds}")
    assert (result.returncode, result.stderr) in ((0, ""), (1, "")), result
    seen, points, started = Counter(), [], False
    for kind, arguments in re.findall(r"^\d+ +(\w+)\((.*)$", log.read_text(), re.MULTILINE):
        seen[kind] += 1
        started = started or '"/removal-begins"' in arguments
        if started and (kind in CHANGING or "O_CREAT" in arguments):
            points.append((kind, seen[kind]))
    return points


def assert_nothing_lost(world: World, scenario: str) -> None:
    """All is there; undo brings home what was moved, the very file; and then all can be done once more."""
    action, event, _ = SCENARIOS[scenario]
    kept = {path: facts for path, facts in world.before.items() if path in world.keepers}
    purged = {}
    if event:
        assert all((world.root / keeper).read_bytes()[:4] in (b"pict", b"film") for keeper in world.keepers)
        world.before = {path: facts for path, facts in world.before.items() if path not in world.keepers}
    elif action == "purge":
        purged = world.destroyed()
        assert set(purged) <= {*world.dropped, *world.beside}
        for name in purged.keys() - set(world.beside):  # what it told is told by its keeper
            assert not world.beside or not name.endswith(".jpg") or name in world.told(world.keeper_of(name))
    assert world.lost() <= {content for content, _, _ in purged.values()}
    assert event or {path: world.files()[path] for path in kept} == kept
    units = [unit for unit in world.units() if unit & set(purged)]
    for _ in range(2):
        undone = removal.undo(world.root)
        assert len(undone.refused) == len(units), undone
        assert undone.exit_code == (2 if "has no trash" in undone.message else bool(units)), undone
        files = {path: facts for path, facts in world.files().items() if not event or path not in world.keepers}
        untold = [] if purged else world.beside
        some = {path for path in files.keys() | world.before.keys() if path in untold or path not in world.beside}
        assert {path: files[path] for path in some & files.keys()} == {
            path: facts for path, facts in world.before.items() if path in some and path not in purged
        }
        # An XMP file that holds what a destroyed file held is not taken back: what it was stays until the next purge.
        assert world.trashed() <= (len(world.beside) if purged else 0)
    if not event:
        assert len(world.apply().done) == len(world.dropped) - sum(map(len, units))
        for name in world.beside and world.dropped:
            assert not name.endswith(".jpg") or name in world.told(world.keeper_of(name))
    if purged:
        removal.purge(world.root, older_than=timedelta(0), decodes=decodes)
        assert world.trashed() == 0


def scenarios(merges: bool = False, **_: bool) -> list[str]:
    return [name for name in SCENARIOS if merges or name != "apply without hard links"]


def points_survived(tmp_path: Path, scenario: str, count: int, errors: tuple[str, ...] = (), **more: bool) -> int:
    """Kill, or fail with each of `errors`, at every point of a scenario; how many that were."""
    action, _, faults = SCENARIOS[scenario]
    tmp_path.mkdir(exist_ok=True)
    points = changing_calls(prepared(tmp_path / "whole", action, count, **more), scenario, tmp_path / "log")

    def survive(kind: str, number: int, what: str) -> None:
        world = prepared(tmp_path / f"{kind} {number} {what}", action, count, **more)
        only = ("-o", "/dev/null", "-e", f"trace={kind},?linkat")
        result = traced(world, scenario, *only, f"--inject={kind}:{what}:when={number}")
        assert result.returncode in ((0, 1, 2, 4) if errors else (-9,)), (kind, number, what, result)
        assert not result.stderr, (kind, number, what, result)
        assert_nothing_lost(world, scenario)
        shutil.rmtree(world.folder)

    injected = [f"error={error}" for error in errors] or ["signal=KILL"]
    jobs = [(*point, what) for point in points for what in injected if not (faults and point[0] == "linkat")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(survive, *zip(*jobs, strict=True)))
    return len(jobs)


@needs_strace
@pytest.mark.parametrize(
    ("scenario", "least"),
    [("apply", 15), ("apply, every file comes back", 20), ("undo", 4), ("undo without hard links", 6), ("purge", 2)],
)
@pytest.mark.parametrize("films", [False, True])
def test_one_file_survives_a_kill_at_every_call(tmp_path, scenario, least, films):
    assert points_survived(tmp_path, scenario, count=1, films=films) >= least + films


@needs_strace
@pytest.mark.parametrize(
    ("scenario", "least"),
    [
        *(("apply", 30), ("apply, every file comes back", 40), ("apply without hard links", 30)),
        *(("undo", 15), ("undo without hard links", 15), ("purge", 4)),
    ],
)
def test_a_merge_survives_a_kill_at_every_call(tmp_path, scenario, least):
    """Two files that go for one keeper, which has an XMP file."""
    assert points_survived(tmp_path, scenario, count=2, merges=True) >= least


@needs_strace
@pytest.mark.parametrize("scenario", ["apply", "undo"])
def test_a_merge_survives_an_error_at_every_call(tmp_path, scenario):
    assert points_survived(tmp_path, scenario, count=1, errors=("ENOSPC", "EACCES"), merges=True) >= 12


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(("more", "count"), [({}, 14), ({"films": True}, 7), ({"merges": True}, 6)])
def test_many_files_survive_a_kill_at_every_call(tmp_path, more, count):
    survived = {name: points_survived(tmp_path / name, name, count, **more) for name in scenarios(**more)}
    print(f"kill points: {sum(survived.values())} {survived}")
    assert sum(survived.values()) >= 300


@needs_strace
@pytest.mark.parametrize("scenario", ["undo without hard links"])
def test_one_file_survives_an_error_at_every_call(tmp_path, scenario):
    assert points_survived(tmp_path, scenario, count=1, errors=("ENOSPC", "EACCES")) >= 12


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(("more", "count"), [({}, 3), ({"films": True}, 2), ({"merges": True}, 2)])
def test_files_survive_every_error_at_every_call(tmp_path, more, count):
    survived = {name: points_survived(tmp_path / name, name, count, ERRORS, **more) for name in scenarios(**more)}
    print(f"injected errors: {sum(survived.values())} {survived}")
    assert sum(survived.values()) >= 400
