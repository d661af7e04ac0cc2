"""A file that was cut off half way is a part of the whole picture, and of no other."""

from itertools import permutations

import numpy as np
import pytest
from PIL import Image

from dedup.clustering.members import seen_by, what_is_missing
from dedup.matching.truncated import match_truncated
from tests.confirmation_pictures import PHOTOS, jpeg, match, photo, read_picture


def truncated(image, share, fill=128):
    array = np.asarray(image).copy()
    array[round(share * len(array)) :] = fill
    return Image.fromarray(array)


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize("name", ["chelsea.png", "astronaut.png", "coffee.png", "coins.png"])
def test_what_was_received_is_a_crop_of_the_whole(name, share):
    image = photo(name)
    for found, is_first in (
        (match(truncated(image, share), jpeg(image, 80)), True),
        (match(jpeg(image, 80), truncated(image, share)), False),
    ):
        assert found.kind == "crop"
        part, whole = seen_by(found, is_first), seen_by(found, not is_first)
        assert what_is_missing(part) is None and "is not in the kept file" in str(what_is_missing(whole))
        assert whole.coverage == pytest.approx(share, abs=0.02)
        assert np.reshape(found.transform, (3, 3)) == pytest.approx(np.eye(3), abs=0.02)


def test_no_truncated_picture_is_one_with_another_photo(tmp_path):
    pictures = []
    for name in PHOTOS:
        for place, image in enumerate((photo(name), truncated(photo(name), 0.4, fill=0))):
            image.save(tmp_path / f"{place}.png")
        pictures.append([read_picture(tmp_path / f"{place}.png") for place in (0, 1)])
    pairs = permutations(range(len(PHOTOS)), 2)
    assert [(i, j) for i, j in pairs if match_truncated(pictures[i][0], pictures[j][1], 0.0)] == []
