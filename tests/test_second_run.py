"""What a second run need not do: with a tiny encoder, counted by what is read, encoded and compared."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

import configs
from dedup import pipeline, store
from dedup.config import Config
from dedup.dataset import reading
from dedup.encoder.inference import WEIGHTS_DIR, TorchEncoder, at_work
from dedup.matching import confirmation
from dedup.pipeline import find_duplicates
from dedup.store import Store
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
    monkeypatch.setattr(store, "JUST_CHANGED", -(10**12))  # ctime can't be set back
    monkeypatch.setattr(pipeline, "open_encoder", lambda name, size: at_work(Encoder()))
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
    count(TorchEncoder, "encode", "encoded", lambda _, images: len(images))
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
    monkeypatch.setattr(store, "JUST_CHANGED", 10**12)
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


def keys_kept(config):
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        found = cache.execute("SELECT kind, key FROM known").fetchall()
    cache.close()
    return found


def test_what_other_code_found_is_forgotten_and_other_settings_stay(config, work, monkeypatch):
    smaller = replace(config, image_resize=48)
    find_duplicates(config, progress=False)
    find_duplicates(smaller, progress=False)
    before = keys_kept(config)
    names = {kind.partition("@")[0] for kind, _ in before}
    assert {"file", "unreadable", "encoder", "vectors", "match", "details"} <= names
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        cache.execute("INSERT INTO known SELECT kind || '0', key, value FROM known")
    cache.close()
    work()
    find_duplicates(config, progress=False)
    assert keys_kept(config) == before
    find_duplicates(smaller, progress=False)
    assert work() == (0, 0, 0, 0)
    monkeypatch.setattr(store, "_version", lambda package: "another")
    find_duplicates(config, progress=False)
    after = keys_kept(config)
    assert not set(after) & set(before) and {kind.partition("@")[0] for kind, _ in after} == names


def test_a_damaged_memory_is_made_good(config, work):
    first = find_duplicates(config, progress=False)
    work()
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        key = cache.execute("SELECT key FROM known WHERE kind LIKE 'vectors@%'").fetchone()[0]
        cache.execute("UPDATE known SET value = CAST(value || 'x' AS BLOB) WHERE key = ?", (key,))
    cache.close()
    same(first, find_duplicates(config, progress=False))
    assert work()[1] == 1


def test_an_encoder_that_is_not_remembered_is_loaded_again(config, work):
    first = find_duplicates(config, progress=False)
    with sqlite3.connect(config.output_dir / "cache.sqlite") as cache:
        cache.execute("DELETE FROM known WHERE kind LIKE 'encoder@%'")
    cache.close()
    work()
    same(first, find_duplicates(config, progress=False))
    assert work()[1] == 0


def test_an_interrupted_run_goes_on_where_it_was(config, work, monkeypatch):
    config = replace(config, batch_size=1)
    plain = TorchEncoder.encode

    def interrupted(self, images):
        interrupted.left -= 1
        if interrupted.left < 0:
            raise KeyboardInterrupt
        return plain(self, images)

    interrupted.left = 2
    monkeypatch.setattr(TorchEncoder, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt, match="images? (is|are) remembered, run the same command to go on"):
        find_duplicates(config, progress=False)
    interrupted.left = 10
    work()
    find_duplicates(config, progress=False)
    assert work()[1] < 3


def test_worker_processes_change_nothing(tmp_path, samples_dir):
    """With the shipped encoder, on 12 pictures."""
    folder = tmp_path / "some"
    folder.mkdir()
    for path in sorted(samples_dir.rglob("*.*"))[:12]:
        shutil.copy(path, folder)
    there = Config.load(configs, images_dir=folder, output_dir=tmp_path / "out")
    beside = find_duplicates(there, progress=False)
    same(beside, find_duplicates(replace(there, num_workers=0, cache=False), progress=False))


FAILING = """
import multiprocessing
import sys
import main
from dedup.encoder import inference

plain, calls = inference.OnnxEncoder.encode, []


def failing(encoder, images):
    calls.append(encoder)
    if len(calls) > 2:
        with inference._failures_told("cpu"):
            raise RuntimeError("out of memory.\\nTried to allocate 2 GiB")
    return plain(encoder, images)


inference.OnnxEncoder.encode = failing
if __name__ == "__main__":
    folder, output, workers = sys.argv[1:]
    code = main.main([folder, "--output", output, "--num-workers", workers, "--batch-size", "2", "--quiet"])
    sys.exit("a process is left" if multiprocessing.active_children() else code)
"""


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_encoder_that_fails_midway_is_one_line_and_leaves_no_process(num_workers, tmp_path, samples_dir):
    command = [sys.executable, "-c", FAILING, samples_dir, tmp_path, str(num_workers)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "out of memory. Tried to allocate 2 GiB; a smaller batch_size" in done.stderr
    with Store(tmp_path / "cache.sqlite") as kept:
        assert len(kept.keys("vectors")) >= 2  # for the next run


def test_weights_that_are_no_numbers_are_one_line(tmp_path, samples_dir):
    import onnx

    model, broken = onnx.load(WEIGHTS_DIR / "copydet.onnx"), tmp_path / "broken.onnx"
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("embedding.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) * np.float32(np.nan), bias.name))
    onnx.save(model, broken)
    command = [sys.executable, "main.py", samples_dir, "--encoder", broken, "--output", tmp_path, "--quiet"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "weights are broken" in done.stderr


# A real folder, by main.py as a process

WRITTEN = "clusters.csv", "similar.csv", "plan.jsonl", "report.html", "unreadable.csv"
NOTED_RUN = """
import os
import sys
import main
from dedup import pipeline, store

store.JUST_CHANGED = -(10**12)  # ns; ctime can't be set back
names = set(os.listdir(sys.argv[1]))
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        name = os.path.basename(arguments[0])
        if name in names:
            os.write(log, f"{os.getpid()}/{name}\\n".encode())


if __name__ == "__main__":
    sys.addaudithook(note)
    sys.exit(main.main([sys.argv[1], *sys.argv[3:], "--quiet"]))
"""


@pytest.fixture
def folder(tmp_path, samples_dir):
    """Two photos, each with copies of all kinds, and files that are more than their picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    sources = sorted(samples_dir.rglob("*.jpg"))
    sources = [path for path in sources if min(Image.open(path).size) >= 200]
    for name, path in zip("ab", (sources[0], sources[-1]), strict=True):
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        picture.save(folder / f"{name}.jpg", quality=70)
        shutil.copy(folder / f"{name}.jpg", folder / f"{name} copied.jpg")
        picture = Image.open(folder / f"{name}.jpg")
        picture.crop((width // 10, 0, width, height)).save(folder / f"{name} cropped.jpg")
        for saved in (f"{name} finer.jpg", f"{name} lossless.png", f"{name} other.webp"):
            picture.save(folder / saved, quality=90)
        picture.resize((2 * width, 2 * height)).save(folder / f"{name} larger.jpg")
        grey = picture.convert("L")
        ImageOps.colorize(grey, "black", "wheat").save(folder / f"{name} sepia.jpg", quality=95)
        turned = Image.Exif()
        turned[0x0112] = 3
        for quality in (60, 95):
            picture.rotate(180).save(folder / f"{name} turned {quality}.jpg", exif=turned, quality=quality)
    picture.save(folder / "b moving.gif", save_all=True, append_images=[picture.rotate(180)])
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(folder / "b clear.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def run(folder, output, *more):
    """Run the program; the files that it opened, and the processes that did."""
    log = folder.parent / "opened.txt"
    command = [sys.executable, "-c", NOTED_RUN, folder, log, "--output", output, *more]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    opened = [line.split("/", 1) for line in log.read_text().splitlines()]
    return {name for _, name in opened}, {process for process, _ in opened}


def outputs(output):
    return {name: (output / name).read_bytes() for name in WRITTEN}


def test_a_second_run_opens_no_file_and_writes_the_same(folder, tmp_path):
    names, output = set(os.listdir(folder)), tmp_path / "out"
    opened, processes = run(folder, output)
    assert opened == (names if START_METHOD == "fork" else opened & names) and opened
    assert len(processes) > 1 or START_METHOD != "fork"
    first = outputs(output)
    assert run(folder, output)[0] == set()
    assert outputs(output) == first
    again, status = folder / "a finer.jpg", os.stat(folder / "a finer.jpg")
    other = (folder / "b finer.jpg").read_bytes()[: status.st_size]
    again.write_bytes(other + bytes(status.st_size - len(other)))
    os.utime(again, ns=(status.st_atime_ns, status.st_mtime_ns))  # only ctime and the content tell
    assert "a finer.jpg" in run(folder, output)[0]
    assert outputs(output)["clusters.csv"] != first["clusters.csv"]
    plain = tmp_path / "plain"
    assert run(folder, plain, "--no-cache")[0] and not (plain / "cache.sqlite").exists()
    assert outputs(plain)["clusters.csv"] == outputs(output)["clusters.csv"]
