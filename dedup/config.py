"""Settings: a module or mapping of plain values in, one frozen and checked `Config` out.

configs.py + overrides (command line, papermill, tests)  ->  Config
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any


class ConfigError(ValueError):
    """A setting with an unknown name, a wrong type or a value out of range; the message is one line."""


@dataclass(frozen=True)
class Config:
    """Settings of one run. configs.py says what each means; every value is checked, however a Config is made.

    None stands for the encoder's own value in `embedding_size`, `image_resize` and `epsilon`.

    Raises
    ------
    ConfigError : a value of the wrong type or out of range
    """

    images_dir: Path
    extensions: tuple[str, ...]
    batch_size: int
    embedding_size: int | None
    image_resize: int | None
    epsilon: float | None
    delete_files: bool
    encoder: str
    output_dir: Path
    exclude: tuple[str, ...]
    num_workers: int
    verify: bool
    cache: bool

    def __post_init__(self):
        for name, check in CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))

    @classmethod
    def load(cls, configs: ModuleType | Mapping[str, Any], **overrides: Any) -> Config:
        """Check the settings in `configs`, with `overrides` in their place.

        Parameters
        ----------
        configs : a module, whose relative paths are relative to its file; or a mapping, to the current directory
        overrides : settings by name, relative paths relative to the current directory. None is "the encoder's own"
            where a setting has that meaning, and leaves the setting as it is where it has not

        Raises
        ------
        ConfigError : an unknown name, a missing one, or a value that `Config` refuses
        """
        settings = read_settings(configs)
        known = [field.name for field in fields(cls)]
        for name in [*settings, *overrides]:
            if name not in known:
                raise ConfigError(f"unknown setting {name!r}: {suggest(name, known)}")
        settings |= {
            name: value for name, value in overrides.items() if value is not None or CHECKS[name] in ACCEPT_NONE
        }
        missing = [name for name in known if name not in settings]
        if missing:
            raise ConfigError(f"missing setting {missing[0]!r}: add a line `{missing[0]} = ...` to configs.py")
        return cls(**settings)


def read_settings(configs: ModuleType | Mapping[str, Any]) -> dict[str, Any]:
    """Public values of `configs`; what it imports or defines (modules, classes, functions) is no setting."""
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


def check_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is True or False, got {value!r}")
    return value


def check_encoder(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f"{name} is copydet, resnet18, resnet50 or the path of a checkpoint, got {value!r}")
    return value


def whole_number(low: int, high: int, unit: str, accept_none: bool = False) -> Callable[[str, Any], int | None]:
    """Check for a whole number in [low, high], which no bool is."""
    remedy = ", or None for the encoder's own" if accept_none else ""

    def check(name: str, value: Any) -> int | None:
        if accept_none and value is None:
            return None
        if not isinstance(value, Integral) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{name} is a whole number of {unit} in [{low}, {high}]{remedy}, got {value!r}")
        return int(value)

    return check


def check_epsilon(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= 2:
        raise ConfigError(f"{name} is a cosine distance in [0, 2], or None for the encoder's own, got {value!r}")
    return float(value)


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "images_dir": check_path,
    "extensions": check_extensions,
    "batch_size": whole_number(1, 65_536, "images"),
    "embedding_size": whole_number(1, 65_536, "dimensions", accept_none=True),
    "image_resize": whole_number(32, 1024, "pixels", accept_none=True),
    "epsilon": check_epsilon,
    "delete_files": check_bool,
    "encoder": check_encoder,
    "output_dir": check_path,
    "exclude": check_exclude,
    "num_workers": whole_number(0, 64, "processes"),
    "verify": check_bool,
    "cache": check_bool,
}
ACCEPT_NONE = (CHECKS["embedding_size"], CHECKS["image_resize"], CHECKS["epsilon"])
