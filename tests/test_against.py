"""An archive elsewhere: what it shows may go, nothing else does, and no file in it is ever touched."""

import csv
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.sparse import csr_matrix

import configs
from dedup.clustering.clusters import build_clusters
from dedup.clustering.result import Result
from dedup.config import Config, ConfigError
from dedup.dataset.folder_rules import NOT_ARCHIVED, Places
from dedup.deletion import removal
from dedup.deletion.removal import make_plan, purge, undo
from dedup.encoder.embeddings import Embeddings
from dedup.matching.classification import Match
from dedup.matching.confirmation import Verifier
from dedup.matching.kinds import MatchKind
from dedup.pipeline import find_duplicates, images_to_search
from dedup.report.page import page_data
from tests.confirmation_pictures import photo
from tests.deletion.test_removal_hostile import PATHS
from tests.removal_faults import Killed, failing
from tests.removal_world import World, decodes, no_waiting
from tests.report.test_page import saved
from tests.test_main import call, run

__all__ = ["no_waiting"]
AGAINST_MISSING = "say which with --against DIR"


def listing(folder: Path) -> dict[str, tuple]:
    """Every file and folder, hidden ones too: kind, content, time of change and inode."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = status.st_mode, content, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return found


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Incoming: a smaller copy, a part and an exact copy of what the archive has, and two that it does not have."""
    folder = tmp_path_factory.mktemp("against")
    cat, coffee, rocket = (photo(name, 480) for name in ("chelsea.png", "coffee.png", "rocket.jpg"))
    for name in ("incoming/deep", "archive/2019", "archive/.dedup-trash/old"):
        (folder / name).mkdir(parents=True)
    cat.save(folder / "archive/2019/cat.png")
    shutil.copy2(folder / "archive/2019/cat.png", folder / "archive/cat again.png")
    rocket.crop((0, 0, 480, rocket.height * 3 // 4)).save(folder / "archive/rocket part.png")
    coffee.save(folder / "archive/.dedup-trash/old/coffee.png")
    shutil.copy2(folder / "archive/2019/cat.png", folder / "incoming/exact.png")
    cat.resize((240, 240 * cat.height // cat.width), Image.Resampling.LANCZOS).save(
        folder / "incoming/deep/small.jpg", quality=90
    )
    coffee.save(folder / "incoming/coffee.png")
    shutil.copy2(folder / "incoming/coffee.png", folder / "incoming/coffee again.png")
    rocket.save(folder / "incoming/rocket.png")
    return folder


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def left(folder: Path) -> set[str]:
    return {
        path.name for path in (folder / "incoming").rglob("*.*") if ".dedup-trash" not in path.parts and path.suffix
    }


def main(*arguments: str | Path) -> int:
    return call("incoming", *arguments, "--output", "out", "--quiet", "--num-workers", "0")


ALL = {"exact.png", "small.jpg", "coffee.png", "coffee again.png", "rocket.png"}


def test_from_the_search_to_the_purge(folder, capsys):
    before = listing(folder / "archive")
    assert main("--against", "archive") == 0
    said = capsys.readouterr().out
    assert "8 images read, 0 unreadable; 3 of them in the archive, 5 incoming" in said
    assert "2 files are in the archive and could go" in said
    assert said.splitlines()[-1].endswith("incoming --apply out/plan.jsonl --output out --against archive")
    with open("out/clusters.csv", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    keeper = str(folder / "archive" / "2019" / "cat.png")
    assert rows[keeper]["why"] == "lies in the archive" and rows[keeper]["keep"] == "1"
    assert str(folder / "archive" / "cat again.png") not in rows
    assert {path for path, row in rows.items() if row["keep"] == "0"} == {"exact.png", "deep/small.jpg"}
    assert {row["reason"] for path, row in rows.items() if "coffee" in path} == {"", NOT_ARCHIVED}
    assert "is not in the kept file" in rows["rocket.png"]["reason"]
    header, *items = map(json.loads, Path("out/plan.jsonl").read_text().splitlines())
    assert header == {"plan": 1, "against": 1}
    assert {(item["keep"]["path"], item["keep"]["archive"]) for item in items} == {("2019/cat.png", 1)}

    assert main("--apply", "out/plan.jsonl") == 2 and left(folder) == ALL
    said = capsys.readouterr()
    assert "give --against DIR" in said.err and "--against DIR" in said.out.splitlines()[-1]
    assert not (folder / "incoming" / ".dedup-trash").exists()
    assert main("--apply", "out/plan.jsonl", "--against", "archive") == 0
    assert left(folder) == {"coffee.png", "coffee again.png", "rocket.png"}
    assert "--purge --older-than 30d --against archive" in capsys.readouterr().out
    assert main("--undo") == 0 and left(folder) == ALL
    assert main("--delete", "--against", "archive") == 0 and len(left(folder)) == 3

    capsys.readouterr()
    assert main("--purge", "--older-than", "0d") == 1
    said = capsys.readouterr().out
    assert said.count(AGAINST_MISSING) == 2 and "--against DIR" in said.splitlines()[-1]
    assert main("--purge", "--older-than", "0d", "--against", "archive") == 0
    assert not [path for path in (folder / "incoming" / ".dedup-trash").rglob("*") if path.name.isdigit()]
    assert main("--against", "archive", "--delete") == 0 and len(left(folder)) == 3
    assert listing(folder / "archive") == before


LEAKS = {
    "cat/exact.png": ("identical", "cat/a.png", 0),
    "dog/exact.png": ("identical", "cat/a.png", 1),
    "cat/part.jpg": ("crop", "cat/a.png", 0),
    "cup/small.jpg": ("resaved", "mug/b.png", 1),
    "loose.jpg": ("resaved", "mug/b.png", 0),
}


def write_data_sets(folder):
    """Pictures to test on, and to train on with copies of these among them, under the same label and under others."""
    cat, cup, rocket = (photo(name, 480) for name in ("chelsea.png", "coffee.png", "rocket.jpg"))
    for name in ("test/cat", "test/mug", "train/cat", "train/dog", "train/cup"):
        (folder / name).mkdir(parents=True)
    cat.save(folder / "test/cat/a.png")
    cup.save(folder / "test/mug/b.png")
    for label in ("cat", "dog"):
        shutil.copy2(folder / "test/cat/a.png", folder / f"train/{label}/exact.png")
    cat.crop((60, 30, 420, cat.height - 20)).save(folder / "train/cat/part.jpg", quality=90)
    cup.resize((240, 240 * cup.height // cup.width), Image.Resampling.LANCZOS).save(folder / "train/cup/small.jpg")
    cup.save(folder / "train/loose.jpg", quality=85)
    rocket.save(folder / "train/dog/rocket.png")


@pytest.mark.parametrize("option", [(), ("--no-verify", "--epsilon", "0.1")])
def test_leaks_between_data_sets_as_a_process(tmp_path, option):
    write_data_sets(tmp_path)
    before = listing(tmp_path / "train"), listing(tmp_path / "test")
    done = run("train", "--against", "test", "--output", "out", "--quiet", "--json", *option, cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out/leaks.csv", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    wanted = LEAKS if not option else {path: ("near", *rest) for path, (_, *rest) in LEAKS.items() if path in rows}
    found = {path: (row["kind"], row["twin"], int(row["differ"])) for path, row in rows.items()}
    assert found == {
        path: (kind, str(tmp_path / "test" / twin), differ) for path, (kind, twin, differ) in wanted.items()
    }
    assert "cat/exact.png" in rows and "dog/rocket.png" not in rows
    assert (rows["dog/exact.png"]["label"], rows["dog/exact.png"]["twin_label"]) == ("dog", "cat")
    assert facts["leaks"] == {"files": len(rows), "differ": sum(int(row["differ"]) for row in rows.values())}
    assert str(tmp_path / "out" / "leaks.csv") == str(tmp_path / facts["written"][-2])
    if not option:
        assert "5 of 6 incoming files show what the archive has, 2 under another label; listed in out" in done.stderr
    assert (listing(tmp_path / "train"), listing(tmp_path / "test")) == before
    run("train", "--output", "out", "--quiet", *option, cwd=tmp_path)
    assert not (tmp_path / "out/leaks.csv").exists()


KINDS = {(0, 2): "crop", (0, 3): "resaved", (1, 3): "similar", (0, 1): "identical"}
CHAIN = {(0, 1): "identical", (0, 2): "resaved", (1, 2): "resaved", (1, 3): "resaved"}


@pytest.mark.parametrize(
    ("kinds", "below", "twin", "kind", "differ"),
    [
        *((KINDS, below, 3, "resaved", differ) for below, differ in (("", 0), ("2019/", 0), ("1999/", 1))),
        *((kinds, "2018/", 2, kinds[0, 2], 1) for kinds in (KINDS, CHAIN)),
        (CHAIN, "2019/", 3, "indirect", 1),
    ],
)
def test_the_twin_of_a_leak_is_its_surest_match_of_those_with_another_label(folder, kinds, below, twin, kind, differ):
    """A file whose twin was found through another incoming one, too, leaks it."""
    config = Config.load(configs, images_dir=folder / "incoming", output_dir=folder / "out")
    again = "2018/" if kinds is CHAIN or below in ("1999/", "2018/") else below
    names = (f"incoming/{below}exact.png", "incoming/rocket.png", "archive/2019/cat.png", f"archive/{again}again.png")
    embeddings = Embeddings([folder / name for name in names], np.eye(4, dtype=np.float32), np.ones((4, 2)), {})
    matches = {pair: Match(MatchKind(kind), 0.1) for pair, kind in kinds.items()}
    places = Places.find(config.images_dir, against=[folder / "archive"])
    result = Result(config, embeddings, csr_matrix((4, 4)), np.full(4, -1), matches, [], 0.5, "cpu", places)
    leak = result.leaks[0]
    assert leak[:3] == (embeddings.paths[0], kind, embeddings.paths[twin])
    assert leak.has_other_label == differ


def test_the_page_shows_archive_files_and_its_decisions_are_applied(folder, visit, capsys):
    before = listing(folder / "archive")
    assert main("--against", "archive") == 0
    opened = visit(folder / "out" / "report.html")
    opened.page.wait_for_timeout(300)
    assert opened.errors == [] and all(url.startswith(("file://", "data:")) for url in opened.requests)
    assert (
        opened.page.evaluate("[...document.images].filter(image => image.complete && !image.naturalWidth).length") == 0
    )
    files = json.loads(opened.page.locator("#data").inner_text())["clusters"][0]["files"]
    assert files[0]["url"] == "../archive/2019/cat.png" and files[0]["path"] == str(folder / "archive/2019/cat.png")
    decisions = saved(opened, folder, "all")
    assert {each["keep"]["path"] for each in json.loads(decisions.read_text())["remove"]} == {"2019/cat.png"}
    capsys.readouterr()
    assert main("--apply", decisions) == 2 and left(folder) == ALL
    assert AGAINST_MISSING in capsys.readouterr().err
    assert main("--apply", decisions, "--against", "archive") == 0
    assert left(folder) == {"coffee.png", "coffee again.png", "rocket.png"}
    assert listing(folder / "archive") == before


def test_no_decision_lets_go_what_the_archive_does_not_show(folder, capsys):
    from dedup.deletion.applying import apply_decisions
    from tests.deletion.test_decisions import content

    names = "coffee.png", "coffee again.png"
    keep, drop = ({"path": name, **content(folder / "incoming" / name)} for name in names)
    part = {"path": "rocket part.png", "archive": 1, **content(folder / "archive" / "rocket part.png")}
    whole = {"path": "rocket.png", **content(folder / "incoming" / "rocket.png")}
    places = Places.find(folder / "incoming", against=[folder / "archive"])
    for pair, reason in (({"keep": keep, "drop": drop}, "not lie in"), ({"keep": part, "drop": whole}, "not in the")):
        record = {"decisions": 1, "remove": [pair], "different": []}
        (folder / "decisions.json").write_text(json.dumps(record))
        outcome, _ = apply_decisions(folder / "decisions.json", folder / "incoming", folder, 0, False, places)
        assert not outcome.done and reason in outcome.message + "".join(why for _, why in outcome.refused)
    assert left(folder) == ALL


def clusters_of(places, paths, distances=None):
    sizes = np.array([Image.open(path).size for path in paths])
    embeddings = Embeddings(paths, np.tile(np.float32([1, 0]), (len(paths), 1)), sizes, {})
    verifier = Verifier(paths, 0, progress=False)
    labels = np.zeros(len(paths), int)
    return build_clusters(embeddings, labels, verifier, places.images_dir, places=places)


def test_each_incoming_file_goes_for_an_archive_file_that_shows_it(folder):
    """Of one photo the archive has the two halves, and the incoming files are parts of these and the whole."""
    image = photo("chelsea.png", 480)
    halves = image.crop((0, 0, 280, image.height)), image.crop((200, 0, 480, image.height))
    shutil.rmtree("archive")
    shutil.rmtree("incoming")
    Path("archive").mkdir()
    Path("incoming").mkdir()
    for name, half in zip(("left", "right"), halves, strict=True):
        half.save(f"archive/{name}.png")
        half.save(f"incoming/{name}.jpg", quality=90)
    image.save("incoming/whole.png")
    places = Places.find(folder / "incoming", against=[folder / "archive"])
    paths = images_to_search(Config.load(configs, images_dir=folder / "incoming", output_dir=folder / "out"), places)
    found = {
        cluster.keeper.path.name: {member.path.name: member.removable for member in cluster.members}
        for cluster in clusters_of(places, paths)
    }
    assert {name for members in found.values() for name, goes in members.items() if goes} == {"left.jpg", "right.jpg"}
    assert found["left.png"]["left.jpg"] and found["right.png"]["right.jpg"]
    assert sum("whole.png" in members for members in found.values()) == 1


def test_an_enlarged_copy_goes_for_what_the_archive_has(folder):
    small = photo("coffee.png", 240)
    small.save("archive/small.png")
    small.resize((480, 480 * small.height // small.width), Image.Resampling.BICUBIC).save("incoming/large.png")
    places = Places.find(folder / "incoming", against=[folder / "archive"])
    (cluster,) = clusters_of(places, [folder / "incoming/large.png", folder / "archive/small.png"])
    assert cluster.keeper.path.name == "small.png" and cluster.members[0].removable


def test_what_lies_in_the_archive_alone_is_not_shown(folder):
    shutil.copy2("archive/rocket part.png", "archive/2019/rocket part.png")
    (folder / "incoming" / "rocket.png").unlink()
    config = Config.load(configs, images_dir=folder / "incoming", output_dir=folder / "out", num_workers=0)
    places = Places.find(config.images_dir, against=[folder / "archive"])
    result = find_duplicates(config, progress=False, places=places)
    shown = {member.path.name for cluster in result.clusters for member in (cluster.keeper, *cluster.members)}
    assert shown == ALL - {"rocket.png"} | {"cat.png"}
    assert not any("rocket" in path.name for pair in result.similar for path in pair[:2])
    data = page_data(config, result, {})
    assert data["against"] is True and not any(
        "rocket" in file["path"] for c in data["clusters"] for file in c["files"]
    )


def test_archive_files_are_remembered(folder, monkeypatch):
    from dedup.encoder import embeddings

    for path in [*folder.rglob("*.png"), *folder.rglob("*.jpg")]:
        os.utime(path, ns=(10**18, 10**18))
    monkeypatch.setattr("dedup.store.JUST_CHANGED", -(10**12))  # also what was made just now
    assert main("--against", "archive") == 0
    read = []
    ahead = embeddings.read_ahead
    monkeypatch.setattr(embeddings, "read_ahead", lambda paths, *rest: read.extend(paths) or ahead(paths, *rest))
    assert main("--against", "archive") == 0
    assert read == []


# Where the archive may lie


def names(paths, folder):
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def searched(images_dir: Path, *against: Path) -> list[Path]:
    places = Places.find(images_dir, against=against)
    return images_to_search(Config.load(configs, images_dir=images_dir, output_dir=Path("out")), places)


@pytest.mark.parametrize("spelling", ["{}", "{}/deep/..", "link"])
def test_an_archive_inside_the_searched_folder_is_not_incoming(folder, spelling):
    shutil.move("archive", "incoming/archive")
    (folder / "link").symlink_to(folder / "incoming", target_is_directory=True)
    images_dir = Path(spelling.format(folder / "incoming"))
    (folder / "to").symlink_to(folder / "incoming" / "archive", target_is_directory=True)
    for archive in ("incoming/archive", "to", folder / "incoming" / "deep" / ".." / "archive"):
        places = Places.find(images_dir, against=[archive])
        found = searched(images_dir, archive)
        assert {path.name for path in found if not places.archive_of(path)} == ALL
        assert {path.name for path in found if places.archive_of(path)} == {
            "cat.png",
            "cat again.png",
            "rocket part.png",
        }
        assert places.protects(images_dir / "archive" / "2019" / "cat.png") == "lies in the archive"
    before = listing(folder / "incoming" / "archive")
    assert call(images_dir, "--against", "to", "--delete", "--output", "out", "--quiet", "--num-workers", "0") == 0
    assert len({path.name for path in (folder / "incoming").glob("*.png")}) == 3
    assert listing(folder / "incoming" / "archive") == before


@pytest.mark.parametrize("spelling", ["archive/new", "{}/archive/new", "{}/archive/2019/../new", "link/new"])
def test_a_searched_folder_inside_the_archive_is_not_archived(folder, spelling):
    shutil.move("incoming", "archive/new")
    (folder / "link").symlink_to(folder / "archive", target_is_directory=True)
    images_dir = Path(spelling.format(folder))
    for archive in ("archive", "link"):
        places = Places.find(images_dir, against=[archive])
        found = searched(images_dir, archive)
        assert {path.name for path in found if not places.archive_of(path)} == ALL and len(found) == len(ALL) + 3
    new = folder / "archive" / "new"
    before = {path: facts for path, facts in listing(folder / "archive").items() if not path.startswith(str(new))}
    assert call(images_dir, "--against", "archive", "--delete", "--output", "out", "--quiet", "--num-workers", "0") == 0
    assert {path.name for path in new.rglob("*.*") if path.suffix and ".dedup-trash" not in path.parts} == ALL - {
        "exact.png",
        "small.jpg",
    }
    after = {path: facts for path, facts in listing(folder / "archive").items() if not path.startswith(str(new))}
    assert after == before


@pytest.mark.parametrize(
    ("against", "message"),
    [
        (["missing"], "does not exist"),
        (["archive/cat again.png"], "is a file"),
        (["incoming"], "is the searched folder itself"),
        (["link"], "is the searched folder itself"),
        (["archive/.dedup-trash"], "lies in a trash folder"),
        (["archive", "archive/2019"], "lies in another archive"),
        (["archive", "archive/../archive"], "given twice"),
        (["archive", "to"], "given twice"),
    ],
)
def test_what_is_no_archive_is_refused(folder, capsys, against, message):
    (folder / "link").symlink_to(folder / "incoming", target_is_directory=True)
    (folder / "to").symlink_to(folder / "archive", target_is_directory=True)
    assert main(*(word for path in against for word in ("--against", path))) == 2
    said = capsys.readouterr().err
    assert message in said and "--against" in said and not (folder / "out").exists()


def test_an_archive_that_can_not_be_read_is_refused(folder, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConfigError, match="can't be read: Permission denied"):
        Places.find(folder / "incoming", against=[folder / "archive"])


@pytest.mark.parametrize("output", ["archive", "archive/new/out", "to/out"])
def test_no_output_goes_into_the_archive(folder, capsys, output):
    (folder / "to").symlink_to(folder / "archive", target_is_directory=True)
    before = listing(folder / "archive")
    assert call("incoming", "--against", "archive", "--output", output) == 2
    assert "which is never written to" in capsys.readouterr().err
    assert listing(folder / "archive") == before


def test_only_folders_here_are_compared(folder, capsys):
    assert main("--against", "archive", "--ray", "auto") == 2 and "--against" in capsys.readouterr().err


# The removal


class Archived(World):
    """Duplicates in a folder whose keepers lie in an archive, and a plan that drops them all."""

    def __init__(self, folder: Path, count: int = 2):
        super().__init__(folder, count)
        self.archive = folder / "archive"
        (self.archive / "deep").mkdir(parents=True)
        kept = [self.archive / "deep" / name for name in self.keepers]
        for name, path in zip(self.keepers, kept, strict=True):
            shutil.move(self.root / name, path)
        self.keepers = list(map(str, kept))
        self.places = Places.find(self.root, against=[self.archive])
        self.before, self.archived = self.files(), listing(self.archive)
        outcome = make_plan(self.clusters(), self.root, self.plan, places=self.places)
        assert (len(outcome.done), outcome.exit_code) == (count, 0), outcome

    def apply(self, **options) -> removal.Outcome:
        return super().apply(**{"places": self.places, **options})

    def purge(self, places: Places | None = None) -> removal.Outcome:
        return purge(self.root, older_than=timedelta(0), decodes=decodes, places=places or self.places)

    def items(self) -> list[dict]:
        return [json.loads(line) for line in self.plan.read_text().splitlines()]

    def rewrite(self, *records: dict) -> None:
        self.plan.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def world(tmp_path) -> Archived:
    return Archived(tmp_path)


def assert_refused_whole(world: Archived, message: str, **options) -> None:
    outcome = world.apply(**options)
    assert (outcome.exit_code, outcome.done) == (2, ()) and message in outcome.message, outcome
    assert world.files() == world.before and listing(world.archive) == world.archived
    assert not (world.root / ".dedup-trash").exists() or not world.trashed()


def test_moves_undoes_and_purges_for_a_keeper_in_the_archive(world):
    assert len(world.apply().done) == 2 and world.trashed() == 2
    assert undo(world.root).exit_code == 0 and world.files() == world.before
    world.apply()
    refused = purge(world.root, older_than=timedelta(0), decodes=decodes).refused
    assert len(refused) == 2 and all(AGAINST_MISSING in reason for _, reason in refused) and world.trashed() == 2
    shutil.move(world.archive, world.archive.with_name("away"))
    (world.folder / "other").mkdir()
    other = Places.find(world.root, against=[world.folder / "other"])
    assert len(world.purge(other).refused) == 2 and world.trashed() == 2
    shutil.move(world.archive.with_name("away"), world.archive)
    assert len(world.purge().done) == 2 and world.trashed() == 0
    assert {path: facts[1] for path, facts in listing(world.archive).items()} == {
        path: facts[1] for path, facts in world.archived.items()
    }


@pytest.mark.parametrize("how", ["changed", "gone", "a link", "not a picture"])
@pytest.mark.parametrize("action", ["apply", "purge"])
def test_a_keeper_that_is_no_longer_what_it_was_lets_nothing_go(world, how, action):
    if action == "purge":
        world.apply()
    keeper = Path(world.keepers[0])
    content = keeper.read_bytes()
    keeper.unlink()
    if how == "changed":
        keeper.write_bytes(content[::-1])
    elif how == "a link":
        (world.folder / "elsewhere").write_bytes(content)
        keeper.symlink_to(world.folder / "elsewhere")
    elif how == "not a picture":
        keeper.write_bytes(b"x")
    outcome = world.apply() if action == "apply" else world.purge()
    assert not outcome.done and not world.lost() and outcome.exit_code in (1, 2)
    assert world.trashed() == (2 if action == "purge" else 0)


def test_a_keeper_edited_at_the_last_moment_has_the_file_come_back(world, monkeypatch):
    from dedup.deletion.trash import Run

    intend = Run.intend

    def edit(run, item):
        intend(run, item)
        (world.archive / item.keep.path).write_bytes(b"picture edited")

    monkeypatch.setattr(Run, "intend", edit)
    outcome = world.apply()
    assert not outcome.done and "changed" in outcome.refused[0][1] and world.files() == world.before


def test_a_plan_needs_the_archives_it_was_made_against(world):
    (world.folder / "other").mkdir()
    two = Places.find(world.root, against=[world.archive, world.folder / "other"])
    assert_refused_whole(world, "give --against DIR", places=Places.find(world.root))
    assert_refused_whole(world, "made against 1 archive, 2 given", places=two)
    header, *items = world.items()
    for archive in (None, 0, -1, True, "1", 1.0, [1], 2, 10**30):
        keep = {key: value for key, value in items[0]["keep"].items() if key != "archive"}
        world.rewrite(header, {**items[0], "keep": keep | ({} if archive is None else {"archive": archive})})
        assert_refused_whole(world, "line 2: ")
    for against in (0, True, "1", None, -1, 2, [1]):
        world.rewrite({"plan": 1, "against": against}, *items)
        assert_refused_whole(world, "against")
    world.rewrite({"plan": 1}, *items)
    assert_refused_whole(world, "made against 0 archives, 1 given")
    assert_refused_whole(world, AGAINST_MISSING, places=Places.find(world.root))
    world.rewrite(header, {**items[0], "drop": items[0]["keep"], "keep": items[0]["keep"]})
    assert_refused_whole(world, "a file needs")


@pytest.mark.parametrize("path", PATHS + ["../images/copy 0.jpg"])
def test_hostile_paths_to_a_keeper_touch_nothing(world, path):
    header, first, second = world.items()
    first["keep"]["path"] = path
    world.rewrite(header, second, first)
    assert_refused_whole(world, "line 3: the path")


def test_a_way_over_a_link_in_the_archive_touches_nothing(world):
    header, first, _ = world.items()
    (world.folder / "elsewhere").mkdir()
    name = Path(world.keepers[0]).name
    shutil.copy2(world.keepers[0], world.folder / "elsewhere" / name)
    (world.archive / "over").symlink_to(world.folder / "elsewhere", target_is_directory=True)
    world.archived = listing(world.archive)
    first["keep"]["path"] = f"over/{name}"
    world.rewrite(header, first)
    assert_refused_whole(world, "is a link")


def test_no_plan_touches_an_archive_inside_the_folder(tmp_path):
    world = Archived(tmp_path)
    shutil.move(world.archive, world.root / "archive")
    places = Places.find(world.root, against=[world.root / "archive"])
    header, first, _ = world.items()
    kept = first["keep"]["path"]
    twin = world.root / "archive" / "twin.jpg"
    shutil.copy2(world.root / "archive" / kept, twin)
    drop = {key: value for key, value in first["keep"].items() if key != "archive"} | {"path": "archive/twin.jpg"}
    world.rewrite(header, {**first, "drop": drop})
    outcome = world.apply(places=places)
    assert [reason for _, reason in outcome.refused] == ["lies in the archive"] and twin.exists()


def test_no_incoming_file_stands_for_the_archive_around_it(tmp_path):
    world = World(tmp_path)
    places = Places.find(world.root, against=[tmp_path])
    header, *items = (json.loads(line) for line in world.plan.read_text().splitlines())
    for item in items:
        item["keep"] |= {"archive": 1, "path": f"images/{item['keep']['path']}"}
    world.plan.write_text("".join(json.dumps(each) + "\n" for each in ({**header, "against": 1}, *items)))
    outcome = world.apply(places=places)
    assert {reason for _, reason in outcome.refused} == {NOT_ARCHIVED} and world.files() == world.before


def test_a_plan_is_not_made_for_what_the_archive_does_not_hold(tmp_path):
    world = World(tmp_path)
    (tmp_path / "archive").mkdir()
    places = Places.find(world.root, against=[tmp_path / "archive"])
    planned = make_plan(world.clusters(), world.root, tmp_path / "other.jsonl", places=places)
    assert not planned.done and {reason for _, reason in planned.refused} == {NOT_ARCHIVED}


def test_a_keeper_that_is_the_very_file_lets_nothing_go(world):
    dropped = world.root / world.dropped[0]
    keeper = Path(world.keepers[0])
    dropped.unlink()
    os.link(keeper, dropped)
    header, first, _ = world.items()
    world.rewrite(header, {**first, "drop": {**first["keep"], "path": world.dropped[0]} | {}})
    record = {key: value for key, value in first["keep"].items() if key != "archive"} | {"path": world.dropped[0]}
    world.rewrite(header, {**first, "drop": record})
    outcome = world.apply()
    assert not outcome.done and "one file" in outcome.refused[0][1] and dropped.exists()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="on Windows the calls have other names")
@pytest.mark.parametrize("action", ["apply", "purge"])
@pytest.mark.parametrize("error", ["KILL", "EIO"])
def test_every_call_fails_once(tmp_path, action, error):
    def prepared(name: str) -> Archived:
        world = Archived(tmp_path / name)
        if action == "purge":
            world.apply()
        return world

    def act(world: Archived) -> None:
        world.apply() if action == "apply" else world.purge()

    counted = prepared("counted")
    with failing(0, error) as calls:
        act(counted)
    assert calls.count >= (2 if error == "KILL" else 30)
    for number in range(1, calls.count + 1):
        world = prepared(str(number))
        try:
            with failing(number, error):
                act(world)
        except Killed:
            pass
        assert listing(world.archive) == world.archived
        lost = world.lost()
        assert action == "purge" or not lost
        undo(world.root)
        assert world.files() == {path: facts for path, facts in world.before.items() if facts[0] not in lost}
        shutil.rmtree(world.folder)


def test_a_thumbnail_of_ours_is_no_picture_that_stays_for_another(folder):
    thumbnails = folder / "archive" / "results" / "thumbnails"
    thumbnails.mkdir(parents=True)
    shutil.copy(folder / "incoming/coffee.png", thumbnails / f"{'ab' * 32}.jpg")
    shutil.copy(folder / "incoming/rocket.png", thumbnails / "rocket.png")
    main("--against", "archive")
    items = [json.loads(line) for line in Path("out/plan.jsonl").read_text().splitlines()[1:]]
    assert {item["drop"]["path"] for item in items} == {"exact.png", "deep/small.jpg", "rocket.png"}


@pytest.mark.parametrize("is_link", [False, True])
def test_an_archive_where_thumbnails_would_be_written_is_refused(folder, is_link, capsys):
    before = listing(folder / "archive")
    (folder / "out").mkdir()
    if is_link:
        (folder / "out" / "thumbnails").symlink_to(folder / "archive")
    else:
        shutil.copytree(folder / "archive", folder / "out" / "thumbnails")
    assert main("--against", "archive" if is_link else "out/thumbnails") == 2
    assert "never written to" in capsys.readouterr().err and listing(folder / "archive") == before


def test_of_incoming_files_alone_the_one_that_shows_all_is_named_the_keeper(folder):
    os.remove("incoming/coffee again.png")
    with Image.open("incoming/coffee.png") as coffee:
        width, height = coffee.size
        coffee.crop((0, 0, round(0.7 * width), round(0.8 * height))).save("incoming/a part.png")
    os.utime("incoming/a part.png", (1, 1))
    main("--against", "archive")
    with open("out/clusters.csv", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert rows["a part.png"]["kind"] == "crop" and rows["a part.png"]["reason"] == NOT_ARCHIVED


def test_a_file_goes_for_its_very_picture_though_another_lets_more_go(folder):
    with Image.open("archive/2019/cat.png") as cat:
        marked = cat.convert("RGB")
    ImageDraw.Draw(marked).text((30, 30), "our cat at home", "white", font_size=marked.width // 24)
    marked.save("archive/2019/marked.png")
    shutil.copy("archive/2019/marked.png", "incoming/marked.png")
    main("--against", "archive")
    items = [json.loads(line) for line in Path("out/plan.jsonl").read_text().splitlines()[1:]]
    kept = {item["drop"]["path"]: item["keep"]["path"] for item in items}
    assert kept["marked.png"] == "2019/marked.png" and kept["exact.png"] == "2019/cat.png"


def test_an_empty_name_is_not_the_current_folder(folder, capsys):
    assert main("--against", "") == 2 and "--against is empty" in capsys.readouterr().err


def test_a_plan_without_an_archive_says_that_none_is_to_be_given(folder, capsys):
    main()
    capsys.readouterr()
    assert main("--apply", "out/plan.jsonl", "--against", "archive") == 2
    said = capsys.readouterr()
    assert "made against 0 archives, 1 given; give no more than these" in said.err
    assert "run the same command again" not in said.out


def test_without_verifying_as_a_process(folder, tmp_path):
    done = run(folder / "incoming", "--against", folder / "archive", "--no-verify", "--output", tmp_path / "out")
    assert done.returncode == 0 and "exact.png" in (tmp_path / "out" / "clusters.csv").read_text(), done.stderr
