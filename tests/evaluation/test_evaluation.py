"""Pair curves, scores of groupings and the calibration of epsilon, on cases small enough to count by hand."""

import csv
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

import main
from dedup.dataset.copies import make_copy
from dedup.encoder.inference import at_work
from dedup.evaluation import calibration, scores
from dedup.evaluation.calibration import calibrate_epsilon, describe, distinct_pairs, expected_precision, nearest_pairs
from dedup.evaluation.scores import PairCurve, Truth, grouping_of, pair_curve, score_grouping


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_curve_of_two_pairs():
    # copies: 0-10 and 40-60 degrees; 10-40 is nearer than neither, 0-40 and 0-60, 10-60 are further
    curve = pair_curve(at(0, 10, 40, 60), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(curve.thresholds, 1 - np.cos(np.radians([10, 20])), atol=1e-6)
    assert curve.right.tolist() == [1, 2] and curve.wrong.tolist() == [0, 0]
    assert curve.average_precision == 1 and curve.recall_at(1.0) == 1

    curve = pair_curve(at(0, 10, 25, 65), np.array([0, 0, 1, 1]))  # 10-25 and 0-25 are wrong, and nearer than 25-65
    assert curve.right.tolist() == [1, 2] and curve.wrong.tolist() == [0, 2]
    assert curve.precision.tolist() == [1, 0.5] and curve.recall.tolist() == [0.5, 1]
    assert curve.average_precision == 0.75
    assert curve.recall_at(0.99) == 0.5 and curve.recall_at(0.5) == 1
    assert [curve.wrong_at(recall) for recall in (0.4, 0.5, 0.6, 1)] == [0, 0, 2, 2]


def test_equal_distances_count_together():
    bits = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [1, 1, -1, -1], [-1, 1, 1, 1]], np.float32) / 2
    curve = pair_curve(bits, np.array([0, 0, 1, 2]))  # the copies differ in one bit, and so do two other pairs
    assert curve.thresholds.tolist() == [0.5]
    assert curve.right.tolist() == [1] and curve.wrong.tolist() == [2]
    assert curve.recall_at(0.99) == 0


def test_of_several_views_the_nearest_count():
    groups = np.array([0, 0, 1])
    one = np.stack([at(0, 90, 50), at(0, 10, 50)], axis=1)  # the second file shows the first in its other view
    curve = pair_curve(one, groups)
    assert curve.thresholds == pytest.approx([1 - np.cos(np.radians(10))], abs=1e-6) and curve.wrong.tolist() == [0]
    same = pair_curve(np.repeat(at(0, 10, 25)[:, None], 2, axis=1), groups)
    assert same.wrong.tolist() == pair_curve(at(0, 10, 25), groups).wrong.tolist()


def test_curve_without_copies_is_empty():
    curve = pair_curve(at(0, 10), np.array([0, 1]))
    assert curve == PairCurve(curve.thresholds, curve.right, curve.wrong, 0) and not len(curve.thresholds)
    assert curve.average_precision == 0 and curve.recall_at(0.5) == 0 and curve.wrong_at(0.5) == 0
    with pytest.raises(ValueError, match="2 vectors and 1 groups"):
        pair_curve(at(0, 10), np.array([0]))


@pytest.mark.parametrize("block", [7, 40, 1000])
@pytest.mark.parametrize("bits", [False, True])
def test_average_precision_is_scikit_learns(block, bits, monkeypatch):
    monkeypatch.setattr(scores, "ROWS_AT_ONCE", block)
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 15, 40)
    vectors = rng.normal(size=(15, 16))[groups] + rng.normal(size=(40, 16))
    vectors = (np.sign(vectors) / 4 if bits else vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    i, j = np.triu_indices(40, 1)
    wanted = average_precision_score(groups[i] == groups[j], (vectors @ vectors.T)[i, j])
    assert pair_curve(vectors, groups).average_precision == pytest.approx(wanted, abs=1e-6)


# Two photos with copies, one without. Files: a, its copies b (easy) and c (hard); d, its copy e (hard); f.
TRUTH = Truth(
    list("abcdef"),
    np.array([0, 0, 0, 1, 1, 2]),
    ["original", "png", "mirror", "original", "mirror", "original"],
    ["original", "easy", "hard", "original", "hard", "original"],
)


def test_perfect_grouping():
    score = score_grouping(TRUTH, np.array([5, 5, 5, 7, 7, -1]))
    assert (score.precision, score.recall, score.f1) == (1, 1, 1)
    assert (score.cluster_precision, score.cluster_recall, score.cluster_f1) == (1, 1, 1)
    assert (score.removed, score.wrong_removals, score.lost_photos) == (3, 0, 0)
    assert score.recall_by_level == {"easy": 1, "hard": 1}


def test_nothing_found():
    score = score_grouping(TRUTH, np.full(6, -1))
    assert (score.precision, score.recall, score.f1, score.removed) == (1, 0, 0, 0)
    assert score.recall_by_edit == {"mirror": 0, "png": 0}


def test_mixed_grouping():
    # {a, b, f} and {c, d, e}: 1 + 1 right pairs of 6, of 4 true ones; e's photo stays nowhere if c is kept
    score = score_grouping(TRUTH, np.array([0, 0, 1, 1, 1, 0]))
    assert score.precision == pytest.approx(2 / 6) and score.recall == pytest.approx(2 / 4)
    assert score.cluster_precision == pytest.approx((4 * 2 / 3 + 2 * 1 / 3) / 6)
    assert score.cluster_recall == pytest.approx((2 * 2 / 3 + 1 / 3 + 2 * 1 + 1) / 6)
    assert (score.removed, score.wrong_removals, score.lost_photos) == (4, 3, 2)  # d, e and f
    assert score.recall_by_level == {"easy": 1, "hard": 0.5}
    assert score.recall_by_edit == {"png": 1, "mirror": 0.5}


def test_what_stays_is_not_lost():
    labels = np.array([0, 0, 1, 1, 1, 0])
    stays = np.array([False, True, False, True, False, True])  # b and f of the first, d of the second
    score = score_grouping(TRUTH, labels, stays)
    assert (score.removed, score.wrong_removals, score.lost_photos) == (3, 1, 0)  # c goes for d, but b still shows it
    assert not stays[0], "the argument is left as it is"


def test_grouping_of_clusters():
    member = lambda name, removable: SimpleNamespace(path=Path("x") / name, removable=removable)  # noqa: E731
    clusters = [SimpleNamespace(number=4, keeper=member("b", False), members=(member("a", True), member("c", False)))]
    labels, stays = grouping_of(clusters, Path("x"), TRUTH)
    assert labels.tolist() == [4, 4, 4, -1, -1, -1]
    assert stays.tolist() == [False, True, True, True, True, True]


def write_csv(path: Path, header: str, rows) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def test_truth_is_read(tmp_path):
    rows = [("a.jpg", "x/2", "original", "original"), ("b.jpg", "x/1", "png", "easy"), ("c.jpg", "x/2", "png", "easy")]
    truth = Truth.read(write_csv(tmp_path / "truth.csv", "path,group,edit,level", rows))
    assert truth.paths == ["a.jpg", "b.jpg", "c.jpg"] and truth.groups.tolist() == [1, 0, 1]
    assert truth.edits == ["original", "png", "png"] and truth.levels == ["original", "easy", "easy"]


def test_truth_of_some_files_of_a_folder(tmp_path):
    rows = [("a.jpg", "2", "original", "original"), ("b.jpg", "1", "png", "easy"), ("in/c.jpg", "2", "png", "easy")]
    paths = [tmp_path / name for name in ("new.jpg", "in/c.jpg", "a.jpg", "other.jpg")]
    unknown = Truth.of(paths, tmp_path)
    assert len(set(unknown.groups)) == 4 and set(unknown.levels) == {"original"} and not unknown.has_copies
    write_csv(tmp_path / "truth.csv", "path,group,edit,level", rows)
    truth = Truth.of(paths, tmp_path)
    assert truth.paths == ["new.jpg", "in/c.jpg", "a.jpg", "other.jpg"] and truth.has_copies
    assert truth.groups[1] == truth.groups[2] and len(set(truth.groups)) == 3
    assert truth.edits == ["original", "png", "original", "original"]
    assert truth.levels == ["original", "easy", "original", "original"]
    assert not Truth.of(paths[:2], tmp_path).has_copies and not Truth.of([], tmp_path).has_copies


@pytest.mark.data
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_data_folders_own_score(seed, data_dir, tmp_path):
    script = data_dir.parent / "bench" / "score.py"
    if not script.is_file():
        pytest.skip("the folder beside DEDUP_DATA has no bench/score.py")
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 60)
    firsts = np.unique(groups, return_index=True)[1]
    levels = rng.choice(["easy", "medium", "hard"], 60).astype(object)
    edits = rng.choice(["png", "crop", "mirror", "crop+text"], 60).astype(object)
    levels[firsts] = edits[firsts] = "original"
    names = [f"{k:02}.jpg" for k in range(60)]
    truth_csv = write_csv(tmp_path / "t.csv", "path,group,edit,level", zip(names, groups, edits, levels, strict=True))
    labels = np.where(rng.random(60) < 0.6, groups, rng.integers(-1, 12, 60))
    stays = None if seed == 0 else rng.random(60) < 0.4
    rows = [(names[k], labels[k], int(stays is not None and stays[k])) for k in range(60) if labels[k] >= 0]
    grouped = write_csv(tmp_path / "g.csv", "path,group,keep", rows)
    told = subprocess.run([sys.executable, script, truth_csv, grouped, "--json"], capture_output=True, check=True)
    wanted = json.loads(told.stdout)
    score = score_grouping(Truth.read(truth_csv), labels, stays)
    for name in ("precision", "recall", "f1"):
        assert getattr(score, name) == pytest.approx(wanted[name], abs=1e-5)
    ours = (score.removed, score.wrong_removals, score.lost_photos)
    assert ours == (wanted["removed"], wanted["removed_wrong"], wanted["lost_photos"])
    assert score.recall_by_level == pytest.approx(
        {k: wanted[f"recall_{k}"] for k in ("easy", "hard", "medium")}, abs=1e-4
    )
    single = {edit: share for edit, share in score.recall_by_edit.items() if "+" not in edit}
    assert single == pytest.approx({edit: share for edit, (share, _) in wanted["edits"].items()}, abs=1e-3)


# --- calibration ----------------------------------------------------------------------------------------------------
def test_nearest_pairs_by_hand():
    rows, columns, distances = nearest_pairs(at(0, 50, 10, 55), 2)
    assert (rows.tolist(), columns.tolist()) == ([1, 0], [3, 2])
    np.testing.assert_allclose(distances, 1 - np.cos(np.radians([5, 10])), atol=1e-6)
    assert [len(part) for part in nearest_pairs(at(0, 50, 10), 5)] == [3, 3, 3]
    assert [len(part) for part in nearest_pairs(at(0), 5)] == [0, 0, 0]


def test_of_duplicates_one_stays():
    vectors = at(0, 1, 2, 40, 90, 91)
    twins = {(0, 1), (1, 2)}
    kept, others = distinct_pairs(vectors, lambda pairs: [(i, j) for i, j, _ in pairs if (i, j) in twins])
    assert kept.tolist() == [0, 3, 4, 5]
    np.testing.assert_allclose(others[:2], 1 - np.cos(np.radians([1, 40])), atol=1e-5)


def test_expected_precision_by_hand():
    others = np.array([0.2, 0.4, 0.6, 0.8])  # median 0.3 below the last: the tail halves every 0.3
    expected = expected_precision(np.array([0, 0.5, 1]), np.array([0, 0.2, 0.8]), others, right=8)
    assert expected == pytest.approx([0, 4 / (4 + 1), 8 / (8 + 4)])  # the tail at 0.2 would be 4 / 2 / 2 = 1
    assert expected_precision(np.array([1]), np.array([0.5]), others, right=8, scale=3) == pytest.approx(8 / (8 + 6))
    overlooked = np.r_[0.01, np.linspace(0.7, 0.8, 30)]
    steep = expected_precision(np.ones(1), np.array([0.005]), overlooked, right=1)
    assert steep > 0.98, "one overlooked duplicate leaves the tail as it is"


class Pooled(torch.nn.Module):
    """Stands in for an encoder: coarse colours as a unit vector."""

    embedding_size, image_resize, epsilon, strict_epsilon = 48, 32, 0.1, 0.05

    def forward(self, images):
        return torch.nn.functional.normalize(
            torch.nn.functional.adaptive_avg_pool2d(images.float() - 128, 4).flatten(1)
        )


@pytest.fixture
def folder(tmp_path, monkeypatch) -> list[Path]:
    """40 pictures, edits that are light enough for them, and what confirms copies: equal bytes."""
    rng = np.random.default_rng(2)
    paths = [tmp_path / f"{k:02}.png" for k in range(40)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8)).resize((64, 48), Image.Resampling.BICUBIC).save(path)

    def confirmer(paths, num_workers, progress):
        return lambda pairs: [(i, j) for i, j, _ in pairs if paths[i].read_bytes() == paths[j].read_bytes()]

    monkeypatch.setattr(calibration, "confirmer", confirmer)
    monkeypatch.setattr("dedup.dataset.copies.make_copy", partial(make_copy, strength=0.3))
    return paths


def calibrate(paths, **options):
    return calibrate_epsilon(
        at_work(Pooled(), torch.device("cpu")), paths, **{"precision": 0.9, "progress": False} | options
    )


def test_calibration_holds_what_it_promises(folder):
    found = calibrate(folder)
    assert found.pictures == 40 and len(found.copies) == 40 and len(found.others) == 40
    at_epsilon = np.flatnonzero(found.thresholds == found.epsilon)[0]
    assert found.precision[at_epsilon] >= 0.9 > found.precision[at_epsilon + 1 :].max()
    assert (np.diff(found.recall) >= 0).all() and found.recall[at_epsilon] > 0.3
    assert calibrate(folder).epsilon == found.epsilon
    lines = list(describe(found, 0.9))
    assert lines[0] == "40 copies made of 40 different pictures"
    assert f"epsilon {found.epsilon:.4f} has precision 0.9 before confirmation" in lines[-1]


def test_duplicates_in_the_folder_change_little(folder):
    alone = calibrate(folder)
    for path in folder[:15]:
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    more = calibrate(sorted(folder[0].parent.iterdir()))
    assert more.pictures == 40
    np.testing.assert_array_equal(more.others, alone.others)
    assert more.epsilon == pytest.approx(alone.epsilon, rel=0.3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": 1.0}, "precision is a share between 0 and 1, .* got 1$"),
        (
            {"precision": 1 - 1e-15},
            "no epsilon reaches precision 1 .* ask for less, or go without: the encoder's own is 0",
        ),
    ],
)
def test_what_cannot_be_calibrated_says_why(options, says, folder):
    with pytest.raises(ValueError, match=says):
        calibrate(folder, **options)


def test_too_few_pictures(folder):
    with pytest.raises(ValueError, match="30 different pictures or more, got 29"):
        calibrate(folder[:29])
    assert calibrate(folder[:30]).pictures == 30


@pytest.fixture
def told(monkeypatch):
    """Has the command line's calibration give a fixed result, or raise."""
    from dedup.encoder import inference

    shares = np.array([0.0, 0.5, 1.0])
    fixed = calibration.Calibration(0.125, shares / 4, 1 - shares / 9, shares, shares / 8, shares / 4, 40)

    def install(error=None):
        def calibrate(encoder, paths, precision, **settings):
            if error:
                raise error
            return fixed

        monkeypatch.setattr(calibration, "calibrate_epsilon", calibrate)
        monkeypatch.setattr(inference, "open_encoder", lambda *_: None)

    return install


def test_the_command_line_says_the_epsilon_and_what_to_run(told, tmp_path, capsys):
    told()
    (tmp_path / "photos").mkdir()
    words = [str(tmp_path / "photos"), "--calibrate", "0.9", "--image-resize", "96", "--output", str(tmp_path / "out")]
    assert main.main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-6].startswith("epsilon 0.1250 has precision 0.9")
    assert said[-1].endswith(f"photos --epsilon 0.1250 --image-resize 96 --output {tmp_path / 'out'}")
    assert said[-3] == said[-1] + " --no-verify"
    assert (tmp_path / "out" / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_calibrates_or_says_why_not(told, tmp_path, capsys):
    told(calibration.CalibrationError("too few pictures"))
    assert main.main([str(tmp_path), "--calibrate", "0.9"]) == 2
    assert capsys.readouterr().err == "main.py: too few pictures\n"
    with pytest.raises(SystemExit, match="2"):
        main.main([str(tmp_path), "--calibrate", "0.9", "--delete"])
    assert "it goes without --delete" in capsys.readouterr().err
