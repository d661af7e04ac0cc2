"""How two pictures of one thing differ: changed places, other tones, other colours.

Frame  ->  how far the worst place stands out; Picture, Picture, Frame  ->  Places  ->  whether colours differ

Compression, blur, tone and lost resolution change a picture everywhere, in proportion to what is there. What was
changed by hand, or moved between two frames of a film, differs at one place and nowhere else. So one picture is
predicted from the other by one filter and one tone curve for all places, and the error at each place is compared with
the error elsewhere. Edits of a photo's colours are the same everywhere: stronger, weaker, a cast, none, sepia. If an
area has a colour that no such edit explains, another thing was photographed or drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dedup.matching.pictures import Picture
from dedup.matching.registration import Frame, stretch, to_pixels, warp

WINDOW = 7  # px, side of the places that are compared; of a digit's size
SOFT = (0.6, 0.8)  # px, sigma, of the blurs that take single px of noise from the sharper and the softer picture
FILTERS = (0.8, 1.6, 3.2)  # px, sigma, of the blurs that a prediction is summed of
SAMPLES = 6_000  # px that the prediction is fitted on
LEAST_GAIN = 0.1  # share of its contrast that the filtered picture must keep
EVERY = 2  # px between the places by which the usual error is measured
STEPS = 3  # of the fit; in each, px that do not fit lose weight
STRAIGHT = 2.5  # grey levels, mean difference below which no tone curve is needed
LEVELS, HELD = 32, 25.0  # of the tone curve; px of weight that pull each level to the straight line
# How far a place stands out: error / (NOISE + USUAL * usual error + (LOST + USUALLY_LOST * usual loss) * variance).
# error: mean squared error in the window, squared grey levels; loss: error / variance of a textured place;
# usual: 90th percentile of all such places. Fitted on 204 pairs saved again and 440 changed at one place.
NOISE, USUAL = 7.0, 3.8
LOST, USUALLY_LOST = 0.024, 0.95
COLOUR_SIDE = 160  # px of the frame in which colours are compared
GREY, COLOURED = 3.0, 99.9  # CIELAB units, chroma; percentile of it that is lower in a grey picture
# How far a colour stands out: difference / (COLOUR_NOISE + USUAL_COLOUR * usual difference), in CIELAB units.
COLOUR_NOISE, USUAL_COLOUR = 14.0, 3.0
MOST_USUAL = 14.0  # CIELAB units, largest usual difference (90th percentile) that compression makes
BLACK, WHITE = 2, 253  # grey levels, at or beyond which nothing can be seen
TONE_SIDE, TONE_SOFT = 192, 2.0  # px: side of the squares in which greys are compared (colours: a quarter); blur, sigma
SAME_LOOK, FEW_PLACES = 3.0, 0.01  # grey levels or CIELAB units that places may differ by; share that may differ more
PALER, GREYED = 0.12, 0.5  # how much weaker colours may be: share of their strength; CIELAB units
SHIFTED = 0.2  # share of the standard deviation nearby by which resizing may change a place
SOFTENED = 192  # side of the frame / sigma of the blur under which tones are compared
TEXTURED = 16.0  # squared grey levels, variance from which a place shows something


def worst_place(frame: Frame) -> float:
    """How far the place stands out where one picture predicts the other worst; above 1 it was changed.

    inf where no place can be compared.
    """
    inside = cv2.erode(frame.mask.astype(np.uint8), _square(WINDOW + 4), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if not inside.any():
        return np.inf
    error, variance = _errors(frame)
    seen = inside > 0
    errors, variances = _some(error, seen), _some(variance, seen)
    lost = (errors / (variances + TEXTURED))[variances > TEXTURED]
    usually_lost = float(np.percentile(lost, 90)) if len(lost) else 0.0
    noise = NOISE + USUAL * (float(np.percentile(errors, 90)) if len(errors) else 0.0)
    core, around = cv2.erode(error, _square(3)), cv2.dilate(variance, _square(3))  # no single px decides
    return float((core / (noise + (LOST + USUALLY_LOST * usually_lost) * around))[seen].max())


def worst_colour(first: Picture, second: Picture, frame: Frame) -> float:
    """How far the place stands out whose colour differs most, in hue and strength; above 1 it was changed.

    0 if no place can be compared, or one of the pictures is grey.
    """
    base, other = (first, second) if frame.base_is_first else (second, first)
    own = cv2.resize(base.colours, (COLOUR_SIDE, COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    laid = warp(other.colours, to_pixels(frame.transform, other.colours, COLOUR_SIDE), COLOUR_SIDE)
    labs = [cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2LAB) for image in (own, laid)]
    seen = cv2.erode(frame.mask.astype(np.uint8), _square(5), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    seen = cv2.resize(seen, (COLOUR_SIDE, COLOUR_SIDE), interpolation=cv2.INTER_NEAREST) > 0
    if not seen.any() or min(float(np.percentile(np.hypot(*lab[seen, 1:].T), COLOURED)) for lab in labs) < GREY:
        return 0.0
    chromas = [cv2.GaussianBlur(lab[..., 1:], (0, 0), 1) for lab in labs]
    apart = np.hypot(*np.moveaxis(chromas[0] - chromas[1], -1, 0))
    usual = float(np.percentile(apart[seen], 90))
    worst = float(cv2.erode(apart, _square(3))[seen].max())
    return max(worst / (COLOUR_NOISE + USUAL_COLOUR * usual), usual / MOST_USUAL)


def has_other_look(first: Picture, second: Picture) -> bool:
    """Whether brightness or colours differ between two pictures with the same framing.

    Differences that a JPEG's rounding or resizing explains do not count.
    """
    side = min(*(max(picture.grey.shape) for picture in (first, second)), TONE_SIDE)
    greys = [_squeezed(picture.grey, side)[..., None] for picture in (first, second)]
    colours = [_squeezed(picture.colours, side // 4) / 255 for picture in (first, second)]
    hues = [cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 1:] for image in colours]
    rounded, rounded_hue = np.maximum(first.steps, second.steps) / 2
    weak, strong = sorted(float(np.sqrt(np.square(each).sum(axis=-1).mean())) for each in hues)
    if strong - weak > PALER * strong + max(rounded_hue, GREYED):
        return True
    return _lie_apart(*hues, SAME_LOOK + rounded_hue) or _lie_apart(*greys, SAME_LOOK + rounded)


def _squeezed(image: np.ndarray, side: int) -> np.ndarray:
    return np.float32(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))


def _lie_apart(own: np.ndarray, other: np.ndarray, most: float) -> bool:
    """Whether two images (side, side, channels), once blurred, differ by more than `most` at over FEW_PLACES."""
    soft = [cv2.GaussianBlur(image, (0, 0), TONE_SOFT).reshape(image.shape) for image in (own, other)]
    apart = np.sqrt(np.square(soft[0] - soft[1]).sum(axis=-1))
    if (apart > most).mean() <= FEW_PLACES:
        return False
    spreads = [
        cv2.GaussianBlur(np.square(image).sum(axis=-1), (0, 0), TONE_SOFT) - np.square(mean).sum(axis=-1)
        for image, mean in zip((own, other), soft, strict=True)
    ]
    shifted = SHIFTED * np.sqrt(np.maximum(np.minimum(*spreads), 0))
    return bool((apart - shifted > most).mean() > FEW_PLACES)


def soft_difference(frame: Frame) -> tuple[float, float]:
    """Difference of both pictures in grey levels after a blur: root mean square, and 90th percentile of all places.

    Other tones, marks and sharpness raise both; a change at one place raises the first only.
    """
    own, other = (image.astype(np.float32) for image in (frame.base, frame.other))
    soft = cv2.GaussianBlur(own - other, (0, 0), max(len(own) / SOFTENED, 2))
    apart = np.abs(_some(soft, frame.mask))
    if not len(apart):
        return 0.0, 0.0
    return float(np.sqrt(np.square(apart).mean())), float(np.percentile(apart, 90))


def textured_share(frame: Frame) -> float:
    """Share of the overlap where both pictures show something."""
    variances = (local_variance(image.astype(np.float32)) for image in (frame.base, frame.other))
    return float((np.minimum(*variances) > TEXTURED)[frame.mask].mean()) if frame.mask.any() else 0.0


def sharpness_ratio(frame: Frame) -> float:
    """Energy of the sharper picture's fine detail as a multiple of the other's."""
    energies = [_energy(image.astype(np.float32), frame.mask) for image in (frame.base, frame.other)]
    return max(energies) / min(energies)


def lost_light(frame: Frame) -> float:
    """Share of the overlap where one picture is burnt out or black, and the other shows something."""
    lost = np.zeros(frame.mask.shape, bool)
    for image, other in ((frame.base, frame.other), (frame.other, frame.base)):
        is_textured = local_variance(other.astype(np.float32)) > TEXTURED
        lost |= ((image <= BLACK) | (image >= WHITE)) & (other > BLACK) & (other < WHITE) & is_textured
    return float(lost[frame.mask].mean()) if frame.mask.any() else 0.0


def local_mean(values: np.ndarray) -> np.ndarray:
    """Mean in the window around each px."""
    return cv2.blur(values, (WINDOW, WINDOW))


def local_variance(values: np.ndarray) -> np.ndarray:
    """Variance in the window around each px; by rounding it may be a little less than 0."""
    return local_mean(values * values) - local_mean(values) ** 2


def _square(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)


def _energy(image: np.ndarray, mask: np.ndarray) -> float:
    detail = _some(image - cv2.GaussianBlur(image, (0, 0), 2), mask)
    return float(np.square(detail).mean()) + 1e-3 if len(detail) else 1e-3


def _some(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(k,) values of every EVERYth px across and down, where the mask is set."""
    return values[::EVERY, ::EVERY][mask[::EVERY, ::EVERY]]


def _errors(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """(side, side) mean squared error of the prediction in the window around each px, and the larger variance there."""
    images = [image.astype(np.float32) for image in (frame.base, frame.other)]
    sharper, softer = sorted(images, key=lambda image: -_energy(image, frame.mask))
    sharper, softer = (
        cv2.GaussianBlur(image, (0, 0), soft) for image, soft in zip((sharper, softer), SOFT, strict=True)
    )
    expected = np.clip(_filtered(sharper, softer, frame.mask), 0, 255)
    curve = _tone_curve(_some(expected, frame.mask), _some(softer, frame.mask))
    if curve is not None:
        expected = cv2.remap(curve[None], expected, np.zeros_like(expected), cv2.INTER_LINEAR)
    variances = map(local_variance, (expected, softer))
    return local_mean((softer - expected) ** 2), np.maximum(np.maximum(*variances), 0)


def _filtered(sharper: np.ndarray, softer: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The sharper picture through the filter that makes it most like the softer one."""
    blurred = [sharper, *(cv2.GaussianBlur(sharper, (0, 0), sigma) for sigma in FILTERS)]
    step = max(1, int(np.sqrt(mask.size / SAMPLES)))
    seen = mask[::step, ::step]
    if not seen.any():
        return sharper
    samples = np.stack([image[::step, ::step][seen] for image in blurred], axis=1).astype(float)
    middle = samples[:, 0].mean()
    terms = np.c_[samples - middle, np.ones(len(samples))]
    wanted, weights = softer[::step, ::step][seen].astype(float), np.ones(len(samples))
    held = 0.004 * len(samples) * np.diag([1.0] * len(blurred) + [0.0])
    for _ in range(STEPS):
        factors = np.linalg.solve(terms.T @ (terms * weights[:, None]) + held, terms.T @ (weights * wanted))
        left = np.abs(wanted - terms @ factors)
        weights = 1 / (1 + (left / (3 * np.median(left) + 2)) ** 2)
    if factors[:-1].sum() < LEAST_GAIN:  # else a plain area would be predicted well from anything
        return sharper
    total = np.full(sharper.shape, factors[-1] - middle * factors[:-1].sum(), np.float32)
    for factor, image in zip(factors, blurred, strict=False):
        cv2.scaleAdd(image, float(factor), total, total)
    return total


def _tone_curve(own: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """(256,) float32: what each grey level of one becomes in the other, both (k,); None if levels stay as they are."""
    if not len(own) or np.abs(own - other).mean() < STRAIGHT:
        return None
    levels = np.arange(256, dtype=np.float32)
    slope, start = np.polyfit(own[::7], other[::7], 1)
    if slope < LEAST_GAIN:
        return None
    place = np.clip(own.astype(int) * LEVELS // 256, 0, LEVELS - 1)
    off, count = np.bincount(place, other - (slope * own + start), LEVELS), np.bincount(place, minlength=LEVELS)
    bent = np.interp(levels, (np.arange(LEVELS) + 0.5) * 256 / LEVELS, off / (count + HELD))
    return (slope * levels + start + bent).astype(np.float32)


SIDE = 24  # places across and down the frame
CAST = 12.0  # CIELAB units that may be added to all colours
STRONGER = 3.0  # times the other's strength that all colours may have
UNEXPLAINED = 8.0  # CIELAB units that may stay unexplained, beyond ALONG and ACROSS
ALONG, ACROSS = (0.5, 1.0), (0.25, 0.6)  # shares of a colour's strength, along and across its hue; second if clipped
CLIPPED = 8, 240  # levels of a channel beyond which brightness may have changed the hue
LIT_OTHERWISE = 15.0  # levels of lightness from which one picture counts as brighter
AREA = 10  # connected places that count as an area
ONE_HUE = 0.85  # share of the colours' strength in one direction, from which a picture has one hue only
TONED, COLOURFUL = 0.06, 0.08  # share of the colours that lightness does not explain: most if toned, least of a photo
SEPIA, PALE = (35.0, 100.0), (35.0, 50.0)  # hue in degrees; strength: mean, 95th percentile


@dataclass(frozen=True)
class Places:
    """Both pictures' colours where they overlap.

    lumas : two (SIDE, SIDE) float32, 0 to 255
    chromas : two (SIDE, SIDE) complex, a + ib (CIELAB)
    clipped : (SIDE, SIDE) bool, where one is as bright or dark as can be, and the other is not, or is less so
    mask : (SIDE, SIDE) bool, places that count
    """

    lumas: tuple[np.ndarray, np.ndarray]
    chromas: tuple[np.ndarray, np.ndarray]
    clipped: np.ndarray
    mask: np.ndarray

    @property
    def strengths(self) -> tuple[float, float]:
        """Mean chroma of each picture; near 0 is grey."""
        return tuple(float(np.abs(each[self.mask]).mean()) if self.mask.any() else 0.0 for each in self.chromas)


def places_of(first: Picture, second: Picture, frame: Frame, apart: np.ndarray) -> Places:
    """Both pictures' colours in a frame.

    apart : (rows, columns) bool, blocks of the frame to leave out: a sticker's colours say nothing of the picture's
    """
    base, other = (first, second) if frame.base_is_first else (second, first)
    soft = [cv2.GaussianBlur(picture.colours, (0, 0), 1) for picture in (base, other)]
    own = cv2.resize(soft[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    images = [np.float32(each) for each in (own, warp(soft[1], to_pixels(frame.transform, soft[1], SIDE), SIDE))]
    shown = np.linalg.norm(stretch(frame.transform, soft[1]), axis=0).min()  # px of the other across the base
    coarse = SIDE / max(min(shown, *soft[0].shape[:2]), 1)
    if coarse > 1:  # its px are larger than a place: both are made equally soft
        images = [cv2.GaussianBlur(image, (0, 0), coarse) for image in images]
    near = cv2.dilate(apart.astype(np.uint8), np.ones((3, 3), np.uint8))
    inside, hidden = (
        cv2.resize(part.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for part in (frame.mask, near)
    )
    labs = [cv2.cvtColor(image / 255, cv2.COLOR_RGB2LAB) for image in images]
    lumas = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    chromas = [lab[..., 1] + 1j * lab[..., 2] for lab in labs]
    turned = slice(None, None, 1 if frame.base_is_first else -1)
    clipped = [(image.max(axis=-1) > CLIPPED[1]) | (image.min(axis=-1) < CLIPPED[0]) for image in images]
    ring = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}  # outside colours may reach the border
    mask = (cv2.erode(inside, np.ones((3, 3), np.uint8), **ring) > 0) & (hidden == 0)
    is_lit_otherwise = np.abs(lumas[0] - lumas[1]) > LIT_OTHERWISE
    may_have_turned = (clipped[0] != clipped[1]) | (clipped[0] & is_lit_otherwise)
    return Places(tuple(lumas[turned]), tuple(chromas[turned]), may_have_turned, mask)


def other_colours(places: Places) -> bool:
    """Whether an area's colour in one picture can't come from the other's by a change of all colours."""
    colours = [each[places.mask] for each in places.chromas]
    if max(places.strengths) < GREY or _largest_area(np.abs(colours[0] - colours[1]) > UNEXPLAINED, places) < AREA:
        return False
    lumas = [each[places.mask] for each in places.lumas]
    has_own = [_own_colours(*each) for each in zip(lumas, colours, strict=True)]
    if any(_is_sepia(colours[k]) and has_own[k] < TONED and not 0 < has_own[1 - k] < COLOURFUL for k in (0, 1)):
        return False
    areas = (_area_unexplained(*pair, places) for pair in (colours, colours[::-1]))
    return min(areas) >= AREA


def _has_one_hue(colours: np.ndarray) -> bool:
    """Whether nearly all colours (k,) are of one hue; greys have none."""
    strength = np.abs(colours).sum()
    return bool(strength > GREY * len(colours) and np.abs(colours.sum()) > ONE_HUE * strength)


def _own_colours(lumas: np.ndarray, colours: np.ndarray) -> float:
    """Share of the colours' strength that lightness leaves unexplained, both (k,); 0 for greys."""
    if np.abs(colours).mean() < GREY:
        return 0.0
    terms = np.stack([np.ones(len(lumas)), lumas / 255, (lumas / 255) ** 2], axis=1)
    fitted = terms @ np.linalg.lstsq(terms, colours, rcond=None)[0]
    return float(np.abs(colours - fitted).mean() / np.abs(colours).mean())


def _is_sepia(colours: np.ndarray) -> bool:
    strengths = np.abs(colours)
    if not _has_one_hue(colours) or strengths.mean() >= PALE[0] or np.percentile(strengths, 95) >= PALE[1]:
        return False  # an orange drawing on white is not sepia
    return bool(SEPIA[0] < np.degrees(np.angle(colours.sum())) < SEPIA[1])


def _area_unexplained(own: np.ndarray, other: np.ndarray, places: Places) -> int:
    """Size of the largest area where `other` is not a stronger, weaker or cast version of `own`, both (k,) complex."""
    factor, cast = _fit(own, other)
    expected = factor * own + cast
    strength = np.abs(expected)
    direction = np.where(strength > 1e-6, expected / np.maximum(strength, 1e-6), 1)
    off = (other - expected) * direction.conj()
    along, across = (np.where(places.clipped[places.mask], *shares[::-1]) * strength for shares in (ALONG, ACROSS))
    beyond = np.hypot(np.maximum(np.abs(off.real) - along, 0), np.maximum(np.abs(off.imag) - across, 0))
    return _largest_area(beyond > UNEXPLAINED, places)


def _largest_area(is_other: np.ndarray, places: Places) -> int:
    """Places of the largest connected area among those that differ, (k,) bool, one for each place of the mask."""
    flagged = np.zeros(places.mask.shape, np.uint8)
    flagged[places.mask] = is_other
    sizes = cv2.connectedComponentsWithStats(flagged)[2][1:, cv2.CC_STAT_AREA]
    return int(sizes.max(initial=0))


def _fit(own: np.ndarray, other: np.ndarray, steps: int = 8) -> tuple[float, complex]:
    """The factor and the cast that best turn `own` into `other`; places that they don't explain count little."""
    weights = np.ones(len(own))
    for _ in range(steps):
        middle, other_middle = (np.average(each, weights=weights) for each in (own, other))
        a, b = own - middle, other - other_middle
        held = GREY**2 * weights.sum()  # pulls the factor towards 1 where there is little colour
        factor = ((weights * (a.conj() * b).real).sum() + held) / ((weights * np.abs(a) ** 2).sum() + held)
        factor = float(np.clip(factor, 0, STRONGER))
        cast = other_middle - factor * middle
        if abs(cast) > CAST:
            cast, energy = 0, (weights * np.abs(own) ** 2).sum() + 1e-6
            factor = float(np.clip((weights * (own.conj() * other).real).sum() / energy, 0, STRONGER))
        weights = 1 / (1 + (np.abs(other - factor * own - cast) / UNEXPLAINED) ** 2)
    return factor, cast
