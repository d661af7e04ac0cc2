"""Somebody else is at work in the folder: between plan, check, move and second look, or as a second and third run."""

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.deletion import removal
from dedup.deletion.folders import Folder
from dedup.deletion.trash import Run
from tests.removal_world import TRASH, World, cluster, decodes, no_waiting

__all__ = ["no_waiting"]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the links and processes of these tests need POSIX")
OTHER = b"picture of somebody"


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" edited")


def edit_secretly(path: Path) -> None:
    """Other content, same inode, size and modification time."""
    status = path.stat()
    path.write_bytes(b"picture" + path.read_bytes()[7:][::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_content(path: Path) -> None:
    (path.parent / "new").write_bytes(OTHER)
    os.replace(path.parent / "new", path)


def replace_alike(path: Path) -> None:
    (path.parent / "new").write_bytes(path.read_bytes())
    os.replace(path.parent / "new", path)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_by_folder(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.mkdir()
    (path / "inside").write_bytes(OTHER)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved"))


def link_parent(path: Path) -> None:
    """Another folder under the old name, by a link."""
    away = path.parent.with_name("moved folder")
    path.parent.rename(away)
    path.parent.symlink_to(away)


def add_hard_link(path: Path) -> None:
    os.link(path, path.with_name("second name"))


ACTIONS = [edit, edit_secretly, replace_content, replace_alike, replace_by_link, replace_by_folder, replace_by_pipe]
ACTIONS += [move_away, link_parent, add_hard_link, os.unlink]
HARMLESS = (add_hard_link,)


def at(moment: str, act: Callable[[], None], monkeypatch) -> Callable[[Path], None]:
    """Arrange for `act` to happen once, at a moment of the removal; the decoder to use."""
    done = []

    def once() -> None:
        if not done:
            done.append(True)
            act()

    def before(owner: type, name: str) -> None:
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: (once(), method(*args))[1])

    def after(owner: type, name: str) -> None:
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: (method(*args), once())[0])

    if moment == "before the call":
        once()
    elif moment == "before it is written down":
        before(Run, "intend")
    elif moment == "before the move":
        before(Folder, "rename")
    elif moment == "after the move":
        after(Folder, "rename")
    elif moment == "before it is destroyed":
        before(Folder, "unlink")

    def decode(path: Path) -> None:
        decodes(path)
        if moment == "while it is decoded":
            once()

    return decode


def all_contents(world: World) -> set[bytes]:
    """All that lies in the folder and around it, the journals left out."""
    return {path.read_bytes() for path in world.folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"}


@pytest.fixture
def world(tmp_path) -> World:
    """One duplicate and its keeper, each in a folder of its own."""
    world = World(tmp_path, count=2)
    (world.root / "keepers").mkdir()
    (world.root / "keeper 0.jpg").rename(world.root / "keepers" / "keeper.jpg")
    (world.root / "copy 0.jpg").unlink()
    (world.root / "extra.jpg").write_bytes(b"picture of something else")
    removal.make_plan([cluster(world.root, "keepers/keeper.jpg", "deep/er/copy 1.jpg")], world.root, world.plan)
    return world


MOMENTS = ["before the call", "while it is decoded", "before it is written down", "before the move", "after the move"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("role", ["keepers/keeper.jpg", "deep/er/copy 1.jpg"])
def test_nothing_is_lost_to_whoever_changes_files_during_apply(world, monkeypatch, moment, action, role):
    keeper, dropped = world.root / "keepers" / "keeper.jpg", world.root / "deep" / "er" / "copy 1.jpg"
    kept, gone = keeper.read_bytes(), dropped.read_bytes()
    there = []

    def act() -> None:
        target = world.root / role
        if not target.exists():  # it was moved a moment ago
            target = next(path for path in (world.root / TRASH).rglob("1"))
            if action is link_parent:
                return
        action(target)
        there.append(all_contents(world))

    decode = at(moment, act, monkeypatch)
    outcome = removal.apply_plan(world.plan, world.root, decodes=decode)
    monkeypatch.undo()
    assert outcome.exit_code in (0, 1, 2) and (outcome.exit_code == 0) == bool(outcome.done)
    assert all_contents(world) >= (there[0] if there else {kept, gone})  # nothing that was there is gone
    if outcome.done:  # the keeper stands, as it was planned
        assert keeper.read_bytes() == kept and gone in all_contents(world)
        assert (world.root / TRASH / outcome.run / "1").read_bytes() == gone
    elif role == "keepers/keeper.jpg" and action not in HARMLESS:  # the duplicate stands
        assert dropped.read_bytes() == gone
    if action in (edit, edit_secretly, replace_content, replace_by_pipe, os.unlink) or (
        action is replace_alike and moment != "before the call"
    ):
        assert not outcome.done
    before = {path: facts for path, facts in world.files().items()}
    removal.undo(world.root)
    assert before.items() <= world.files().items() and all_contents(world) >= (there[0] if there else {kept, gone})
    if outcome.done and not dropped.parent.is_symlink():
        assert dropped.read_bytes() == gone


PURGE_MOMENTS = ["before the call", "while it is decoded"]


@pytest.mark.parametrize("moment", PURGE_MOMENTS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("role", ["keeper", "trashed"])
def test_nothing_is_destroyed_for_whoever_changes_files_during_purge(world, monkeypatch, moment, action, role):
    run = world.apply().run
    keeper, trashed = world.root / "keepers" / "keeper.jpg", world.root / TRASH / run / "1"
    gone, kept = trashed.read_bytes(), keeper.read_bytes()
    there = []

    def act() -> None:
        action(keeper if role == "keeper" else trashed)
        there.append(all_contents(world))

    decode = at(moment, act, monkeypatch)
    outcome = removal.purge(world.root, older_than=timedelta(0), decodes=decode)
    if outcome.done:
        assert all_contents(world) | {gone} >= there[0] and keeper.read_bytes() == kept
        assert action in (add_hard_link, link_parent, replace_alike)
    else:
        assert all_contents(world) >= there[0]


@pytest.mark.parametrize(("method", "content"), [("link", OTHER), ("create", OTHER), ("create", b"")])
def test_undo_replaces_nothing_that_appears_meanwhile(world, monkeypatch, method, content):
    """Neither where hard links are made nor where a placeholder is."""
    original, home = getattr(Folder, method), world.root / "deep" / "er" / "copy 1.jpg"
    gone = home.read_bytes()
    world.apply()

    def late(folder, name, *others):
        if not name.endswith(".home"):
            home.write_bytes(content)
        return original(folder, name, *others)

    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(Folder, "link", no_links)
    monkeypatch.setattr(Folder, method, late)
    outcome = removal.undo(world.root)
    monkeypatch.undo()
    assert outcome.exit_code == 1 and home.read_bytes() == content
    home.unlink()
    assert removal.undo(world.root).exit_code == 0 and home.read_bytes() == gone


@pytest.mark.parametrize("grows", [1, 1000])
def test_a_file_that_grows_while_it_is_read_is_refused(world, monkeypatch, grows):
    path, read, reads = world.root / "deep" / "er" / "copy 1.jpg", os.read, []

    def grow(descriptor, size):
        if os.path.samestat(os.fstat(descriptor), path.stat()) and len(reads) < grows:
            reads.append(size)
            with path.open("ab") as file:
                file.write(b"!")
        return read(descriptor, min(size, 1))

    monkeypatch.setattr(os, "read", grow)
    outcome = removal.apply_plan(world.plan, world.root, decodes=decodes)
    assert "it changes while it is read" in outcome.refused[0][1] and path.exists()
    assert len(reads) < 100


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid(), reason="needs root on Linux")
def test_a_trash_that_is_mounted_as_a_home_is_not_emptied(world):
    """The two names are one then, and unlinking the second destroys the only one."""
    world.apply(run="run")
    box, gone = world.root / TRASH / "run", (world.root / TRASH / "run" / "1").read_bytes()
    journal = (box / "journal.jsonl").read_text()
    (box / "journal.jsonl").write_text(journal.replace("deep/er/copy 1.jpg", "deep/er/1"))
    home = str(world.root / "deep" / "er")
    if subprocess.run(["mount", "--bind", str(box), home], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert removal.undo(world.root).exit_code == 1 and (box / "1").read_bytes() == gone
    finally:
        subprocess.run(["umount", home], check=True)


def run_apart(work: Callable[[], removal.Outcome], start: float) -> int:
    """Start a call in a process of its own that waits for the clock; its process id."""
    if child := os.fork():
        return child
    code = 99
    try:
        while time.monotonic() < start:
            pass
        code = work().exit_code
    finally:
        os._exit(code)


def plans_in_the_way(world: World) -> tuple[dict[str, Path], dict[str, set[str]]]:
    """The world's plan, its reverse and one of a folder below; and for each file the keepers that plans give it."""
    deep = sorted(path.name for path in (world.root / "deep" / "er").iterdir())
    reverse, below = world.folder / "reverse.jsonl", world.folder / "below.jsonl"
    chain = [(name, world.keeper_of(name)) for name in world.dropped[::2]]
    removal.make_plan([cluster(world.root, *pair) for pair in chain], world.root, reverse)
    nested = world.root / "deep"
    removal.make_plan([cluster(nested, f"er/{deep[-1]}", f"er/{deep[0]}")], nested, below)
    keepers = {name: {world.keeper_of(name)} for name in world.dropped} | {name: set() for name in world.keepers}
    for keeper, dropped in [*chain, (f"deep/er/{deep[-1]}", f"deep/er/{deep[0]}")]:
        keepers[dropped].add(keeper)
    return {"forth": world.plan, "back": reverse, "below": below}, keepers


def leads_to(start: str, keepers: dict[str, set[str]], goals: set[str]) -> bool:
    """Tell whether some keeper of `start`, or a keeper's keeper, is among `goals`."""
    seen, ahead = set(), {start}
    while ahead - seen:
        seen |= ahead
        ahead = {keeper for name in ahead for keeper in keepers[name]}
        if ahead & goals:
            return True
    return False


def two_or_three_runs(folder: Path, seed: int) -> list[int]:
    """One round of calls that get in each other's way; their exit codes."""
    chance, world = random.Random(seed), World(folder, count=4)
    plans, keepers = plans_in_the_way(world)
    choices = [
        *(lambda: removal.apply_plan(plans["forth"], world.root, decodes=decodes) for _ in range(2)),
        lambda: removal.apply_plan(plans["back"], world.root, decodes=decodes),
        lambda: removal.apply_plan(plans["below"], world.root / "deep", decodes=decodes),
        lambda: removal.undo(world.root),
        lambda: removal.purge(world.root, older_than=timedelta(0), decodes=decodes),
    ]
    start = time.monotonic() + 0.01
    children = [run_apart(call, start) for call in chance.sample(choices, chance.choice([2, 3]))]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, 1, 2, 3}
    names = {content: name for name, (content, _, _) in world.before.items()}
    lost, at_home = {names[content] for content in world.lost()}, set(world.files())
    for name in world.before.keys() - at_home:
        assert leads_to(name, keepers, at_home)  # what it shows stands in its place
    for name in lost:  # purged, while a keeper stood that has at most been moved since
        assert keepers[name] - lost
    return codes


@pytest.mark.parametrize("rounds", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_two_and_three_runs_at_once_lose_nothing(tmp_path, rounds):
    codes = [code for seed in range(rounds) for code in two_or_three_runs(tmp_path / str(seed), seed)]
    assert 0 in codes
    print(f"rounds: {rounds}, runs: {len(codes)}, locked out: {codes.count(3)}, refusing: {codes.count(1)}")
