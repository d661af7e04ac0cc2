"""Series: shots of one scene, joined by likeness and capture time, and the one that came out best."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dedup.clustering.quality import shot_quality
from dedup.clustering.result import NEXT_SHOT, Shot, in_series
from tests.confirmation_pictures import photo


def shots(**times):
    return {Path(name): Shot(Path(name), time, len(name)) for name, time in times.items()}


def joined(pairs, **times):
    found = in_series([tuple(map(Path, pair)) for pair in pairs], shots(**times))
    return ["".join(shot.path.name for shot in series.shots) for series in found]


def test_like_shots_that_follow_each_other_are_one_series():
    assert joined(["ab", "bc"], a=0, b=NEXT_SHOT, c=2 * NEXT_SHOT) == ["abc"]
    assert joined(["ab", "bc"], a=0, b=NEXT_SHOT + 1, c=NEXT_SHOT + 2) == ["bc"]
    assert joined(["ab"], a=0, b=NEXT_SHOT + 1) == []
    assert joined(["ab"], a=0, b=1, c=1) == ["ab"]  # c is like none
    assert joined([]) == []


def test_series_and_their_shots_are_in_the_order_they_were_taken():
    assert joined(["ab", "dc"], a=102, b=101, c=1, d=1) == ["cd", "ba"]


def test_the_best_shot_is_suggested_and_of_equals_the_first():
    given = {Path(name): Shot(Path(name), 1, quality) for name, quality in {"a": 0.1, "b": 0.3, "c": 0.3}.items()}
    (series,) = in_series([(Path("a"), Path("b")), (Path("b"), Path("c"))], given)
    assert series.suggested == Path("b")


CHANGES = {
    "out of focus": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "shaken": lambda image: image.filter(ImageFilter.Kernel((5, 5), [0] * 10 + [1] * 5 + [0] * 10)),
    "too dark": lambda image: image.point(lambda level: level * 0.3),
    "too bright": lambda image: image.point(lambda level: 255 - (255 - level) * 0.3),
    "burnt out": lambda image: image.point(lambda level: level * 2),  # with more contrast
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_shot_that_came_out_worse_is_told(change, tmp_path):
    image = photo("chelsea.png")
    image.save(tmp_path / "good.jpg", quality=90)
    CHANGES[change](image).save(tmp_path / "worse.jpg", quality=90)
    assert shot_quality(tmp_path / "worse.jpg") < 0.8 * shot_quality(tmp_path / "good.jpg")


def test_a_plain_area_has_no_quality(tmp_path):
    Image.fromarray(np.full((60, 80, 3), 128, np.uint8)).save(tmp_path / "plain.png")
    assert shot_quality(tmp_path / "plain.png") == 0
