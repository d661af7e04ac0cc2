"""--merge-metadata, through main.py: what goes with it, what is told beside its keeper, and the way back."""

import csv
import ctypes
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dedup.contents.merging import merged
from dedup.contents.metadata import read_xmp
from tests.camera_files import picture
from tests.conftest import PROJECT
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
        "a2.jpg": jpeg(1, 84, {"keywords": ["sun"], "rating": ["5"], "title": ["T"], "artist": ["A"], **HERE}),
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
    assert "\n3 XMP files would be written beside kept pictures\n" in said
    reasons = {row["path"]: row["reason"] for row in rows}
    assert reasons["b1.jpg"] == reasons["b2.jpg"] == "has another place than others that go for the same file"
    assert reasons["c1.jpg"] == "differs from its keeper in title"
    assert reasons["d1.jpg"] == "has the camera that its keeper lacks"
    plan = photos.parent / "out" / "plan.jsonl"
    applied = run(photos, "--apply", plan)
    assert applied.returncode == 0 and "\n3 XMP files written beside kept pictures\n" in applied.stdout, applied
    told = {path.name: read_xmp(path.read_bytes()) for path in photos.glob("*.xmp")}
    place = set(HERE["place"])
    assert told == {
        "a.jpg.xmp": {"keywords": {"sea", "sun"}, "rating": {"5"}, "title": {"T"}, "artist": {"A"}, "place": place},
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


def decisions(folder: Path, level: str, *pairs: tuple[str, str]) -> Path:
    """What the page would save: files to keep, and what goes for each."""
    named = {}
    for name in {name for pair in pairs for name in pair}:
        data = (folder / name).read_bytes()
        named[name] = {"path": name, "size": len(data), "blake2b": hashlib.blake2b(data, digest_size=32).hexdigest()}
    remove = [{"keep": named[keep], "drop": named[drop], "level": level} for keep, drop in pairs]
    path = folder.parent / "decisions.json"
    path.write_text(json.dumps({"decisions": 1, "remove": remove, "different": []}))
    return path


def cropped(fields: dict[str, list[str]]) -> bytes:
    buffer = io.BytesIO()
    image = picture(1)
    image.crop((0, 0, image.width, image.height * 4 // 5)).save(buffer, "JPEG", quality=95, xmp=merged(None, fields))
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["plan", "decisions"])
@pytest.mark.parametrize(
    ("level", "other"),
    [("exact", jpeg(1, 95, {"keywords": ["sea"]})), ("copies", jpeg(1, 85, {"keywords": ["sea"]})),
     ("edits", cropped({"keywords": ["sea"]}))],
)  # fmt: skip
def test_it_is_told_at_every_level(tmp_path, level, other, how):
    folder = write(tmp_path / "photos", {"a.jpg": jpeg(1, 95, {"keywords": ["sun"], "title": ["T"]}), "b.jpg": other})
    before = outside_trash(folder)
    words = ("--remove", level, "--merge-metadata") if how == "plan" else ("--merge-metadata",)
    assert search(folder, "--remove", level)[2] == set()
    if how == "plan":
        assert search(folder, *words)[2] == {"b.jpg"}
        applied = run(folder, "--apply", tmp_path / "out" / "plan.jsonl")
    else:
        saved, quiet = decisions(folder, level, ("a.jpg", "b.jpg")), ("--output", tmp_path / "out", "--quiet")
        refused = run(folder, "--apply", saved, *quiet)
        assert refused.returncode == 1 and "in keywords, and could go with --merge-metadata\n" in refused.stdout, (
            refused
        )
        assert "run the same command again with --merge-metadata\n" in refused.stdout
        applied = run(folder, "--apply", saved, *quiet, *words)
    assert applied.returncode == 0 and "1 file moved" in applied.stdout, applied
    assert read_xmp((folder / "a.jpg.xmp").read_bytes()) == {"keywords": {"sea", "sun"}}  # the picture's own, too
    assert run(folder, "--undo").returncode == 0 and outside_trash(folder) == before


def test_pairs_of_one_cluster_are_told_each_beside_its_own_keeper(tmp_path):
    """As the page saves them where somebody keeps two files of a cluster."""
    files = {f"{name}.jpg": jpeg(1, 95 - number, {"keywords": [name]}) for number, name in enumerate("abcd")}
    folder = write(tmp_path / "photos", files)
    before = outside_trash(folder)
    saved = decisions(folder, "copies", ("a.jpg", "c.jpg"), ("b.jpg", "d.jpg"))
    applied = run(folder, "--apply", saved, "--output", tmp_path / "out", "--quiet", "--merge-metadata")
    assert applied.returncode == 0 and "2 files moved" in applied.stdout, applied
    told = {path.name: read_xmp(path.read_bytes())["keywords"] for path in folder.glob("*.xmp")}
    assert told == {"a.jpg.xmp": {"a", "c"}, "b.jpg.xmp": {"b", "d"}}
    assert run(folder, "--undo").returncode == 0 and outside_trash(folder) == before


def test_decisions_that_disagree_stay(tmp_path):
    files = {"a.jpg": jpeg(1, 95), "b.jpg": jpeg(1, 85, HERE), "c.jpg": jpeg(1, 84, THERE)}
    folder = write(tmp_path / "photos", files)
    saved = decisions(folder, "copies", ("a.jpg", "b.jpg"), ("a.jpg", "c.jpg"))
    applied = run(folder, "--apply", saved, "--output", tmp_path / "out", "--quiet", "--merge-metadata")
    assert applied.stdout.count("has another place than others that go for the same file") == 2, applied
    assert "run the same command again" not in applied.stdout  # with the option that it has
    assert not list(folder.glob("*.xmp"))


STAYS = {
    "a1.jpg": "the XMP file beside its keeper has another place",
    "b1.jpg": "the XMP file beside its keeper can't be read: ParseError",
    "c1.jpg": "the XMP file beside its keeper is not a regular file",
    "d2.jpg": "the XMP file beside its keeper stays for one that goes",
}


def test_what_can_not_be_told_stays_in_all_that_a_run_writes(tmp_path):
    sea = {"keywords": ["sea"]}
    files = {
        **{"a.jpg": jpeg(1, 95), "a.xmp": merged(None, HERE), "a1.jpg": jpeg(1, 85, THERE)},
        **{"b.jpg": jpeg(2, 95), "b.jpg.xmp": b"torn", "b1.jpg": jpeg(2, 85, sea)},
        **{"c.jpg": jpeg(3, 95), "c.jpg.xmp/x.txt": b"", "c1.jpg": jpeg(3, 85, sea)},
        **{"d.jpg": jpeg(4, 95), "d.xmp": OLD, "d1.jpg": jpeg(4, 85), "d1.xmp": OLD, "d2.jpg": jpeg(4, 84, sea)},
        **{"e.jpg": jpeg(5, 95), "e1.jpg": jpeg(5, 85, sea)},
    }
    folder, output = write(tmp_path / "photos", files), tmp_path / "out"
    done = run(folder, "--output", output, "--quiet", "--merge-metadata", "--dry-run", "--json")
    facts = json.loads(done.stdout)
    assert facts["exit_code"] == done.returncode == 0 and facts["refused"] == [], done
    assert sorted(facts["would_go"]) == ["d1.jpg", "d1.xmp", "e1.jpg"] and facts["xmp_files"] == 1
    assert facts["planned"]["pictures"] == facts["levels"]["copies"]["files"] == 2
    with open(output / "clusters.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert {row["path"]: row["reason"] for row in rows if row["reason"]} == STAYS
    assert {row["path"] for row in rows if row["keep"] == "0"} == {"d1.jpg", "e1.jpg"}
    page = (output / "report.html").read_text(encoding="utf-8")
    assert all(reason in page or reason.replace("'", "\\u0027") in page for reason in STAYS.values())
    applied = run(folder, "--apply", output / "plan.jsonl", "--json")
    facts = json.loads(applied.stdout)
    assert facts["exit_code"] == 0 and facts["xmp_files"] == 1 and len(facts["done"]) == 3, applied


def drop_rights() -> None:
    """Have root, too, write only where a file's mode lets it: PR_CAPBSET_DROP of CAP_DAC_OVERRIDE."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no mode there")
def test_a_file_stays_whose_keeper_lies_where_nothing_can_be_written(tmp_path):
    files = {"read/a.jpg": jpeg(1, 95), "a1.jpg": jpeg(1, 85, {"keywords": ["sea"]}), "a2.jpg": jpeg(1, 84)}
    folder = write(tmp_path / "photos", files)
    (folder / "read").chmod(0o555)
    words = (folder, "--output", tmp_path / "out", "--quiet", "--merge-metadata", "--dry-run", "--json")
    command = [sys.executable, PROJECT / "main.py", *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, preexec_fn=drop_rights)
    (folder / "read").chmod(0o755)
    facts = json.loads(done.stdout)
    assert facts["would_go"] == ["a2.jpg"] and facts["refused"] == [] and facts["xmp_files"] == 0, done
    assert "its keeper's folder can't be written to" in (tmp_path / "out" / "clusters.csv").read_text(encoding="utf-8")


def test_an_xmp_file_that_was_edited_stays_while_all_else_comes_back(tmp_path):
    files = {
        **{"a.jpg": jpeg(1, 95), "a1.jpg": jpeg(1, 85, {"keywords": ["sea"]})},
        **{"e.jpg": jpeg(5, 95), "e.xmp": OLD, "e1.jpg": jpeg(5, 85, {"keywords": ["new"]})},
    }
    folder = write(tmp_path / "photos", files)
    before = outside_trash(folder)
    search(folder, "--merge-metadata")
    assert run(folder, "--apply", tmp_path / "out" / "plan.jsonl").returncode == 0
    for name in ("a.jpg.xmp", "e.xmp"):
        (folder / name).write_bytes(b"mine")
    undone = run(folder, "--undo")
    changed = "the XMP file was changed since it was written, and stays as it is"
    assert undone.stdout.startswith(
        f"  refused: e.xmp: {changed}; to get the one before, move it away and undo again\n"
        f"  refused: a.jpg.xmp: {changed}\n2 files put back"
    )
    again = run(folder, "--undo")
    assert again.returncode == 1 and "e.xmp: the XMP" in again.stdout, again
    assert (folder / "a.jpg.xmp").read_bytes() == (folder / "e.xmp").read_bytes() == b"mine"
    (folder / "e.xmp").unlink()
    run(folder, "--undo")
    assert (folder / "e.xmp").read_bytes() == OLD
    last = run(folder, "--undo")
    assert last.returncode == 0 and "nothing to put back: every file is in its place already" in last.stdout, last
    assert (folder / "a.jpg.xmp").read_bytes() == b"mine"
    (folder / "a.jpg.xmp").unlink()
    assert outside_trash(folder) == before


def test_a_sidecar_that_goes_with_its_picture_is_not_written_to(tmp_path):
    files = {"a.jpg": jpeg(1, 95), "a.xmp": OLD, "b.jpg": jpeg(1, 85, {"keywords": ["sea"]}), "b.xmp": OLD}
    said, rows, going = search(write(tmp_path / "photos", files), "--merge-metadata")
    reason = "has the keywords that its keeper lacks, which is not merged where a companion goes with it"
    assert going == set() and reason in {row["reason"] for row in rows}


def test_a_rating_that_is_no_number_is_not_lost(tmp_path):
    rated = jpeg(1, 85, {"rating": ["4"]}).replace(b"Rating>4", b"Rating>A")
    files = {"a.jpg": jpeg(1, 95), "b.jpg": rated}
    _, rows, going = search(write(tmp_path / "photos", files), "--merge-metadata")
    assert going == set() and "has the rating that its keeper lacks" in {row["reason"] for row in rows}
