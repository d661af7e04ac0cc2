"""EncoderCNN, and the shipped weights on their way out and in. The file is made here."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

from dedup.encoder import checkpoints
from dedup.encoder.checkpoints import export_encoder
from dedup.encoder.model import EncoderError, GeM, copy_detection_encoder, load_encoder

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
    with torch.no_grad():
        encoder.embedding.weight *= 2.0 ** -torch.arange(8)[torch.randperm(8), None]
        encoder.embedding.bias.normal_(0, 0.01)
    return encoder


@pytest.fixture
def copydet(trained, tmp_path, monkeypatch):
    """The weights folder, replaced by one with an exported `trained`."""
    monkeypatch.setattr(checkpoints, "WEIGHTS_DIR", tmp_path)
    vectors = embed(trained, some_images(64, 32)).numpy()
    export_encoder(trained, vectors, tmp_path / "copydet.safetensors", METADATA)
    return tmp_path / "copydet.safetensors"


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
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=2e-3)


def test_copydet_rows_are_sorted_by_principal_direction(copydet, trained):
    """Against scikit-learn's TruncatedSVD on the vectors that were exported."""
    from sklearn.decomposition import TruncatedSVD

    images = some_images(64, 32)
    vectors = embed(trained, images).numpy()
    expected = np.abs(TruncatedSVD(7, algorithm="arpack").fit_transform(vectors))
    assert np.allclose(np.abs(embed(load_encoder("copydet"), images).numpy()[:, :7]), expected, atol=5e-3)


def test_a_smaller_embedding_keeps_the_leading_directions(copydet):
    images = some_images()
    shorter = F.normalize(embed(load_encoder("copydet"), images)[:, :3])
    found = embed(load_encoder("copydet", 3), images)
    assert found.shape == (4, 3) and torch.allclose(found, shorter, atol=1e-5)


@pytest.mark.parametrize("size", [9, 0, -1])
def test_embedding_size_out_of_range(copydet, size):
    with pytest.raises(EncoderError, match=f"embedding_size of copydet is 1 to 8, got {size}"):
        load_encoder("copydet", size)


def test_exported_file_is_float16_with_metadata_as_strings(copydet, trained):
    with safe_open(copydet, "pt") as file:
        assert file.metadata() == {key: str(value) for key, value in METADATA.items()} | {"embedding_size": "8"}
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 - not a dict
    assert kinds["trunk.conv1.weight"] == kinds["embedding.weight"] == torch.float16
    assert all(parameter.dtype == torch.float32 for parameter in load_encoder("copydet").parameters())
    assert copydet.stat().st_size < 8e6
    assert torch.equal(embed(load_encoder(str(copydet)), some_images()), embed(load_encoder("copydet"), some_images()))


def test_export_refuses_what_it_cannot_keep(trained, tmp_path):
    path, vectors = tmp_path / "new" / "x.safetensors", np.eye(8, dtype=np.float32)
    with pytest.raises(ValueError, match=r"\(n, 8\) for this encoder, got \(7, 7\)"):
        export_encoder(trained, np.eye(7), path, METADATA)
    with pytest.raises(ValueError, match="network is one of resnet18, .*slim14, got 'slim15'"):
        export_encoder(trained, vectors, path, METADATA | {"network": "slim15"})
    with pytest.raises(ValueError, match="metadata lacks image_resize, network"):
        export_encoder(trained, vectors, path, {"epsilon": 0.1})
    large = copy_detection_encoder(8)
    large.trunk.conv1.weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match="float16: trunk.conv1.weight"):
        export_encoder(large, vectors, path, METADATA)
    assert not path.exists()


def test_a_file_says_of_which_network_it_is(tmp_path):
    vectors, about = np.eye(8, dtype=np.float32), {"epsilon": 0.1, "image_resize": 48}
    older, unknown = tmp_path / "older.safetensors", tmp_path / "unknown.safetensors"
    large = copy_detection_encoder(8, 48, "resnet18-layer3").eval()
    export_encoder(large, vectors, older, about | {"network": "resnet18-layer3"})
    with safe_open(older, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        metadata = {key: value for key, value in file.metadata().items() if key != "network"}
    save_file(state, older, metadata)  # as earlier releases wrote it
    images = some_images()
    expected, found = embed(large, images), embed(load_encoder(str(older)), images)
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=2e-3)
    save_file(state, unknown, metadata | {"network": "slim15"})
    with pytest.raises(EncoderError, match="of the network 'slim15', which is not known here"):
        load_encoder(str(unknown))


def test_copydet_weights_missing_or_damaged(copydet):
    good = copydet.read_bytes()
    copydet.write_bytes(good[:1000])
    with pytest.raises(EncoderError, match="cannot be read as safetensors"):
        load_encoder("copydet")
    copydet.unlink()
    with pytest.raises(EncoderError, match="weights are missing"):
        load_encoder("copydet")
    save_file({"weight": torch.zeros(2)}, copydet)
    with pytest.raises(EncoderError, match="not a file of export_encoder: lacks or cannot read 'embedding_size'"):
        load_encoder("copydet")
