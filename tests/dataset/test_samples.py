"""The sample pictures: known duplicates, the same bytes every time, nobody's folder overwritten."""

import csv
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from dedup.dataset.decoding import load_image
from dedup.dataset.images import list_images
from dedup.dataset.samples import write_samples

EXTENSIONS = [".jpg", ".jpeg", ".png", ".webp", ".tif"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


def read_truth(folder):
    with open(folder / "truth.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_folder_holds_what_the_truth_says(folder):
    paths = list_images(folder, EXTENSIONS)
    assert sorted(folder / row["path"] for row in read_truth(folder)) == paths == write_samples(folder)
    assert 50 <= len(paths) <= 70


def test_every_group_has_one_original_and_every_level_occurs(folder):
    rows = read_truth(folder)
    originals = Counter(row["group"] for row in rows if row["level"] == "original")
    assert set(originals) == {row["group"] for row in rows}
    assert set(originals.values()) == {1}
    assert Counter(row["level"] for row in rows).keys() == {"original", "exact", "easy", "medium", "hard"}


def test_exact_copies_have_the_same_bytes_and_no_two_groups_share_any(folder):
    rows, groups = read_truth(folder), defaultdict(set)
    originals = {row["group"]: folder / row["path"] for row in rows if row["level"] == "original"}
    for row in rows:
        data = (folder / row["path"]).read_bytes()
        groups[data].add(row["group"])
        assert (data == originals[row["group"]].read_bytes()) == (row["level"] in ("original", "exact"))
    assert all(len(names) == 1 for names in groups.values())


def test_a_copy_turned_by_its_metadata_is_upright(folder):
    original, turned = (load_image(folder / name) for name in ("photos/china.jpg", "phone/china_turned.jpg"))
    assert turned.size == original.size
    assert np.abs(np.asarray(turned, float) - np.asarray(original, float)).mean() < 5


def test_the_same_bytes_and_dates_again(folder, tmp_path):
    for path in write_samples(tmp_path / "again"):
        first = folder / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == first.read_bytes()
        assert path.stat().st_mtime == first.stat().st_mtime
    assert (tmp_path / "again/truth.csv").read_bytes() == (folder / "truth.csv").read_bytes()


def test_a_removed_sample_comes_back(folder):
    (folder / "photos/coffee.png").unlink()
    assert folder / "photos/coffee.png" in write_samples(folder)
    assert (folder / "photos/coffee.png").is_file()


def test_somebody_elses_folder_is_refused(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="not made by dedup.dataset.samples"):
        write_samples(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jpg"]


def test_command(tmp_path):
    def run(folder):
        return subprocess.run([sys.executable, "-m", "dedup.dataset.samples", folder], capture_output=True, text=True)

    done = run(tmp_path / "new")
    assert done.returncode == 0 and "63 pictures" in done.stdout
    (tmp_path / "other").touch()
    refused = run(tmp_path)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
