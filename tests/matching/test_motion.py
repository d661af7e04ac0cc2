"""Two shots of one thing are told from copies by what moved between them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dedup.matching import classification
from tests.confirmation_pictures import PHOTOS, jpeg, match, noisy, photo


def waved(image, share, waves):
    """The image with its parts moved by up to a share of its width, each another way."""
    y, x = np.indices(image.size[::-1]).astype(np.float32)
    across, down = (share * image.width * np.sin(2 * np.pi * waves * p / len(y)) for p in (y, x))
    moved = cv2.remap(np.asarray(image), x + across, y + down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return Image.fromarray(moved)


def bent(image):
    """The image with its corners drawn inwards, and its middle less so."""
    w, h = image.size
    return image.transform(image.size, Image.Transform.QUAD, (0, 0, 0.02 * w, h, w, 0.97 * h, 0.98 * w, 0.02 * h), 3)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_whose_parts_have_moved_is_another_shot(name, monkeypatch):
    shots = photo(name), waved(photo(name), 0.006, waves=2)
    assert match(*shots).kind == "similar"
    monkeypatch.setattr(classification, "MOVED", 1)
    assert match(*shots).kind in ("resaved", "edited")


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_that_is_bent_as_one_or_spoilt_is_a_copy(name):
    image = photo(name)
    assert match(image, jpeg(bent(image), 40)).kind in ("edited", "crop")
    assert match(image, jpeg(noisy(image, 15), 15)).kind in ("resaved", "edited")
