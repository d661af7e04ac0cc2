"""The default encoder's training: a folder of photos in, weights out.

paths (n,)  ->  dedup/weights/copydet.safetensors, with a log of the loss and a checkpoint to go on from

Self-supervised copy detection after SSCD (Pizzi et al., CVPR 2022, section 4): two edited copies of each photo are
drawn near, all other photos pushed away (InfoNCE), and the nearest of those pushed further (KoLeo entropy term).

    python -m dedup.training $DEDUP_DATA/train --output run        # repeat the command to go on after a stop
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from dedup.augmentations import make_copy
from dedup.model import EncoderCNN, copy_detection_encoder


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, with the photos."""

    embedding_size: int = 256
    sizes: tuple[tuple[float, int], ...] = ((0.0, 96), (0.45, 128), (0.85, 160))  # side in px from that share of steps
    epochs: int = 36
    batch_size: int = 160  # photos; twice as many views
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    temperature: float = 0.05  # SSCD, section 4.1
    entropy: float = 5.0  # weight of the KoLeo term
    queue: int = 4096  # embeddings of past batches, as further negatives
    seed: int = 0


class CopiesDataset(Dataset):
    """Two edited copies of one photo: (2, 3, size, size) uint8, and the photo's index.

    The copies depend on (seed, step, index) alone, not on how many processes make them.
    """

    def __init__(self, photos: list[np.ndarray], batches: list[tuple[int, int, np.ndarray]], seed: int):
        self.photos, self.batches, self.seed = photos, batches, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        step, size, indices = self.batches[position]
        views = np.empty((2, len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            rng = np.random.default_rng((self.seed, step, index))
            other = self.photos[rng.integers(len(self.photos))]
            weak = 0.3 if rng.random() < 0.35 else 1.0  # people's folders hold the original beside its copies
            views[0, row] = make_copy(self.photos[index], other, size, rng, weak)
            other = self.photos[rng.integers(len(self.photos))]
            views[1, row] = make_copy(self.photos[index], other, size, rng)
        images = torch.from_numpy(views.reshape(-1, size, size, 3)).permute(0, 3, 1, 2)  # (2 batch, 3, size, size)
        return images, torch.from_numpy(indices)


def contrastive_loss(
    vectors: torch.Tensor,
    photos: torch.Tensor,
    queue: torch.Tensor,
    queue_photos: torch.Tensor,
    temperature: float,
    entropy: float,
) -> torch.Tensor:
    """InfoNCE over copies and the KoLeo entropy term (SSCD, equations 1 to 3).

    Parameters
    ----------
    vectors : (2 batch, d) unit norm; row i and row i + batch are copies of one photo
    photos : (2 batch,) which photo a row shows
    queue, queue_photos : (m, d) and (m,), from past batches, without gradient
    """
    n = len(vectors)
    others = torch.cat([vectors, queue])  # (2 batch + m, d)
    similarity = vectors @ others.T  # (2 batch, 2 batch + m)
    same = photos[:, None] == torch.cat([photos, queue_photos])[None, :]
    negative = similarity.masked_fill(same, -torch.inf)
    partner = torch.arange(n, device=vectors.device).roll(n // 2)
    positive = similarity[torch.arange(n, device=vectors.device), partner]  # (2 batch,)
    logits = torch.cat([positive[:, None], negative], dim=1) / temperature
    info_nce = F.cross_entropy(logits, torch.zeros(n, dtype=torch.long, device=vectors.device))
    nearest = (2 - 2 * negative.max(dim=1).values).clamp(min=1e-6).sqrt()  # Euclidean, of unit vectors
    return info_nce - entropy * nearest.log().mean()


def _schedule(recipe: Recipe, photos: int) -> list[tuple[int, int, np.ndarray]]:
    """(step, size, indices) of every batch."""
    rng, per_epoch = np.random.default_rng(recipe.seed), photos // recipe.batch_size
    steps = recipe.epochs * per_epoch
    batches = []
    for epoch in range(recipe.epochs):
        order = rng.permutation(photos)
        for k in range(per_epoch):
            step = epoch * per_epoch + k
            size = [side for start, side in recipe.sizes if step >= start * steps][-1]
            batches.append((step, size, order[k * recipe.batch_size : (k + 1) * recipe.batch_size]))
    return batches


def train(photos: list[np.ndarray], recipe: Recipe, output: Path, num_workers: int = 2, every: int = 200) -> EncoderCNN:
    """Train from nothing, or go on from `output/checkpoint.pt`; log to `output/log.jsonl`.

    Parameters
    ----------
    photos : n x (height, width, 3) uint8 RGB, short side around 224 px
    every : steps between checkpoints
    """
    torch.manual_seed(recipe.seed)
    output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = copy_detection_encoder(recipe.embedding_size)
    # Centred dimensions start spread over the sphere, not in one corner of it. The batch norm is folded in at the end.
    centre = nn.BatchNorm1d(recipe.embedding_size, affine=False)
    encoder.embedding = nn.Sequential(encoder.embedding, centre)
    encoder.to(device)
    batches = _schedule(recipe, len(photos))
    decayed = [p for p in encoder.parameters() if p.ndim > 1]
    plain = [p for p in encoder.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=len(batches), pct_start=0.05
    )
    queue = torch.empty(0, recipe.embedding_size, device=device)
    queue_photos = torch.empty(0, dtype=torch.long, device=device)
    start, checkpoint = 0, output / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["recipe"] != json.dumps(asdict(recipe)):
            raise ValueError(f"{checkpoint} was made by another recipe; choose another output folder or delete it")
        encoder.load_state_dict(saved["encoder"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        start, queue, queue_photos = saved["step"], saved["queue"], saved["queue_photos"]
    loader = DataLoader(
        CopiesDataset(photos, batches[start:], recipe.seed), batch_size=None, num_workers=num_workers, prefetch_factor=4
    )
    encoder.train()
    began = time.monotonic()
    for step, (images, indices) in enumerate(loader, start + 1):
        images, indices = images.to(device), indices.to(device).repeat(2)
        with torch.autocast(device.type, torch.bfloat16):
            vectors = encoder(images)
        loss = contrastive_loss(vectors, indices, queue, queue_photos, recipe.temperature, recipe.entropy)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        queue = torch.cat([vectors.detach(), queue])[: recipe.queue]
        queue_photos = torch.cat([indices, queue_photos])[: recipe.queue]
        if step % 20 == 0 or step == len(batches):
            row = {"step": step, "of": len(batches), "loss": round(loss.item(), 4), "size": images.shape[-1]}
            row |= {"seconds": round(time.monotonic() - began, 1)}
            with open(output / "log.jsonl", "a") as log:
                print(json.dumps(row), file=log)
            print(row, flush=True)
        if step % every == 0 or step == len(batches):
            state = {"encoder": encoder.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"scheduler": scheduler.state_dict(), "step": step, "queue": queue, "queue_photos": queue_photos}
            torch.save(state | {"recipe": json.dumps(asdict(recipe))}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    _fold(encoder)
    return encoder.eval()


def _fold(encoder: EncoderCNN) -> None:
    """Put the batch norm behind the embedding into the linear layer itself."""
    linear, centre = encoder.embedding
    scale = torch.rsqrt(centre.running_var + centre.eps)
    with torch.no_grad():
        linear.weight *= scale[:, None]
        linear.bias.copy_((linear.bias - centre.running_mean) * scale)
    encoder.embedding = linear


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of distinct photos")
    parser.add_argument("--output", type=Path, default=Path("training"), help="checkpoint and log (default: training)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # OpenCV's threads do not survive the fork of the loader's processes
    paths = sorted(arguments.photos.glob("*.jpg"))
    photos = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    train(photos, Recipe(epochs=arguments.epochs), arguments.output)


if __name__ == "__main__":
    main()
