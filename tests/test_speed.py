"""`make bench`: processes are timed and watched, folders made, vectors drawn, rows shown, kept and drawn."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import speed
from benchmarks.folders import growing_folder, unique_folder, web_folder
from benchmarks.phases import ROW
from benchmarks.precision import moved
from benchmarks.processes import Failed, run
from benchmarks.rows import ROWS, Bench, Row
from benchmarks.vectors import EPSILON, make_vectors, share_found
from dedup.encoder.model import choose_device
from dedup.matching.neighbors import radius_neighbors_graph
from dedup.output import OTHER, RUN
from tests.conftest import PROJECT

CHILD = """import subprocess, sys, time; held = bytearray(60_000_000)
subprocess.run([sys.executable, "-c", "import time; held = bytearray(60_000_000); time.sleep(1)"])"""


def test_a_process_is_timed_and_its_failure_told():
    done = run([sys.executable, "-c", "print('hello')"])
    assert done.output == "hello\n" and 0 < done.seconds < 60 and done.peak == 0
    busy = run([sys.executable, "-c", "sum(range(10**7))"])
    assert sys.platform == "win32" or 0.05 < busy.computing <= busy.seconds + 0.1
    with pytest.raises(Failed, match="no such thing"):
        run([sys.executable, "-c", "import sys; sys.exit('no such thing')"])
    with pytest.raises(Failed, match="nowhere"):
        run(["/nowhere/program"])


def test_the_time_of_a_run_is_told_by_phase(samples_dir):
    output = run([sys.executable, "-m", "benchmarks.phases", samples_dir], env={"PYTHONPATH": str(PROJECT)}).output
    rows = dict(ROW.findall(output))
    assert list(rows) == [*RUN, OTHER, "in all"] and "times as long" in output
    assert float(rows["Reading"]) > 0.2, "the encoder is loaded there"
    assert float(rows.pop("in all")) == pytest.approx(sum(map(float, rows.values())), abs=0.5)


def test_a_run_finds_the_clusters_of_plain_float32(samples_dir):
    output = run([sys.executable, "-m", "benchmarks.precision", samples_dir], env={"PYTHONPATH": str(PROJECT)}).output
    rows = {
        cells[0]: cells[1:] for cells in re.findall(r"^\| (.+?) " + r"\| ([\d.]+) " * 5, output, flags=re.MULTILINE)
    }
    assert rows["as in a run"][:4] == rows["plain float32"][:4] and int(rows["plain float32"][0]) > 5
    if choose_device().type == "cpu":
        assert float(rows["as in a run"][4]) < 1e-5 < float(rows["float16"][4]) < float(rows["bfloat16"][4])


def test_files_that_are_elsewhere_are_counted():
    plain = [frozenset("abcd"), frozenset("xy")]
    assert moved(plain, plain) == 0
    assert moved([frozenset("abc"), frozenset("xyd")], plain) == 1
    assert moved([frozenset("abcd")], plain) == 2
    assert moved([*plain, frozenset("pq")], plain) == 2
    assert moved([frozenset("abcdxy")], plain) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a family of processes is read from /proc")
def test_memory_of_children_counts():
    assert 120e6 < run([sys.executable, "-c", CHILD], watch=True).peak < 250e6


def test_folders_hold_what_is_asked_for_and_are_made_once(tmp_path):
    for part in ("dev/photos", "train"):
        (tmp_path / part).mkdir(parents=True)
        for name in "ab":
            Image.effect_noise((200, 100), 50).convert("RGB").save(tmp_path / part / f"{name}.jpg")
    web = web_folder(tmp_path, tmp_path / "build", 5)
    first = {path.name: path.read_bytes() for path in web.iterdir()}
    assert sorted(first) == [f"{number:05}.jpg" for number in range(5)] and len(set(first.values())) == 5
    assert first["00000.jpg"] == (tmp_path / "dev/photos/a.jpg").read_bytes()
    (web / "00003.jpg").unlink()
    web_folder(tmp_path, tmp_path / "build", 5)
    assert {path.name: path.read_bytes() for path in web.iterdir()} == first, "the same again"
    names = sorted(path.name for path in unique_folder(tmp_path, tmp_path / "build", 9).iterdir())
    assert names == [f"{number:05}.jpg" for number in range(4)], "no crops where there are no more photos"
    growing = growing_folder(tmp_path, tmp_path / "build", 20)
    assert len({path.read_bytes() for path in growing.iterdir()}) == 20


def test_vectors_have_a_quarter_of_duplicates_on_both_sides_of_epsilon():
    vectors = make_vectors(2000)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    graph = radius_neighbors_graph(vectors, EPSILON)
    edges = (graph.nnz - 2000) // 2
    assert 400 < edges < 500, "four of five of 500, and copies of one original"
    assert share_found(vectors, graph) == 1
    assert share_found(vectors, radius_neighbors_graph(vectors, 0.2)) < 0.95


def test_rows_are_shown_kept_and_drawn(tmp_path, monkeypatch, capsys):
    def good(bench: Bench):
        yield Row("fast", 1.0, 4.0, 0.25, 0.3)
        yield Row("many", 9.0, 1.0, 9.0, 11.0, "9 s", {1000: 1.0, 10_000: 9.0})

    def bad(bench: Bench):
        raise Failed("it is not there")
        yield

    (tmp_path / "dev" / "photos").mkdir(parents=True)
    monkeypatch.setenv("DEDUP_DATA", str(tmp_path))
    monkeypatch.setitem(ROWS, "web", good)
    monkeypatch.setitem(ROWS, "memory", bad)
    places = ["--build", str(tmp_path / "build"), "--results", str(tmp_path / "results")]
    assert speed.main(["--only", "web", *places]) == 0
    assert "| fast | 1.0 s | 4.0 s | 0.25 | <= 0.3 | met |" in capsys.readouterr().out
    assert speed.main(["--only", "memory", *places]) == 1
    assert "could not be measured: it is not there" in capsys.readouterr().out
    kept = json.loads((tmp_path / "results" / "speed.json").read_text())["rows"]
    assert set(kept) == {"fast", "many", "memory"} and kept["fast"]["machine"]["cores"]
    assert (tmp_path / "results" / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_over_its_goal_is_not_met():
    lines = speed.table([Row("slow", 5e9, 1e9, 5.0, 1.0, "why"), Row("peer gone", 2.0, None, None, 0.6, "no network")])
    assert lines[2] == "| slow | 5.00 GB | 1.00 GB | 5.00 | <= 1 | NOT MET; why |"
    assert lines[3] == "| peer gone | 2.0 s | - | - | <= 0.6 | no network |"
