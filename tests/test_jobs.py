"""Whatever a job does, a run ends well: main.py as a process, with one fault in one job, for every job there is."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dedup.workers import START_METHOD
from tests.conftest import PROJECT
from tests.job_faults import declared

pytestmark = pytest.mark.skipif(START_METHOD != "fork", reason="faults are planted before processes are forked")
JOBS, STEPS = declared("job"), declared("step")
ERRORS = "cv2.error", "MemoryError", "LinAlgError"
FAULTS = [(name, ERRORS[number % 3]) for number, name in enumerate([*JOBS, *STEPS])]
FAULTS += [(name, harm) for name in JOBS for harm in ("SIGSEGV", "hang")]


def photo(seed: int) -> Image.Image:
    """Something with detail of all sizes, and colours of its own."""
    rng, image = np.random.default_rng(seed), np.zeros((240, 320, 3), np.float32)
    for side in (4, 12, 40, 120, 240):
        layer = rng.normal(size=(side, side * 4 // 3, 3)).astype(np.float32)
        image += cv2.resize(layer, (320, 240), interpolation=cv2.INTER_CUBIC) * (4 / side) ** 0.4
    return Image.fromarray((128 + 45 * image).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures that give every job something to do."""
    folder = tmp_path_factory.mktemp("jobs") / "pictures"
    folder.mkdir()
    photo(1).save(folder / "a.jpg", quality=85)
    shutil.copy(folder / "a.jpg", folder / "a copied.jpg")
    picture = Image.open(folder / "a.jpg")
    picture.save(folder / "a finer.jpg", quality=95)
    told = Image.Exif()
    told[0x010E] = "what others lack"
    picture.save(folder / "a coarser.jpg", quality=60, exif=told)
    picture.resize((640, 480), Image.Resampling.BICUBIC).save(folder / "a larger.jpg", quality=90)
    picture.crop((32, 0, 320, 240)).save(folder / "a cropped.jpg", quality=90)
    picture.convert("RGBA").save(folder / "a opaque.png")
    photo(3).save(folder / "c.jpg", quality=90)
    for quality in (60, 75, 80, 90):  # to which most are like, and which may be cut from the whole
        part = Image.open(folder / "c.jpg").crop((0, 0, 320, 210))
        part.save(folder / f"c part {quality}.jpg", quality=quality, exif=told if quality == 60 else b"")
    photo(2).save(folder / "b.gif", save_all=True, append_images=[photo(2).rotate(180)])
    photo(2).save(folder / "b.jpg", quality=90)
    for second in range(2):  # one second apart, and exposed otherwise: a series
        data = Image.Exif()
        data.get_ifd(0x8769)[0x9003] = f"2020:01:02 10:00:0{second}"
        shot = photo(4).point(lambda level, part=1 - second / 4: int(level * part))
        shot.save(folder / f"shot {second}.jpg", quality=90, exif=data)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def driver():
    words = [sys.executable, PROJECT / "tests" / "job_faults.py"]
    with subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


def run(driver, folder: Path, tmp_path: Path, name: str = "", harm: str = "", victim: str = ""):
    """Find and move the duplicates of a copy of the folder; what was said, the job log, the copy, what it wrote."""
    copy, log, said, output = (tmp_path / name for name in ("copy", "log", "said", "out"))
    shutil.copytree(folder, copy)
    arguments = [
        str(copy),
        "--output",
        str(output),
        "--quiet",
        "--no-cache",
        "--delete",
        "--remove",
        "edits",
        "--merge-metadata",
        "--verbose",
    ]
    driver.stdin.write(json.dumps([name, harm, victim, str(log), str(said), arguments]) + "\n")
    driver.stdin.flush()
    code, text = driver.stdout.readline(), said.read_text()
    assert code in ("0\n", "1\n") and "Traceback" not in text, text
    return text, [line.split("\t") for line in log.read_text().splitlines()], copy, output


@pytest.fixture(scope="module")
def begun(driver, folder, tmp_path_factory) -> dict[str, str]:
    """What the first job of each function is about, in a run without faults."""
    said, jobs, _, _ = run(driver, folder, tmp_path_factory.mktemp("whole"))
    assert re.search(r"\d+ files moved", said), said
    return {name: what for name, what in reversed(jobs)}


def test_every_job_was_found_and_has_something_to_do(begun):
    assert len(JOBS) >= 10 and len(STEPS) >= 2
    assert not {*JOBS, *STEPS} - begun.keys(), "give them something to do in the folder above"


@pytest.mark.parametrize(("name", "harm"), FAULTS)
def test_a_fault_in_a_job_costs_its_file_or_pair_alone(name, harm, driver, folder, begun, tmp_path):
    text, jobs, copy, output = run(driver, folder, tmp_path, name, harm, begun[name])
    assert [name, begun[name]] in jobs, "the fault was not met"
    victims, plan = begun[name].split("|"), output / "plan.jsonl"
    items = [json.loads(line) for line in plan.read_text().splitlines()[1:]] if plan.exists() else []
    moved = {path.name for path in folder.iterdir()} - {path.name for path in copy.iterdir()}
    is_drawn_or_checked = name.rpartition(":")[2] in ("_draw_page", "_why_unreadable")
    said = text + (output / "unreadable.csv").read_text() + (output / "clusters.csv").read_text()
    reason = {"SIGSEGV": "crashed its process", "hang": "took longer than"}.get(harm, f"{harm.split('.')[-1]}: planted")
    assert reason in said, said
    if len(victims) == 1 and victims[0] in os.listdir(folder):
        assert victims[0] not in moved or is_drawn_or_checked
        with open(output / "unreadable.csv", newline="", encoding="utf-8") as file:
            listed = {row["path"]: row["reason"] for row in csv.DictReader(file)}
        assert is_drawn_or_checked or reason in listed.get(victims[0], ""), listed
    elif len(victims) == 2:
        for item in items:
            files = {item[role]["path"] if isinstance(item[role], dict) else item[role] for role in ("keep", "drop")}
            assert files != set(victims) or is_drawn_or_checked
