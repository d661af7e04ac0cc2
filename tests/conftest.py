"""What several test files share: the project's folder, a folder of sample pictures, the real pictures of DEDUP_DATA."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import browser, visit

__all__ = ["browser", "visit"]  # one browser for all files: a second one could not start beside it

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def samples_dir(tmp_path_factory) -> Path:
    """The sample pictures, written once a session. Read only: a test that changes files copies them first."""
    folder = tmp_path_factory.mktemp("pictures") / "samples"
    subprocess.run([sys.executable, "-m", "dedup.dataset.samples", str(folder)], cwd=PROJECT, check=True)
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real pictures that DEDUP_DATA names."""
    folder = os.environ.get("DEDUP_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DEDUP_DATA does not name a folder of real pictures")
    return Path(folder).resolve()
