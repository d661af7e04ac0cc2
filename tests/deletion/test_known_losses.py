"""Losses that other tools' users reported, each set up here as it happened there, and each impossible.

The name of a test is the tool and the number of its report.
"""

import errno
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.deletion import folders, removal
from tests.removal_world import TRASH, World, cluster, decodes, no_waiting, scan

__all__ = ["no_waiting"]
pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the links of these tests need a POSIX system")
NOW = timedelta(0)


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def plan(world: World, *clusters, path: str = "other.jsonl") -> Path:
    removal.make_plan(clusters, world.root, world.folder / path)
    return world.folder / path


def apply(world: World, path: Path, root: Path | None = None) -> removal.Outcome:
    return removal.apply_plan(path, root or world.root, decodes=decodes)


@pytest.mark.parametrize("call", ["rename", "link", "unlink"])
@pytest.mark.parametrize("error", ["EPERM", "EIO", "EXDEV", "ENOSPC"])
def test_czkawka_1656_and_1498(world, monkeypatch, call, error):
    """A link could not be made after the original was gone: here the original is moved, and a failure leaves it."""

    def fail(*_):
        raise OSError(getattr(errno, error), "failed")

    monkeypatch.setattr(folders.Folder, call, fail)
    world.apply()
    assert not world.lost()
    removal.undo(world.root)
    assert not world.lost()
    monkeypatch.undo()
    assert removal.undo(world.root).exit_code in (0, 2) and world.files() == world.before


def test_czkawka_417(world):
    """One folder under two spellings: each file counted as the other's copy, and both were deleted."""
    spelled = world.folder / "spelled"
    spelled.symlink_to(world.root)
    here = plan(world, cluster(world.root, "keeper 0.jpg", "copy 0.jpg"))
    removal.make_plan([cluster(spelled, "copy 0.jpg", "keeper 0.jpg")], spelled, world.folder / "there.jsonl")
    assert apply(world, here).exit_code == 0
    outcome = apply(world, world.folder / "there.jsonl", spelled)
    assert outcome.exit_code == 1 and (world.root / "keeper 0.jpg").exists() and not world.lost()


def test_czkawka_417_by_hard_links(world):
    """The same file under two names is no copy of itself, whatever a plan says."""
    os.link(world.root / "keeper 0.jpg", world.root / "KEEPER 0.JPG")
    outcome = apply(world, plan(world, cluster(world.root, "keeper 0.jpg", "KEEPER 0.JPG")))
    assert outcome.refused == ((Path("KEEPER 0.JPG"), "it and its keeper are one file"),)


def test_czkawka_1991(world, monkeypatch):
    """The error of a rollback was swallowed: here it is told, with the place where the file lies."""
    intend = removal.Run.intend

    def edit_and_occupy(run, item):
        intend(run, item)
        (world.root / "keeper 0.jpg").write_bytes(b"picture, edited")

    def occupied(*_):
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(removal.Run, "intend", edit_and_occupy)
    monkeypatch.setattr(folders.Folder, "link", occupied)
    outcome = world.apply(run="run")
    monkeypatch.undo()
    assert outcome.exit_code == 1
    assert "its keeper was changed meanwhile; it stays in the trash as run/1: " in outcome.refused[0][1]
    assert (world.root / TRASH / "run" / "1").exists()
    assert removal.undo(world.root).done == (Path("copy 0.jpg"),)


@pytest.mark.parametrize("digest", [None, "", 0, "missing"])
def test_rmlint_672(world, digest):
    """A missing checksum was taken for an equal one."""
    header, item, _ = (json.loads(line) for line in world.plan.read_text().splitlines())
    for role in ("keep", "drop"):
        if digest == "missing":
            del item[role]["blake2b"]
        else:
            item[role]["blake2b"] = digest
    world.plan.write_text(json.dumps(header) + "\n" + json.dumps(item) + "\n")
    assert world.apply().exit_code == 2 and world.files() == world.before


@pytest.mark.parametrize("name", ["keeper 0.jpg", "copy 0.jpg"])
def test_fclones_84(world, name):
    """Same size and time, other content: taken from a cache for unchanged."""
    path, status = world.root / name, (world.root / name).stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    outcome = world.apply()
    assert Path("copy 0.jpg") in dict(outcome.refused) and path.exists()


@pytest.mark.parametrize("linked", ["keeper 0.jpg", "copy 0.jpg"])
def test_geeqie_782(world, linked):
    """A link to a file counted as its copy, and the file was deleted."""
    other = {"keeper 0.jpg": "copy 0.jpg", "copy 0.jpg": "keeper 0.jpg"}[linked]
    (world.root / linked).unlink()
    (world.root / linked).symlink_to(other)
    outcome = world.apply()
    assert (outcome.exit_code, outcome.done) == (2, ()) and (world.root / other).read_bytes() == world.before[other][0]
    again = removal.make_plan([cluster(world.root, "keeper 0.jpg", "copy 0.jpg")], world.root, world.plan)
    assert not again.done


@pytest.mark.parametrize("error", ["EACCES", "EXDEV", "EBUSY", "EIO"])
def test_dupeguru_550(world, monkeypatch, error):
    """It said that all files were sent to the trash, and none was: here only what was seen to happen is told."""

    def fail(*_):
        raise OSError(getattr(errno, error), "failed")

    monkeypatch.setattr(folders.Folder, "rename", fail)
    outcome = world.apply()
    assert outcome.done == () and outcome.exit_code == (4 if error == "EIO" else 1)
    assert world.files() == world.before


def test_dupeguru_1388(world):
    """Files that were told to be in the trash could not be found in any: here each lies where the journal says."""
    outcome = world.apply(run="run")
    events = [json.loads(line) for line in (world.root / TRASH / "run" / "journal.jsonl").read_text().splitlines()[1:]]
    assert [Path(event["drop"]["path"]) for event in events] == list(outcome.done)
    for event in events:
        path = event["drop"]["path"]
        assert (world.root / TRASH / "run" / str(event["move"])).read_bytes() == world.before[path][0]


def test_sdmaid_se_885(world):
    """Overlapping sets of near duplicates, each with a keeper that another set deleted: every copy was lost."""
    names = ["keeper 0.jpg", "copy 0.jpg", "deep/er/copy 1.jpg"]
    circle = [(names[0], names[1]), (names[1], names[2]), (names[2], names[0])]
    clusters = [cluster(world.root, *pair) for pair in circle]
    together = removal.make_plan(clusters, world.root, world.folder / "together.jsonl")
    assert together.done == () and len(together.refused) == 3
    plans = [plan(world, each, path=f"{number}.jsonl") for number, each in enumerate(clusters)]
    header = plans[0].read_text().splitlines()[0]
    merged = world.folder / "merged.jsonl"
    merged.write_text("\n".join([header, *(path.read_text().splitlines()[1] for path in plans)]) + "\n")
    assert apply(world, merged).exit_code == 2 and world.files() == world.before
    codes = [apply(world, path).exit_code for path in plans]
    assert 1 in codes and world.files() and not world.lost()
    removal.purge(world.root, older_than=NOW, decodes=decodes)
    assert world.files()


def test_sdmaid_se_885_purged_step_by_step(world):
    """A file is destroyed only while the very keeper it was compared with stands; not for that keeper's keeper."""
    first = plan(world, cluster(world.root, "copy 0.jpg", "deep/er/copy 1.jpg"), path="first.jsonl")
    second = plan(world, cluster(world.root, "keeper 0.jpg", "copy 0.jpg"), path="second.jsonl")
    assert apply(world, first).exit_code == apply(world, second).exit_code == 0
    outcome = removal.purge(world.root, older_than=NOW, decodes=decodes)
    assert outcome.done == (Path("copy 0.jpg"),)
    assert [path for path, _ in outcome.refused] == [Path("deep/er/copy 1.jpg")]


@pytest.mark.parametrize("path", ["../outside.jpg", "/tmp/outside.jpg", "deep/../../outside.jpg", "out/outside.jpg"])
def test_trash_cli_crafted_entry(world, path):
    """A crafted entry in the trash was restored outside of its volume."""
    world.apply(run="run")
    (world.folder / "out").mkdir()
    (world.root / "out").symlink_to(world.folder / "out")
    journal = world.root / TRASH / "run" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"copy 0.jpg"', json.dumps(path)))
    before = scan(world.folder)
    outcome = removal.undo(world.root)
    if path.startswith("out/"):
        assert [str(path) for path, _ in outcome.refused] == [path] and not os.listdir(world.folder / "out")
    else:
        assert outcome.exit_code == 2 and scan(world.folder) == before
    assert not world.lost() and not Path("/tmp/outside.jpg").exists()


@pytest.mark.parametrize("stored", ["../../keeper 0.jpg", "1/../../../keeper 0.jpg"])
def test_trash_cli_crafted_entry_that_takes_another_file(world, stored):
    """Nor is anything taken that does not lie in the trash."""
    world.apply(run="run")
    journal = world.root / TRASH / "run" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"move": 1', f'"move": {json.dumps(stored)}'))
    assert removal.undo(world.root).exit_code == 2 and (world.root / "keeper 0.jpg").exists()
