"""A picture and its companions go together or not at all: in plan, move, undo and purge."""

import errno
import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.contents import companions
from dedup.deletion import removal
from dedup.deletion.folders import Folder
from dedup.deletion.trash import Run
from tests.removal_world import TRASH, World, cluster, decodes, no_waiting

__all__ = ["no_waiting"]
pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the links of these tests need a POSIX system")
UNIT = (Path("copy 0.jpg"), Path("copy 0.mov"))


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path, count=1, films=True)


def purge(world: World) -> removal.Outcome:
    return removal.purge(world.root, older_than=timedelta(0), decodes=decodes)


def fails(monkeypatch, method: str, at: int, error: int = errno.EACCES) -> None:
    """Let a method of Folder fail at its n-th call."""
    original, calls = getattr(Folder, method), []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            raise OSError(error, os.strerror(error))
        return original(*arguments)

    monkeypatch.setattr(Folder, method, call)


def test_a_plan_names_the_companions_with_their_likes(world):
    _, item = map(json.loads, world.plan.read_text().splitlines())
    assert [pair[role]["path"] for pair in item["companions"] for role in ("keep", "drop")] == [
        "keeper 0.mov",
        "copy 0.mov",
    ]


def test_they_go_and_come_back_together(world):
    assert world.apply(run="run").done == UNIT
    assert sorted(os.listdir(world.root / TRASH / "run")) == ["1", "2", "journal.jsonl"]
    assert removal.undo(world.root).done == UNIT and world.files() == world.before
    assert world.apply().done == UNIT and purge(world).done == UNIT
    assert world.trashed() == 0 and set(world.destroyed()) == set(map(str, UNIT))


def test_numbers_go_on_behind_the_companions(tmp_path):
    world = World(tmp_path, count=3, films=True)
    assert world.apply(run="run").exit_code == 0
    assert sorted(os.listdir(world.root / TRASH / "run"))[:-1] == ["1", "2", "3", "4", "5", "6"]
    lines = (world.root / TRASH / "run" / "journal.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["move"] for line in lines] == [1, 3, 5]
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.parametrize("films", [False, True])
@pytest.mark.parametrize("name", ["copy 0.xmp", "settings/copy 0.jpg.xmp", "copy 0.png"])
def test_none_moves_where_more_belongs_to_it_than_when_the_plan_was_made(tmp_path, name, films):
    world = World(tmp_path, count=1, films=films)
    (world.root / name).parent.mkdir(exist_ok=True)
    (world.root / name).write_bytes(b"new")  # of a picture that shares the film, where there is one
    outcome, is_refused = world.apply(), films or not name.endswith("png")
    assert world.trashed() == 0 if is_refused else outcome.exit_code == 0
    assert not is_refused or "other files belong to it now" in str(outcome.refused), outcome


def test_none_moves_where_what_belongs_to_it_can_not_be_told(world, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(companions, "_in_folder", refuse)
    assert "what belongs to it can't be told" in str(world.apply().refused) and world.trashed() == 0


@pytest.mark.parametrize("name", ["copy 0.jpg", "copy 0.mov", "keeper 0.jpg", "keeper 0.mov"])
@pytest.mark.parametrize("change", ["edited", "gone", "a link"])
def test_none_moves_where_one_of_them_or_its_like_is_another(world, name, change):
    path = world.root / name
    if change == "edited":
        path.write_bytes(path.read_bytes() + b"!")
    else:
        path.rename(world.folder / "away")
        if change == "a link":
            path.symlink_to(world.folder / "away")
    outcome = world.apply()
    assert outcome.done == () and outcome.exit_code in (1, 2)
    assert (outcome.exit_code == 2) == (change == "a link") and not world.trashed()


@pytest.mark.parametrize("name", ["copy 0.jpg", "copy 0.mov", "keeper 0.jpg", "keeper 0.mov"])
def test_all_come_back_where_one_of_them_changes_right_before_the_move(world, monkeypatch, name):
    intend = Run.intend

    def edit(run, item):
        intend(run, item)
        (world.root / name).write_bytes(b"picture, another one")

    monkeypatch.setattr(Run, "intend", edit)
    outcome = world.apply(run="run")
    assert outcome.done == () and "was changed meanwhile" in outcome.refused[0][1]
    assert set(world.files()) == set(world.before) and not world.trashed()
    assert json.loads((world.root / TRASH / "run" / "journal.jsonl").read_text().splitlines()[-1]) == {"back": 1}


def test_all_come_back_where_one_of_them_can_not_move(world, monkeypatch):
    fails(monkeypatch, "rename", 2)
    outcome = world.apply()
    assert outcome.done == () and outcome.exit_code == 1 and world.files() == world.before


def test_a_run_that_is_stopped_between_them_is_undone_and_not_purged(world, monkeypatch):
    fails(monkeypatch, "rename", 2, errno.EIO)
    assert world.apply().exit_code == 4 and world.trashed() == 1
    refused = purge(world)
    assert refused.done == () and "'copy 0.mov', which goes with it, is not in the trash" in refused.refused[0][1]
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.parametrize("name", ["copy 0.jpg", "copy 0.mov"])
def test_none_comes_back_where_something_else_is_in_the_place_of_one(world, name):
    world.apply()
    (world.root / name).write_bytes(b"picture of somebody")
    outcome = removal.undo(world.root)
    assert outcome.done == () and "something else is there now" in outcome.refused[0][1] and world.trashed() == 2
    (world.root / name).unlink()
    assert removal.undo(world.root).done == UNIT and world.files() == world.before


def test_what_is_left_of_them_comes_back(world):
    world.apply(run="run")
    (world.root / TRASH / "run" / "1").unlink()
    outcome = removal.undo(world.root)
    assert outcome.exit_code == 1 and "no longer in the trash" in outcome.refused[0][1]
    assert (world.root / "copy 0.mov").exists() and world.trashed() == 0


@pytest.mark.parametrize("name", ["keeper 0.jpg", "keeper 0.mov"])
def test_none_is_destroyed_without_the_likes_of_all(world, name):
    world.apply()
    (world.root / name).write_bytes(b"picture, another one")
    outcome = purge(world)
    assert outcome.done == () and world.trashed() == 2
    of = "its companion 'copy 0.mov': " if name.endswith(".mov") else ""
    assert outcome.refused[0][1] == f"{of}its keeper no longer holds what it held"


@pytest.mark.parametrize("name", ["keeper 0.jpg", "keeper 0.mov"])
def test_none_is_destroyed_where_a_like_changes_right_before(world, monkeypatch, name):
    world.apply()
    look, calls = removal._look_again_at_all, []

    def edit(*arguments):
        if not calls:
            calls.append((world.root / name).write_bytes(b"picture, another one"))
        look(*arguments)

    monkeypatch.setattr(removal, "_look_again_at_all", edit)
    outcome = purge(world)
    assert outcome.done == () and "changed meanwhile" in outcome.refused[0][1] and world.trashed() == 2


def test_a_purge_that_was_stopped_between_them_goes_on(world, monkeypatch):
    world.apply()
    fails(monkeypatch, "unlink", 2, errno.EIO)
    assert purge(world).exit_code == 4 and world.trashed() == 1
    monkeypatch.undo()
    assert purge(world).done == UNIT[1:] and world.trashed() == 0


def test_a_companion_that_is_a_duplicate_itself_goes_once_or_stays(world):
    twice = cluster(world.root, "keeper 0.mov", "copy 0.mov")
    outcome = removal.make_plan([*world.clusters(), twice], world.root, world.plan)
    assert outcome.done == UNIT and outcome.refused[0][0] == Path("copy 0.mov")
    kept = cluster(world.root, "copy 0.mov")
    assert removal.make_plan([*world.clusters(), kept], world.root, world.plan).done == ()


@pytest.fixture
def raws(tmp_path) -> Path:
    """A keeper, its copy, and in a folder below the RAW file of each; another copy of that RAW file."""
    (tmp_path / "images" / "raw").mkdir(parents=True)
    for name in ("keeper", "copy"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(b"picture")
        (tmp_path / "images" / "raw" / f"{name}.dng").write_bytes(b"picture, raw")
    (tmp_path / "images" / "other.dng").write_bytes(b"picture, raw")
    return tmp_path / "images"


def planned(images: Path, *clusters: tuple[str, str], **options) -> tuple[list[str], list[str]]:
    """Names of what a plan moves and of what it refuses."""
    made = [cluster(images, *names) for names in clusters]
    outcome = removal.make_plan(made, images, images.parent / "plan.jsonl", **options)
    return [path.name for path in outcome.done], [path.name for path, _ in outcome.refused]


def test_what_is_kept_for_a_companion_goes_for_nothing_else(raws):
    pair, like, raw = ("keeper.jpg", "copy.jpg"), ("other.dng", "raw/keeper.dng"), ("other.dng", "raw/copy.dng")
    assert planned(raws, pair) == (["copy.jpg", "copy.dng"], [])
    assert planned(raws, pair, like) == (["copy.jpg", "copy.dng"], ["keeper.dng"])
    assert planned(raws, like, pair) == (["keeper.dng"], ["copy.jpg"])
    assert planned(raws, pair, raw) == (["copy.jpg", "copy.dng"], ["copy.dng"])
    assert planned(raws, raw, pair) == (["copy.dng"], ["copy.jpg"])


def test_a_companion_in_a_protected_folder_keeps_its_picture(raws):
    from dedup.dataset.folder_rules import Places

    places = Places.find(raws, protect=[raws / "raw"])
    assert planned(raws, ("keeper.jpg", "copy.jpg"), places=places) == ([], ["copy.jpg"])
    assert planned(raws, ("keeper.jpg", "copy.jpg")) == (["copy.jpg", "copy.dng"], [])
    outcome = removal.apply_plan(raws.parent / "plan.jsonl", raws, decodes=decodes, places=places)
    assert outcome.done == () and outcome.refused == ((Path("copy.jpg"), "lies in a protected folder"),)


def test_a_plan_refuses_a_picture_whose_companion_has_no_like(world):
    (world.root / "copy 0.mov").write_bytes(b"another film")
    outcome = removal.make_plan(world.clusters(), world.root, world.plan)
    assert outcome.done == () and outcome.refused == ((Path("copy 0.jpg"), "belongs together with copy 0.mov"),)


COMPANION = '"companions": [{'
CRAFTED = {
    "no list": ('"companions": [', '"companions": 1, "x": ['),
    "no pair": (COMPANION, '"companions": [1, {'),
    "half a pair": (COMPANION, '"companions": [{"keep": {}}, {'),
    "more than a pair": (COMPANION, '"companions": [{"kind": "copy", '),
    "a path that leads elsewhere": ('"path": "copy 0.mov"', '"path": "../copy 0.mov"'),
    "a path into the trash": ('"path": "copy 0.mov"', '"path": ".dedup-trash/lock"'),
    "a picture twice": ('"path": "copy 0.mov"', '"path": "copy 0.jpg"'),
    "what is kept": ('"path": "copy 0.mov"', '"path": "keeper 0.jpg"'),
    "no digest": ('"path": "copy 0.mov"', '"path": "copy 0.mov", "archive": 0'),
}


@pytest.mark.parametrize("craft", CRAFTED)
def test_crafted_companions_touch_nothing(world, craft):
    text = world.plan.read_text()
    assert text.count(CRAFTED[craft][0]) == 1
    world.plan.write_text(text.replace(*CRAFTED[craft]))
    outcome = world.apply()
    assert outcome.exit_code == 2 and world.files() == world.before and not (world.root / TRASH).exists()


def test_a_companion_that_is_not_its_like_is_refused_whatever_a_plan_says(world):
    (world.root / "copy 0.mov").write_bytes(b"another film")
    header, item = map(json.loads, world.plan.read_text().splitlines())
    content = (world.root / "copy 0.mov").read_bytes()
    item["companions"][0]["drop"]["blake2b"] = hashlib.blake2b(content, digest_size=32).hexdigest()
    world.plan.write_text(f"{json.dumps(header)}\n{json.dumps(item)}\n")
    outcome = world.apply()
    assert outcome.refused == ((Path("copy 0.jpg"), "its companion 'copy 0.mov': it is not the keeper's"),)


def test_companions_of_keepers_in_an_archive(tmp_path):
    from dedup.dataset.folder_rules import Places

    archive, images = tmp_path / "archive", tmp_path / "images"
    for folder in (archive, images):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"picture")
        (folder / "a.mov").write_bytes(b"film")
    places = Places.find(images, against=[archive])
    (archive_path,) = places.against
    going = cluster(tmp_path, str(archive_path / "a.jpg"), str(images / "a.jpg"))
    plan = tmp_path / "plan.jsonl"
    assert removal.make_plan([going], images, plan, places=places).exit_code == 0
    outcome = removal.apply_plan(plan, images, decodes=decodes, places=places)
    assert outcome.done == (Path("a.jpg"), Path("a.mov")) and not any(images.glob("a.*"))
    assert len(list(archive_path.iterdir())) == 2
    assert removal.purge(images, older_than=timedelta(0), decodes=decodes).refused
    assert removal.purge(images, older_than=timedelta(0), decodes=decodes, places=places).done == outcome.done
