"""What a second run need not do: with a tiny encoder, counted by what is read, encoded and compared."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import configs
from dedup.config import Config
from dedup.dataset import reading
from dedup.encoder import model
from dedup.encoder.inference import WEIGHTS_DIR, EncoderError, EncoderProcess, LocalEncoder, own_side
from dedup.matching import confirmation
from dedup.pipeline import find_duplicates
from dedup.store import memory
from dedup.store.cache import TABLES, Cache
from dedup.workers import START_METHOD
from tests.conftest import PROJECT
from tests.test_pipeline import Encoder, write_pictures

LONG_AGO = time.time() - 1000


def age(folder):
    """Let the files be older than the margin within which a change could go unseen."""
    for path in folder.rglob("*.*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Settings for a folder with a picture, a smaller copy, another picture and a broken file."""
    folder = tmp_path / "pictures"
    write_pictures(folder, 12, 240, 200)
    age(folder)
    monkeypatch.setattr(reading, "panels", lambda image: [])
    monkeypatch.setattr(memory, "MARGIN", -(10**12))  # ctime can't be set back
    monkeypatch.setattr(model, "load_encoder", lambda name, size: Encoder())
    return Config.load(configs, images_dir=folder, output_dir=tmp_path / "out", num_workers=0, epsilon=2.0)


@pytest.fixture
def work(monkeypatch):
    """Counts files opened, squares encoded, pictures read for confirmation and pairs compared, since `clear`."""
    done = {"opened": 0, "encoded": 0, "confirming": 0, "compared": 0}

    def count(owner, name, key, amount=lambda *_: 1):
        plain = getattr(owner, name)

        def counted(*arguments, **named):
            done[key] += amount(*arguments)
            return plain(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)

    count(reading, "open_picture", "opened")
    count(LocalEncoder, "encode", "encoded", lambda _, images, at_once: len(images))
    count(confirmation, "read_with_thumbnail", "confirming")
    count(confirmation, "match_whole", "compared")
    done_since = dict.fromkeys(done, 0)

    def since():
        new = {key: done[key] - done_since[key] for key in done}
        done_since.update(done)
        return tuple(new.values())

    return since


def same(first, second):
    assert first.clusters == second.clusters and first.matches == second.matches
    assert np.array_equal(first.embeddings.vectors, second.embeddings.vectors)
    assert first.embeddings.failures == second.embeddings.failures and first.device == second.device
    assert np.array_equal(first.embeddings.sizes, second.embeddings.sizes)
    assert np.array_equal(first.embeddings.panels, second.embeddings.panels)


def test_an_unchanged_folder_is_neither_read_nor_compared_again(config, work):
    first = find_duplicates(config, progress=False)
    assert work() == (4, 3, 3, 3)
    second = find_duplicates(config, progress=False)
    assert work() == (0, 0, 0, 0)
    same(first, second)


def test_without_a_cache_everything_is_done_again(config, work):
    plain = replace(config, cache=False)
    first = find_duplicates(plain, progress=False)
    once = work()
    second = find_duplicates(plain, progress=False)
    assert work() == once == (4, 3, 3, 3) and not config.output_dir.exists()
    same(first, second)


def test_a_new_file_is_read_alone(config, work):
    find_duplicates(config, progress=False)
    work()
    Image.linear_gradient("L").save(config.images_dir / "f.png")
    find_duplicates(config, progress=False)
    opened, encoded, *_ = work()
    assert (opened, encoded) == (1, 1)


def test_a_moved_or_copied_file_is_read_but_not_encoded(config, work):
    find_duplicates(config, progress=False)
    work()
    (config.images_dir / "d.png").rename(config.images_dir / "deep" / "moved.png")
    shutil.copy(config.images_dir / "a.png", config.images_dir / "a2.png")
    second = find_duplicates(config, progress=False)
    assert work()[:2] == (2, 0)
    assert [path.name for path in second.embeddings.paths] == ["a.png", "a2.png", "b.png", "moved.png"]
    assert np.array_equal(second.embeddings.vectors[1], second.embeddings.vectors[0])


@pytest.mark.parametrize("how", ["size", "same size, later", "same size and mtime"])
def test_a_changed_file_is_read_again(config, work, how):
    find_duplicates(config, progress=False)
    work()
    path = config.images_dir / "e.png"
    path.write_bytes(b"no picture!" if how == "size" else b"NO PICTURE")
    if how == "same size and mtime":  # ctime tells, where there is one
        os.utime(path, (LONG_AGO, LONG_AGO))
    find_duplicates(config, progress=False)
    assert work()[0] == 1


def test_a_file_changed_just_now_is_not_trusted_next_time(config, work, monkeypatch):
    monkeypatch.setattr(memory, "MARGIN", 10**12)
    find_duplicates(config, progress=False)
    work()
    find_duplicates(config, progress=False)
    assert work() == (4, 0, 3, 3)  # read, to find the contents known; pairs of such files are not kept


def test_another_encoder_or_size_invalidates_what_it_saw_alone(config, work):
    find_duplicates(config, progress=False)
    work()
    find_duplicates(replace(config, image_resize=48), progress=False)
    opened, encoded, confirming, compared = work()
    assert (opened, encoded, confirming, compared) == (3, 3, 0, 0)  # the broken file is still known
    find_duplicates(config, progress=False)
    find_duplicates(replace(config, image_resize=48), progress=False)
    assert work() == (0, 0, 0, 0)  # both are remembered


def test_other_code_or_packages_invalidate(monkeypatch):
    tags = [memory.encoder_tag("copydet", None, None), memory.encoder_tag("copydet", None, 8)]
    tags += [memory.encoder_tag("resnet18", None, None), memory.code_tag(memory.COMPARED_BY, ["numpy"])]
    monkeypatch.setattr(memory, "_version", lambda package: "another")
    tags += [memory.encoder_tag("copydet", None, None), memory.code_tag(memory.COMPARED_BY, ["numpy"])]
    tags += [memory.code_tag(memory.COMPARED_BY[1:], ["numpy"])]
    assert len(set(tags)) == len(tags)


def test_what_decides_a_result_is_in_its_tag():
    """Every module of ours that those of a tag import is in it too, or takes no part in the result."""
    apart = {"workers", "spool", "joining", "comparisons", "memory", "cache", "dataset", "config"}
    apart |= {"embeddings", "facts", "folders", "members", "places", "thumbnails"}
    for modules in (memory.ENCODED_BY, memory.COMPARED_BY, memory.TOLD_BY):
        for name in modules:
            text = (Path(memory.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
            imported = set(re.findall(r"^ *from dedup\.(\w+) import", text, re.MULTILINE))
            assert imported <= set(modules) | apart, name


def test_what_other_code_found_is_forgotten_and_other_settings_stay(config, work, monkeypatch):
    smaller = replace(config, image_resize=48)
    find_duplicates(config, progress=False)
    find_duplicates(smaller, progress=False)
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        before = {table: cache.execute(f"SELECT key FROM {table}").fetchall() for table in TABLES}
        for table, keys in before.items():
            assert keys
            cache.execute(f"INSERT INTO {table} SELECT randomblob(length(key)), value FROM {table}")
    cache.close()
    work()
    find_duplicates(config, progress=False)
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        assert {table: cache.execute(f"SELECT key FROM {table}").fetchall() for table in TABLES} == before
    cache.close()
    find_duplicates(smaller, progress=False)
    assert work() == (0, 0, 0, 0)
    monkeypatch.setattr(memory, "_version", lambda package: "another")
    find_duplicates(config, progress=False)
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        after = {table: cache.execute(f"SELECT key FROM {table}").fetchall() for table in TABLES}
    cache.close()
    assert not any(set(after[table]) & set(before[table]) for table in TABLES)


def test_a_damaged_memory_is_made_good(config, work):
    first = find_duplicates(config, progress=False)
    work()
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        key = cache.execute("SELECT key FROM pictures").fetchone()[0]
        cache.execute("UPDATE pictures SET value = CAST(value || 'x' AS BLOB) WHERE key = ?", (key,))
    cache.close()
    same(first, find_duplicates(config, progress=False))
    assert work()[1] == 1


def test_an_encoder_that_is_not_remembered_is_loaded_again(config, work):
    first = find_duplicates(config, progress=False)
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        cache.execute("DELETE FROM encoders")
    cache.close()
    work()
    same(first, find_duplicates(config, progress=False))
    assert work()[1] == 0


def test_an_interrupted_run_goes_on_where_it_was(config, work, monkeypatch):
    config = replace(config, batch_size=1)
    plain = LocalEncoder.encode

    def interrupted(self, images, at_once):
        interrupted.left -= 1
        if interrupted.left < 0:
            raise KeyboardInterrupt
        return plain(self, images, at_once)

    interrupted.left = 2
    monkeypatch.setattr(LocalEncoder, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt, match="images? (is|are) remembered, run the same command to go on"):
        find_duplicates(config, progress=False)
    interrupted.left = 10
    work()
    find_duplicates(config, progress=False)
    assert work()[1] < 3


RUN = """
import sys
import main
if __name__ == "__main__":
    code = main.main([sys.argv[1], "--output", sys.argv[2], "--quiet"])
    sys.exit(code or "torch" in sys.modules)
"""


def test_the_encoders_own_process_changes_nothing(tmp_path, samples_dir):
    """With the shipped encoder, on 12 pictures: beside a process without torch, and in this one."""
    folder = tmp_path / "some"
    folder.mkdir()
    for path in sorted(samples_dir.rglob("*.*"))[:12]:
        shutil.copy(path, folder)
    there = Config.load(configs, images_dir=folder, output_dir=tmp_path / "out")
    command = [sys.executable, "-c", RUN, folder, there.output_dir]
    subprocess.run(command, cwd=PROJECT, capture_output=True, check=True, timeout=300)
    beside = find_duplicates(there, progress=False)  # from memory
    same(beside, find_duplicates(replace(there, num_workers=0, cache=False), progress=False))


def test_the_side_is_known_before_the_encoder_is_loaded(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    names = "copydet", "resnet18", tmp_path / "sscd.pt", tmp_path / "broken.safetensors", tmp_path / "none.safetensors"
    assert [own_side(str(name)) for name in names] == [160, 224, None, None, None]


def test_an_encoder_that_can_not_be_loaded(tmp_path):
    encoder = EncoderProcess(reading.Reader([], 32, 1, 0), str(tmp_path / "none.pt"), None)
    with pytest.raises(EncoderError, match="no such file"):
        _ = encoder.about
    encoder.close()


def test_an_encoder_whose_process_dies():
    encoder = EncoderProcess(reading.Reader([], 32, 1, 0), "copydet", None)
    encoder._process.kill()
    with pytest.raises(ChildProcessError, match="smaller batch_size"):
        encoder.take()
    encoder.close()


FAILING = """
import multiprocessing
import sys
import main
from dedup.encoder import inference

plain, calls = inference.half_precision, []


def failing(device):
    import torch

    calls.append(device)
    if len(calls) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory.\\nTried to allocate 2 GiB")
    return plain(device)


inference.half_precision = failing
if __name__ == "__main__":
    folder, output, workers = sys.argv[1:]
    code = main.main([folder, "--output", output, "--num-workers", workers, "--batch-size", "2", "--quiet"])
    sys.exit("a process is left" if multiprocessing.active_children() else code)
"""


@pytest.mark.skipif(START_METHOD != "fork", reason="the encoder's process gets its fault by a fork")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_encoder_that_fails_midway_is_one_line_and_leaves_no_process(num_workers, tmp_path, samples_dir):
    command = [sys.executable, "-c", FAILING, samples_dir, tmp_path, str(num_workers)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "CUDA out of memory. Tried to allocate 2 GiB; a smaller batch_size" in done.stderr
    kept = Cache(tmp_path / "cache.sqlite")
    assert kept.count("pictures") >= 2  # for the next run
    kept.close()


def test_weights_that_are_no_numbers_are_one_line(tmp_path, samples_dir):
    from safetensors.numpy import load_file, save_file

    shipped, broken = WEIGHTS_DIR / "copydet.safetensors", tmp_path / "broken.safetensors"
    with safe_open(shipped, "np") as file:
        metadata = file.metadata()
    tensors = load_file(shipped)
    save_file(tensors | {"embedding.bias": tensors["embedding.bias"] * np.nan}, broken, metadata)
    command = [sys.executable, "main.py", samples_dir, "--encoder", broken, "--output", tmp_path, "--quiet"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "weights are broken" in done.stderr
