"""The last part of the default encoder: a linear layer on a network that was pre-trained on ImageNet, beside ours.

photos n x (height, width, 3) uint8  ->  features of their copies  ->  linear layer  ->  EncoderCNN of two branches

One network learnt from a million labelled photos, ours from copies: side by side they separate copies from other
pictures better than either alone. The pre-trained network stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from dedup.dataset.copies import make_copy
from dedup.encoder.checkpoints import principal_directions, read_weights
from dedup.encoder.model import LITE0, Branch, EncoderCNN, LocalCentering, branches_of
from dedup.training.loss import contrastive_loss, schedule_batches
from dedup.training.trainer import Recipe, write_log

NETWORK = f"slim14+{LITE0}"
NEARNESS = 0.85  # a constant number beside both halves, whose median length is 1: it keeps short vectors near it
SHARE, TEMPERATURE = 0.5, 0.04  # of the centering
TABLE = 1000  # photos of the centering
COPIES = 5  # of each photo, besides itself


# Settings that, with the photos and their copies, decide the linear layer.
HEAD_RECIPE = Recipe(sizes=((0.0, 160),), epochs=24, batch_size=512, learning_rate=1e-3, weight_decay=0.01, seed=1)


def add_pretrained(encoder: EncoderCNN, photos: Sequence[np.ndarray], log: Path, progress: bool = True) -> EncoderCNN:
    """Put EfficientNet-Lite0 with a head of its own beside a trained encoder; write the head's losses to `log`."""
    device, branch = next(encoder.parameters()).device, pretrained_branch()
    recipe = replace(HEAD_RECIPE, batch_size=min(HEAD_RECIPE.batch_size, len(photos)))
    views = features_of_copies(branch, photos, COPIES, device, progress)
    own = features_of_copies(encoder.branches[0], photos, 0, device, progress)
    head = train_head(views, recipe, log, progress)
    return side_by_side(encoder.cpu(), branch.cpu(), head, (own[0], views[0]))


def pretrained_branch() -> Branch:
    """EfficientNet-Lite0, as ImageNet left it. Raises EncoderError where its package isn't installed."""
    (branch,) = branches_of(LITE0)
    nn.ModuleList([branch]).load_state_dict(read_weights("imagenet").branches)
    return branch.eval().requires_grad_(False)


@torch.inference_mode()
def features_of_copies(
    branch: nn.Module, photos: Sequence[np.ndarray], copies: int, device: torch.device, progress: bool
) -> torch.Tensor:
    """(copies + 1, n, channels) float16: a branch's features of each photo, then of edited copies of it."""
    branch, views, ((_, side),) = branch.to(device), [], HEAD_RECIPE.sizes
    for number in range(copies + 1):
        rows, batch = [], []
        for index, photo in enumerate(tqdm(photos, f"Looking, {number}", unit=" photos", disable=not progress)):
            rng = np.random.default_rng((HEAD_RECIPE.seed, number, index))
            other = photos[rng.integers(len(photos))]
            batch.append(make_copy(photo, other, side, rng, strength=float(number > 0)))
            if len(batch) == 32 or index == len(photos) - 1:
                images = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
                rows, batch = [*rows, branch(images.to(device)).half().cpu()], []
        views.append(torch.cat(rows))
    return torch.stack(views)


def discriminant_directions(views: torch.Tensor, size: int) -> torch.Tensor:
    """(size, channels): linear discriminant analysis (Fisher, 1936), where each photo with its copies is a class."""
    copies = views.double()
    means = copies.mean(dim=0)  # (n, channels)
    within = (copies - means).flatten(0, 1)
    within = within.T @ within / len(within)
    ridge = 0.01 * within.diagonal().mean() * torch.eye(len(within), dtype=torch.float64)
    variances, axes = torch.linalg.eigh(within + ridge)
    whitened = means @ (axes / variances.sqrt())
    found = torch.linalg.eigh(whitened.T @ whitened).eigenvectors[:, -size:].flip(1)
    return ((axes / variances.sqrt()) @ found).T.float()


def train_head(views: torch.Tensor, recipe: Recipe, log: Path, progress: bool) -> nn.Linear:
    """Train a linear layer (channels -> embedding_size) on features (copies + 1, n, channels), on the CPU."""
    mean, std = views[1:].float().mean(dim=(0, 1)), views[1:].float().std(dim=(0, 1)) + 1e-6
    views = ((views.float() - mean) / std).half()
    count, n, channels = views.shape
    layer = nn.Linear(channels, recipe.embedding_size)
    with torch.no_grad():
        layer.weight.copy_(discriminant_directions(views[1:], recipe.embedding_size))
        layer.weight /= layer(views[1].float()).norm(dim=1).median()
        layer.bias.zero_()
    steps = recipe.epochs * (n // recipe.batch_size)
    optimizer = torch.optim.AdamW(layer.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.05)
    queue, queue_photos = torch.empty(0, recipe.embedding_size), torch.empty(0, dtype=torch.long)
    rng, rows = np.random.default_rng(recipe.seed), []
    batches = schedule_batches(n, recipe.batch_size, recipe.epochs, recipe.sizes, recipe.seed)
    for step, side, indices in tqdm(batches, "Training the head", unit=" steps", disable=not progress):
        photos = torch.from_numpy(indices)
        first = torch.from_numpy(rng.integers(count, size=len(photos)))
        second = (first + torch.from_numpy(rng.integers(1, count, size=len(photos)))) % count
        vectors = F.normalize(layer(torch.cat([views[first, photos], views[second, photos]]).float()))
        photos = photos.repeat(2)
        loss = contrastive_loss(vectors, photos, queue, queue_photos, recipe.temperature, recipe.entropy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        queue = torch.cat([vectors.detach(), queue])[: recipe.queue]
        queue_photos = torch.cat([photos, queue_photos])[: recipe.queue]
        if step % 20 == 19 or step == steps - 1:
            rows.append({"step": step + 1, "of": steps, "loss": round(loss.item(), 4), "size": side})
    write_log(log, rows)
    with torch.no_grad():  # features that are not standardised in, the same out
        layer.weight /= std
        layer.bias -= layer.weight @ mean
    return layer


@torch.inference_mode()
def side_by_side(
    encoder: EncoderCNN, branch: Branch, head: nn.Linear, seen: tuple[torch.Tensor, torch.Tensor]
) -> EncoderCNN:
    """One encoder made of a trained encoder and a branch with its head; its cosines are the mean of both.

    seen : (n, channels) of both: features of photos by the encoder's branch and by the other one
    """
    halves = [(encoder.embedding, seen[0].float()), (head, seen[1].float())]
    weights, biases = [], []
    for layer, features in halves:
        length = layer(features).norm(dim=1).median()
        weights.append(layer.weight / length)
        biases.append(layer.bias / length)
    weight = torch.block_diag(*weights, torch.zeros(1, 0))  # (size of both + 1, channels of both)
    bias = torch.cat([*biases, torch.tensor([NEARNESS])])
    vectors = F.normalize(F.linear(torch.cat([features for _, features in halves], dim=1), weight, bias))
    size = encoder.embedding_size
    directions = principal_directions(vectors)[:size].float()
    chosen = np.random.default_rng(0).permutation(len(vectors))[:TABLE]
    table = F.normalize(vectors[torch.from_numpy(chosen)] @ directions.T)
    both = EncoderCNN(
        [*encoder.branches, branch], size, encoder.image_resize, centering=LocalCentering(table, SHARE, TEMPERATURE)
    )
    both.embedding.weight.copy_(directions @ weight)
    both.embedding.bias.copy_(directions @ bias)
    return both.eval()
