"""Embedding on a Ray cluster: parts on disk, files in a bucket, three machines of which one is killed, the command."""

import csv
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PROJECT


def command(*arguments: object) -> subprocess.CompletedProcess:
    words = [sys.executable, "main.py", *map(str, arguments)]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)


@pytest.mark.parametrize("more", [[], ["--ray", "auto", "--delete"], ["--ray", "auto", "--undo"]])
def test_a_bucket_is_only_searched(more):
    done = command("s3://photos/2020", *more)
    assert done.returncode == 2 and "can only be searched, with --ray ADDRESS" in done.stderr


def test_without_ray_the_way_out_is_told(tmp_path, samples_dir):
    if {"ray", "pyarrow"} <= set(sys.modules) or _has("ray"):
        pytest.skip("Ray is installed")
    done = command(samples_dir, "--ray", "auto", "--output", tmp_path)
    assert done.returncode == 2 and "pip install -r requirements-ray.txt" in done.stderr


def _has(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


@pytest.fixture
def listing_and_found():
    """Four files: read, read with two panels, unreadable, lost on the way."""
    pytest.importorskip("pyarrow", reason="requirements-ray.txt is not installed")
    from dedup.distributed.shards import make_listing
    from dedup.encoder.embeddings import Gathering, Seen

    listing = make_listing([b"a", b"b", b"c\xff", b"d"], [1, 2, 3, 4], [5, 6, 7, 8])
    paths = [Path(f"/there/{row}") for row in range(4)]
    vectors = np.eye(2, dtype=np.float32)
    found = Gathering(paths)
    found.add(0, b"", Seen((3, 4), vectors[:1]))
    found.add(1, b"", Seen((5, 6), np.concatenate([vectors[1:], vectors[::-1] * 0.5])))
    found.reasons[2] = "broken"
    return listing, found


def test_parts_give_back_what_was_seen(tmp_path, listing_and_found):
    from dedup.distributed.shards import make_part, missing, read_embeddings, write_part

    listing, found = listing_and_found
    assert missing(listing, tmp_path) == listing
    part = make_part(listing, found, {3: "can't be fetched"})
    write_part(part.slice(2), tmp_path)
    assert missing(listing, tmp_path)["path"].to_pylist() == [b"a", b"b"]
    write_part(part, tmp_path)  # two files are in both
    back = read_embeddings(listing, tmp_path, 2)
    assert back.paths == [Path("a"), Path("b")]
    assert (back.vectors == np.eye(2)).all() and back.sizes.tolist() == [[3, 4], [5, 6]]
    assert (back.panels == np.eye(2)[::-1] * 0.5).all() and back.panel_rows.tolist() == [1, 1]
    assert back.contents == [], "equal ones would be files of equal content"
    assert back.failures == {Path("c\udcff"): "broken", Path("d"): "can't be fetched"}


def test_a_changed_file_is_missing_again(tmp_path, listing_and_found):
    from dedup.distributed.shards import make_listing, make_part, missing, read_embeddings, write_part

    listing, found = listing_and_found
    write_part(make_part(listing, found, {3: "lost"}), tmp_path)
    later = make_listing([b"0", b"a", b"b"], [9, 1, 2], [9, 5, 99])
    assert missing(later, tmp_path)["path"].to_pylist() == [b"0", b"b"]
    assert read_embeddings(later, tmp_path, 2).paths == [Path("a")]


def test_a_bucket_is_listed_and_fetched(tmp_path):
    pytest.importorskip("pyarrow", reason="requirements-ray.txt is not installed")
    from dedup.distributed.bucket import fetch_files, list_bucket

    photos = tmp_path / "photos"
    for name in ("b.JPG", "sub/a.jpg", ".hidden/c.jpg", "notes.txt"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_text(name)
    listing = list_bucket(photos.as_uri(), (".jpg",))
    assert listing["path"].to_pylist() == [b"b.JPG", b"sub/a.jpg"] and listing["bytes"].to_pylist() == [5, 9]
    copies = [tmp_path / "0.jpg", tmp_path / "1.jpg"]
    lost = fetch_files(photos.as_uri(), ["sub/a.jpg", "gone.jpg"], copies)
    assert copies[0].read_text() == "sub/a.jpg"
    assert list(lost) == [1] and "can't be fetched" in lost[1]


def test_an_actor_for_each_gpu_or_for_a_few_cores():
    pytest.importorskip("pyarrow", reason="requirements-ray.txt is not installed")
    from dedup.distributed.embed import share_out

    plain, gpu = {"Alive": True, "Resources": {"CPU": 5.0}}, {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0}}
    assert share_out([plain, plain, plain | {"Alive": False}]) == (2, 0, 4)
    assert share_out([plain, gpu]) == (8, 1, 2)
    assert share_out([{"Alive": True, "Resources": {}}]) == (2, 0, 1)


@pytest.fixture
def here(monkeypatch):
    """Has an actor in this process do what a cluster would."""
    pytest.importorskip("pyarrow", reason="requirements-ray.txt is not installed")
    from dedup.distributed import embed

    def run(blocks, address, *settings):
        actor = embed._Actor(2, *settings)
        return (actor(block) for block in blocks)

    monkeypatch.setattr(embed, "_run", run)
    return embed


@pytest.fixture
def few(tmp_path, samples_dir):
    """Settings for a folder of three sample pictures; its files."""
    import configs
    from dedup.config import Config

    folder = tmp_path / "few"
    folder.mkdir()
    paths = [Path(shutil.copy(path, folder)) for path in sorted(samples_dir.rglob("*.jpg"))[:3]]
    return Config.load(configs, images_dir=folder, output_dir=tmp_path / "out", num_workers=0), paths


def test_a_file_that_vanishes_is_unreadable_for_the_same_reason_as_without_a_cluster(here, few):
    from dedup.encoder.embeddings import Memory
    from dedup.encoder.model import load_encoder
    from dedup.pipeline import embed
    from dedup.store import Store

    config, paths = few
    paths[1].unlink()
    found = here.embed_folder(load_encoder("copydet"), paths, config, "nowhere", progress=False)
    assert found.paths == [paths[0], paths[2]] and list(found.failures) == [paths[1]]
    plain, _ = embed(config, paths, Memory(Store()), progress=False)
    assert found.failures == plain.failures


def test_parts_of_other_code_are_not_taken_for_ours(here, few, monkeypatch):
    from dedup import store
    from dedup.encoder.model import load_encoder

    (config, paths), encoder = few, load_encoder("copydet")

    def parts():
        here.embed_folder(encoder, paths, config, "nowhere", progress=False)
        return len(list(config.output_dir.rglob("*.parquet")))

    assert (parts(), parts()) == (1, 1)
    monkeypatch.setattr(store, "_version", lambda package: "another")
    assert parts() == 2


@pytest.fixture(scope="module")
def cluster():
    """A head that does no work, and three machines with two cores each."""
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "240")  # read when ray is imported
    pytest.importorskip("ray", reason="requirements-ray.txt is not installed")
    from ray.cluster_utils import Cluster

    memory = 100 << 20
    head = {"num_cpus": 0, "object_store_memory": memory, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    machines = [started.add_node(num_cpus=2, object_store_memory=memory) for _ in range(3)]
    yield started, machines
    import ray

    ray.shutdown()
    started.shutdown()


@pytest.mark.slow
def test_a_machine_that_dies_costs_no_picture(cluster, samples_dir, tmp_path, monkeypatch):
    import torch

    import configs
    from dedup.config import Config
    from dedup.dataset.images import list_images
    from dedup.distributed import embed
    from dedup.encoder.embeddings import extract_embeddings
    from dedup.encoder.model import load_encoder

    (started, machines), paths = cluster, list_images(samples_dir, (".jpg", ".png", ".webp"))
    encoder, listing = load_encoder("copydet"), embed.list_folder(paths, samples_dir)
    config = Config.load(configs, images_dir=samples_dir, output_dir=tmp_path)
    monkeypatch.setattr(embed, "BATCH", 4)

    def kill():
        while len(list(tmp_path.rglob("*.parquet"))) < 2:
            time.sleep(0.05)
        started.remove_node(machines[1], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = embed.embed_on_cluster(encoder, samples_dir, listing, config, started.address, progress=False)
    killer.join(30)
    assert not killer.is_alive(), "it was killed while the others worked"
    here = extract_embeddings(load_encoder("copydet"), paths, None, 32, 0, torch.device("cpu"), False)
    assert [samples_dir / path for path in found.paths] == here.paths and not found.failures
    assert np.abs(found.vectors - here.vectors).max() < 1e-5 and (found.sizes == here.sizes).all()
    assert (found.panel_rows == here.panel_rows).all() and len(found.panel_rows) > 0
    again = embed.embed_on_cluster(encoder, samples_dir, listing, config, "nowhere", progress=False)
    assert (again.vectors == found.vectors).all(), "from the parts alone"


@pytest.mark.slow
def test_the_command_finds_in_a_folder_and_in_a_bucket(cluster, samples_dir, tmp_path):
    address = cluster[0].address
    folder = command(samples_dir, "--ray", address, "--output", tmp_path / "folder", "--quiet")
    assert folder.returncode == 0 and "on a Ray cluster" in folder.stdout, folder.stderr
    bucket = command(samples_dir.as_uri(), "--ray", address, "--output", tmp_path / "bucket", "--quiet")
    assert bucket.returncode == 0 and "not confirmed" in bucket.stdout, bucket.stderr
    with open(tmp_path / "bucket" / "clusters.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 20 and all(0 <= float(row["distance"]) <= 2 for row in rows)
    assert {row["path"] for row in rows} <= {
        path.relative_to(samples_dir).as_posix() for path in samples_dir.rglob("*")
    }
