"""The state of a training. Input: batches of copies. Output: a better encoder after each, checkpoints.

images (2 batch, 3, size, size) uint8, photos (batch,)  ->  loss (), and at the end an EncoderCNN
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from dedup.encoder.model import EncoderCNN, copy_detection_encoder
from dedup.training.loss import contrastive_loss

# Attributes of a Trainer that its checkpoint holds.
STATE_DICTS, PLAIN_VALUES = ("encoder", "optimizer", "scheduler"), ("step", "log", "queue", "queue_photos")


class TrainingError(ValueError):
    """Training can't start; the text is one line that says what to do."""


@dataclass(frozen=True)
class Recipe:
    """A training's settings: with the photos, they decide the weights."""

    embedding_size: int = 256
    sizes: tuple[tuple[float, int], ...] = ((0.0, 96), (0.4, 128), (0.85, 144))  # side in px from that share of steps
    epochs: int = 122
    batch_size: int = 256  # photos; twice as many views
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    temperature: float = 0.05  # SSCD, section 4.1
    entropy: float = 5.0  # weight of the KoLeo term
    queue: int = 4096  # embeddings of past batches, as further negatives
    seed: int = 0


# The second round starts from the weights of the first, with a learning rate that rises and falls once more.
ROUNDS = (Recipe(), Recipe(epochs=65, batch_size=160, sizes=((0.0, 128), (0.85, 160)), learning_rate=1.2e-3, seed=1))


class Trainer:
    """All that changes while training: the encoder, its optimizer and learning rate, the queue, the step.

    encoder : with a batch norm behind its embedding, until `finish` folds that in
    step : steps done
    queue, queue_photos : (m, d) and (m,), newest first
    log : figures of some steps, as `write_log` takes them
    """

    def __init__(self, recipe: Recipe, steps: int, device: torch.device):
        self.recipe, self.steps, self.device = recipe, steps, device
        self.step, self.log = 0, []
        with torch.random.fork_rng(devices=[]):  # the caller's generator stays as it is
            torch.manual_seed(recipe.seed)
            self.encoder = copy_detection_encoder(recipe.embedding_size)
        # Centred dimensions start spread over the sphere, not in one corner of it.
        centre = nn.BatchNorm1d(recipe.embedding_size, affine=False)
        self.encoder.embedding = nn.Sequential(self.encoder.embedding, centre)
        self.encoder.to(device).train()
        self.optimizer = _optimizer(self.encoder, recipe)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.05
        )
        self.queue = torch.empty(0, recipe.embedding_size, device=device)
        self.queue_photos = torch.empty(0, dtype=torch.long, device=device)

    def learn(self, images: torch.Tensor, photos: torch.Tensor) -> torch.Tensor:
        """One step on images (2 batch, 3, size, size) uint8 of photos (batch,); the loss, ()."""
        photos = photos.to(self.device).repeat(2)
        is_fast = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_fast):  # in the trunk
            vectors = self.encoder(images.to(self.device))  # (2 batch, d)
        recipe = self.recipe
        loss = contrastive_loss(vectors, photos, self.queue, self.queue_photos, recipe.temperature, recipe.entropy)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.optimizer.step()
        self.scheduler.step()
        self.queue = torch.cat([vectors.detach(), self.queue])[: recipe.queue]
        self.queue_photos = torch.cat([photos, self.queue_photos])[: recipe.queue]
        self.step += 1
        return loss.detach()

    def save(self, path: Path) -> None:
        """Write a checkpoint; one that was there stays whole until the new one is."""
        parts = {name: getattr(self, name).state_dict() for name in STATE_DICTS}
        parts |= {name: getattr(self, name) for name in PLAIN_VALUES}
        torch.save(parts | {"recipe": json.dumps(asdict(self.recipe))}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises TrainingError if that is of another recipe or number of steps."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        if saved["recipe"] != json.dumps(asdict(self.recipe)):
            raise TrainingError(f"{path} was made by another recipe; choose another output folder or delete it")
        if (steps := saved["scheduler"]["total_steps"]) != self.steps:
            raise TrainingError(
                f"{path} is of {steps} steps, not {self.steps}: other photos? Choose another output folder"
            )
        for name in STATE_DICTS:
            getattr(self, name).load_state_dict(saved[name])
        for name in PLAIN_VALUES:
            setattr(self, name, saved[name])

    def start_from(self, path: Path) -> None:
        """Take the encoder and the queue of another run's checkpoint, and nothing else."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        self.encoder.load_state_dict(saved["encoder"])
        self.queue, self.queue_photos = saved["queue"], saved["queue_photos"]

    def finish(self) -> EncoderCNN:
        """The encoder, in eval mode, without the batch norm."""
        fold_batch_norm(self.encoder)
        return self.encoder.eval()


def _optimizer(encoder: EncoderCNN, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases and batch norms do not decay."""
    decayed = [weights for weights in encoder.parameters() if weights.ndim > 1]
    plain = [weights for weights in encoder.parameters() if weights.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def fold_batch_norm(encoder: EncoderCNN) -> None:
    """Put the batch norm behind the embedding into the linear layer; in eval mode no vector changes."""
    linear, centre = encoder.embedding
    scale = torch.rsqrt(centre.running_var + centre.eps)
    with torch.no_grad():
        linear.weight *= scale[:, None]
        linear.bias.copy_((linear.bias - centre.running_mean) * scale)
    encoder.embedding = linear


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the figures of some steps, a line of JSON each."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
