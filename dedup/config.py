"""Settings. Input: a module or mapping of plain values. Output: one frozen and checked `Config`.

configs.py + overrides (command line, papermill, tests)  ->  Config

The fields of Config are the one table of settings, each with its type, range, meaning and option. The checks, the
options of main.py and the table in docs/settings.md come from it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

REMOVE = ("exact", "copies", "edits")  # how far removal goes, least first
PREFER, FOLDER = ("oldest", "newest", "largest", "smallest"), "folder:"  # words of `prefer`, beside endings of files
OWN = "the encoder's own"  # shown for None, if a setting accepts it


class ConfigError(ValueError):
    """A setting with an unknown name, a wrong type or a value out of range; the message is one line."""


@dataclass(frozen=True)
class Setting:
    """A setting, besides its name and type.

    meaning : what it sets; for True or False, what True does
    check : name and value -> the value as it is kept; ConfigError if it can't be
    option : on the command line, with a word for its value
    parse : its value from the command line's text
    limits : smallest and largest value of a number
    accepts_none : whether None means the encoder's own value
    repeats : may be given again on the command line, each time with one value of a list
    """

    meaning: str
    check: Callable[[str, Any], Any]
    option: str
    parse: Callable[[str], Any] = str
    limits: tuple[int, int] | None = None
    accepts_none: bool = False
    repeats: bool = False

    @property
    def help(self) -> str:
        """The meaning with its range, in one line."""
        return self.meaning + (f", {self.limits[0]} to {self.limits[1]}" if self.limits else "")


def check_path(name: str, value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise ConfigError(f"{name} is a path, as text or pathlib.Path, got {value!r}")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ConfigError(f"{name} is a folder's path, got {os.fspath(value)!r}; write '.' for the current folder")
    return Path(value)


def check_extensions(name: str, value: Any) -> tuple[str, ...]:
    """Lower case, with one leading dot, each once, in the order given."""
    wanted = f"{name} is a list of file endings such as ['.jpg', '.png']"
    if not isinstance(value, (list, tuple, set, frozenset)) or not value:
        raise ConfigError(f"{wanted}, at least one, got {value!r}")
    for ending in value:
        if not isinstance(ending, str) or not ending.removeprefix(".") or set(ending) & set('/\\*?" ,\0'):
            raise ConfigError(f"{wanted}, without wildcards or separators, got {ending!r} in it")
    endings = ("." + ending.removeprefix(".").lower() for ending in value)
    return tuple(dict.fromkeys(endings if isinstance(value, (list, tuple)) else sorted(endings)))


def check_exclude(name: str, value: Any) -> tuple[str, ...]:
    """Each once, in the order given."""
    wanted = f"{name} is a list of patterns of paths below images_dir, such as ['*/previews', 'old/*.png']"
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{wanted}, got {value!r}")
    for pattern in value:
        if not isinstance(pattern, str) or not pattern.strip("/") or "\0" in pattern or pattern.startswith("/"):
            raise ConfigError(f"{wanted}, got {pattern!r} in it")
    return tuple(dict.fromkeys(value))


def check_prefer(name: str, value: Any) -> tuple[str, ...]:
    """Each once, in the order given; endings in lower case, without a dot."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{name} is a list of words such as ['oldest', 'heic', 'folder:Originals'], got {value!r}")
    words = (word if word.startswith(FOLDER) else word.removeprefix(".").lower() for word in map(str.strip, value))
    return tuple(dict.fromkeys(words))


def check_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is True or False, got {value!r}")
    return value


def check_encoder(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f"{name} is copydet, imagenet, resnet18, resnet50 or the path of a checkpoint, got {value!r}")
    return value


def setting(meaning: str, check: Callable[[str, Any], Any], option: str, **more: Any) -> Any:
    """A field of Config."""
    return field(metadata={"setting": Setting(meaning, check, option, **more)})


def one_of(meaning: str, names: tuple[str, ...], option: str) -> Any:
    """A field of Config that is one of some words."""

    def check(name: str, value: Any) -> str:
        if value not in names:
            raise ConfigError(f"{name} is one of {', '.join(names)}, got {value!r}")
        return value

    return setting(meaning, check, option)


def number(meaning: str, unit: str, low: int, high: int, option: str, kind: type = int, or_none=False) -> Any:
    """A field of Config that is a number in [low, high], never a bool; or None where that is accepted."""
    unit = f"whole number of {unit}" if kind is int else unit
    wanted = f"is a {unit} in [{low}, {high}]{f', or None for {OWN}' if or_none else ''}"

    def check(name: str, value: Any) -> int | float | None:
        if or_none and value is None:
            return None
        fits = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise ConfigError(f"{name} {wanted}, got {value!r}")
        return kind(value)

    return setting(meaning, check, option, parse=kind, limits=(low, high), accepts_none=or_none)


@dataclass(frozen=True)
class Config:
    """Settings of one run; every value is checked, however a Config is made.

    None means the encoder's own value in `embedding_size`, `image_resize` and `epsilon`.

    Raises
    ------
    ConfigError : a value of the wrong type or out of range
    """

    images_dir: Path = setting("folder that is searched, with everything below it", check_path, "DIR")
    extensions: tuple[str, ...] = setting(
        "endings of the files that count as images, in any case",
        check_extensions,
        "--extensions jpg,png",
        parse=lambda text: text.split(","),
    )
    batch_size: int = number("images encoded at a time; fewer need less memory", "images", 1, 65_536, "--batch-size N")
    embedding_size: int | None = number(
        "numbers in an image's vector", "dimensions", 1, 65_536, "--embedding-size N", or_none=True
    )
    image_resize: int | None = number(
        "side of the encoder's square input in px", "pixels", 32, 1024, "--image-resize PX", or_none=True
    )
    epsilon: float | None = number(
        "largest cosine distance between candidates", "cosine distance", 0, 2, "--epsilon E", float, or_none=True
    )
    delete_files: bool = setting("move what can go to the trash folder", check_bool, "--delete")
    encoder: str = setting(
        "copydet, imagenet, resnet18, resnet50 or the path of a checkpoint", check_encoder, "--encoder NAME"
    )
    output_dir: Path = setting("folder for grids, tables and plan", check_path, "--output DIR")
    prefer: tuple[str, ...] = setting(
        "which file of a version stays; the first word that tells two apart decides: oldest, newest (capture time, or "
        "last change), largest, smallest (bytes), an ending such as heic, folder:DIR (inside the searched one); what "
        "shows or holds more than that file stays beside it",
        check_prefer,
        "--prefer oldest,heic",
        parse=lambda text: text.split(","),
    )
    exclude: tuple[str, ...] = setting(
        "pattern of what is passed over, relative to the folder, as */previews or *.png; * stands for any letters, "
        "/ too, and the name of a folder for all that is in it; may be given again",
        check_exclude,
        "--exclude PATTERN",
        repeats=True,
    )
    num_workers: int = number("processes that read images", "processes", 0, 64, "--num-workers N")
    verify: bool = setting("confirm by geometry what the encoder found", check_bool, "--no-verify")
    remove: str = one_of(
        "what may go for a file that stays: exact = the same bytes or pixels; copies = also the same picture saved "
        "again in another format, quality or size; edits = also its crops, turned, toned and marked ones",
        REMOVE,
        "--remove LEVEL",
    )
    merge_metadata: bool = setting(
        "tell in an XMP file beside a kept picture the rating, keywords, caption, title, artist, copyright, place and "
        "capture time that it lacks of a file that goes for it",
        check_bool,
        "--merge-metadata",
    )
    cache: bool = setting("remember what was found out about files, for later runs", check_bool, "--no-cache")

    def __post_init__(self):
        for name, known in SETTINGS.items():
            object.__setattr__(self, name, known.check(name, getattr(self, name)))
        for word in self.prefer:
            if not (word in PREFER or word.removeprefix(FOLDER) != word or f".{word}" in self.extensions):
                known = f"{', '.join(PREFER)}, {FOLDER}DIR and endings of images"
                raise ConfigError(f"prefer knows {known}, got {word!r}")

    @classmethod
    def load(cls, configs: ModuleType | Mapping[str, Any], **overrides: Any) -> Config:
        """Check the settings in `configs`, with `overrides` in their place.

        configs : a module, whose relative paths are relative to its file; or a mapping, to the current directory
        overrides : settings by name, relative paths relative to the current directory. None means the encoder's own
            value if the setting accepts it; otherwise the setting stays as it is
        Raises ConfigError : an unknown name, a missing one, or a value that `Config` refuses
        """
        settings = read_settings(configs)
        for name in [*settings, *overrides]:
            if name not in SETTINGS:
                raise ConfigError(f"unknown setting {name!r}: {suggest(name, list(SETTINGS))}")
        settings |= {
            name: value for name, value in overrides.items() if value is not None or SETTINGS[name].accepts_none
        }
        missing = [name for name in SETTINGS if name not in settings]
        if missing:
            raise ConfigError(f"missing setting {missing[0]!r}: add a line `{missing[0]} = ...` to configs.py")
        return cls(**settings)


SETTINGS: dict[str, Setting] = {each.name: each.metadata["setting"] for each in fields(Config)}


def read_settings(configs: ModuleType | Mapping[str, Any]) -> dict[str, Any]:
    """Public values of `configs`; its modules, classes and functions are not settings."""
    if isinstance(configs, Mapping):
        return dict(configs)
    settings = {
        name: value
        for name, value in vars(configs).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and not callable(value)
    }
    base = Path(getattr(configs, "__file__", None) or "configs.py").resolve().parent
    for name in ("images_dir", "output_dir"):
        if isinstance(settings.get(name), (str, os.PathLike)) and os.fspath(settings[name]):
            settings[name] = base / Path(settings[name]).expanduser()
    encoder = settings.get("encoder")
    if isinstance(encoder, str) and (Path(encoder).suffix or len(Path(encoder).parts) > 1):  # a file, not a name
        settings["encoder"] = str(base / Path(encoder).expanduser())
    return settings


def suggest(name: str, known: list[str]) -> str:
    """Nearest known name, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(known)}"
