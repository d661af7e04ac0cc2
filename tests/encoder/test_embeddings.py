"""extract_embeddings: small pictures through an untrained encoder."""

import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from dedup.dataset import reading
from dedup.encoder import embeddings
from dedup.encoder.embeddings import extract_embeddings
from dedup.encoder.inference import TorchEncoder, half_precision
from dedup.encoder.model import Branch, EncoderCNN, choose_device, copy_detection_encoder
from dedup.workers import job

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return copy_detection_encoder(embedding_size=16, image_resize=32).eval()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """a.png, its copy b.png, c.png, damaged.png, z.png, in this order."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, width in [("a", 40), ("c", 50), ("z", 60)]:
        Image.fromarray(rng.integers(0, 256, (30, width, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "damaged.png").write_bytes(b"no picture")
    return [folder / f"{name}.png" for name in ("a", "b", "c", "damaged", "z")]


def test_one_unit_vector_a_readable_file(encoder, paths):
    found = extract_embeddings(encoder, paths, 32, 2, 0, CPU, progress=False)
    assert [path.stem for path in found.paths] == ["a", "b", "c", "z"]
    assert found.vectors.shape == (4, 16) and found.vectors.dtype == np.float32
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert found.sizes.tolist() == [[40, 30], [40, 30], [50, 30], [60, 30]]
    assert list(found.failures) == [paths[3]] and found.failures[paths[3]]


def test_rows_belong_to_their_files(encoder, paths):
    """Each vector is that of the file alone, and differs from the others'."""
    found = extract_embeddings(encoder, paths, 32, 3, 0, CPU, progress=False)
    for path, vector in zip(found.paths, found.vectors, strict=True):
        alone = extract_embeddings(encoder, [path], 32, 3, 0, CPU, progress=False)
        assert vector @ alone.vectors[0] == pytest.approx(1, abs=1e-6)
    assert np.array_equal(found.vectors[0], found.vectors[1])
    assert not np.allclose(found.vectors[0], found.vectors[2])


def test_two_runs_agree_to_the_bit(encoder, paths):
    first, second = (extract_embeddings(encoder, paths, 32, 2, 0, CPU, progress=False) for _ in range(2))
    assert np.array_equal(first.vectors, second.vectors)


def test_worker_processes_change_nothing(encoder, paths):
    alone, helped = (extract_embeddings(encoder, paths, 32, 2, workers, CPU, progress=False) for workers in (0, 1))
    assert np.array_equal(alone.vectors, helped.vectors) and np.array_equal(alone.sizes, helped.sizes)
    assert alone.paths == helped.paths and list(alone.failures) == list(helped.failures)


def test_image_resize_is_the_side_the_encoder_sees(paths):
    sides = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            sides.append(tuple(images.shape[1:]))
            return images.float()[:, :, ::8, ::8]

    spy = EncoderCNN([Branch(Spy(), channels=3)], embedding_size=2, image_resize=24)
    extract_embeddings(spy, paths[:1], None, 4, 0, CPU, progress=False)
    extract_embeddings(spy, paths[:1], 40, 4, 0, CPU, progress=False)
    assert sides == [(3, 24, 24), (3, 40, 40)]


@pytest.mark.parametrize("chosen", [[], [3]])
def test_nothing_readable(encoder, paths, chosen):
    found = extract_embeddings(encoder, [paths[i] for i in chosen], 32, 2, 0, CPU, progress=False)
    assert found.paths == [] and found.vectors.shape == (0, 16) and found.sizes.shape == (0, 2)
    assert len(found.failures) == len(chosen)


def test_progress_shows_on_stderr_only_when_asked_in_a_terminal(encoder, paths, capsys, monkeypatch):
    extract_embeddings(encoder, paths, 32, 2, 0, CPU, progress=False)
    extract_embeddings(encoder, paths, 32, 2, 0, CPU)  # no terminal
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    extract_embeddings(encoder, paths, 32, 2, 0, CPU, progress=False)
    assert capsys.readouterr().err == ""
    extract_embeddings(encoder, paths, 32, 2, 0, CPU)
    shown = capsys.readouterr().err
    assert "5/5" in shown and "images/s" in shown.replace(" images", "images")


def test_half_precision_moves_distances_little(encoder):
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = encoder(images)
        with torch.autocast("cpu", torch.float16):  # as on a GPU
            half = encoder(images)
    moved = (plain @ plain.T - half @ half.T).abs().max()
    assert 0 < moved < 2e-3 and half.dtype == torch.float32
    with warnings.catch_warnings(action="ignore"):  # where there is no GPU
        assert half_precision(torch.device("cuda")).fast_dtype == torch.float16


def test_a_processor_computes_in_full_precision(encoder):
    """So that every machine finds the same."""
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        plain = encoder(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.abs(TorchEncoder(encoder, CPU).encode(images) - plain).max() < 1e-5


def test_choose_device_works():
    assert torch.ones(2, device=choose_device()).sum().item() == 2


def test_files_of_equal_content_are_decoded_once(encoder, tmp_path, monkeypatch):
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.bmp")
    for name in "de":
        (tmp_path / f"{name}.bmp").write_bytes(b"no picture")
    decoded, read = [], reading.read_picture
    spy = job(lambda path, **more: decoded.append(path) or read(path, **more))
    monkeypatch.setattr(reading, "read_picture", spy)
    paths = sorted(tmp_path.iterdir())
    found = extract_embeddings(encoder, paths, 32, 2, 0, CPU, progress=False)
    assert [path.stem for path in decoded] == ["a", "c", "d"], "b is a, and e is d"
    assert found.paths == paths[:3] and found.contents[0] == found.contents[1] != found.contents[2]
    assert (found.vectors[0] == found.vectors[1]).all() and found.sizes.tolist() == [[40, 30]] * 3
    assert list(found.failures) == paths[3:] and len(set(found.failures.values())) == 1


def test_a_twin_that_changes_while_it_is_read_is_told(encoder, tmp_path, monkeypatch):
    for name in "ab":
        Image.new("RGB", (40, 30), "red").save(tmp_path / f"{name}.bmp")
    find = embeddings.find_twins

    def change_meanwhile(*arguments):
        found = find(*arguments)
        Image.new("RGB", (40, 30), "blue").save(tmp_path / "a.bmp")
        return found

    monkeypatch.setattr(embeddings, "find_twins", change_meanwhile)
    found = extract_embeddings(encoder, sorted(tmp_path.iterdir()), 32, 2, 0, CPU, progress=False)
    assert found.paths == [tmp_path / "a.bmp"]
    assert found.failures == {tmp_path / "b.bmp": "changed while it was read"}
