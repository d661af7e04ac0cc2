"""The slim network beside torchvision's, and what folding batch norms changes: nothing."""

import pytest
import torch
from torch import nn

from dedup.encoder.resnet import fold_batch_norms, resnet_trunk


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


def test_begins_with_weights_of_the_right_spread():
    """The spread of a new network's weights, which training starts from, is He's for the outputs."""
    own = resnet_trunk("slim14")[0]
    for name, tensor in own.named_parameters():
        if tensor.ndim == 4:
            outputs = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
            assert tensor.std().item() == pytest.approx((2 / outputs) ** 0.5, rel=0.1), name


def test_the_slim_network_takes_a_fifth_of_the_work():
    """Its first convolution takes steps of 4 px, then each layer halves the side, as in a ResNet-18."""
    with torch.device("meta"):
        large, slim = (resnet_trunk(name) for name in ("resnet18", "slim14"))
        shapes = [trunk(torch.empty(1, 3, 160, 160)).shape for trunk, _ in (large, slim)]
    assert shapes == [(1, 512, 5, 5), (1, 256, 5, 5)] and slim[1] == 256
    assert 0.15 < work(slim[0]) / work(large[0]) < 0.25


def work(trunk) -> int:
    """Multiplications for a picture of 160 px."""
    found = []

    def count(module, _, output):
        found.append(output.numel() * module.weight[0].numel())

    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    trunk(torch.empty(1, 3, 160, 160, device="meta"))
    return sum(found)


@pytest.mark.parametrize("name", ["resnet50", "slim14"])
@torch.inference_mode()
def test_folded_batch_norms_change_nothing(name):
    trunk = shaken(resnet_trunk(name)[0])
    expected = trunk(images())
    fold_batch_norms(trunk)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in trunk.modules())
    assert (trunk(images()) - expected).abs().max() < 1e-5 * expected.abs().max()
