"""The whole way: what is searched, what each setting reaches, and what comes out; with a tiny encoder."""

import csv
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import configs
from dedup import pipeline, store
from dedup.clustering.result import Result
from dedup.config import Config, ConfigError
from dedup.contents import inventory
from dedup.dataset import samples, thumbnails
from dedup.dataset.decoding import load_image
from dedup.dataset.reading import read_ahead
from dedup.dataset.thumbnails import thumbnail_path, write_thumbnails
from dedup.deletion import removal
from dedup.deletion.decisions import Content
from dedup.deletion.not_duplicates import remember
from dedup.encoder import embeddings, model
from dedup.encoder.embeddings import Embeddings
from dedup.encoder.inference import at_work
from dedup.matching import confirmation
from dedup.pipeline import find_duplicates, images_to_search, open_store
from dedup.report.page import write_small
from dedup.report.tables import write_report
from dedup.workers import START_METHOD
from tests.confirmation_pictures import photo
from tests.contents.test_why_it_stays import exif


class Encoder(torch.nn.Module):
    """A picture's mean brightness on a 4 x 4 grid, centred: turns, tones and sizes play no role here."""

    embedding_size, image_resize, epsilon, strict_epsilon = 16, 32, 0.01, 0.01

    def forward(self, images):
        cells = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(dim=1, keepdim=True), 4).flatten(1)
        return torch.nn.functional.normalize(cells - cells.mean(dim=1, keepdim=True))


def write_pictures(folder, cells, side, smaller):
    """A picture of so many cells, a smaller copy, another picture and a broken file; sides in px."""
    (folder / "deep").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (cells, cells, 3), np.uint8)
    picture = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    picture.save(folder / "a.png")
    picture.resize((smaller, smaller), Image.Resampling.LANCZOS).save(folder / "deep" / "b.png")
    Image.fromarray(255 - noise[::-1]).resize((side, side)).save(folder / "d.png")
    (folder / "e.png").write_bytes(b"no picture")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Settings for a folder with a picture, a smaller copy, an exact one, another picture and a broken file."""
    folder = tmp_path / "pictures"
    write_pictures(folder, 4, 64, 40)
    shutil.copy2(folder / "a.png", folder / "c.png")
    monkeypatch.setattr(pipeline, "open_encoder", lambda name, size: at_work(Encoder()))
    return Config.load(configs, images_dir=folder, output_dir=tmp_path / "out", num_workers=0, verify=False)


def found(result):
    return [
        [cluster.keeper.path.name, *(member.path.name for member in cluster.members)] for cluster in result.clusters
    ]


def test_from_a_folder_to_clusters(config):
    result = find_duplicates(config, progress=False)
    assert found(result) == [["a.png", "c.png", "b.png"]]
    assert [member.removable for member in result.clusters[0].members] == [True, True]
    assert [path.name for path in result.embeddings.paths] == ["a.png", "c.png", "d.png", "b.png"]
    assert [path.name for path in result.embeddings.failures] == ["e.png"]
    assert result.labels.tolist() == [0, 0, -1, 0]
    assert (result.epsilon, result.device) == (0.01, str(model.choose_device()))
    assert result.graph.shape == (4, 4) and result.matches == {} and result.similar == []
    assert sorted(path.name for path in config.images_dir.rglob("*.*")) == ["a.png", "b.png", "c.png", "d.png", "e.png"]


def test_what_a_run_without_confirmation_finds_can_be_planned(config, tmp_path):
    result = find_duplicates(config, progress=False)
    planned = removal.make_plan(result.clusters, config.images_dir, tmp_path / "plan.jsonl")
    assert [path.as_posix() for path in planned.done] == ["c.png", "deep/b.png"] and not planned.refused


@pytest.mark.skipif(START_METHOD != "fork", reason="what is planted here is not met in a spawned process")
def test_no_file_of_a_cluster_is_decoded_in_this_process(config, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    monkeypatch.setattr(inventory, "_read", lambda path: seen.open("a").write(f"{os.getpid()}\n") and {})
    find_duplicates(replace(config, num_workers=1), progress=False)
    assert seen.exists() and str(os.getpid()) not in seen.read_text().split()


def test_epsilon_of_the_config_goes_before_the_encoders(config):
    everything = find_duplicates(replace(config, epsilon=2.0), progress=False)
    assert everything.epsilon == 2.0 and len(everything.clusters[0].members) == 3
    exact = find_duplicates(replace(config, epsilon=0.0), progress=False)
    assert exact.epsilon == 0.0 and found(exact) == [["a.png", "c.png"]]


def test_settings_reach_what_they_are_for(config, monkeypatch):
    seen = {}

    def open_encoder(name, size):
        seen.update(name=name, size=size)
        return at_work(Encoder())

    def watched(paths, side, batch_size, num_workers, *rest):
        seen.update(resize=side, batch=batch_size, workers=num_workers)
        return read_ahead(paths, side, batch_size, num_workers, *rest)

    monkeypatch.setattr(pipeline, "open_encoder", open_encoder)
    monkeypatch.setattr(embeddings, "read_ahead", watched)
    find_duplicates(replace(config, encoder="resnet18", embedding_size=16, image_resize=77, batch_size=5), False)
    assert seen == dict(name="resnet18", size=16, resize=77, batch=5, workers=0)


@pytest.mark.parametrize("content", ["empty", "unreadable"])
def test_a_folder_without_pictures(config, content):
    shutil.rmtree(config.images_dir / "deep")
    for path in config.images_dir.glob("[abcd].png"):
        path.unlink()
    if content == "empty":
        (config.images_dir / "e.png").unlink()
    result = find_duplicates(config, progress=False)
    assert (result.embeddings.paths, result.clusters, result.similar) == ([], [], [])
    assert len(result.embeddings.failures) == (content == "unreadable")
    assert result.graph.shape == (0, 0)


def test_what_a_run_wrote_is_not_searched(config):
    output = config.images_dir / "deep" / "results"
    output.mkdir()
    shutil.copy(config.images_dir / "a.png", output / "clusters_001.png")
    shutil.copy(config.images_dir / "a.png", config.images_dir / "deep" / "results.png")
    names = [path.name for path in images_to_search(replace(config, output_dir=output))]
    assert "clusters_001.png" not in names and "results.png" in names and "b.png" in names
    assert "clusters_001.png" in [path.name for path in images_to_search(config)]


def test_output_beside_and_above_the_pictures_leaves_none_out(config, monkeypatch):
    for output in (config.images_dir.parent, config.images_dir.parent / "pictures 2"):
        assert len(images_to_search(replace(config, output_dir=output))) == 5
    monkeypatch.chdir(config.images_dir)
    assert len(images_to_search(replace(config, images_dir=Path("."), output_dir=Path("deep")))) == 4


def test_output_among_the_pictures_is_refused(config):
    with pytest.raises(ConfigError, match="choose another"):
        find_duplicates(replace(config, output_dir=config.images_dir / "deep" / ".."), progress=False)


def test_similar_pairs_are_those_that_no_cluster_holds_the_nearest_first():
    paths = [Path(name) for name in "abcd"]
    kinds = {(0, 1): ("similar", 0.1), (0, 2): ("similar", 0.3), (1, 3): ("similar", 0.2), (2, 3): ("resaved", 0.0)}
    matches = {pair: SimpleNamespace(kind=kind, distance=distance) for pair, (kind, distance) in kinds.items()}
    embeddings = Embeddings(paths, None, None, {})
    result = Result(None, embeddings, None, np.array([0, 0, -1, -1]), matches, [], 0.5, "cpu")
    assert result.similar == [(Path("b"), Path("d"), 0.2), (Path("a"), Path("c"), 0.3)]


def test_what_was_said_to_differ_is_not_put_together(config):
    folder = config.images_dir
    contents = [Content(len(data), hashlib.blake2b(data, digest_size=32).hexdigest())
                for data in ((folder / name).read_bytes() for name in ("a.png", "deep/b.png"))]  # fmt: skip
    remember(config.output_dir, [tuple(sorted(contents))])
    assert found(find_duplicates(config, progress=False)) == [["a.png", "c.png"]]
    (folder / "a.png").rename(folder / "z.png")
    assert found(find_duplicates(config, progress=False)) == [["c.png", "z.png"]]
    (config.output_dir / "not_duplicates.json").write_text("[]")
    with pytest.raises(ConfigError, match="not_duplicates.json"):
        find_duplicates(config, progress=False)


def test_each_reason_is_told_in_the_table(tmp_path):
    """From a folder of files to clusters.csv: of copies of one photo, only the plain one goes."""
    folder, image = tmp_path / "photos", load_image(samples._installed("coffee.png"))
    folder.mkdir()
    image.save(folder / "keeper.png")
    image = image.reduce(2)  # so that none of its copies can stay for it
    kinds = {"plain": {}, "dated": {"exif": exif("2020:01:02 03:04:05")}, "placed": {"exif": exif(place=True)}}
    film = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <rdf:Description xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"/>
        </rdf:RDF></x:xmpmeta>"""
    for name, options in {**kinds, "set": {}, "linked": {}, "film": {"xmp": film}}.items():
        image.save(folder / f"{name}.jpg", quality=90, **options)
    (folder / "set.xmp").write_bytes(b"edits")
    os.link(folder / "linked.jpg", tmp_path / "elsewhere.jpg")
    (folder / "$RECYCLE.BIN").mkdir()
    image.save(folder / "$RECYCLE.BIN" / "trashed.jpg", quality=85)
    image.save(folder / "moving.tif", save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_180)])
    config = Config.load(configs, images_dir=str(folder), num_workers=0)
    (cluster,) = find_duplicates(config, progress=False).clusters
    write_report([cluster], folder, tmp_path / "out", progress=False)
    with open(tmp_path / "out" / "clusters.csv", encoding="utf-8", newline="") as file:
        rows = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
    assert {name for name, row in rows.items() if row["keep"] == "0"} == {"plain"}
    assert {name: row["reason"] for name, row in rows.items() if row["reason"]} == {
        "dated": "has the capture time that its keeper lacks",
        "placed": "has the place that its keeper lacks",
        "film": "has the film that its keeper lacks",
        "set": "belongs together with set.xmp",
        "linked": "has another hard link: nothing would be freed",
        "trashed": "lies in a trash folder",
        "moving": "has the other frames or pages that its keeper lacks",
    }


def test_what_confirmation_decodes_is_the_pages_thumbnail(config, monkeypatch):
    shutil.rmtree(config.images_dir)
    write_pictures(config.images_dir, 12, 240, 200)
    monkeypatch.setattr(store, "JUST_CHANGED", -(10**12))  # so new a file's content is not remembered otherwise
    config = replace(config, verify=True)
    config.output_dir.mkdir()
    result = find_duplicates(config, progress=False)
    (cluster,) = result.clusters
    paths = [member.path for member in (cluster.keeper, *cluster.members)]
    assert {path.name for path in paths} == {"a.png", "b.png"}
    anew = write_thumbnails(paths, config.output_dir / "anew", progress=False)
    monkeypatch.setattr(thumbnails, "open_picture", lambda path: pytest.fail(f"{path.name} is read again"))
    with open_store(config) as facts:
        assert write_small(config, result, progress=False, facts=facts) == anew
    for digest in anew.values():
        written = thumbnail_path(config.output_dir / "thumbnails", digest)
        assert written.read_bytes() == thumbnail_path(config.output_dir / "anew", digest).read_bytes()


def test_equal_contents_match_without_being_looked_at(config, monkeypatch):
    (config.images_dir / "deep" / "b.png").unlink()
    monkeypatch.setattr(confirmation, "read_with_thumbnail", lambda path, _: pytest.fail(f"{path.name} is read"))
    (cluster,) = find_duplicates(replace(config, verify=True, epsilon=0.001), progress=False).clusters
    (copy,) = cluster.members
    assert (cluster.keeper.path.name, copy.path.name, copy.kind, copy.removable) == (
        "a.png",
        "c.png",
        "identical",
        True,
    )


def test_of_files_with_the_same_bytes_one_stays_where_the_keeper_holds_less(tmp_path):
    """The least compressed file has no capture time; of those that have it and are the same, one is enough."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photo("astronaut.png", 400).save(pictures / "export.png")
    photo("astronaut.png", 400).save(pictures / "camera.jpg", exif=exif("2020:01:02 10:00:00"))
    for name in ("a copy.jpg", "backup.jpg"):
        shutil.copy(pictures / "camera.jpg", pictures / name)
    for remove in ("exact", "edits"):
        config = Config.load(configs, images_dir=pictures, output_dir=tmp_path / "out", num_workers=0, remove=remove)
        (cluster,) = find_duplicates(config, progress=False).clusters
        going = {member.path.name: member.keeper.name for member in cluster.members if member.removable}
        assert going == {"a copy.jpg": "camera.jpg", "backup.jpg": "camera.jpg"}  # the oldest stays
