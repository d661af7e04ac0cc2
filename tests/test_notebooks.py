"""Every notebook: runs from a clean copy, with its own and with other parameters; its committed outputs are tidy."""

import logging
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from dedup.config import SETTINGS
from tests.conftest import PROJECT
from tests.refresh_notebooks import clean

papermill = pytest.importorskip("papermill")
logger = logging.getLogger("papermill")
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
SECONDS = 60
MEGABYTE = 1_000_000
NOISE = {
    "an object's address": r"0x[0-9a-fA-F]{6,}",
    "an absolute path": r"(?<![\w.:/])/(?:home|Users|root|tmp|work|private|var|mnt|usr)/\w|\b[A-Z]:\\\w",
    "a progress bar": r"\d%\||\d(?:it|s)/(?:s|it)\b|\r",
}


def texts(cell) -> list[str]:
    """What a code cell shows as text."""
    shown = [output.get("text", "") for output in cell.get("outputs", [])]
    for output in cell.get("outputs", []):
        shown += [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]
    return shown


def complaints(notebook) -> list[str]:
    """What is untidy in a notebook that is to be committed; empty when nothing is."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [f"metadata {name!r}" for name in notebook.metadata if name not in ("kernelspec", "language_info")]
    found += [f"metadata of a cell: {name!r}" for cell in notebook.cells for name in cell.metadata if name != "tags"]
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("cells not run once each, from top to bottom")
    if not any(cell.outputs for cell in cells):
        found.append("no outputs")
    for cell in cells:
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"an error or warning: {output.get('evalue') or output.get('text')}")
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
                found.append("a widget, which shows nothing where the notebook is browsed")
        for name, pattern in NOISE.items():
            found += [f"{name}: {text[:200]!r}" for text in texts(cell) if re.search(pattern, text)]
        if re.search(r"^\s*(?:async )?(?:def|class) ", cell.source, re.MULTILINE):
            found.append(f"a definition, which belongs to dedup: {cell.source[:80]!r}")
    return found


@pytest.fixture
def project_copy(tmp_path, samples_dir, monkeypatch) -> Path:
    """A copy of what the notebooks need and import, with the sample pictures where configs.py looks for them."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # comes before what pip has installed
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for a core would count as CPU time
    for name in ("dedup", "notebooks", "assets", "benchmarks"):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_*"))
    for name in ("configs.py", "main.py"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(samples_dir, tmp_path / "samples")
    return tmp_path


@contextmanager
def warnings_as_errors():
    """Have papermill fail where it would only warn, as of a parameter that no cell of the notebook sets."""

    def refuse(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            raise UserWarning(record.getMessage())
        return True

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def execute(project: Path, path: Path, **parameters) -> float:
    """Run the copy of a notebook, as `papermill` on the command line would; seconds of CPU time it took.

    Raises
    ------
    UserWarning : a parameter that the notebook does not have, of which papermill says so and goes on
    """
    began = os.times()
    with warnings_as_errors():
        papermill.execute_notebook(
            project / "notebooks" / path.name,
            project / "executed.ipynb",
            parameters=parameters,
            cwd=project / "notebooks",
            kernel_name="python3",
            progress_bar=False,
        )
    ended = os.times()  # children's, so that a busy machine fails no test
    return ended.children_user + ended.children_system - began.children_user - began.children_system


@every_notebook
def test_runs_as_it_is(path, project_copy):
    assert execute(project_copy, path) < SECONDS


@every_notebook
def test_runs_with_other_parameters(path, project_copy):
    known = papermill.inspect_notebook(str(path))
    other = project_copy / "other pictures"
    (project_copy / "samples").rename(other)
    parameters = {"images_dir": str(other), "epsilon": 0.05}
    assert ("epsilon" in known) == ("configs.epsilon" in path.read_text(encoding="utf-8"))  # papermill reads it
    assert execute(project_copy, path, **{name: parameters[name] for name in parameters if name in known}) < SECONDS


@every_notebook
def test_refuses_parameters_that_it_does_not_have(path, project_copy):
    with pytest.raises(UserWarning, match="unknown parameter: image_dir"):
        execute(project_copy, path, image_dir="photos")


@every_notebook
def test_parameters_are_settings(path):
    known = papermill.inspect_notebook(str(path))
    assert "images_dir" in known, "no cell tagged `parameters` that sets images_dir"
    assert set(known) <= set(SETTINGS)


@every_notebook
def test_committed_outputs_are_tidy(path):
    assert path.stat().st_size < MEGABYTE
    assert complaints(nbformat.read(path, as_version=4)) == []


def stream(text: str, name: str = "stdout"):
    return new_output("stream", text=text, name=name)


def made_of(*outputs, source: str = "1", **metadata):
    return new_notebook(cells=[new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata)])


@pytest.mark.parametrize(
    ("notebook", "complaint"),
    [
        (made_of(), "no outputs"),
        (made_of(stream("<Thing at 0x7f3a5c0d1e20>")), "address"),
        (made_of(stream("saved /home/ann/results/a.png")), "absolute path"),
        (made_of(stream("C:\\Users\\ann")), "absolute path"),
        (made_of(stream("100%|####| 8/8 [00:01<00:00,  7.1it/s]")), "progress bar"),
        (made_of(stream("careful", name="stderr")), "warning"),
        (made_of(new_output("error", ename="ValueError", evalue="bad value", traceback=[])), "bad value"),
        (made_of(new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})), "widget"),
        (made_of(stream("fine"), execution={"iopub.execute_input": "2025-01-01"}), "metadata of a cell"),
        (made_of(stream("fine"), source="def helper():\n    pass"), "definition"),
    ],
)
def test_the_check_sees(notebook, complaint):
    assert complaint in " ".join(complaints(notebook))


def test_the_check_sees_cells_out_of_order():
    notebook = made_of(stream("fine"))
    assert complaints(notebook) == []
    notebook.cells[0].execution_count = 2
    assert "top to bottom" in complaints(notebook)[0]


def test_clean_repairs_what_changes_from_run_to_run():
    bar, thing = stream("100%|####| 8/8 [00:01<00:00,  7.1it/s]", "stderr"), stream("<Thing at 0x7f3a5c0d1e20>")
    table = new_output("display_data", {"text/plain": "<Figure at 0x7f3a5c0d1e20>"})
    notebook = made_of(bar, thing, table, execution={"iopub.execute_input": "2025"}, tags=["parameters"])
    notebook.metadata["papermill"] = {"duration": 3}
    assert complaints(notebook)
    cell = clean(notebook).cells[0]
    assert complaints(notebook) == []
    assert [output.get("text") for output in cell.outputs] == ["<Thing>", None]
    assert cell.metadata == {"tags": ["parameters"]}
    nbformat.validate(notebook)
