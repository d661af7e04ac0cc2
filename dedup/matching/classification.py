"""The kind of match of two pictures that were laid on each other. Input: Overlay and Frame. Output: Match.

A coarse picture (a thumbnail of a few px, a placeholder, a copy blurred to nothing) has no fine detail to confirm. Its
few hundred px must agree nearly px by px, in brightness and colour, everywhere, with all of the other picture.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from dedup.matching.differences import (
    has_other_look,
    other_colours,
    places_of,
    sharpness_ratio,
    textured_share,
    worst_place,
)
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import COARSE, Picture
from dedup.matching.registration import SIDE, Frame, lay, outline, refine, stretch, whole_transforms
from dedup.matching.similarity import Overlay, explained_by_motion

LEAST_DETAIL = 0.8  # correlation of fine detail, overall or in the median block; below it nothing is confirmed
LEAST_BLOCKS = 12  # textured blocks of 225; a picture with fewer counts as blank
GRAPHIC = 0.3  # `Picture.plain` from which a picture is a drawing, text or a cut-out, not a photo
LITTLE_TEXTURE, TURNED_TEXTURE = 0.42, 0.6  # share of textured blocks; the same for a part that is also turned
DRAWING = 0.95  # `Picture.drawn` from which a picture is a drawing, sign or letter
FEW_TONES = 0.8  # `Picture.drawn` from which one other word or digit makes it another picture
CLOSER = 384  # px, side of the frame in which drawings and pages are compared
OTHER_WORDS = 3.0  # how far a place stands out there if it shows another word or digit
TINY = 48  # px, long side below which no check is skipped: the picture shows too little
# Correlation of fine detail below which motion is looked for; share of the difference that it explains in two shots.
DIFFERENT, MOVED = 0.95, 0.38
COVERS = 0.945  # share of a picture that the other must show to show all of it; the rest is a cut edge or a frame
SAME_FRAMING = 0.008  # share of a side; how far corners of two pictures with the same framing may lie apart
ROUNDED = 1.5  # px by which rounding may change a side of the smaller one
WHOLE_ALIKE = 0.97  # correlation of the squeezed squares of two pictures that may be one saved again
LEAST_TEXTURE = 0.03  # share of a picture that must show something
SHARP_ALIKE, SHARP_SAME_SIZE = 2.4, 1.6  # ratio of fine detail that another size can explain; that compression can
SAME_TONE = 4.2  # grey levels, root mean square difference up to which two pictures have the same tones
CHANGED = 1.5  # how far a place stands out if it was changed
UPRIGHT = 5.0  # degrees by which a drawing may be turned and still mean the same
WHOLE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # the transform that lays all of a picture on all of another


@dataclass(frozen=True)
class Match:
    """A confirmed pair, or one that is near but not a copy (`similar`).

    distance : cosine distance of the embeddings
    first_coverage, second_coverage : share of each picture that the other shows
    transform : homography, row by row, from unit coordinates of the first to those of the second; None if not known
    first_resolution, second_resolution : px of one for each px of the other where both show the same, the lower axis
    first_extra, second_extra : share of the overlap where one shows something over the other's picture
    first_chroma, second_chroma : mean chroma (CIELAB) of each in the overlap; near 0 is grey
    """

    kind: MatchKind
    distance: float
    first_coverage: float = 1.0
    second_coverage: float = 1.0
    transform: tuple[float, ...] | None = None
    first_resolution: float = 1.0
    second_resolution: float = 1.0
    first_extra: float = 0.0
    second_extra: float = 0.0
    first_chroma: float = 0.0
    second_chroma: float = 0.0

    def pack(self) -> bytes:
        """As bytes to store, without the distance, which depends on the encoder."""
        kind, _, *rest = astuple(self)
        return json.dumps([kind, *rest], default=float).encode()

    @classmethod
    def unpack(cls, value: bytes, distance: float) -> Match:
        kind, *rest = (tuple(each) if isinstance(each, list) else each for each in json.loads(value))
        return cls(MatchKind(kind), distance, *rest)


def confirmed(overlay: Overlay, graphic: bool, edge: float, breaks: float, turn: float) -> bool:
    """Whether what overlaps is one picture.

    edge, breaks : share of the inner picture's boundary that lies on the outer's edge, or where the outer breaks off
    turn : angle in degrees by which one is turned from the nearest quarter turn
    """
    o, whole_frame = overlay, edge + breaks >= 0.9
    even = o.agreement >= 0.85 and o.detail_blocks >= 0.97
    if graphic:  # one template with other words or another logo is another picture
        return even and o.detail >= 0.93
    # Two photos of one thing before one wall fit nearly as well as a copy does.
    steady = whole_frame or turn < 1
    if o.texture < (LITTLE_TEXTURE if steady else TURNED_TEXTURE):
        least = 0.99 if not whole_frame else 0.98 if turn > 1 else 0.95
        return even and steady and o.detail >= least
    # Evenly changed, by blur, compression, tone: all blocks agree to some degree.
    if even and o.detail >= 0.86:
        return True
    # Strongly changed, to few colours or under marks all over it, but the whole frame, with texture everywhere.
    if whole_frame and turn < 1 and o.texture >= 0.6:
        veiled = o.agreement >= 0.75 and o.detail_blocks >= 0.85 and o.detail >= 0.85
        if veiled or (o.agreement >= 0.95 and o.detail_blocks >= 0.9 and o.detail >= 0.8):
            return True
    # Changed in places, by captions or stickers: what is untouched agrees in every detail.
    usual, least = (0.95, 0.6) if whole_frame else (0.975, 0.8)
    return o.detail_usual >= usual and o.agreement >= least and o.detail_blocks >= least


def framed(picture: Picture, polygon: np.ndarray) -> tuple[float, float]:
    """Share of a polygon's boundary that lies on the picture's own edge; share along which the picture breaks off, as
    around a pasted picture.

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


def resolution_ratios(first: Picture, second: Picture, transform: np.ndarray) -> tuple[float, float]:
    """px of the first for each px of the second, and the other way round; each the lower of the ratios of both axes."""
    corners = outline(transform) * np.float32([second.width, second.height])
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    ratios = np.array([first.width, first.height]) / np.maximum([sides[[0, 2]].mean(), sides[[1, 3]].mean()], 1e-6)
    return float(ratios.min()), float((1 / ratios).min())


def is_resaved(first: Picture, second: Picture, transform: np.ndarray) -> bool:
    """Whether two pictures are one, the same way up and unstretched, in the same tone and colours, at every place.

    transform : unit coordinates of the first -> unit coordinates of the second
    """
    return is_framed_alike(first, second, transform) and _is_alike_everywhere(first, second)


@lru_cache(maxsize=2)  # the same pair is asked for again when it is compared in other ways
def _is_alike_everywhere(first: Picture, second: Picture) -> bool:
    if has_other_look(first, second):
        return False
    is_resized = (first.width, first.height) != (second.width, second.height)
    frame = lay(first, second, np.eye(3), min(max(first.grey.shape), max(second.grey.shape), CLOSER))
    return sharpness_ratio(frame) <= (SHARP_ALIKE if is_resized else SHARP_SAME_SIZE) and worst_place(frame) <= CHANGED


def match_resaved(first: Picture, second: Picture, distance: float = 0.0) -> Match | None:
    """The match of two pictures that are one, saved again in another format, quality or size; None if they are not.

    Needs no keypoints. Pictures that show next to nothing are never matched.
    """
    likeness = float(np.dot(first.squares[0].astype(np.float32), second.squares[0].astype(np.float32)))
    if likeness < WHOLE_ALIKE or not is_framed_alike(first, second, np.eye(3)):
        return None
    if textured_share(lay(first, second, np.eye(3))) < LEAST_TEXTURE or not is_resaved(first, second, np.eye(3)):
        return None
    resolution = resolution_ratios(first, second, np.eye(3))
    colours = (cv2.cvtColor(np.float32(each.colours) / 255, cv2.COLOR_RGB2LAB)[..., 1:] for each in (first, second))
    strengths = [float(np.linalg.norm(each, axis=-1).mean()) for each in colours]
    return Match(
        MatchKind.RESAVED,
        distance,
        transform=WHOLE,
        first_resolution=resolution[0],
        second_resolution=resolution[1],
        first_chroma=strengths[0],
        second_chroma=strengths[1],
    )


def is_framed_alike(first: Picture, second: Picture, transform: np.ndarray) -> bool:
    """Whether all of one picture lies on all of the other, the same way up and unstretched."""
    if np.abs(outline(transform) - outline(np.eye(3))).max() > SAME_FRAMING:
        return False
    (width, height), (wide, high) = sorted(((each.width, each.height) for each in (first, second)), key=sum)
    return abs(width * high - height * wide) <= ROUNDED * (wide + high)


def is_drawing(first: Picture, second: Picture) -> bool:
    """Whether two pictures have few tones: signs and letters, which mean another thing when they are turned."""
    return min(first.drawn, second.drawn) >= DRAWING


def is_upright(transform: np.ndarray) -> bool:
    """Whether a transform neither turns nor mirrors."""
    corners = outline(transform)
    across, down = corners[1] - corners[0], corners[3] - corners[0]
    turn = np.degrees(np.arctan2(across[1], across[0]))
    return bool(abs(turn) <= UPRIGHT and across[0] * down[1] - across[1] * down[0] > 0)


def _turn(base: Picture, other: Picture, transform: np.ndarray) -> float:
    """Angle by which the base is turned in the other from the nearest quarter turn, 0 to 45 degrees."""
    across, _ = (stretch(transform, other.grey) / np.array(base.grey.shape[::-1])).T
    angle = np.degrees(np.arctan2(across[1], across[0])) % 90
    return float(min(angle, 90 - angle))


def _same_words(first: Picture, second: Picture, frame: Frame) -> bool:
    """Whether drawings or pages agree everywhere in a larger frame, down to single words and digits."""
    there = min(max(first.grey.shape), max(second.grey.shape))  # px; a larger frame would show nothing more
    closer = lay(first, second, frame.first_to_second, min(max(there, SIDE), CLOSER))
    return worst_place(closer) <= OTHER_WORDS or worst_place(refine(closer)) <= OTHER_WORDS


def judge(first: Picture, second: Picture, frame: Frame, overlay: Overlay, distance: float) -> Match | None:
    """The match of two pictures laid on each other; None where they are not one picture."""
    if overlay.blocks < LEAST_BLOCKS or max(overlay.detail, overlay.detail_usual) < LEAST_DETAIL:
        return None
    base, other = (first, second) if frame.base_is_first else (second, first)
    edge, breaks = framed(other, outline(frame.transform))
    turn = _turn(base, other, frame.transform)
    has_few_tones = min(first.drawn, second.drawn) >= FEW_TONES
    graphic = min(first.plain, second.plain) >= GRAPHIC or is_drawing(first, second)
    graphic |= min(max(first.grey.shape), max(second.grey.shape)) < TINY
    if not confirmed(overlay, graphic, edge, breaks, turn):
        return None
    places = places_of(first, second, frame, overlay.apart)
    shares = overlay.first_share, overlay.second_share
    inner, outer = shares if frame.base_is_first else shares[::-1]
    # Two different crops of one picture. If it is turned, less is asked: no two shots of one scene would fit so well.
    one_source = overlay.detail >= 0.98 if turn < 1 else turn > 5 and overlay.detail >= 0.97 <= overlay.detail_usual
    two_crops = min(shares) >= 0.7 and one_source
    # In a blurred or compressed copy nothing moves; in two shots each part moves its own way.
    is_different = max(overlay.detail, overlay.detail_usual) < DIFFERENT
    other_shot = is_different and explained_by_motion(frame) > MOVED
    other_words = graphic and has_few_tones and not _same_words(first, second, frame)
    means_another = is_drawing(first, second) and not is_upright(frame.transform)
    if other_shot or other_words or means_another or other_colours(places) or not (inner >= 0.9 or two_crops):
        kind = MatchKind.SIMILAR
    elif outer >= COVERS or (outer >= 0.88 and edge >= 0.9):
        same = is_resaved(first, second, frame.first_to_second)
        kind = MatchKind.RESAVED if same else MatchKind.EDITED
    else:
        kind = MatchKind.CONTAINS if inner >= 0.9 and breaks > 0.3 * (1 - edge) else MatchKind.CROP
    transform = frame.first_to_second
    resolution = resolution_ratios(first, second, transform)
    return Match(
        kind,
        distance,
        first_coverage=shares[0] * (1 - overlay.first_extra),
        second_coverage=shares[1] * (1 - overlay.second_extra),
        transform=tuple(float(value) for value in (transform / transform[2, 2]).ravel()),
        first_resolution=resolution[0],
        second_resolution=resolution[1],
        first_extra=overlay.first_extra,
        second_extra=overlay.second_extra,
        first_chroma=places.strengths[0],
        second_chroma=places.strengths[1],
    )


COARSE_PART = 8  # px, side of a part; each part must agree
BLURS = (0.0, 0.5, 0.8, 1.2, 1.6, 2.2, 3.0)  # px, sigma, tried to make the sharp picture as coarse as the other
COARSE_TEXTURE = 3.0  # CIELAB L, standard deviation around the mean nearby
COARSE_AGREES, COLOURS_AGREE = 0.8, 0.85  # correlation of each part, and of all colours


def match_coarse(first: Picture, second: Picture, distance: float) -> Match | None:
    """The match of two pictures of which one alone is coarse; None where they are not one picture."""
    if first.coarse == second.coarse:
        return None
    for transform in whole_transforms(first, second):
        if np.allclose(np.sort(outline(transform), axis=0), [[0, 0], [0, 0], [1, 1], [1, 1]], atol=0.02):
            own, other = _laid(first, transform), _laid(second, np.eye(3))
            if _agree(own, other) if first.coarse else _agree(other, own):
                sizes = resolution_ratios(_as_seen(first), _as_seen(second), transform)
                place = tuple(map(float, transform.ravel()))
                kind = MatchKind.RESAVED if is_resaved(first, second, transform) else MatchKind.EDITED
                return Match(kind, distance, transform=place, first_resolution=sizes[0], second_resolution=sizes[1])
    return None


def _laid(picture: Picture, turn: np.ndarray) -> np.ndarray:
    """(COARSE, COARSE, 3) float32 CIELAB: the whole picture, squeezed, turned."""
    colours = picture.colours
    is_larger = min(colours.shape[:2]) >= COARSE
    how = cv2.INTER_AREA if is_larger else cv2.INTER_LINEAR
    square = np.float32(cv2.resize(colours, (COARSE, COARSE), interpolation=how)) / 255
    to_unit = np.array([[1 / COARSE, 0, 0.5 / COARSE], [0, 1 / COARSE, 0.5 / COARSE], [0, 0, 1]])
    pixels = np.linalg.inv(to_unit) @ turn @ to_unit
    turned = cv2.warpPerspective(square, pixels, (COARSE, COARSE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(turned, cv2.COLOR_RGB2LAB)


def _as_seen(picture: Picture) -> Picture:
    """The picture, its width and height reduced to the px that a coarse one really shows."""
    scale = min(1.0, COARSE / max(picture.width, picture.height)) if picture.coarse else 1.0
    return replace(picture, width=picture.width * scale, height=picture.height * scale)


def _agree(coarse: np.ndarray, sharp: np.ndarray) -> bool:
    """Whether two squares (COARSE, COARSE, 3) CIELAB show one picture, once the sharp one is as coarse."""
    blurred = (cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp for sigma in BLURS)
    sharp = max(blurred, key=lambda image: _likeness(coarse[..., 0], image[..., 0]))
    details = [image[..., 0] - cv2.GaussianBlur(image[..., 0], (0, 0), 2.5) for image in (coarse, sharp)]
    if (
        min(each.std() for each in details) < COARSE_TEXTURE
        or _likeness(coarse[..., 1:], sharp[..., 1:]) < COLOURS_AGREE
    ):
        return False
    steps = range(0, COARSE, COARSE_PART)
    parts = ((slice(top, top + COARSE_PART), slice(left, left + COARSE_PART)) for top in steps for left in steps)
    return all(_likeness(*(each[part] for each in details), noise=0.35) >= COARSE_AGREES for part in parts)


def _likeness(a: np.ndarray, b: np.ndarray, noise: float = 0.0) -> float:
    """Correlation, over all but the last of three axes together; deviations up to `noise` count little."""
    a, b = a - a.mean(axis=(0, 1)), b - b.mean(axis=(0, 1))
    return float((a * b).mean() / np.sqrt(((a * a).mean() + noise**2) * ((b * b).mean() + noise**2) + 1e-9))
