"""Two pictures laid on each other: how much agrees, what either hides of the other, whether they move or change hue.

Picture, Picture, (3, 3) transform  ->  Frame, both pictures where they overlap  ->  Overlay, what they have in common
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dedup.pictures import Picture

SIDE, WINDOW, STRIDE = 128, 16, 8  # of the common frame and its blocks, in px
AGREES, FINE_AGREES = 0.6, 0.5  # correlation of blocks, of the pictures and of their details
TEXTURE = 4.0  # grey levels, standard deviation in a block


@dataclass(frozen=True)
class Frame:
    """Both pictures where they overlap, in the squeezed frame of the one that lies in the other.

    base, other : (side, side) uint8 grey, equally sharp
    mask : (side, side) bool, where there is something of both
    base_is_first : which of the two gives the frame
    transform : unit coordinates of the base -> unit coordinates of the other
    """

    base: np.ndarray
    other: np.ndarray
    mask: np.ndarray
    base_is_first: bool
    transform: np.ndarray

    @property
    def first_to_second(self) -> np.ndarray:
        return self.transform if self.base_is_first else np.linalg.inv(self.transform)


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


def outline(transform: np.ndarray) -> np.ndarray:
    """(4, 2) where the unit square's corners go."""
    return cv2.perspectiveTransform(np.float32([[[0, 0], [1, 0], [1, 1], [0, 1]]]), transform)[0]


def shares(picture: Picture, polygon: np.ndarray, grid: int = 96) -> tuple[float, float]:
    """Share of a picture inside a polygon in unit coordinates: of its area, and with plain margins as inside."""
    mask = np.zeros((grid, grid), np.uint8)
    cv2.fillConvexPoly(mask, np.round(np.clip(polygon, -8, 9) * grid * 16 - 8).astype(np.int32), 1, shift=4)
    shown = np.ones((grid, grid), bool)
    left, top, right, bottom = np.round(np.multiply(picture.box, grid)).astype(int)
    shown[top:bottom, left:right] = mask[top:bottom, left:right]
    return float(mask.mean()), float(shown.mean())


def _to_pixels(transform: np.ndarray, image: np.ndarray, side: int) -> np.ndarray:
    """Pixel of a side x side frame -> pixel of the image, pixels counted at their centres."""
    height, width = image.shape[:2]
    to_image = np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1]])
    return to_image @ transform @ np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side], [0, 0, 1]])


def _warp(image: np.ndarray, to_pixels: np.ndarray, side: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, to_pixels, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def lay(first: Picture, second: Picture, transform: np.ndarray, side: int = SIDE) -> Frame:
    """Bring both pictures into one frame, at the sharpness of the less sharp one.

    transform : unit coordinates of the first -> unit coordinates of the second
    """
    inverse = np.linalg.inv(transform)
    base_is_first = shares(first, outline(inverse))[0] >= shares(second, outline(transform))[0]
    base, other = (first, second) if base_is_first else (second, first)
    transform = transform if base_is_first else inverse
    # Both are shrunk to the fewer px that either has along each side, so that neither is sharper.
    fine = np.minimum(side, base.grey.shape[::-1])  # (2,) px of the base that the frame can show, across and down
    reach = stretch(transform, other.grey) / fine  # (2, 2) px of `other`, (across, down) for a px of the base
    height, width = other.grey.shape
    across, down = np.maximum(np.linalg.norm(reach, axis=1), 1)
    image = _shrink(other.grey, width / across, height / down)
    reach = stretch(transform, image) / fine
    across, down = np.minimum(np.linalg.norm(reach, axis=0), 1) * fine
    own = cv2.resize(_shrink(base.grey, across, down), (side, side), interpolation=cv2.INTER_LINEAR)
    to_pixels = _to_pixels(transform, image, side)
    whole = np.full(image.shape, 255, np.uint8)
    inside = cv2.warpPerspective(whole, to_pixels, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 250
    return Frame(own, _warp(image, to_pixels, side), inside, base_is_first, transform)


def stretch(transform: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(2, 2) px of an image, (x, y), that the unit square's two sides cover, near its middle."""
    middle, right, below = (transform @ [x, y, 1] for x, y in ((0.5, 0.5), (0.6, 0.5), (0.5, 0.6)))
    middle, right, below = (point[:2] / point[2] for point in (middle, right, below))
    return np.stack([right - middle, below - middle], axis=1) * 10 * np.array(image.shape[::-1])[:, None]


def _shrink(image: np.ndarray, width: float, height: float) -> np.ndarray:
    size = max(8, round(width)), max(8, round(height))
    return image if size == image.shape[::-1] else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def refine(frame: Frame, steps: int = 25) -> Frame:
    """Move the other picture by fractions of a pixel to where it fits best (ECC; Evangelidis, TPAMI 2008)."""
    side = len(frame.base)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    mask = frame.mask.astype(np.uint8)
    try:
        _, move = cv2.findTransformECC(
            frame.base, frame.other, np.eye(3, dtype=np.float32), cv2.MOTION_HOMOGRAPHY, criteria, mask, 3
        )
    except cv2.error:  # no overlap or no texture to go by
        return frame
    unit = np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side], [0, 0, 1]])  # pixel -> unit coordinates
    unit_move = unit @ move.astype(float) @ np.linalg.inv(unit)
    if not np.abs(outline(unit_move) - outline(np.eye(3))).max() < 0.04:
        return frame
    transform = frame.transform @ unit_move
    other = _warp(frame.other, move, side)
    inside = _warp(frame.mask.astype(np.uint8) * 255, move, side) > 250
    return replace(frame, other=other, mask=inside & frame.mask, transform=transform / transform[2, 2])


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


def chroma(first: Picture, second: Picture, frame: Frame, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """(k,) complex a + ib (CIELAB) of both pictures at the same places of the overlap."""
    base, other = (first, second) if frame.base_is_first else (second, first)
    soft = [cv2.GaussianBlur(picture.colours, (0, 0), 1) for picture in (base, other)]
    own = cv2.resize(soft[0], (side, side), interpolation=cv2.INTER_AREA)
    warped = _warp(soft[1], _to_pixels(frame.transform, soft[1], side), side)
    mask = cv2.resize(frame.mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    labs = [cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2LAB)[mask] for image in (own, warped)]
    values = [lab[:, 1] + 1j * lab[:, 2] for lab in labs]
    return (values[0], values[1]) if frame.base_is_first else (values[1], values[0])


def framed(picture: Picture, polygon: np.ndarray) -> tuple[float, float]:
    """How a polygon's boundary lies in a picture: share on the picture's own edge, share along which the picture breaks
    off, as around a pasted picture.

    polygon : (4, 2) in unit coordinates
    """
    height, width = picture.grey.shape
    image = cv2.GaussianBlur(picture.grey, (0, 0), 0.7).astype(np.float32)
    points = polygon * np.float32([width, height]) - 0.5
    left, top, right, bottom = np.multiply(picture.box, (width, height, width, height))
    margin = 0.03 * max(height, width)
    total = edge = breaks = 0.0
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        length = float(np.linalg.norm(end - start))
        total += length
        middle = (start + end) / 2
        along = (end - start) / max(length, 1e-6)
        normal = np.float32([-along[1], along[0]])
        if np.dot(normal, points.mean(axis=0) - start) > 0:
            normal = -normal  # outwards
        x, y = middle
        if (min(x - left, right - x) < margin and abs(normal[0]) > 0.9) or (
            min(y - top, bottom - y) < margin and abs(normal[1]) > 0.9
        ):
            edge += length
        elif length >= 12 and _breaks_off(image, start + 3 * along, along, normal, length - 6):
            breaks += length
    return edge / max(total, 1e-6), breaks / max(total, 1e-6)


def _breaks_off(image: np.ndarray, start: np.ndarray, along: np.ndarray, normal: np.ndarray, length: float) -> bool:
    """Whether brightness jumps along a line more than beside it."""
    steps, across = np.arange(0, length, dtype=np.float32), np.arange(-9, 10, dtype=np.float32)
    places = (start + steps[:, None] * along)[:, None] + across[None, :, None] * normal  # (steps, 19, 2)
    strip = cv2.remap(image, places.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    jumps = np.abs(np.diff(strip, axis=1)).mean(axis=0)  # (18,)
    near, beside = jumps[6:12].max(), np.median(np.r_[jumps[:6], jumps[12:]])
    return bool(near > 6 and near > 2.2 * beside)
