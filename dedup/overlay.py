"""How much of two pictures agrees where they overlap, and what either hides of the other.

Picture, Picture, Frame  ->  Overlay
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dedup.frames import Frame, outline, shares
from dedup.pictures import Picture

WINDOW, STRIDE = 16, 8  # of the blocks that are compared, in px of the frame
AGREES, FINE_AGREES = 0.6, 0.5  # correlation of blocks, of the pictures and of their details
TEXTURE = 4.0  # grey levels, standard deviation in a block


@dataclass(frozen=True)
class Overlay:
    """How two pictures compare where they overlap.

    first_share, second_share : share of each picture inside the overlap; plain margins count as inside
    blocks : textured blocks
    texture : share of all blocks that are textured
    agreement : share of these that correlate
    detail : correlation of all fine detail (band-pass), weighted by its energy
    detail_blocks : share of blocks with fine detail in which it correlates
    detail_usual : median correlation of fine detail in these blocks
    first_extra, second_extra : share of the overlap where one shows something the other does not
    """

    first_share: float
    second_share: float
    blocks: int
    texture: float
    agreement: float
    detail: float
    detail_blocks: float
    detail_usual: float
    first_extra: float
    second_extra: float


def _means(image: np.ndarray) -> np.ndarray:
    """Means over WINDOW x WINDOW blocks, every STRIDE px."""
    inner = slice(WINDOW // 2, -WINDOW // 2 + 1, STRIDE)
    return cv2.blur(image, (WINDOW, WINDOW))[inner, inner]


def _deviations(a: np.ndarray, b: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard deviation of both in each block, and their correlation there; variances up to `noise` count little."""
    mean_a, mean_b = _means(a), _means(b)
    var_a = np.maximum(_means(a * a) - mean_a**2, 0)
    var_b = np.maximum(_means(b * b) - mean_b**2, 0)
    likeness = (_means(a * b) - mean_a * mean_b) / np.sqrt((var_a + noise) * (var_b + noise))
    return np.sqrt(var_a), np.sqrt(var_b), likeness


def _fine(image: np.ndarray) -> np.ndarray:
    """Details of about 2 to 8 px."""
    return cv2.GaussianBlur(image, (0, 0), 0.8) - cv2.GaussianBlur(image, (0, 0), 2.5)


def _evenly_sharp(frame: Frame, agreeing: np.ndarray) -> list[np.ndarray]:
    """Both pictures as float32, the sharper one blurred until its details are as weak as the other's.

    agreeing : blocks to measure sharpness in
    """
    images = [image.astype(np.float32) for image in (frame.base, frame.other)]
    if not agreeing.any():
        return images

    def sharpness(image: np.ndarray, whole: np.ndarray) -> float:
        ratio = _means(_fine(image) ** 2) / (_means(whole**2) - _means(whole) ** 2 + 1)
        return float(np.median(ratio[agreeing]))

    levels = [sharpness(image, image) for image in images]
    sharper = int(levels[1] > levels[0])
    if levels[sharper] < 1.3 * levels[1 - sharper]:
        return images
    whole = images[sharper]
    blurred = [cv2.GaussianBlur(whole, (0, 0), sigma) for sigma in (0.6, 1.0, 1.5, 2.0, 3.0)]
    gaps = [abs(sharpness(image, whole) - levels[1 - sharper]) for image in blurred]
    images[sharper] = blurred[int(np.argmin(gaps))]
    return images


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float((part & whole).sum() / max(int(whole.sum()), 1))


def compare(first: Picture, second: Picture, frame: Frame) -> Overlay:
    """Compare two pictures block by block where they overlap."""
    grey = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1) for image in (frame.base, frame.other)]
    inside = _means(frame.mask.astype(np.float32)) > 0.9
    spread = [max(float(image[frame.mask].std()), TEXTURE) if frame.mask.any() else TEXTURE for image in grey]
    *stds, likeness = _deviations(*grey, noise=4)
    texture = [std / wide for std, wide in zip(stds, spread, strict=True)]  # contrast does not count
    rich = [(std > TEXTURE) & (t > 0.12) for std, t in zip(stds, texture, strict=True)]
    textured, agrees = inside & (rich[0] | rich[1]), likeness > AGREES

    fine = [_fine(image) for image in _evenly_sharp(frame, textured & agrees)]
    *fine_stds, fine_likeness = _deviations(*fine, noise=0.5)
    level = [max(float(np.sqrt((std[inside] ** 2).mean())), 0.7) if inside.any() else 0.7 for std in fine_stds]
    detailed = inside & ((fine_stds[0] > 0.35 * level[0]) | (fine_stds[1] > 0.35 * level[1]))
    energy = [float((image[frame.mask] ** 2).sum()) for image in fine]
    detail = float((fine[0] * fine[1])[frame.mask].sum() / np.sqrt(energy[0] * energy[1] + 1))

    apart = textured & ~agrees
    extra = [_share(apart & (texture[k] > 0.8 * texture[1 - k]), inside) for k in (0, 1)]
    to_second = frame.first_to_second
    return Overlay(
        first_share=shares(first, outline(np.linalg.inv(to_second)))[1],
        second_share=shares(second, outline(to_second))[1],
        blocks=int(textured.sum()),
        texture=_share(textured, inside),
        agreement=_share(agrees, textured),
        detail=detail,
        detail_blocks=_share(fine_likeness > FINE_AGREES, detailed),
        detail_usual=float(np.median(fine_likeness[detailed])) if detailed.any() else 0.0,
        first_extra=extra[0] if frame.base_is_first else extra[1],
        second_extra=extra[1] if frame.base_is_first else extra[0],
    )
