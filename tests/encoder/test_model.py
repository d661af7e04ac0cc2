"""EncoderCNN, and the shipped weights on their way out and in. The file is made here."""

import copy

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from dedup.encoder import checkpoints, inference
from dedup.encoder.checkpoints import principal_directions
from dedup.encoder.export import export_encoder, turn
from dedup.encoder.inference import OnnxEncoder
from dedup.encoder.model import EncoderError, GeM, LocalCentering, copy_detection_encoder, load_encoder

METADATA = {"epsilon": 0.25, "image_resize": 48, "network": "slim14"}


def some_images(n=4, side=64):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def embed(encoder, images):
    with torch.inference_mode():
        return encoder(images)  # (n, d)


@pytest.fixture(scope="module")
def trained():
    """Stands for a trained encoder: 8 directions, of clearly different weight."""
    torch.manual_seed(0)
    encoder = copy_detection_encoder(embedding_size=8, image_resize=64).eval()
    encoder.centering = LocalCentering(F.normalize(torch.randn(20, 8)), share=0.4, temperature=0.1)
    with torch.no_grad():
        encoder.embedding.weight *= 2.0 ** -torch.arange(8)[torch.randperm(8), None]
        encoder.embedding.bias.normal_(0, 0.01)
    return encoder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The bytes of `trained`, written once: that takes seconds."""
    path = tmp_path_factory.mktemp("exported") / "copydet.onnx"
    export_encoder(trained, embed(trained, some_images(64, 32)).numpy(), path, METADATA)
    return path.read_bytes()


@pytest.fixture
def copydet(exported, tmp_path, monkeypatch):
    """The weights folder, replaced by one with an exported `trained`."""
    for module in (checkpoints, inference):
        monkeypatch.setattr(module, "WEIGHTS_DIR", tmp_path)
    (tmp_path / "copydet.onnx").write_bytes(exported)
    return tmp_path / "copydet.onnx"


def test_gem_pooling_by_hand():
    features = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert GeM(1)(features).item() == pytest.approx(2.5)
    assert GeM(3)(features).item() == pytest.approx(25 ** (1 / 3))


def test_vectors_are_unit_norm_and_separate():
    encoder, images = copy_detection_encoder(embedding_size=8).eval(), some_images()
    vectors = embed(encoder, images)
    assert vectors.shape == (4, 8) and vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
    assert torch.allclose(embed(encoder, images[:1]), vectors[:1], atol=1e-6)


# copydet: export and load


def test_copydet_keeps_every_cosine(copydet, trained):
    encoder, images = load_encoder("copydet"), some_images()
    assert not encoder.training
    assert (encoder.embedding_size, encoder.image_resize, encoder.epsilon) == (8, 48, 0.25)
    expected, found = embed(trained, images), embed(encoder, images)
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=0.01)


def test_rows_are_turned_to_principal_directions(trained):
    """Against scikit-learn's TruncatedSVD on the vectors that were exported."""
    from sklearn.decomposition import TruncatedSVD

    images, turned = some_images(64, 32), copy.deepcopy(trained)
    vectors = embed(trained, images)
    expected = np.abs(TruncatedSVD(7, algorithm="arpack").fit_transform(vectors.numpy()))
    turn(turned, principal_directions(vectors))
    assert np.allclose(np.abs(embed(turned, images).numpy()[:, :7]), expected, atol=1e-3)


def test_a_smaller_embedding_keeps_the_leading_directions(copydet):
    images = some_images()
    shorter = F.normalize(embed(load_encoder("copydet"), images)[:, :3])
    found = embed(load_encoder("copydet", 3), images)
    assert found.shape == (4, 3) and torch.allclose(found, shorter, atol=1e-5)


@pytest.mark.parametrize("size", [9, 0, -1])
@pytest.mark.parametrize("load", [load_encoder, inference.open_encoder])
def test_embedding_size_out_of_range(copydet, load, size):
    with pytest.raises(EncoderError, match=f"embedding_size of copydet is 1 to 8, got {size}"):
        load("copydet", size)


def test_exported_file_holds_bytes_and_metadata_as_strings(copydet):
    model = onnx.load(copydet)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert {key: told[key] for key in METADATA} == {key: str(value) for key, value in METADATA.items()}
    assert (told["embedding_size"], told["strict_epsilon"], told["share"]) == ("8", "0.25", "0.4")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["encoder.branches.0.trunk.conv1.weight.int8"] == onnx.TensorProto.INT8
    assert all(parameter.dtype == torch.float32 for parameter in load_encoder("copydet").parameters())
    assert copydet.stat().st_size < 4e6
    assert torch.equal(embed(load_encoder(str(copydet)), some_images()), embed(load_encoder("copydet"), some_images()))


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("side", [64, 95])
def test_onnx_runtime_computes_what_torch_computes(copydet, size, side):
    images = some_images(3, side)
    runtime = OnnxEncoder(copydet, "copydet", size)
    found = runtime.encode(images.permute(0, 2, 3, 1).numpy())
    assert (
        found.dtype == np.float32 and np.abs(found - embed(load_encoder("copydet", size), images).numpy()).max() < 1e-5
    )
    assert runtime.about == (size or 8, 48, 0.25, 0.25, "cpu")


def test_centering_by_hand():
    """Of two photos the one at a right angle counts nothing; half of the other is taken away."""
    centering = LocalCentering(torch.eye(3)[:2], share=0.5, temperature=0.01)
    found = centering(torch.tensor([[0.6, 0.0, 0.8]]))
    assert torch.allclose(found, F.normalize(torch.tensor([[0.1, 0.0, 0.8]])), atol=1e-6)


def test_export_refuses_what_it_cannot_keep(trained, tmp_path):
    path, vectors = tmp_path / "new" / "x.onnx", np.eye(8, dtype=np.float32)
    with pytest.raises(ValueError, match=r"\(n, 8\) for this encoder, got \(7, 7\)"):
        export_encoder(trained, np.eye(7), path, METADATA)
    with pytest.raises(ValueError, match="made of resnet18, .*slim14, efficientnet-lite0, joined by \\+; got 'slim15'"):
        export_encoder(trained, vectors, path, METADATA | {"network": "slim15"})
    with pytest.raises(ValueError, match="metadata lacks image_resize, network"):
        export_encoder(trained, vectors, path, {"epsilon": 0.1})
    broken = copy_detection_encoder(8)
    broken.branches[0].trunk.conv1.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"not finite: branches\.0\.trunk\.conv1\.weight"):
        export_encoder(broken, vectors, path, METADATA)
    assert not path.exists()


@pytest.mark.parametrize("load", [load_encoder, inference.open_encoder])
def test_copydet_weights_missing_or_damaged(copydet, load):
    model = onnx.load(copydet)
    copydet.write_bytes(copydet.read_bytes()[:1000])
    with pytest.raises(EncoderError, match="cannot be read as ONNX"):
        load("copydet")
    copydet.unlink()
    with pytest.raises(EncoderError, match="weights are missing"):
        load("copydet")
    del model.metadata_props[:]
    onnx.save(model, copydet)
    with pytest.raises(
        EncoderError, match="not a file of export_encoder: lacks or cannot read '(embedding_size|image_resize)'"
    ):
        load("copydet")
