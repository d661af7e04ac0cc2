"""What a second run need not do: with a tiny encoder, counted by what is read, encoded and compared."""

import os
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import configs
from dedup.config import Config
from dedup.dataset import reading
from dedup.encoder import model
from dedup.encoder.inference import LocalEncoder, encoder_tag
from dedup.matching import confirmation
from dedup.pipeline import find_duplicates
from dedup.store import memory
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
    count(confirmation, "match_pictures", "compared")
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
    tags = [encoder_tag("copydet", None, None), encoder_tag("copydet", None, 8)]
    tags += [encoder_tag("resnet18", None, None), memory.code_tag(memory.COMPARED_BY, ["numpy"])]
    monkeypatch.setattr(memory, "_version", lambda package: "another")
    tags += [encoder_tag("copydet", None, None), memory.code_tag(memory.COMPARED_BY, ["numpy"])]
    tags += [memory.code_tag(memory.COMPARED_BY[1:], ["numpy"])]
    assert len(set(tags)) == len(tags)


def test_what_decides_a_result_is_in_its_tag():
    """Every room that those of a tag import from is in it too, or takes no part in the result."""
    apart = {"workers", "store", "config", "words"}
    for rooms in (memory.ENCODED_BY, memory.COMPARED_BY, memory.TOLD_BY):
        for path in (path for room in rooms for path in (PROJECT / "dedup" / room).glob("*.py")):
            imported = set(re.findall(r"^from dedup\.(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
            assert imported <= set(rooms) | apart, path
