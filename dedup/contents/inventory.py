"""What a file holds besides its picture, and why a duplicate stays for it.

path  ->  Contents: {"keywords": {"Lisbon", "sea"}, "film": {digest}, "bits a channel": {"9", "10"}, ...}
contents of a duplicate and of its keeper  ->  what the keeper lacks of the duplicate's

A duplicate may show nothing new and still be worth keeping: for its date, its keywords, the film behind it.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image, ImageChops, ImageCms

from dedup.contents.companions import digest_when, goes_with, matched_companions
from dedup.contents.merging import can_be_merged
from dedup.contents.metadata import CAPTURED, Told, digest, read_metadata
from dedup.contents.parts import bits_in_boxes, read_parts
from dedup.dataset.decoding import (
    BYTES_PER_PIXEL,
    DIGEST,
    MAX_BYTES,
    RAW,
    broken_tells_nothing,
    identify,
    is_jpeg_xl,
    one_line,
)
from dedup.store import NOTHING, Store
from dedup.workers import Lost, job, run_jobs

TRANSPARENCY, FRAMES, FRAME_TIMES, PROFILE = "transparency", "other frames or pages", "frame times", "colour profile"
CMYK, BITS = "CMYK colours", "bits a channel"
SENSOR, JPEG_XL = "sensor data", "JPEG XL data"  # a decoder shows a part and does not say what the rest is
_TRASHES = re.compile(
    r"\.dedup-trash|\.?trash(es|-\d+)?|files_trashbin|\$recycle\.bin|recycle[rd]|[#@]recycle|\.dtrash|\.stversions",
    re.IGNORECASE,
)
_MOST_FRAMES = 1000  # of an animation that is compared frame by frame
_MEMORY = 4 * MAX_BYTES  # bytes, of the process that reads a file
_BITS_PER_SAMPLE, _SUBFILE, _REDUCED = 258, 254, 1  # TIFF 6.0
_OF_RAW = {0x014A, 0xC612}  # tags of a TIFF that hold pictures in it (SubIFDs), or make it a DNG
_MOST_NAMED = 3  # things that a keeper lacks, in a reason
_VALUES = (0, 64, 128, 192, 255)  # of each channel, by which a colour profile is compared with sRGB
_AS_SRGB = 3  # levels of 255 that a profile may differ from sRGB and still count as it


@dataclass(frozen=True)
class Contents:
    """What a file holds besides its picture: values by name. A name without values: it is there, values don't matter.

    untold : why that can't be read, in one line; empty if it can
    """

    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    untold: str = ""


def what_it_lacks(own: Contents, kept: Contents) -> tuple[str, ...]:
    """Names of what a file holds and its keeper lacks or has with another value. Both must have an empty `untold`."""
    return tuple(name for name, values in own.held.items() if name not in kept.held or not values <= kept.held[name])


def richness(contents: Contents) -> int:
    """How much a file holds: if it holds all that another file does and more, its number is higher."""
    return sum(1 + len(values) for values in contents.held.values())


def capture_time(contents: Contents) -> float | None:
    """Seconds since 1970 by the camera's clock; of several times the first."""
    held = contents.held.get(CAPTURED, ())
    times = [text for text in held if " " in text and sum(other.startswith(text) for other in held) == 1]
    try:
        return min(datetime.strptime(f"{text}:00"[:19] + "+0000", "%Y:%m:%d %H:%M:%S%z").timestamp() for text in times)
    except ValueError:  # missing, or not a valid date
        return None


def ages(files: Sequence[tuple[Contents, float]]) -> list[float]:
    """Ages that can be compared, of (contents, mtime): capture times if all files have one, else mtimes."""
    captured = [capture_time(contents) for contents, _ in files]
    return [mtime for _, mtime in files] if None in captured else captured


def read_all_contents(paths: Sequence[Path], num_workers: int, facts: Store = NOTHING) -> dict[Path, Contents]:
    """What files hold, remembered or read in processes of their own; `untold` says why one can't be read."""
    paths = list(dict.fromkeys(paths))
    read = partial(run_jobs, _read_told, num_workers=num_workers, memory_limit=_MEMORY)
    return dict(zip(paths, map(_contents, facts.of_each("contents", paths, read)), strict=True))


def _contents(found: dict[str, list[str]] | Lost) -> Contents:
    if isinstance(found, Lost):
        return Contents(untold=found.reason)
    return Contents({name: frozenset(values) for name, values in found.items()})


def why_it_stays(
    member_path: Path,
    keeper_path: Path,
    images_dir: Path,
    keeper_dir: Path | None = None,
    facts: Store = NOTHING,
    told: Mapping[Path, Contents] | None = None,
    merge: bool = False,
) -> str:
    """Why a duplicate should not be removed although its keeper shows all of its picture; empty if it may go.

    Parameters
    ----------
    member_path, keeper_path : images_dir / relative; the keeper's keeper_dir / relative where that is given
    facts : what is remembered of their contents; names, links and companions are always read again
    told : their contents, where these were read already
    merge : whether what the keeper lacks will be written into an XMP file beside it, as far as `merging` can; not if
        companions go with the duplicate
    """
    if any(_TRASHES.fullmatch(part) for part in member_path.relative_to(images_dir).parts[:-1]):
        return "lies in a trash folder"
    if any(_TRASHES.fullmatch(part) for part in keeper_path.relative_to(keeper_dir or images_dir).parts[:-1]):
        return "its keeper lies in a trash folder"
    try:
        if reason := goes_with(member_path, images_dir):
            return reason
        together = matched_companions(member_path, keeper_path)
        return (
            _of_one_file(member_path, keeper_path)
            or together.reason
            or _more_inside(member_path, keeper_path, facts, told, merge, bool(together.pairs))
        )
    except Exception as error:
        return f"can't be compared with its keeper in full: {one_line(error)}"


def why_it_lacks(own: Contents, kept: Contents, merge: bool = False) -> str:
    """`what_it_lacks` as a reason; empty if the keeper lacks nothing, or nothing that can't be merged."""
    if untold := own.untold or kept.untold:
        return f"can't be compared with its keeper in full: {untold}"
    lacking = [name for name in what_it_lacks(own, kept) if not (merge and can_be_merged(name, own.held, kept.held))]
    if not lacking:
        return ""
    only = sorted(_in_words(name, own) for name in lacking if name not in kept.held)
    other = sorted(name for name in lacking if name in kept.held and name != BITS)
    if BITS in lacking and BITS in kept.held:
        only.append(_in_words(BITS, own))
    reasons = [f"has the {_listed(only)} that its keeper lacks"] if only else []
    reasons += [f"differs from its keeper in {_listed(other)}"] if other else []
    return " and ".join(reasons)


def _in_words(name: str, contents: Contents) -> str:
    return f"{max(map(int, contents.held[BITS]))} {BITS}" if name == BITS else name


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED + 1:
        names = [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED} more"]
    return f"{', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]}"


def _of_one_file(member_path: Path, keeper_path: Path) -> str:
    member, keeper = os.lstat(member_path), os.lstat(keeper_path)
    if not stat.S_ISREG(member.st_mode) or not stat.S_ISREG(keeper.st_mode):
        return "it or its keeper is not a regular file"
    if (member.st_dev, member.st_ino) == (keeper.st_dev, keeper.st_ino):
        return "is a hard link to its keeper: nothing would be freed"
    more = "another hard link" if member.st_nlink == 2 else f"{member.st_nlink - 1} more hard links"
    return f"has {more}: nothing would be freed" if member.st_nlink > 1 else ""


def _more_inside(
    member_path: Path, keeper_path: Path, facts: Store, told: Mapping[Path, Contents] | None, merge: bool, paired: bool
) -> str:
    member, keeper = (os.stat(path) for path in (member_path, keeper_path))
    if member.st_size == keeper.st_size:
        files = (member_path, member), (keeper_path, keeper)
        digests = {
            facts.content(path)[:DIGEST] or digest_when(path, now.st_size, now.st_mtime_ns) for path, now in files
        }
        if len(digests) == 1:
            return ""
    told = told or read_all_contents([member_path, keeper_path], 2, facts)
    contents = told[member_path], told[keeper_path]
    reason = why_it_lacks(*contents, merge and not paired)
    is_for_pair = merge and reason and not why_it_lacks(*contents, merge)
    return f"{reason}, which is not merged where a companion goes with it" if is_for_pair else reason


@job
def _read_told(path: Path) -> dict[str, list[str]]:
    """What a file holds, as values that JSON has."""
    return {name: sorted(values) for name, values in sorted(_read(path).items())}


def _read(path: Path) -> Told:
    data = path.read_bytes()
    held: Told = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with identify(io.BytesIO(data), path.suffix.lower()) as image:
            if image.width * image.height * BYTES_PER_PIXEL > MAX_BYTES:
                raise ValueError("it is too large to be read in full")
            if sealed := _sealed(image, data, path.suffix.lower()):
                held[sealed] = {digest(data)}
            # Bits first: Pillow forgets those of a PNG when anything else is asked.
            for find in (bits_of, _colours, read_metadata, read_parts, _transparency, _frames):
                for name, values in find(image, data).items():
                    held[name] = held.get(name, set()) | values
    return held


def _sealed(image: Image.Image, data: bytes, ending: str) -> str:
    """Name of contents that can only be compared as a whole: such a file goes only for one with the same bytes."""
    if is_jpeg_xl(data):
        return JPEG_XL
    is_raw = ending in RAW or (image.format == "TIFF" and not _OF_RAW.isdisjoint(image.tag_v2))
    return SENSOR if is_raw else ""


def bits_of(image: Image.Image, data: bytes) -> Told:
    """Numbers of the bits above 8 that a channel has, so that 10 bits are held by 16."""
    bits = 8
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        bits = 16
    elif image.format == "TIFF":
        bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    elif image.format == "PNG":
        bits = 16 if any(";16" in str(tile[3]) for tile in image.tile) else 8
    elif image.format == "PPM":
        bits = 16 if any(tile[3][1] > 255 for tile in image.tile if tile[0].startswith("ppm")) else 8
    elif image.format in ("HEIF", "AVIF"):
        bits = max(bits_in_boxes(data), image.info.get("bit_depth", 8))
    elif image.format == "JPEG2000":
        depths = re.search(rb"\xff\x4f\xff\x51.{36}(..)", data, re.DOTALL)  # the codestream's SIZ: Csiz, then each Ssiz
        count = int.from_bytes(depths[1], "big") if depths else 0
        bits = max((depth & 0x7F) + 1 for depth in data[depths.end() : depths.end() + 3 * count : 3]) if count else 8
    return {BITS: set(map(str, range(9, bits + 1)))} if bits > 8 else {}


def _colours(image: Image.Image, _: bytes) -> Told:
    held: Told = {CMYK: set()} if image.mode == "CMYK" else {}
    profile = image.info.get("icc_profile")
    if profile and (name := _profile_name(profile)):
        held[PROFILE] = {name}
    return held


@lru_cache(maxsize=256)
def _profile_name(data: bytes) -> str:
    """Name of a colour profile; empty for sRGB under any name, and for a broken profile."""
    with broken_tells_nothing():
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if space in ("RGB", "GRAY"):
            shades = [shade for shade in itertools.product(_VALUES, repeat=3) if space == "RGB" or len(set(shade)) == 1]
            image = Image.new("RGB", (len(shades), 1))
            image.putdata(shades)
            given = image if space == "RGB" else image.convert("L")
            seen = ImageCms.profileToProfile(given, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if max(high for _, high in ImageChops.difference(image, seen).getextrema()) <= _AS_SRGB:
                return ""
        return " ".join(ImageCms.getProfileDescription(profile).split()) or digest(data)
    return ""


def _transparency(image: Image.Image, _: bytes) -> Told:
    """Whether parts of the picture are transparent; an alpha channel that is opaque everywhere does not count."""
    if not image.has_transparency_data:
        return {}
    return {TRANSPARENCY: set()} if image.convert("RGBA").getchannel("A").getextrema()[0] < 255 else {}


def _frames(image: Image.Image, _: bytes) -> Told:
    """A digest of all frames or pages if they differ, and how long each is shown; equal frames count as one."""
    count = getattr(image, "n_frames", 1)
    if count == 1 or image.format == "MPO":  # the pictures behind a JPEG are parts of the file
        return {}
    if count > _MOST_FRAMES:
        raise ValueError(f"{count} frames, more than {_MOST_FRAMES}")
    shown, times = [], []
    for number in range(count):
        image.seek(number)
        if image.width * image.height * BYTES_PER_PIXEL > MAX_BYTES:
            raise ValueError(f"frame {number} is too large")
        if image.format == "TIFF" and image.tag_v2.get(_SUBFILE, 0) & _REDUCED:  # a thumbnail of another page
            continue
        frame = digest(repr(image.size).encode() + image.convert("RGBA").tobytes())
        time = round(float(image.info.get("duration") or 0))
        if shown[-1:] == [frame]:
            times[-1] += time
        else:
            shown.append(frame)
            times.append(time)
    if len(shown) < 2:
        return {}
    return {FRAMES: {digest(" ".join(shown).encode())}} | (
        {FRAME_TIMES: {" ".join(map(str, times))}} if any(times) else {}
    )
