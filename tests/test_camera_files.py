"""RAW files and JPEG XL, through main.py: what is found, what goes, and what never does."""

import csv
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401  (so that Pillow writes JPEG XL)
import pytest
from PIL import Image

from dedup.contents.companions import companions_of, picture_beside
from dedup.contents.inventory import read_all_contents, what_it_lacks, why_it_stays
from dedup.dataset.decoding import RAW, UnreadableImage, load_image
from tests.camera_files import dng, picture, preview
from tests.conftest import PROJECT
from tests.test_main import run


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Files by name, each a second older than the next."""
    for number, (name, data) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (10**9 + number, 10**9 + number))
    return folder


def search(folder: Path, *options: str) -> tuple[str, list[dict], set[str]]:
    """What a run says, its table of clusters, and the paths that it would move."""
    output = folder.parent / "out"
    done = run(folder, "--output", output, "--quiet", *options)
    assert done.returncode in (0, 1) and not done.stderr, done
    plan = output / "plan.jsonl"
    items = [json.loads(line) for line in plan.read_text().splitlines()[1:]]
    going = {pair["drop"]["path"] for item in items for pair in (item, *item.get("companions", ()))}
    with open(output / "clusters.csv", newline="", encoding="utf-8") as table:
        return done.stdout, list(csv.DictReader(table)), going


def as_jpeg(data: bytes, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def as_jxl(data: bytes, **options) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "JXL", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("remove", ["exact", "copies", "edits"])
def test_only_the_same_raw_file_goes(tmp_path, remove):
    shot, small = preview(1), preview(1, (320, 214))
    raw = dng(shot, shot=1)
    files = {"a.dng": raw, "b.dng": raw, "other shot.dng": dng(shot, shot=2), "small.nef": dng(small, shot=1)}
    pictures = {"export.jpg": as_jpeg(shot, 60), "export.tif": raw, "alone.arw": dng(preview(2), shot=3)}
    said, rows, going = search(write(tmp_path / "photos", files | pictures), "--remove", remove)
    assert going == {"b.dng"}
    assert {row["path"] for row in rows} == {"a.dng", "b.dng", "other shot.dng", "small.nef"}  # no RAW with a picture
    assert {row["reason"] for row in rows if row["path"] == "other shot.dng"} & {
        "differs from its keeper in sensor data",
        "similar, not confirmed",
    }
    assert "7 images read, 0 unreadable" in said


def test_raw_and_jpeg_of_one_shot_go_together_or_stay(tmp_path):
    shot, other = preview(1), preview(2)
    files = {
        **{"one/shot.jpg": shot, "one/shot.dng": dng(shot, 1), "two/shot.jpg": as_jpeg(shot, 85)},
        **{"two/shot.dng": dng(shot, 1), "three/shot.jpg": as_jpeg(shot, 80), "three/shot.dng": dng(shot, 9)},
        **{"lone/copy.dng": dng(shot, 1), "one/x.jpg": other, "one/raw/x.dng": dng(other, 2)},
        **{"two/x.jpg": other, "two/raw/x.dng": dng(other, 2), "four/y.jpg": other},
    }
    folder = write(tmp_path / "photos", files)
    said, rows, going = search(folder)
    assert going == {"two/shot.jpg", "two/shot.dng", "lone/copy.dng", "two/x.jpg", "two/raw/x.dng", "four/y.jpg"}
    assert not any("raw/x.dng" in row["path"] for row in rows)  # their pictures speak for them
    reasons = {row["path"]: row["reason"] for row in rows if row["keep"] == "1"}
    assert reasons["three/shot.jpg"] == "belongs together with shot.dng"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*") if path.is_file()}
    assert run(folder, "--apply", tmp_path / "out" / "plan.jsonl").returncode == 0
    assert not (folder / "two/raw/x.dng").exists() and not (folder / "two/x.jpg").exists()
    assert run(folder, "--undo").returncode == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_a_pair_of_one_shot_is_no_cluster(tmp_path):
    shot = preview(1)
    said, rows, going = search(write(tmp_path / "photos", {"a.jpg": shot, "a.dng": dng(shot), "b.jpg": preview(2)}))
    assert (rows, going) == ([], set()) and "no duplicates" in said


def test_a_raw_file_knows_its_picture_in_a_folder_above(tmp_path):
    names = ("p/a.jpg", "p/raw/a.dng", "p/b.dng", "a.jpg", "p/with/a.dng", "p/with/b.jpg")
    write(tmp_path, dict.fromkeys(names, b"x"))
    assert picture_beside(tmp_path / "p/raw/a.dng", tmp_path) == tmp_path / "p/a.jpg"
    assert picture_beside(tmp_path / "p/b.dng", tmp_path) is None
    assert picture_beside(tmp_path / "p/with/a.dng", tmp_path) is None
    assert picture_beside(tmp_path / "p/raw/a.dng", tmp_path / "p/raw") is None  # what lies above is not looked at
    assert companions_of(tmp_path / "p/a.jpg") == [tmp_path / "p/raw/a.dng"]


def test_previews_are_upright_and_their_absence_is_told(tmp_path):
    files = {"a.dng": dng(preview(1)), "turned.dng": dng(preview(1), flip=6), "none.dng": dng(None)}
    files["bitmap.dng"] = dng(picture(1), flip=8)
    folder = write(tmp_path, files)
    plain, turned, bitmap = (np.asarray(load_image(folder / f"{name}.dng")) for name in ("a", "turned", "bitmap"))
    assert plain.shape == (320, 480, 3)
    assert np.array_equal(np.rot90(plain, -1), turned)
    assert np.array_equal(np.rot90(picture(1)), bitmap)
    with pytest.raises(UnreadableImage, match="No thumbnail"):
        load_image(folder / "none.dng")


def test_what_only_its_own_program_reads_stays_for_any_other_file(tmp_path):
    shot, edited = dng(preview(1)), dng(preview(1)) + b" "
    folder = write(
        tmp_path, {"a.dng": shot, "b.dng": edited, "c.jpg": preview(1), "d.tif": shot, "e.jxl": as_jxl(preview(1))}
    )
    told = {path.name: found for path, found in read_all_contents(sorted(folder.iterdir()), 1).items()}
    assert what_it_lacks(told["a.dng"], told["b.dng"]) == ("sensor data",)
    assert "sensor data" in what_it_lacks(told["d.tif"], told["c.jpg"])
    assert what_it_lacks(told["e.jxl"], told["c.jpg"]) == ("JPEG XL data",)
    assert "sensor data" in what_it_lacks(told["a.dng"], told["c.jpg"])
    assert why_it_stays(folder / "a.dng", folder / "b.dng", folder) == "differs from its keeper in sensor data"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_broken_raw_files_cost_themselves_alone(tmp_path, workers):
    """Cut short, changed, filled with noise: none ends a run, and what is whole is still found."""
    good, chance = dng(preview(1)), random.Random(7)
    files = {"good.dng": good, "same.dng": good}
    for number in range(40):
        bad = bytearray(good[: chance.randrange(1, len(good))] if number % 2 else good)
        for _ in range(chance.randrange(1, 200)):
            bad[chance.choice((chance.randrange(len(bad)), -1 - chance.randrange(min(len(bad), 700))))] = (
                chance.randrange(256)
            )
        files[f"bad {number}{chance.choice(sorted(RAW))}"] = bytes(bad)
    files |= {
        "text.cr3": b"no picture",
        "box.cr3": b"\0\0\0\x18ftypcrx " + bytes(64),
        "fuji.raf": b"FUJIFILMCCD-RAW " + bytes(99),
    }
    folder = write(tmp_path / "photos", files)
    said, rows, going = search(folder, "--num-workers", workers)
    assert "same.dng" in going and "good.dng" not in going
    assert going <= {"same.dng"}


def test_jpeg_xl_is_read_and_goes_for_the_same_file_only(tmp_path):
    photo = preview(1)
    turned = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    lossless = as_jxl(photo, lossless=True)
    files = {
        "a.jxl": lossless,
        "b.jxl": lossless,
        "small.jxl": as_jxl(photo, quality=40),
        "coarse.jpg": as_jpeg(photo, 30),
    }
    folder = write(tmp_path / "photos", files)
    said, rows, going = search(folder)
    assert "4 images read, 0 unreadable" in said and len(rows) == 4
    assert "b.jxl" in going and not going & {"a.jxl", "small.jxl"}
    (tmp_path / "turned.jxl").write_bytes(as_jxl(photo, exif=turned, use_container=True))  # pixels are upright already
    assert load_image(tmp_path / "turned.jxl").size == (480, 320)


def test_a_huge_jpeg_xl_is_refused_by_its_header(tmp_path):
    small = as_jxl(preview(1, (64, 64)))
    bits = int.from_bytes(small[2:12], "little")
    assert bits & 1 and (bits >> 1) & 31 == 7  # small, 64 px high
    wide = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33 | (bits >> 9) << 36
    (tmp_path / "bomb.jxl").write_bytes(small[:2] + wide.to_bytes(14, "little") + small[12:])
    with pytest.raises(UnreadableImage, match="1073741824 x 1073741824 px"):
        load_image(tmp_path / "bomb.jxl")


def test_without_the_packages_one_line_says_what_could_be_read(tmp_path):
    folder = write(
        tmp_path / "photos",
        {"a.dng": dng(preview(1)), "b.nef": dng(preview(1)), "c.jxl": as_jxl(preview(1)), "d.jpg": preview(2)},
    )
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules |= {'rawpy': None, 'pillow_jxl': None}\n")
    words = [sys.executable, PROJECT / "main.py", folder, "--output", tmp_path / "out", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 image read, 0 unreadable\n3 files not read: .dng 1, .jxl 1, .nef 1\n" in done.stdout
    assert "2 files of them could be read: pip install rawpy\n" in done.stdout
    assert "1 file of them could be read: pip install pillow-jxl-plugin\n" in done.stdout
