"""What a file is besides its picture: a duplicate and its keeper in, the reason why the duplicate stays out.

A duplicate may show nothing new and still be worth keeping: as part of a set, for its date, for its other pages.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image

from dedup.dataset.decoding import BYTES_PER_PIXEL, MAX_BYTES, digest_of, exif_of, one_line, open_header
from dedup.dataset.folder_rules import DIGEST
from dedup.store import NOTHING, Store
from dedup.workers import Lost, job, run_apart

RAW = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"),
    *(".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"),
}
COMPANIONS = RAW | {".mov", ".mp4", ".m4v", ".xmp", ".aae", ".json", ".thm", ".pp3", ".dop"}
_TRASH = re.compile(
    r"\.dedup-trash|\.?trash(es|-\d+)?|files_trashbin|\$recycle\.bin|recycle[rd]|[#@]recycle|\.dtrash|\.stversions",
    re.IGNORECASE,
)
_MOST_FRAMES = 1000  # of an animation that is compared frame by frame
_BITS_PER_SAMPLE = 258  # TIFF 6.0
_EXIF, _GPS, _CAPTURED, _LATITUDE = 0x8769, 0x8825, (0x9003, 0x9004), 2  # EXIF 2.32, 4.6


def why_it_stays(
    member_path: Path, keeper_path: Path, images_dir: Path, keeper_dir: Path | None = None, facts: Store = NOTHING
) -> str:
    """Tell why a duplicate should not be removed although its keeper shows all of its picture; empty if it may go.

    Parameters
    ----------
    member_path, keeper_path : images_dir / relative; the keeper's keeper_dir / relative where that is given
    facts : what is remembered of their contents; their names, links and companions are looked at anew
    """
    if any(_TRASH.fullmatch(part) for part in member_path.relative_to(images_dir).parts[:-1]):
        return "lies in a trash folder"
    if any(_TRASH.fullmatch(part) for part in keeper_path.relative_to(keeper_dir or images_dir).parts[:-1]):
        return "its keeper lies in a trash folder"
    try:
        return (
            _of_one_file(member_path, keeper_path)
            or _companion(member_path)
            or _more_inside(member_path, keeper_path, facts)
        )
    except Exception as error:  # a decoder's, on a page or in metadata that nobody looked at before
        return f"can't be compared with its keeper in full: {one_line(error)}"


def _of_one_file(member_path: Path, keeper_path: Path) -> str:
    member, keeper = os.lstat(member_path), os.lstat(keeper_path)
    if not stat.S_ISREG(member.st_mode) or not stat.S_ISREG(keeper.st_mode):
        return "it or its keeper is not a regular file"
    if (member.st_dev, member.st_ino) == (keeper.st_dev, keeper.st_ino):
        return "is a hard link to its keeper: nothing would be freed"
    return f"has {member.st_nlink - 1} more hard link(s): nothing would be freed" if member.st_nlink > 1 else ""


def _companion(path: Path) -> str:
    """Name a file that belongs to this one: RAW beside JPEG, a live photo's film, edits, metadata."""
    name, stem, suffix = path.name.casefold(), path.stem.casefold(), path.suffix.casefold()
    numbered = re.fullmatch(r"(.+)(\(\d+\))", stem)  # picture(1).jpg goes with picture.jpg(1).json
    sidecars = (f"{name}.", f"{numbered[1]}{suffix}{numbered[2]}.") if numbered else (f"{name}.",)
    for other in _names(path.parent, os.stat(path.parent).st_mtime_ns).get(_first_word(name), ()):
        folded = other.casefold()
        other_stem, other_suffix = os.path.splitext(folded)
        belongs = other_stem == stem or folded.startswith(sidecars)
        if folded != name and belongs and (other_suffix in COMPANIONS or suffix in RAW):
            return f"belongs together with {other}"
    return ""


@lru_cache(maxsize=16)
def _names(folder: Path, mtime_ns: int) -> dict[str, list[str]]:
    """Names in a folder by their first word; `mtime_ns`, the folder's, makes a change be seen."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        found.setdefault(_first_word(name.casefold()), []).append(name)
    return found


def _first_word(name: str) -> str:
    """What a file's name and its companions' names have in common, up to the first dot or bracket."""
    return re.split(r"[.(]", name, maxsplit=1)[0]


def _more_inside(member_path: Path, keeper_path: Path, facts: Store) -> str:
    member, keeper = ((path, *_status(path)) for path in (member_path, keeper_path))
    digests = (facts.content(file[0])[:DIGEST] or _digest(*file) for file in (member, keeper))
    if member[1] == keeper[1] and len(set(digests)) == 1:
        return ""
    (own, frames), (kept, _) = (_told(facts, _header, *file) for file in (member, keeper))
    only = set(own) - set(kept)
    if _told(facts, _is_transparent, *member) and not _told(facts, _is_transparent, *keeper):
        only |= {"transparency"}
    if only:
        return f"has the {' and '.join(sorted(only))} that its keeper lacks"
    if frames == 1:
        return ""
    count, different, shown = _told(facts, _frames, *member)
    is_new = different and shown != _told(facts, _frames, *keeper)[2]
    return f"has {count} different frames or pages" if is_new else ""


def _told(facts: Store, find: Callable, path: Path, size: int, mtime_ns: int):
    found = facts.of(find.__name__, partial(find, path, size, mtime_ns), path)
    if isinstance(found, Lost):
        raise ValueError(found.reason)
    return found


def _status(path: Path) -> tuple[int, int]:
    """Size and time of the last change in ns, which make a change be seen."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


# A keeper comes again with each of its members, and on the page each with each.
@job
@lru_cache(maxsize=1 << 14)
def _header(path: Path, size: int, mtime_ns: int) -> tuple[list[str], int]:
    """What else a file tells, and its number of frames or pages."""
    with open_header(path) as image:
        return sorted(besides(image)), getattr(image, "n_frames", 1)


@job
@lru_cache(maxsize=1 << 14)
def _is_transparent(path: Path, size: int, mtime_ns: int) -> bool:
    """Tell whether something shines through the picture; an alpha channel that is opaque throughout is none."""
    with open_header(path) as image:
        if not image.has_transparency_data:
            return False
    found = run_apart(_read_alpha, path)
    if isinstance(found, Lost):
        raise ValueError(found.reason)
    return found


@job
def _read_alpha(path: Path) -> bool:
    with open_header(path) as image:
        if image.width * image.height * BYTES_PER_PIXEL > MAX_BYTES:
            raise ValueError("its transparency is too large to be read")
        return image.convert("RGBA").getchannel("A").getextrema()[0] < 255


@lru_cache(maxsize=1 << 14)
def _digest(path: Path, size: int, mtime_ns: int) -> bytes:
    with path.open("rb") as file:
        return digest_of(file)


def besides(image: Image.Image) -> set[str]:
    """What else a header tells: capture time, place, a short film behind the picture, finer steps than 8 bits have."""
    found = {"16 bits a channel"} if _is_deep(image) else set()  # first: Pillow forgets a PNG's bits with the next line
    captured, place = exif_of(image, _EXIF), exif_of(image, _GPS)
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""
    if any(re.search("[1-9]", str(captured.get(tag, ""))) for tag in _CAPTURED) or b"DateTimeOriginal" in xmp:
        found.add("capture time")
    if place.get(_LATITUDE) or b"GPSLatitude" in xmp:
        found.add("place")
    if b"MotionPhoto" in xmp or b"MicroVideo" in xmp:
        found.add("film")
    return found


def _is_deep(image: Image.Image) -> bool:
    """Tell whether channels have more than 8 bits; Pillow's mode tells it for single channels only."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return True
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8
    if image.format == "PNG":
        return any(";16" in str(tile[3]) for tile in image.tile)
    return image.format == "PPM" and any(tile[3][1] > 255 for tile in image.tile if tile[0].startswith("ppm"))


@job
@lru_cache(maxsize=1 << 10)
def _frames(path: Path, size: int, mtime_ns: int) -> tuple[int, bool, str]:
    """Number of frames or pages, whether they differ, and a digest of all their pixels."""
    found = run_apart(_read_frames, path)
    if isinstance(found, Lost):
        raise ValueError(found.reason)
    return found


@job
def _read_frames(path: Path) -> tuple[int, bool, str]:
    with open_header(path) as image:
        count, digests = getattr(image, "n_frames", 1), []
        if count > _MOST_FRAMES:
            raise ValueError(f"{count} frames, more than {_MOST_FRAMES}")
        for number in range(count):
            image.seek(number)
            if image.width * image.height * BYTES_PER_PIXEL > MAX_BYTES:
                raise ValueError(f"frame {number} is too large")
            shown = repr(image.size).encode() + image.convert("RGBA").tobytes()
            digests.append(hashlib.blake2b(shown).digest())
    return count, len(set(digests)) > 1, hashlib.blake2b(b"".join(digests)).hexdigest()
