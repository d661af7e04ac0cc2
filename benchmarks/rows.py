"""The rows of the table: what is measured, beside what, and how much is wanted.

Bench, where to measure  ->  Row: two figures of one run, their ratio, the goal
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.folders import camera_folder, growing_folder, unique_folder, warm, web_folder
from benchmarks.processes import Failed, Ran, run

PROJECT = Path(__file__).resolve().parent.parent
GROWTH = (1000, 2000, 5000, 10_000)
WEB, CAMERA, DIFFERENT = 1000, 120, 7000
MOST_COMPUTING = 0.01  # seconds a file of a folder that holds no copies

FASTDUP = """import sys, fastdup
found = fastdup.create(work_dir=sys.argv[2], input_dir=sys.argv[1])
found.run(overwrite=True, verbose=False)
print(len(found.connected_components()[0]))"""
CZKAWKA = """import sys; from pathlib import Path; from czkawka import ImageSimilarity
finder = ImageSimilarity(); finder.set_directories([Path(sys.argv[1])]); finder.set_similarity(10)
print(len(finder.find_similar()))"""


@dataclass(frozen=True)
class Row:
    """One line of the table. value and against : seconds or bytes; ratio : of the two; goal : the most it may be

    note : what is to be known about it; of a row that can't be measured, why, and its figures are None
    curve : seconds by number of images, of a row that is drawn
    """

    name: str
    value: float | None
    against: float | None
    ratio: float | None
    goal: float
    note: str = ""
    curve: dict[int, float] | None = None

    @property
    def met(self) -> bool:
        return self.ratio is not None and self.ratio <= self.goal


@dataclass(frozen=True)
class Bench:
    """Where to measure. data : DEDUP_DATA; build : for what is made; mixed : makes 2,400 files, copies of all kinds"""

    data: Path
    build: Path
    repeats: int
    mixed: Callable[[], Path]

    def search(self, folder: Path, fresh: bool = True, watch: bool = False) -> Ran:
        """A whole run of the program, with an output folder that is new or has seen the folder before."""
        output = self.build / "output"
        if fresh:
            shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, PROJECT / "main.py", folder, "--output", output, "--quiet"]
        return run(command, watch)

    def best(self, measure: Callable[[], Ran]) -> Ran:
        """The fastest of a few runs: what others do on the machine only ever adds."""
        return min((measure() for _ in range(self.repeats)), key=lambda ran: ran.seconds)

    def peer(self, requirement: str, code: str, folder: Path) -> Ran:
        """Another program from the package index, in an environment of its own."""
        home, work = self.build / "peers" / requirement, self.build / "peer_work"
        python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        if not (home / "installed").exists():
            run([sys.executable, "-m", "venv", home])
            run([python, "-m", "pip", "install", "--quiet", requirement])
            (home / "installed").touch()
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        quiet = {"SENTRY_OPT_OUT": "1", "XDG_CACHE_HOME": str(work), "XDG_CONFIG_HOME": str(work)}
        return run([python, "-c", code, folder, work / "results"], env=quiet)

    def child(self, module: str, *arguments: object) -> dict:
        """What a measuring process says in its last line."""
        command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failed(f"benchmarks.{module} ended with {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])


def cold_web(bench: Bench) -> Iterator[Row]:
    folder, name = web_folder(bench.data, bench.build, WEB), f"first run, {WEB:,} web JPEGs, half of them crops"
    yield _beside_peer(bench, f"{name} / fastdup 2.54", folder, "fastdup==2.54", FASTDUP, 0.6)


def cold_unique(bench: Bench) -> Iterator[Row]:
    folder, name = unique_folder(bench.data, bench.build, WEB), f"first run, {WEB:,} different web JPEGs"
    yield _beside_peer(bench, f"{name} / fastdup 2.54", folder, "fastdup==2.54", FASTDUP, 0.5)


def cold_camera(bench: Bench) -> Iterator[Row]:
    folder = camera_folder(bench.data, bench.build, CAMERA)
    name = f"first run, {CAMERA} camera JPEGs / czkawka 0.1.2"
    yield _beside_peer(bench, name, folder, "czkawka==0.1.2", CZKAWKA, 1)


def different(bench: Bench) -> Iterator[Row]:
    folder = unique_folder(bench.data, bench.build, DIFFERENT)
    warm(folder)
    ran, most = bench.search(folder), MOST_COMPUTING * DIFFERENT
    note = f"{1000 * ran.computing / DIFFERENT:.1f} ms each, {ran.seconds:.0f} s by the clock"
    name = f"computing, {DIFFERENT:,} different photos / {1000 * MOST_COMPUTING:g} ms each"
    yield Row(name, ran.computing, most, ran.computing / most, 1.0, note)


def _beside_peer(bench: Bench, name: str, folder: Path, requirement: str, code: str, goal: float) -> Row:
    warm(folder)
    ours = bench.best(lambda: bench.search(folder))
    try:
        bench.peer(requirement, code, folder)  # fetches what it fetches once
        theirs = bench.best(lambda: bench.peer(requirement, code, folder))
    except Failed as error:
        return Row(name, ours.seconds, None, None, goal, f"{requirement} could not be run: {error}")
    return Row(name, ours.seconds, theirs.seconds, ours.seconds / theirs.seconds, goal)


def reading(bench: Bench) -> Iterator[Row]:
    folders = ("web", bench.mixed(), 4.0), ("camera", camera_folder(bench.data, bench.build, CAMERA), 1.3)
    for name, folder, goal in folders:
        warm(folder)
        found = bench.child("reading", folder)
        seconds, against = found["embedding"], found["decoding"]
        note = f"{found['images']} images, start-up aside"
        yield Row(f"reading + embedding, {name} / decoding alone", seconds, against, seconds / against, goal, note)


def again(bench: Bench) -> Iterator[Row]:
    source, folder = bench.mixed(), bench.build / "again"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    warm(folder)
    first, second = bench.search(folder), bench.search(folder, fresh=False)
    yield Row(
        "second run, nothing changed / first", second.seconds, first.seconds, second.seconds / first.seconds, 0.15
    )
    shutil.copyfile(sorted((bench.data / "train").glob("*.jpg"))[0], folder / "added.jpg")
    third = bench.search(folder, fresh=False)
    yield Row("one image added / first run", third.seconds, first.seconds, third.seconds / first.seconds, 0.15)


def memory(bench: Bench) -> Iterator[Row]:
    peak = bench.search(bench.mixed(), watch=True).peak
    note = "" if peak else "is not told on this system"
    yield Row("peak memory, 2,400 files / 1 GB", peak or None, 1e9, peak / 1e9 if peak else None, 0.6, note)


def vectors(bench: Bench) -> Iterator[Row]:
    found = bench.child("vectors", 100_000, "--faiss")
    seconds, against = found["seconds"], found["faiss_seconds"]
    note = "same edges" if found["same"] else "OTHER EDGES"
    yield Row("neighbours + DBSCAN, 100,000 x 256 / FAISS flat", seconds, against, seconds / against, 0.3, note)


def million(bench: Bench) -> Iterator[Row]:
    found = bench.child("vectors", 1_000_000)
    seconds, share = found["seconds"], found["sample"]
    note = f"{share:.2%} of the edges of a sample"
    yield Row("neighbours + DBSCAN, 1,000,000 x 256 / 4 minutes", seconds, 240, seconds / 240, 1.0, note)
    yield Row("its peak memory / 3 GB", found["peak"], 3e9, found["peak"] / 3e9, 1.0)


def growth(bench: Bench, counts: Sequence[int] = GROWTH) -> Iterator[Row]:
    seconds = {}
    for count in counts:
        folder = growing_folder(bench.data, bench.build, count)
        warm(folder)
        seconds[count] = bench.search(folder).seconds
    first, last = seconds[counts[0]], seconds[counts[-1]]
    note = ", ".join(f"{count:,}: {value:.1f} s" for count, value in seconds.items())
    yield Row(f"time of {counts[-1]:,} images / {counts[0]:,}", last, first, last / first, 10.5, note, seconds)


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "unique": cold_unique, "web": cold_web, "camera": cold_camera, "different": different, "reading": reading,
    "again": again, "vectors": vectors, "million": million, "memory": memory, "growth": growth,
}  # fmt: skip
