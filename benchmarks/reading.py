"""Reading and embedding beside decoding alone, in a process of its own: `python -m benchmarks.reading FOLDER`.

A folder of pictures  ->  a line of JSON: seconds of each, start-up aside
"""

from __future__ import annotations

import json
import sys
import time
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

import configs
from dedup.dataset import list_images
from dedup.embeddings import extract_embeddings
from dedup.model import choose_device, load_encoder

PROCESSES, SIDE, FIRST = 2, 160, 64


def main() -> int:
    folder = Path(sys.argv[1])
    paths = list_images(folder, configs.extensions)
    with get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(decode, paths[:FIRST])
        began = time.monotonic()
        sum(pool.imap_unordered(decode, paths, chunksize=8))
        decoding = time.monotonic() - began
    encoder, device = load_encoder(configs.encoder), choose_device()
    settings = None, configs.batch_size, PROCESSES, device, False
    extract_embeddings(encoder, paths[:FIRST], *settings)
    began = time.monotonic()
    extract_embeddings(encoder, paths, *settings)
    print(json.dumps({"images": len(paths), "decoding": decoding, "embedding": time.monotonic() - began}))
    return 0


def decode(path: Path) -> int:
    """Decode as small as the format allows without falling below the encoder's side."""
    with Image.open(path) as image:
        image.draft("RGB", (SIDE, SIDE))
        return image.convert("RGB").width > 0


if __name__ == "__main__":
    sys.exit(main())
