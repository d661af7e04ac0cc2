"""Facts: found once for a content; a second run opens no file of an unchanged folder, and writes the same."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from dedup.dataset.reading import read_into
from dedup.store import facts as module
from dedup.store import memory
from dedup.store.cache import Cache
from dedup.store.facts import NOTHING, Facts
from dedup.store.memory import Memory
from dedup.workers import START_METHOD, job
from tests.conftest import PROJECT

WRITTEN = "clusters.csv", "similar.csv", "plan.jsonl", "report.html", "unreadable.csv"
RUN = """
import os
import sys
import main
from dedup.store import memory

memory.MARGIN = -(10**12)  # ns; ctime can't be set back
names = set(os.listdir(sys.argv[1]))
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        name = os.path.basename(arguments[0])
        if name in names:
            os.write(log, f"{os.getpid()}/{name}\\n".encode())


if __name__ == "__main__":
    sys.addaudithook(note)
    sys.exit(main.main([sys.argv[1], *sys.argv[3:], "--quiet"]))
"""


@pytest.fixture
def folder(tmp_path, samples_dir):
    """Two photos, each with copies of all kinds, and files that are more than their picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    sources = sorted(samples_dir.rglob("*.jpg"))
    sources = [path for path in sources if min(Image.open(path).size) >= 200]
    for name, path in zip("ab", (sources[0], sources[-1]), strict=True):
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        picture.save(folder / f"{name}.jpg", quality=70)
        shutil.copy(folder / f"{name}.jpg", folder / f"{name} copied.jpg")
        picture = Image.open(folder / f"{name}.jpg")
        picture.crop((width // 10, 0, width, height)).save(folder / f"{name} cropped.jpg")
        for saved in (f"{name} finer.jpg", f"{name} lossless.png", f"{name} other.webp"):
            picture.save(folder / saved, quality=90)
        picture.resize((2 * width, 2 * height)).save(folder / f"{name} larger.jpg")
        grey = picture.convert("L")
        ImageOps.colorize(grey, "black", "wheat").save(folder / f"{name} sepia.jpg", quality=95)
        turned = Image.Exif()
        turned[0x0112] = 3
        for quality in (60, 95):
            picture.rotate(180).save(folder / f"{name} turned {quality}.jpg", exif=turned, quality=quality)
    picture.save(folder / "b moving.gif", save_all=True, append_images=[picture.rotate(180)])
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(folder / "b clear.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def run(folder, output, *more):
    """Run the program; the files that it opened, and the processes that did."""
    log = folder.parent / "opened.txt"
    command = [sys.executable, "-c", RUN, folder, log, "--output", output, *more]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    opened = [line.split("/", 1) for line in log.read_text().splitlines()]
    return {name for _, name in opened}, {process for process, _ in opened}


def outputs(output):
    return {name: (output / name).read_bytes() for name in WRITTEN}


def test_a_second_run_opens_no_file_and_writes_the_same(folder, tmp_path):
    names, output = set(os.listdir(folder)), tmp_path / "out"
    opened, processes = run(folder, output)
    assert opened == (names if START_METHOD == "fork" else opened & names) and opened
    assert len(processes) > 1 or START_METHOD != "fork"
    first = outputs(output)
    assert run(folder, output)[0] == set()
    assert outputs(output) == first
    again, status = folder / "a finer.jpg", os.stat(folder / "a finer.jpg")
    other = (folder / "b finer.jpg").read_bytes()[: status.st_size]
    again.write_bytes(other + bytes(status.st_size - len(other)))
    os.utime(again, ns=(status.st_atime_ns, status.st_mtime_ns))  # only ctime and the content tell
    assert "a finer.jpg" in run(folder, output)[0]
    assert outputs(output)["clusters.csv"] != first["clusters.csv"]
    plain = tmp_path / "plain"
    assert run(folder, plain, "--no-cache")[0] and not (plain / "cache.sqlite").exists()
    assert outputs(plain)["clusters.csv"] == outputs(output)["clusters.csv"]


class World:
    """Two files that were read, and facts of them."""

    def __init__(self, folder: Path):
        self.folder, self.paths, self.found = folder, [folder / name for name in ("a.png", "b.png")], 0
        for path, color in zip(self.paths, ("red", "blue"), strict=True):
            Image.new("RGB", (40, 30), color).save(path)
        self.cache = Cache(folder / "cache.sqlite")
        self.memory = Memory(self.cache, folder)
        import numpy as np

        stamps = [read_into(np.empty((1, 8, 8, 3), np.uint8), path).stamp for path in self.paths]
        self.memory.keep_held((path, stamp, "") for path, stamp in zip(self.paths, stamps, strict=True))

    @job
    def find(self, fact="found"):
        self.found += 1
        return fact

    def later(self):
        return Facts(self.cache, self.memory)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MARGIN", -(10**12))
    world = World(tmp_path)
    yield world
    world.cache.close()


def test_a_fact_is_found_once_for_its_kind_contents_and_what_else_decides_it(world):
    facts, (a, b) = world.later(), world.paths
    for _ in range(2):
        assert facts.of("kind", partial(world.find, [1, ""]), a, b) == [1, ""]
    facts.flush()
    shutil.copy(a, world.folder / "copy.png")
    assert world.later().of("kind", world.find, a, b) == [1, ""] and world.found == 1
    others = ("other", (a, b), None), ("kind", (b, a), None), ("kind", (a,), None), ("kind", (a, b), 1)
    for kind, paths, given in others:
        assert world.later().of(kind, world.find, *paths, given=given) == "found"
    assert world.found == 5


def test_what_is_false_is_a_fact_and_none_is_not(world):
    facts = world.later()
    for fact in (False, "", None):
        for _ in range(2):
            assert facts.of(repr(fact), partial(world.find, fact), world.paths[0]) == fact
    assert world.found == 4


def test_many_facts_are_kept_as_they_come(world, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 2)
    facts = world.later()
    for number in range(3):
        facts.keep("kind", number, world.paths[0], given=number)
    assert [world.later().recall("kind", world.paths[0], given=number) for number in range(3)] == [0, 1, None]


def test_nothing_is_recalled_or_kept_of_a_file_that_has_changed(world):
    a, status = world.paths[0], os.stat(world.paths[0])
    world.later().of("kind", world.find, a)
    assert world.later().content(a) and world.later().content(a, status)
    a.write_bytes(a.read_bytes()[:-1] + b"x")
    os.utime(a, ns=(status.st_atime_ns, status.st_mtime_ns))
    facts = world.later()
    assert [facts.of("kind", world.find, a) for _ in range(2)] == ["found"] * 2 and world.found == 3
    assert not facts.content(a) and not facts.content(a, os.stat(a))
    a.unlink()
    assert facts.recall("kind", a) is None


def test_a_file_that_changes_while_a_fact_is_found_tells_none(world):
    a = world.paths[0]

    @job
    def find():
        a.write_bytes(b"another")
        return "of the other"

    facts, status = world.later(), a.read_bytes()
    assert facts.of("kind", find, a) == "of the other" and status != a.read_bytes()
    facts.flush()
    assert world.cache.count("facts") == 0


def test_other_code_finds_its_own(world, monkeypatch):
    facts = world.later()
    facts.of("kind", world.find, world.paths[0])
    facts.flush()
    monkeypatch.setattr(memory, "_version", lambda package: "another")
    world.later().of("kind", world.find, world.paths[0])
    assert world.found == 2


def test_where_nothing_is_known_all_is_found(world):
    assert [NOTHING.of("kind", world.find, world.paths[0]) for _ in range(2)] == ["found"] * 2
    assert world.found == 2 and not NOTHING.content(world.paths[0])
