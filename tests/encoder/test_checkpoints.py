"""Checkpoints of others and what is said when they are wrong. The files are made here; no network."""

import urllib.error

import pytest
import torch
from torch.nn import functional as F
from torchvision import models

from dedup.encoder import checkpoints
from dedup.encoder.model import EncoderError, load_encoder
from tests.encoder.test_model import embed, some_images


def normalised(images):
    """ImageNet's normalisation by torchvision's own transform."""
    return models.ResNet18_Weights.DEFAULT.transforms(crop_size=64, resize_size=64)(images)


def untrained(resnet, **arguments):
    """A torchvision ResNet whose batch norms do something."""
    torch.manual_seed(0)
    network = getattr(models, resnet)(weights=None, **arguments).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


# torchvision's ImageNet weights


@pytest.fixture
def hub_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_resnet18_is_torchvisions_up_to_the_projection(hub_dir):
    network, images = untrained("resnet18"), some_images(3)
    torch.save(network.state_dict(), hub_dir / "resnet18-f37072fd.pth")
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        features = F.normalize(network(normalised(images)))  # (3, 512)
    encoder = load_encoder("resnet18", 512)  # as long as the features: the projection only turns them
    found = embed(encoder, images)
    assert torch.allclose(found @ found.T, features @ features.T, atol=1e-5)
    assert encoder.image_resize == 224 and encoder.epsilon == checkpoints.IMAGENET_EPSILON


def test_the_projection_is_orthogonal_and_the_same_in_every_run(hub_dir):
    torch.save(untrained("resnet18").state_dict(), hub_dir / "resnet18-f37072fd.pth")
    first = load_encoder("resnet18")
    torch.manual_seed(7)
    torch.rand(3)
    second = load_encoder("resnet18")
    assert first.embedding.weight.shape == (256, 512)
    assert torch.equal(first.embedding.weight, second.embedding.weight) and not first.embedding.bias.any()
    assert torch.allclose(first.embedding.weight @ first.embedding.weight.T, torch.eye(256), atol=1e-5)
    with pytest.raises(EncoderError, match="embedding_size of resnet18 is 1 to 512, got 513"):
        load_encoder("resnet18", 513)


@pytest.mark.parametrize(
    ("name", "file"), [("resnet18", "resnet18-f37072fd.pth"), ("resnet50", "resnet50-11ad3fa6.pth")]
)
def test_offline_ends_in_one_line(hub_dir, monkeypatch, name, file):
    def no_network(*arguments, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(EncoderError) as caught:
        load_encoder(name)
    assert str(hub_dir / file) in str(caught.value) and "no route to host" in str(caught.value)
    assert "copydet, which needs no download" in str(caught.value) and "\n" not in str(caught.value)


# checkpoints by path


@pytest.mark.parametrize("resnet", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_torchvision_checkpoints_are_recognised(resnet, tmp_path):
    with torch.device("meta"):
        shapes = getattr(models, resnet)(weights=None).state_dict()
    state = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in shapes.items()}
    recognised = checkpoints._from_state(state, "file")
    assert recognised.network == resnet and recognised.projection is None and recognised.power == 1


def test_a_torchvision_checkpoint_by_path(tmp_path, hub_dir):
    network = untrained("resnet18", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    torch.save(network.state_dict(), hub_dir / "resnet18-f37072fd.pth")
    images = some_images(2)
    assert torch.equal(embed(load_encoder(str(tmp_path / "mine.pth")), images), embed(load_encoder("resnet18"), images))


def test_sscd_checkpoint(tmp_path):
    """Against the model as its paper describes it: ResNet-50, GeM 3, linear to 512, L2 norm."""
    network, images = untrained("resnet50", num_classes=512), some_images(3)
    torch.save({f"backbone.{key}": value for key, value in network.state_dict().items()}, tmp_path / "sscd.pt")
    encoder = load_encoder(str(tmp_path / "sscd.pt"))
    assert (encoder.embedding_size, encoder.image_resize, encoder.epsilon) == (512, 320, checkpoints.SSCD_EPSILON)
    head, network.fc = network.fc, torch.nn.Identity()
    network.avgpool = torch.nn.LPPool2d(3, 2)  # sums over the 2 x 2 cells that 64 px leave
    with torch.inference_mode():
        expected = F.normalize(head(network(normalised(images)) / 4 ** (1 / 3)))
    found = embed(encoder, images)
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=1e-5)
    shorter = embed(load_encoder(str(tmp_path / "sscd.pt"), 100), images)
    assert torch.allclose(shorter, F.normalize(found[:, :100]), atol=1e-5)


def test_unknown_name():
    with pytest.raises(
        EncoderError, match="copydet, imagenet, resnet18, resnet50 or a checkpoint's path; no such file: resnet19"
    ):
        load_encoder("resnet19")


def write_wrong_file(kind, path):
    """A file of each kind that people hand over by mistake."""
    small = untrained("resnet18", num_classes=2).state_dict()
    if kind == "text":
        path.write_text("weights")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    elif kind == "nested":
        torch.save({"encoder": small, "step": 3}, path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "other network":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "wide":
        torch.save(small | {"layer1.0.conv2.weight": torch.zeros(128, 128, 3, 3)}, path)
    elif kind == "small backbone":
        torch.save({f"backbone.{key}": value for key, value in small.items()}, path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "is no state dict"),
        ("empty", "is no state dict"),
        ("module", "is no state dict"),
        ("nested", "holds no plain state dict"),
        ("list", "holds no plain state dict"),
        ("other network", "holds another network"),
        ("wide", "holds another network"),
        ("small backbone", "not SSCD's ResNet-50"),
    ],
)
def test_a_wrong_file_is_named_with_what_was_expected(kind, said, tmp_path):
    path = tmp_path / "wrong.pt"
    write_wrong_file(kind, path)
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(path))
    text = str(caught.value)
    assert str(path) in text and said in text and "expected a torchvision ResNet-18" in text and "\n" not in text


def test_a_part_that_does_not_fit_is_named(tmp_path):
    state = untrained("resnet18").state_dict()
    state["layer4.1.conv2.weight"] = torch.zeros(1, 1, 3, 3)
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(EncoderError, match=r"odd.pt does not fit a resnet18: .*layer4.1.conv2.weight"):
        load_encoder(str(tmp_path / "odd.pt"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "program.pt"))
    with pytest.raises(EncoderError, match=r"program.pt is no state dict \(RuntimeError\); expected"):
        load_encoder(str(tmp_path / "program.pt"))
