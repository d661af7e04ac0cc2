"""--merge-metadata, through main.py: what goes with it, what is told beside its keeper, and the way back."""

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from dedup.contents.merging import merged
from dedup.contents.metadata import read_xmp
from tests.deletion.test_removal_merges import ALL, HERE, OLD, THERE, jpeg, write
from tests.removal_world import scan
from tests.test_camera_files import search
from tests.test_main import run


def outside_trash(folder: Path) -> dict:
    return {path: facts for path, facts in scan(folder).items() if not path.startswith(".dedup-trash")}


def camera(make: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = make
    return exif


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    files = {
        **{"a.jpg": jpeg(1, 95), "a1.jpg": jpeg(1, 85, {"keywords": ["sea"], "rating": ["3"]})},
        "a2.jpg": jpeg(1, 84, {"keywords": ["sun"], "rating": ["5"], "title": ["T"], **HERE}),
        **{"b.jpg": jpeg(2, 95), "b1.jpg": jpeg(2, 85, HERE), "b2.jpg": jpeg(2, 84, THERE)},
        "b3.jpg": jpeg(2, 83, {"keywords": ["b"]}),
        **{"c.jpg": jpeg(3, 95, {"title": ["kept"]}), "c1.jpg": jpeg(3, 85, {"title": ["other"]})},
        **{"d.jpg": jpeg(4, 95), "d1.jpg": jpeg(4, 85, {"keywords": ["d"]}, exif=camera("X"))},
        **{"e.jpg": jpeg(5, 95), "e.xmp": OLD, "e1.jpg": jpeg(5, 85, {"keywords": ["new"], "rating": ["2"]})},
    }
    return write(tmp_path_factory.mktemp("merge") / "photos", files)


def test_what_was_written_by_hand_is_told_beside_the_keeper_and_comes_back(photos):
    before = outside_trash(photos)
    assert search(photos)[2] == set()  # without the option all of them stay
    said, rows, going = search(photos, "--merge-metadata")
    assert going == {"a1.jpg", "a2.jpg", "b3.jpg", "e1.jpg"}
    reasons = {row["path"]: row["reason"] for row in rows}
    assert reasons["b1.jpg"] == reasons["b2.jpg"] == "has another place than others that go for the same file"
    assert reasons["c1.jpg"] == "has another title than its keeper"
    assert reasons["d1.jpg"] == "has the camera that its keeper lacks"
    plan = photos.parent / "out" / "plan.jsonl"
    assert run(photos, "--apply", plan).returncode == 0
    told = {path.name: read_xmp(path.read_bytes()) for path in photos.glob("*.xmp")}
    place = set(HERE["place"])
    assert told == {
        "a.jpg.xmp": {"keywords": {"sea", "sun"}, "rating": {"5"}, "title": {"T"}, "place": place},
        "b.jpg.xmp": {"keywords": {"b"}},
        "e.xmp": read_xmp(OLD) | {"keywords": {"old", "new"}},  # of two ratings the higher one stays
    }
    assert all((photos / name).read_bytes() == before[name][0] for name in ("a.jpg", "b.jpg", "e.jpg"))
    journal = next((photos / ".dedup-trash").glob("*/journal.jsonl")).read_text().splitlines()
    assert [json.loads(line)["merge"]["fields"] for line in journal[1:]][0].keys() <= ALL.keys()
    undone = run(photos, "--undo")
    assert undone.returncode == 0 and undone.stdout.startswith("4 files put back"), undone
    assert outside_trash(photos) == before  # bytes, times and inodes


def test_purging_needs_what_was_told_beside_the_keeper(photos):
    search(photos, "--merge-metadata")
    assert run(photos, "--apply", photos.parent / "out" / "plan.jsonl").returncode == 0
    there = (photos / "a.jpg.xmp").read_bytes()
    (photos / "a.jpg.xmp").write_bytes(merged(None, {"keywords": ["sea"], "rating": ["3"]}))
    purged = run(photos, "--purge", "--older-than", "0d")
    assert purged.returncode == 1 and "3 files destroyed" in purged.stdout, purged
    assert "a2.jpg: the XMP file beside its keeper no longer tells what it told" in purged.stdout
    undone = run(photos, "--undo")  # a2 comes back; what was written meanwhile stays
    assert (photos / "a2.jpg").exists() and (photos / "a.jpg.xmp").exists() and undone.returncode == 1
    assert read_xmp((photos / "e.xmp").read_bytes())["keywords"] == {"old", "new"}
    (photos / "a.jpg.xmp").write_bytes(there)


def test_nothing_is_told_in_a_protected_folder(tmp_path):
    files = {"safe/a.jpg": jpeg(1, 95), "safe/a.jpg.xmp": OLD, "b.jpg": jpeg(1, 85, {"keywords": ["sea"]})}
    folder = write(tmp_path / "photos", files)
    assert search(folder, "--merge-metadata")[2] == {"b.jpg"}
    before = outside_trash(folder)
    protect = ("--protect", folder / "safe")
    applied = run(folder, "--apply", tmp_path / "out" / "plan.jsonl", *protect)
    assert applied.returncode == 1 and "nothing is told beside a keeper in a protected folder" in applied.stdout
    assert outside_trash(folder) == before
    said, rows, going = search(folder, "--merge-metadata", *protect)
    assert going == set() and "has the keywords that its keeper lacks" in {row["reason"] for row in rows}


def test_nothing_is_told_in_an_archive(tmp_path):
    archive = write(tmp_path / "archive", {"a.jpg": jpeg(1, 95)})
    folder = write(tmp_path / "photos", {"b.jpg": jpeg(1, 85, {"keywords": ["sea"]})})
    said, rows, going = search(folder, "--merge-metadata", "--against", archive)
    assert going == set() and "has the keywords that its keeper lacks" in {row["reason"] for row in rows}


def test_decisions_are_merged_too(tmp_path):
    files = {"a.jpg": jpeg(1, 95), "b.jpg": jpeg(1, 85, {"keywords": ["sea"]})}
    folder = write(tmp_path / "photos", files)
    contents = {
        name: {"path": name, "size": len(data), "blake2b": hashlib.blake2b(data, digest_size=32).hexdigest()}
        for name, data in files.items()
    }
    decided = {"decisions": 1, "remove": [{"keep": contents["a.jpg"], "drop": contents["b.jpg"]}], "different": []}
    (tmp_path / "decisions.json").write_text(json.dumps(decided))
    words = (folder, "--apply", tmp_path / "decisions.json", "--output", tmp_path / "out", "--quiet")
    assert "has the keywords that its keeper lacks" in run(*words).stdout
    assert run(*words, "--merge-metadata").returncode == 0 and not (folder / "b.jpg").exists()
    assert read_xmp((folder / "a.jpg.xmp").read_bytes())["keywords"] == {"sea"}
