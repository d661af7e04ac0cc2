import dataclasses
import os
import types
from pathlib import Path

import numpy as np
import pytest

import configs
from dedup.config import Config, ConfigError

SETTINGS = {
    "images_dir": "photos",
    "extensions": [".jpg"],
    "batch_size": 8,
    "embedding_size": None,
    "image_resize": None,
    "epsilon": None,
    "delete_files": False,
    "encoder": "copydet",
    "output_dir": "results",
    "prefer": [],
    "exclude": [],
    "num_workers": 0,
    "verify": True,
    "merge_metadata": False,
    "cache": True,
    "remove": "copies",
}


def module(folder: Path, **settings) -> types.ModuleType:
    """A configs.py in `folder`, without writing one."""
    made = types.ModuleType("configs")
    vars(made).update(SETTINGS | settings, __file__=str(folder / "configs.py"))
    return made


def test_configs_py_is_complete_and_deletes_nothing():
    config = Config.load(configs)
    assert config.delete_files is False
    assert (config.embedding_size, config.image_resize, config.epsilon) == (None, None, None)


def test_is_frozen():
    config = Config.load(SETTINGS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epsilon = 0.1
    assert dataclasses.replace(config, epsilon=0.1).epsilon == 0.1
    with pytest.raises(ConfigError, match="epsilon"):
        dataclasses.replace(config, epsilon=-1)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("epsilon", 0, 0.0),
        ("epsilon", 2, 2.0),
        ("epsilon", np.float32(0.5), 0.5),
        ("batch_size", 1, 1),
        ("batch_size", np.int64(7), 7),
        ("embedding_size", 1, 1),
        ("image_resize", 32, 32),
        ("image_resize", 1024, 1024),
        ("num_workers", 0, 0),
        ("verify", False, False),
        ("extensions", ["JPG", ".png", ".jpg"], (".jpg", ".png")),
        ("extensions", {".png", ".gif"}, (".gif", ".png")),
        ("exclude", [], ()),
        ("exclude", ["old/*", "*/b/", "old/*"], ("old/*", "*/b/")),
        ("prefer", ["oldest", ".JPG", "folder:A b", "oldest"], ("oldest", "jpg", "folder:A b")),
        ("images_dir", Path("a b"), Path("a b")),
        ("encoder", "resnet18", "resnet18"),
    ],
)
def test_accepts_and_normalises(name, value, kept):
    found = getattr(Config.load(SETTINGS, **{name: value}), name)
    assert found == kept
    assert type(found) is type(kept) or isinstance(kept, Path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("epsilon", 2.001, "[0, 2]"),
        ("epsilon", -0.001, "[0, 2]"),
        ("epsilon", float("nan"), "[0, 2]"),
        ("epsilon", "0.1", "None"),
        ("epsilon", True, "[0, 2]"),
        ("batch_size", 0, "[1, "),
        ("batch_size", 1.0, "whole number"),
        ("batch_size", True, "whole number"),
        ("batch_size", "8", "whole number"),
        ("embedding_size", 0, "None"),
        ("image_resize", 31, "[32, 1024]"),
        ("image_resize", 1025, "[32, 1024]"),
        ("num_workers", -1, "[0, 64]"),
        ("delete_files", 1, "True or False"),
        ("delete_files", "False", "True or False"),
        ("verify", None, "True or False"),
        ("extensions", ".jpg", "list"),
        ("exclude", "old", "list"),
        ("exclude", [""], "list"),
        ("exclude", ["/"], "list"),
        ("exclude", ["/old"], "list"),
        ("exclude", [3], "3"),
        ("prefer", "oldest", "list"),
        ("prefer", [3], "folder:Originals"),
        ("prefer", ["oldest", "finest"], "oldest, newest, largest, smallest, folder:DIR and endings"),
        ("prefer", [""], "endings"),
        ("prefer", ["heic"], "endings of images"),  # extensions has .jpg alone
        ("extensions", [], "at least one"),
        ("extensions", ["."], ".png"),
        ("extensions", ["*.jpg"], "wildcards"),
        ("extensions", [".jpg", 3], ".png"),
        ("images_dir", "", "'.'"),
        ("images_dir", "a\0b", "folder"),
        ("images_dir", 3, "pathlib.Path"),
        ("images_dir", b"photos", "pathlib.Path"),
        ("encoder", " ", "resnet18"),
        ("encoder", None, "resnet18"),
    ],
)
def test_refuses_with_name_value_and_remedy(name, value, says):
    with pytest.raises(ConfigError) as error:
        Config(**{**SETTINGS, name: value})
    message = str(error.value)
    assert message.startswith(name)
    assert repr(value) in message or repr(value[-1]) in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("where", ["settings", "overrides"])
def test_unknown_name_is_an_error_with_the_nearest(where):
    settings, overrides = (SETTINGS | {"epsilom": 1}, {}) if where == "settings" else (SETTINGS, {"epsilom": 1})
    with pytest.raises(ConfigError, match="unknown setting 'epsilom': did you mean 'epsilon'?"):
        Config.load(settings, **overrides)
    with pytest.raises(ConfigError, match="the settings are images_dir, .*verify"):
        Config.load(SETTINGS, zzz=1)


def test_missing_name_is_an_error():
    with pytest.raises(ConfigError, match="'verify'.*configs.py"):
        Config.load({name: value for name, value in SETTINGS.items() if name != "verify"})


def test_none_overrides_where_it_means_something():
    settings = SETTINGS | {"epsilon": 0.2, "embedding_size": 64, "image_resize": 128}
    config = Config.load(settings, epsilon=None, embedding_size=None, image_resize=None, batch_size=None, verify=None)
    assert (config.epsilon, config.embedding_size, config.image_resize) == (None, None, None)
    assert (config.batch_size, config.verify) == (8, True)


def test_imports_and_functions_in_configs_are_no_settings(tmp_path):
    assert Config.load(module(tmp_path, os=os, Path=Path, helper=lambda: 1, _private=2)).batch_size == 8


def test_relative_paths_belong_to_where_they_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = module(tmp_path / "project", encoder="weights/mine.pt")
    config = Config.load(made, images_dir="photos")
    assert config.images_dir == Path("photos")
    assert config.output_dir == tmp_path / "project" / "results"
    assert Path(config.encoder) == tmp_path / "project" / "weights" / "mine.pt"
    assert Config.load(made, encoder="resnet50").encoder == "resnet50"
    assert Config.load(module(tmp_path, output_dir=str(tmp_path / "out"))).output_dir == tmp_path / "out"


def test_every_ending_of_the_formats_that_are_read_is_listed():
    import pillow_heif
    from PIL import Image

    from dedup.dataset.decoding import FORMATS

    pillow_heif.register_heif_opener()
    Image.init()
    read = {*FORMATS, "HEIF", "TGA", "MPO"}
    known = {ending for ending, name in Image.registered_extensions().items() if name in read}
    assert known <= set(configs.extensions)
