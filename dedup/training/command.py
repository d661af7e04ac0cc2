"""The encoder's training: a folder of photos in, weights out.

photos (n,)  ->  OUTPUT/copydet.onnx; a folder a round with log.jsonl of the loss and checkpoint.pt to go on from

    python -m dedup.training PHOTOS --output run             # repeat the command to go on after a stop
    python main.py PICTURES --encoder run/copydet.onnx

The photos may have any size; they are best all different, some thousands, and none that results are reported on.
On Linux, MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 in the environment keeps glibc from giving large blocks
back to the kernel after each step; it made training on a CPU about twice as fast.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from tqdm import tqdm

from dedup.dataset.decoding import UnreadableImage, load_image
from dedup.dataset.images import list_images
from dedup.encoder.embeddings import extract_embeddings
from dedup.encoder.export import export_encoder
from dedup.encoder.inference import at_work
from dedup.encoder.model import EncoderCNN
from dedup.training.head import NETWORK, add_pretrained
from dedup.training.loss import CopiesDataset, schedule_batches
from dedup.training.trainer import ROUNDS, Recipe, Trainer, write_log

SHORT_SIDE = 224  # px of a photo in memory; its copies are smaller
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".bmp")
EPSILON = 0.1  # a careful guess, for weights that nobody calibrated


def train(
    photos: Sequence[np.ndarray],
    recipe: Recipe,
    output: Path,
    start: Path | None = None,
    num_workers: int = 2,
    save_every: int = 200,
    log_every: int = 20,
    progress: bool = True,
) -> EncoderCNN:
    """Train a round, or go on from `output/checkpoint.pt`; log to `output/log.jsonl`.

    Parameters
    ----------
    photos : n x (height, width, 3) uint8 RGB, short side around 224 px
    output : a folder, made where it is missing
    start : checkpoint of an earlier round, whose weights this one begins with; None = random weights
    num_workers : processes that make copies; the weights do not depend on it
    save_every, log_every : steps between two checkpoints and between two lines of the log

    Raises
    ------
    ValueError : fewer photos than a batch
    TrainingError : a checkpoint of another recipe or of other photos
    """
    batches = schedule_batches(len(photos), recipe.batch_size, recipe.epochs, recipe.sizes, recipe.seed)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "checkpoint.pt"
    trainer = Trainer(recipe, len(batches), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if checkpoint.exists():
        trainer.load(checkpoint)
    elif start:
        trainer.start_from(start)
    began = time.monotonic() - (trainer.log[-1]["seconds"] if trainer.log else 0)
    bar = tqdm(total=len(batches), initial=trainer.step, desc="Training", unit=" steps", disable=not progress)
    with bar:
        for images, indices in _copies(photos, batches[trainer.step :], recipe.seed, num_workers):
            loss = trainer.learn(images, indices)
            bar.update()
            last = trainer.step == len(batches)
            if last or trainer.step % log_every == 0:
                shown = {"loss": round(loss.item(), 4), "size": images.shape[-1]}
                seconds = round(time.monotonic() - began, 1)
                trainer.log.append({"step": trainer.step, "of": len(batches), **shown, "seconds": seconds})
                write_log(output / "log.jsonl", trainer.log)
                bar.set_postfix(shown)
            if last or trainer.step % save_every == 0:
                trainer.save(checkpoint)
    return trainer.finish()


def _copies(photos, batches, seed: int, num_workers: int) -> DataLoader:
    cv2.setNumThreads(1)  # OpenCV's threads do not survive the fork of the loader's processes
    dataset = CopiesDataset(photos, batches, seed)
    return DataLoader(dataset, batch_size=None, num_workers=num_workers, worker_init_fn=_start_worker)


def _start_worker(number: int) -> None:
    cv2.setNumThreads(1)  # a spawned process starts with as many as there are cores


def read_photos(paths: Sequence[Path], progress: bool = True) -> list[np.ndarray]:
    """Decode photos once: n x (height, width, 3) uint8 RGB, short side 224 px; smaller photos keep their size.

    Files that can't be read are left out, and named on stderr.
    """
    photos = []
    for path in tqdm(paths, desc="Reading", unit=" photos", disable=not progress):
        try:
            image = load_image(path, SHORT_SIDE)
        except UnreadableImage as error:
            tqdm.write(f"left out: {path} ({error})", file=sys.stderr)
            continue
        scale = SHORT_SIDE / min(image.size)
        if scale < 1:
            image = image.resize([round(scale * side) for side in image.size], Image.Resampling.BOX)
        photos.append(np.asarray(image))
    return photos


def export(encoder: EncoderCNN, paths: Sequence[Path], calibrate: Path | None, epsilon: float, path: Path) -> None:
    """Write a trained encoder to `path`, with its epsilon; calibrated if there are other photos."""
    from dedup.evaluation.calibration import calibrate_epsilon

    working = at_work(encoder, next(encoder.parameters()).device)
    if calibrate:
        epsilon = calibrate_epsilon(working, list_images(calibrate, EXTENSIONS)).epsilon
    seen = extract_embeddings(working, paths, None, batch_size=32, num_workers=2)
    about = {"epsilon": round(epsilon, 4), "image_resize": encoder.image_resize, "network": NETWORK}
    export_encoder(encoder, seen.vectors, path, about)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m dedup.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder of distinct photos, searched to any depth")
    parser.add_argument("--output", type=Path, default=Path("training"), help="folder of what is written (training)")
    epochs = [recipe.epochs for recipe in ROUNDS]
    parser.add_argument("--epochs", type=int, nargs="+", default=epochs, help=f"of the rounds, 1 or 2 ({epochs})")
    parser.add_argument("--batch-size", type=int, help="photos, of all rounds (each round's own)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make copies (2)")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--epsilon", type=float, default=EPSILON, help=f"to store with the weights ({EPSILON}, a guess)")
    one.add_argument("--calibrate", type=Path, metavar="OTHERS", help="measure epsilon on photos not trained on")
    given = parser.parse_args(arguments)
    for folder in (given.photos, given.calibrate):
        if folder and not folder.is_dir():
            parser.error(f"no such folder: {folder}")
    enough = min(given.epochs) >= 1 and (given.batch_size is None or given.batch_size >= 2) and given.workers >= 0
    if not enough or len(given.epochs) > len(ROUNDS) or not 0 <= given.epsilon <= 2:
        parser.error("epochs 1 or more, 2 rounds at most, batch-size 2 or more, workers 0 or more, epsilon 0 to 2")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse_arguments(arguments)
    paths, weights = list_images(given.photos, EXTENSIONS), given.output / "copydet.onnx"
    try:
        photos, start = read_photos(paths), None
        for number, (recipe, epochs) in enumerate(zip(ROUNDS, given.epochs, strict=False), 1):
            folder = given.output / f"round{number}"
            recipe = replace(recipe, epochs=epochs, batch_size=given.batch_size or recipe.batch_size)
            encoder = train(photos, recipe, folder, start, given.workers)
            start = folder / "checkpoint.pt"
        encoder = add_pretrained(encoder, photos, given.output / "head.jsonl")
        export(encoder, paths, given.calibrate, given.epsilon, weights)
    except ValueError as error:  # its text is one line that says what to do
        sys.exit(f"{given.photos}: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last checkpoint")
    print(f"wrote {weights}\nuse it: python main.py PICTURES --encoder {weights}")
