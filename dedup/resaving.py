"""Saving again: two files of one size in, whether saving the one as the other was saved gives just the other out.

What JPEG makes of a picture depends on its pixels, the tables and how colours are sampled, and on nothing else. A file
that comes out to the last pixel was made from these pixels; if another encoder made it, nothing comes out.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from dedup.decoding import load_image
from dedup.safeguards import open_header

SIDE = 1024  # px that are saved again along each side: whole blocks, those of subsampled colours too
BESIDE = 2  # px at the edges, where colours depend on what was cut away


class _Corner(NamedTuple):
    """The upper left of a picture. tables, sampling : of its JPEG, no tables where it is none"""

    picture: Image.Image
    tables: dict[int, list[int]]
    sampling: int


def saved_from(copy: Path, source: Path) -> bool:
    """Whether `copy` is what saving `source` in its way gives, pixel for pixel, and `source` not what `copy` gives.

    Of traces of saving again, which both leave where a picture went back to its own earlier steps, this tells apart.
    """
    try:
        first, second = _corner(copy), _corner(source)
        return _becomes(second, first) and not _becomes(first, second)
    except Exception:  # decoders raise nearly everything on odd files
        return False


def _corner(path: Path) -> _Corner:
    with open_header(path) as image:
        tables = getattr(image, "quantization", None) or {}
        sampling, mode = (get_sampling(image), image.mode) if tables else (-1, "RGB")
    picture = load_image(path).convert("L" if mode == "L" else "RGB")
    return _Corner(picture.crop((0, 0, min(picture.width, SIDE), min(picture.height, SIDE))), tables, sampling)


def _becomes(source: _Corner, copy: _Corner) -> bool:
    """Whether the source's pixels, saved as the copy was, are the copy's."""
    again, wanted = source.picture.convert(copy.picture.mode), copy.picture
    if copy.tables:
        file = BytesIO()
        again.save(file, "JPEG", qtables=copy.tables, subsampling=copy.sampling)
        again = Image.open(file)
    same = np.asarray(again) == np.asarray(wanted)
    return bool(same[:-BESIDE, :-BESIDE].all())
