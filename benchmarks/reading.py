"""Reading and embedding beside decoding and encoding alone: `python -m benchmarks.reading FOLDER`.

A folder of pictures  ->  a line of JSON: images, squares that they gave, seconds of each, start-up aside
"""

from __future__ import annotations

import json
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

import configs
from benchmarks.folders import folder_given
from dedup.dataset.images import list_images
from dedup.encoder.embeddings import extract_embeddings
from dedup.encoder.inference import Encoder, open_encoder

PROCESSES, SIDE, FIRST = 2, 160, 64


def main() -> int:
    paths = list_images(folder_given(__doc__), configs.extensions)
    with get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(decode, paths[:FIRST])
        began = time.monotonic()
        sum(pool.imap_unordered(decode, paths, chunksize=8))
        decoding = time.monotonic() - began
    encoder = open_encoder(configs.encoder)
    settings = None, configs.batch_size, PROCESSES, None, False
    extract_embeddings(encoder, paths[:FIRST], *settings)
    began = time.monotonic()
    found = extract_embeddings(encoder, paths, *settings)
    embedding = time.monotonic() - began
    squares = len(found.vectors) + len(found.panels)
    encoding = encode(encoder, squares)
    seconds = {"decoding": decoding, "encoding": encoding, "embedding": embedding}
    print(json.dumps({"images": len(paths), "squares": squares} | seconds))
    return 0


def encode(encoder: Encoder, squares: int) -> float:
    """Seconds that so many squares take that are there already."""
    side, at_once = encoder.about.image_resize, configs.batch_size
    pictures = np.random.default_rng(0).integers(0, 256, (at_once, side, side, 3), np.uint8)
    began = time.monotonic()
    for first in range(0, squares, at_once):
        encoder.encode(pictures[: squares - first])
    return time.monotonic() - began


def decode(path: Path) -> int:
    """Decode as small as the format allows without falling below the encoder's side."""
    with Image.open(path) as image:
        image.draft("RGB", (SIDE, SIDE))
        return image.convert("RGB").width > 0


if __name__ == "__main__":
    sys.exit(main())
