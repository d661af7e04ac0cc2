"""Folders treated differently: found by what they are, refused where they are none, and heeded to the end."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dedup.clustering.clusters import build_clusters
from dedup.clustering.members import Why
from dedup.config import ConfigError
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.deletion.applying import apply_decisions
from dedup.deletion.removal import apply_plan, make_plan
from dedup.encoder.embeddings import Embeddings
from dedup.matching.confirmation import Verifier
from tests.clustering.test_detail import photo


@pytest.fixture
def folder(tmp_path):
    """Four files of one photo: twins in `a` and `z`, and one more compressed in `z/deep` and in `y`."""
    root = tmp_path / "photos"
    for name in ("a", "y", "z/deep"):
        (root / name).mkdir(parents=True)
    photo().save(root / "a" / "1.jpg", quality=92)
    photo().save(root / "z" / "deep" / "2.jpg", quality=70)
    shutil.copy2(root / "a" / "1.jpg", root / "z" / "1.jpg")
    shutil.copy2(root / "z" / "deep" / "2.jpg", root / "y" / "2.jpg")
    return root


def cluster_of(folder, places=NOWHERE):
    paths = sorted(folder.rglob("*.jpg"))
    sizes = np.array([Image.open(path).size for path in paths])
    embeddings = Embeddings(paths, np.tile(np.float32([1, 0]), (len(paths), 1)), sizes, {})
    verifier = Verifier(paths, 0, progress=False)
    (cluster,) = build_clusters(embeddings, np.zeros(len(paths), int), verifier, folder, places=places)
    return cluster


def names(folder, paths):
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def going(folder, cluster):
    return names(folder, [member.path for member in cluster.members if member.removable])


def test_without_places_the_best_is_kept(folder):
    cluster = cluster_of(folder)
    assert names(folder, [cluster.keeper.path]) == ["a/1.jpg"]
    assert going(folder, cluster) == ["y/2.jpg", "z/1.jpg", "z/deep/2.jpg"]


@pytest.mark.parametrize(
    ("inside", "kept", "why"),
    [("z", "z/1.jpg", "compressed 3.6x finer"), ("z/deep", "z/deep/2.jpg", "preferred: folder:z/deep")],
)
def test_a_file_in_a_preferred_folder_is_kept_and_the_others_go(folder, inside, kept, why):
    cluster = cluster_of(folder, NOWHERE.preferring(folder, [f"folder:{inside}"]))
    assert names(folder, [cluster.keeper.path]) == [kept]
    assert cluster.why == why and len(going(folder, cluster)) == 3


def test_what_shows_more_stays_wherever_it_lies(folder):
    small = Image.open(folder / "a" / "1.jpg").resize((128, 96), Image.Resampling.LANCZOS)
    small.save(folder / "y" / "2.jpg", quality=95)
    cluster = cluster_of(folder, NOWHERE.preferring(folder, ["folder:y"]))
    assert names(folder, [cluster.keeper.path]) == ["y/2.jpg"] and cluster.why == "preferred: folder:y"
    assert going(folder, cluster) == []
    assert {member.reason.code for member in cluster.members} == {Why.RESOLUTION}


def test_what_is_protected_stays_and_is_kept(folder):
    cluster = cluster_of(folder, Places.find(folder, protect=[folder / "z"]))
    assert names(folder, [cluster.keeper.path]) == ["z/1.jpg"]
    assert going(folder, cluster) == ["a/1.jpg", "y/2.jpg"]
    (stays,) = (member for member in cluster.members if not member.removable)
    assert stays.reason == (Why.PROTECTED, "lies in a protected folder")


def test_no_plan_and_no_decision_moves_what_is_protected(folder, tmp_path):
    plan, places = tmp_path / "plan.jsonl", Places.find(folder, protect=[folder / "z"])
    planned = make_plan([cluster_of(folder)], folder, plan)
    assert len(planned.done) == 3
    lines = [json.loads(line) for line in plan.read_text().splitlines()[1:]]
    files = [
        {role: {key: line[role][key] for key in ("path", "size", "blake2b")} for role in ("keep", "drop")}
        for line in lines
    ]
    decisions = tmp_path / "decisions.json"
    decisions.write_text(json.dumps({"decisions": 1, "remove": files, "different": []}))
    outcome = apply_plan(plan, folder, places=places)
    assert names(folder, [folder / path for path in outcome.done]) == ["y/2.jpg"]
    assert {reason for _, reason in outcome.refused} == {"lies in a protected folder"} and outcome.exit_code == 1
    outcome, _ = apply_decisions(decisions, folder, tmp_path, places=places)
    assert not outcome.done and (folder / "z" / "1.jpg").exists() and (folder / "z" / "deep" / "2.jpg").exists()


def test_a_folder_is_known_by_any_spelling(folder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(folder / "z", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for spelling in (folder / "y" / ".." / "z", tmp_path / "link", "photos/z"):
        places = Places.find(folder, protect=[spelling])
        assert places.protects(folder / "z" / "deep" / "2.jpg") and not places.protects(folder / "y" / "2.jpg")
    assert not Places.find(folder, protect=[folder / "z"]).protects(folder / "z.jpg")
    for spelling in ("z", folder / "y" / ".." / "z", tmp_path / "link", "photos/z"):
        ((word, named),) = NOWHERE.preferring(folder, [f"folder:{spelling}"]).prefer
        assert named == {(os.stat(folder / "z").st_dev, os.stat(folder / "z").st_ino)}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("photos/missing", "does not exist"),
        ("photos/a/1.jpg", "is a file"),
        ("photos", "is the searched folder itself"),
        ("photos/a/..", "is the searched folder itself"),
        (".", "does not lie inside"),
        ("photos2", "does not lie inside"),
    ],
)
def test_what_is_no_folder_inside_is_refused(folder, tmp_path, path, message):
    (tmp_path / "photos2").mkdir()
    with pytest.raises(ConfigError, match="--prefer folder: .*" + message):
        NOWHERE.preferring(folder, [f"folder:{tmp_path / path}"])
    with pytest.raises(ConfigError, match="--protect .*" + message):
        Places.find(folder, protect=[tmp_path / path])
