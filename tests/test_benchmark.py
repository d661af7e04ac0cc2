"""The benchmark: hashes as vectors, lists of mistakes, goals and tables; a small run as a process where data is."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from benchmarks import pictures
from benchmarks.ablation import RULES, ablation_table
from benchmarks.finding import removal_of, written
from benchmarks.goals import IN_README, Goal, finder_table, goal_table, goals, unproven
from benchmarks.keepers import keepers
from benchmarks.peers import PEERS, Hashes, Peer, hashes_of, read_hashes
from benchmarks.pictures import mistakes
from dedup.evaluation.scores import Truth, pair_curve
from dedup.matching import confirmation
from dedup.report.plots import plot_pair_curves, plot_recall_by_edit
from tests.conftest import PROJECT

PROGRAMS = [
    path.stem for path in sorted((PROJECT / "benchmarks").glob("*.py")) if "__main__" in path.read_text("utf-8")
]


def hashes(*rows: str, usable=None, threshold: int = 1) -> Hashes:
    bits = np.array([[digit == "1" for digit in row] for row in rows])
    return hashes_of(Peer("toy", None, threshold), bits, np.ones(len(rows), bool) if usable is None else usable)


def edges(graph) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in zip(*graph.tocoo().coords, strict=True) if i < j}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_tells_how_it_is_called(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage:") and not done.stderr, done


def test_hashes_join_up_to_so_many_bits():
    found = hashes("0000", "0001", "0011", "1111")
    assert edges(found.graph()) == {(0, 1), (1, 2)}
    assert edges(found.graph(2)) == {(0, 1), (1, 2), (0, 2), (2, 3)}
    assert edges(found.graph(0)) == set()
    assert found.graph(1)[0, 1] == 0.5, "one bit of four, twice"


def test_a_hash_that_the_tool_would_not_use_joins_nothing():
    found = hashes("0000", "0000", "0000", usable=np.array([True, True, False]))
    assert edges(found.graph()) == {(0, 1)}


def test_peers_know_a_copy(tmp_path):
    pytest.importorskip("imagededup", reason="requirements-bench.txt is not installed")
    pytest.importorskip("pdqhash", reason="requirements-bench.txt is not installed")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 12, 16, 3), np.uint8)  # with less in it PDQ would not use its hash
    for name, part in zip("ab", pixels, strict=True):
        image = Image.fromarray(part).resize((320, 240), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{name}.png")
        image.resize((200, 150)).save(tmp_path / f"{name}2.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    found = read_hashes(sorted(tmp_path.iterdir()), progress=False)  # a.png, a2.jpg, b.png, b2.jpg, broken.jpg
    assert [h.peer for h in found] == list(PEERS)
    for hashed in found:
        assert edges(hashed.graph()) == {(0, 1), (2, 3)}, hashed.peer.name
        assert not hashed.usable[4]


def test_mistakes_are_listed_by_file():
    truth = Truth(list("abcdef"), np.array([0, 0, 0, 1, 1, 2]), ["x"] * 6, ["original", "real", "real"] * 2)
    truth = Truth(truth.paths, truth.groups, truth.edits, ["original", "real", "real", "original", "real", "original"])
    assert mistakes(truth, np.array([0, 0, 0, 1, 1, -1])) == []
    # c is with d and e instead; f is with a and b
    found = mistakes(truth, np.array([0, 0, 1, 1, 1, 0]))
    assert found == [("a", "c", "missed"), ("a", "f", "wrong"), ("c", "d", "wrong")]
    assert mistakes(truth, np.full(6, -1)) == [("a", "b", "missed"), ("a", "c", "missed"), ("d", "e", "missed")]


def test_groups_that_hold_one_picture_count_as_one(tmp_path, monkeypatch):
    table = tmp_path / "same_picture.csv"
    table.write_text("path,other,why\na,d,one photo\n", encoding="utf-8")
    monkeypatch.setattr(pictures, "SAME_PICTURE", table)
    truth = Truth(list("abcde"), np.array([0, 0, 1, 1, 2]), ["x"] * 5, ["original", "real"] * 2 + ["original"])
    merged = pictures.with_one_group_each(truth)
    assert merged.groups.tolist() == [0, 0, 0, 0, 2]
    assert merged.levels == ["original", "real", "real", "real", "original"], "one original each"
    assert truth.groups.tolist() == [0, 0, 1, 1, 2], "left as it is"


def test_only_pairs_that_were_seen_to_be_right_count_as_right(tmp_path, monkeypatch):
    table = tmp_path / "looked_at.csv"
    table.write_text("set,path,other,verdict,why\ncamera,a.jpg,b.jpg,right,turned\n", encoding="utf-8")
    monkeypatch.setattr(pictures, "LOOKED_AT", table)
    assert pictures.looked_at() == {frozenset(("b.jpg", "a.jpg")): "right"}
    assert unproven({"pairs": 3, "right": 2, "not looked at": 1}) == 1
    assert unproven({"pairs": 1, "wrong": 1}) == 1 and unproven({"pairs": 2, "right": 2}) == 0


def test_what_was_looked_at_has_a_verdict():
    with open(pictures.LOOKED_AT, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["verdict"] in ("right", "wrong") and row["why"] for row in rows)


def test_a_written_curve_keeps_its_ends():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    curve = pair_curve(vectors / np.linalg.norm(vectors, axis=1)[:, None], rng.integers(0, 6, 60))
    kept = written(curve, files=60)
    assert len(kept["recall"]) == len(kept["precision"]) <= 201
    assert kept["strangers"] == pytest.approx(curve.wrong_at(0.95) / 30, abs=1e-5) and kept["strangers"] > 1
    assert kept["recall"][-1] == 1 and kept["precision"][-1] == pytest.approx(curve.precision[-1], abs=1e-5)
    json.dumps(kept)


def score(**changes) -> dict:
    levels = {"exact": 1.0, "easy": 1.0, "medium": 0.995, "hard": 0.9}
    hard = dict.fromkeys(
        "crop_hard mirror turn90 screenshot collage paste_in occlude perspective posterize".split(), 0.9
    )
    whole = {"precision": 1.0, "recall": 0.97, "f1": 0.985, "cluster_f1": 0.98, "wrong_removals": 0, "lost_photos": 0}
    return whole | {"recall_by_level": levels, "recall_by_edit": hard} | changes


def results(**changes) -> dict:
    curve = {"average_precision": 0.95, "recall_at_0.99": 0.9, "recall_at_0.999": 0.8, "strangers": 0.4}
    synthetic = {"scores": {"this project": score(**changes)}, "curves": {"encoder alone": curve}, "time_ratio": 1.7}
    return {"synthetic": synthetic, "real": {"score": {"f1": 0.98}}, "camera": {"pairs": 2, "right": 2}}


def test_goals_are_met_or_not():
    assert all(goal.met for goal in goals(results()))
    missed = [goal.name for goal in goals(results(wrong_removals=1, precision=0.999)) if not goal.met]
    assert missed == ["precision of the pairs", "wrong removals"]
    assert Goal("", 0.6, 0.6).met and Goal("", 2.0, 2, False).met and not Goal("", 2.01, 2, False).met
    lines = list(goal_table(results(f1=0.9)))
    assert [line.split("  ")[0] for line in lines if "NOT MET" in line] == ["F1 of the pairs"]
    assert len(lines) == 1 + len(goals(results()))
    table = list(finder_table(results()["synthetic"]))
    assert any(line.startswith("this project") for line in table)
    assert any(line.startswith("encoder alone") and line.endswith(" 0.4") for line in table)


def test_peers_are_told_as_they_were_measured():
    measured = results()
    assert not any(goal.peers for goal in goals(measured)), "none was measured"
    for name, wrong in zip(IN_README, (0, 2, 29), strict=True):
        measured["synthetic"]["scores"][name] = score(wrong_removals=wrong, f1=0.5)
        measured["synthetic"]["curves"][name.split(",")[0]] = {"average_precision": 0.6}
    peers = {goal.name: goal.peers for goal in goals(measured)}
    assert peers["wrong removals"] == "0 to 29" and peers["F1 of the pairs"] == "0.5" and peers["recall easy"] == "1"


def test_cases_that_still_go_wrong_are_counted():
    cases = {"charts": {"why": "other charts", "faults": []}, "films": {"why": "a film", "faults": ["a.jpg would go"]}}
    assert [goal.value for goal in goals({"cases": cases})] == [1]


def test_the_farthest_copies_and_the_nearest_strangers():
    angles = np.radians([0, 10, 50, 60, 62])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    result = SimpleNamespace(embeddings=SimpleNamespace(vectors=vectors, paths=[]))
    truth = Truth(list("abcde"), np.array([0, 0, 0, 1, 2]), ["x"] * 5, ["original", "easy", "hard"] + ["original"] * 2)
    assert pictures.farthest_copies(result, truth) == [(0, 2), (0, 1)]
    assert pictures.nearest_strangers(result, truth, most=2) == [(3, 4), (2, 3)]
    assert pictures.plot_pairs(result, [], []) == "no pairs"


def test_rules_of_confirmation_can_be_switched_off(samples_dir):
    names = "photos/astronaut.png", "edited/astronaut_mirror.jpg"
    pair = [confirmation.read_picture(samples_dir / name) for name in names]
    for rule in RULES.values():
        with patch.object(*rule):
            assert confirmation.match_pictures(*pair)
    with patch.object(*RULES["whole on whole, turned, mirrored"]), patch.object(*RULES["mirrored keypoints"]):
        assert confirmation.match_pictures(*pair) is None
    row = {"easy": 1, "medium": 0.9, "hard": 0.8, "precision": 1, "lookalikes": 2, "seconds": 3}
    assert [line.split()[0] for line in ablation_table({"rules": {"hubs": row}})] == ["without", "hubs"]


def test_results_can_be_drawn():
    curves = {"ours": ([0.5, 1], [1, 0.9]), "theirs": ([0.4, 1], [1, 0.2])}
    png = plot_pair_curves(curves, {"confirmed": (0.98, 1)}).png()
    assert png.startswith(b"\x89PNG") and png == plot_pair_curves(curves, {"confirmed": (0.98, 1)}).png()
    assert plot_recall_by_edit({"ours": {"a_b": 1, "c": 0.5}, "theirs": {"c": 0.2}}).png().startswith(b"\x89PNG")


@pytest.mark.data
@pytest.mark.slow
def test_a_small_benchmark_as_a_process(data_dir, tmp_path):
    pytest.importorskip("imagededup", reason="requirements-bench.txt is not installed")
    size = ["--only", "synthetic", "--originals", "2", "--distractors", "5"]
    places = ["--build", tmp_path, "--results", tmp_path / "r.json"]
    words = [sys.executable, "-m", "benchmarks.benchmark", *size, *places]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert "average precision" in done.stdout and "wrong removals" in done.stdout
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["synthetic"]
    assert found["files"] == 2 * 34 + 5 and found["scores"]["this project"]["recall_by_level"]["exact"] == 1


def test_a_version_without_its_original_does_not_count(tmp_path):
    def cluster(*versions):
        files = [
            SimpleNamespace(path=tmp_path / name, version=k) for k, names in enumerate(versions, 1) for name in names
        ]
        return SimpleNamespace(keeper=files[0], members=files[1:], why="older")

    levels = {"a.jpg": "original", "b.jpg": "exact", "c.jpg": "easy", "d.jpg": "hard"}
    clusters = [cluster(["c.jpg", "a.jpg"]), cluster(["c.jpg"], ["d.jpg"]), cluster(["d.jpg"], ["b.jpg", "c.jpg"])]
    assert keepers(clusters, tmp_path, levels) == [("c.jpg", "older"), ("b.jpg", "another version")]


def test_removals_are_counted_by_level_and_checked_against_the_truth(tmp_path):
    """`e` goes for a file of another photo, and `f`, the last one of its photo, for `e`."""
    files = {"a": ("original", 0, None), "b": ("reencode", 0, "a"), "c": ("blur+noise", 0, "a"), "d": ("crop", 0, None),
             "e": ("original", 1, "a"), "f": ("exact", 1, "e")}  # fmt: skip
    levels = {"reencode": "easy", "blur+noise": "medium", "crop": "medium", "exact": "exact", "original": "original"}
    truth = Truth(
        list(files), np.array([group for _, group, _ in files.values()]), [edit for edit, *_ in files.values()],
        [levels[edit] for edit, *_ in files.values()],
    )  # fmt: skip
    members = [
        SimpleNamespace(path=tmp_path / name, keeper=keeper and tmp_path / keeper, removable=keeper is not None)
        for name, (_, _, keeper) in files.items()
    ]
    result = SimpleNamespace(config=SimpleNamespace(images_dir=tmp_path), clusters=[SimpleNamespace(members=members)])
    assert removal_of(result, truth) == {
        "going": 4,
        "levels": {"easy": [1, 1], "exact": [1, 1], "medium": [0, 1], "original": [1, 2], "worse": [1, 1]},
        "wrong": 1,
        "lost": 1,
    }
