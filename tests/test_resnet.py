"""resnet_trunk against torchvision's networks, and what folding its batch norms changes: nothing."""

import pytest
import torch
from torch import nn
from torchvision import models

from dedup.resnet import BLOCKS, fold_batch_norms, resnet_trunk


def images(n=2, side=64):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def shaken(trunk):
    """With batch norms that do something, as after training."""
    torch.manual_seed(1)
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return trunk.eval()


@pytest.mark.parametrize(("name", "last"), [("resnet18", "layer3"), ("resnet18", "layer4"), ("resnet50", "layer4")])
@torch.inference_mode()
def test_computes_what_torchvisions_network_computes(name, last):
    trunk, channels = resnet_trunk(name, last)
    state = shaken(trunk).state_dict()
    reference = getattr(models, name)(weights=None).eval()
    assert set(reference.state_dict()) > set(state)
    reference.load_state_dict(state, strict=False)
    expected = images()
    for child, module in reference.named_children():
        expected = module(expected)
        if child == last:
            break
    found = trunk(images())
    assert found.shape == expected.shape and found.shape[1] == channels
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", BLOCKS)
def test_tensors_have_torchvisions_names_and_shapes(name):
    with torch.device("meta"):
        own, state = resnet_trunk(name)[0].state_dict(), getattr(models, name)(weights=None).state_dict()
    assert {key: value.shape for key, value in own.items()} == {
        key: value.shape for key, value in state.items() if not key.startswith("fc.")
    }


def test_begins_as_torchvisions_does():
    """The spread of a new network's weights, which training starts from, is He's for the outputs."""
    own, theirs = resnet_trunk("resnet18")[0], models.resnet18(weights=None)
    for (name, tensor), other in zip(own.named_parameters(), theirs.parameters(), strict=False):
        if tensor.ndim == 4:
            assert tensor.std().item() == pytest.approx(other.std().item(), rel=0.1), name


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@torch.inference_mode()
def test_folded_batch_norms_change_nothing(name):
    trunk = shaken(resnet_trunk(name, "layer2")[0])
    expected = trunk(images())
    fold_batch_norms(trunk)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in trunk.modules())
    assert (trunk(images()) - expected).abs().max() < 1e-5 * expected.abs().max()
