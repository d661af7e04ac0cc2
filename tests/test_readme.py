"""What README.md, CONTRIBUTING.md and docs/ show: commands run, outputs look as shown, links lead somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import configs
import main
from dedup.config import OWN, SETTINGS, Setting
from dedup.report.tables import COLUMNS
from tests.conftest import PROJECT

PAGES = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(PROJECT.glob("docs/*.md"))
DOCUMENTS = {page.relative_to(PROJECT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README = DOCUMENTS["README.md"]
LINES = 150  # of the README, read in one evening
COMMAND = re.compile(r"(?:^|\$ |`|  )(python main\.py[^`#\n]*?)(?=`|#|$|  )", re.MULTILINE)
COMMANDS = sorted({command for text in DOCUMENTS.values() for command in COMMAND.findall(text)})
PYTHON = re.findall(r"^```python\n((?:.*\n)*?)```", README, re.MULTILINE)
SESSIONS = re.findall(r"^```console\n\$ (.*)\n((?:.*\n)*?)```", README, re.MULTILINE)


def table(document: str, first_header: str) -> list[list[str]]:
    """The cells of a document's table whose first header is this."""
    wanted = rf"^\| {re.escape(first_header)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)"
    lines = re.search(wanted, DOCUMENTS[document], re.MULTILINE)[1]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    _, _, *arguments = shlex.split(command, posix="\\" not in command)
    try:
        main.build_parser().parse_args(arguments)
    except SystemExit as ended:
        assert arguments == ["--help"] and not ended.code


def test_commands_were_found():
    assert "python main.py photos --purge --older-than 30d" in COMMANDS
    assert any("Pictures" in command for command in COMMANDS)
    assert len(SESSIONS) == 3


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_and_make_targets_exist(document):
    known = set(re.findall(r"--[a-z-]+", main.build_parser().format_help()))
    own = [line for line in DOCUMENTS[document].splitlines() if not re.search(r"\bpip |\bruff |\bpytest ", line)]
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(own))) <= known
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    shown = set(re.findall(r"(?:^|`|=\S+ )make ([a-z-]+)", DOCUMENTS[document], re.MULTILINE))
    assert shown <= set(targets)
    assert shown or document.startswith("docs/")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", DOCUMENTS[document])
    assert [link for link in links if not (PROJECT / document).parent.joinpath(link).is_file()] == []


def test_every_notebook_and_page_is_named():
    assert all(f"(notebooks/{path.name})" in README for path in PROJECT.glob("notebooks/*.ipynb"))
    assert all(f"(docs/{path.name})" in README for path in PROJECT.glob("docs/*.md"))


def test_the_readme_is_short():
    assert len(README.splitlines()) <= LINES


def test_settings_are_those_of_the_table():
    def shown(name: str) -> str:
        value = getattr(configs, name)
        if name == "extensions":
            return f"{len(value)} endings"
        return f"`{json.dumps(value) if isinstance(value, str) else value}`"

    def told(setting: Setting) -> str:
        return setting.help + (f"; `None` = {OWN}" if setting.accepts_none else "")

    assert table("docs/settings.md", "name") == [
        [f"`{name}`", shown(name), f"`{setting.option}`", told(setting)] for name, setting in SETTINGS.items()
    ]


def test_columns_are_those_of_the_table():
    assert [name for row in table("docs/files.md", "column") for name in names(row[0])] == list(COLUMNS)


def test_exit_codes_are_those_of_the_help():
    told = re.findall(r"^  (\d+)  (.*)$", main.EPILOG, re.MULTILINE)
    assert table("docs/files.md", "code") == [[f"`{code}`", meaning] for code, meaning in told]


def masked(text: str) -> list[str]:
    """The lines of an output, without what depends on the machine, the time and the encoder's version."""
    text = re.sub(r"^  \S*python\S* ", "  python ", text, flags=re.MULTILINE)
    text = re.sub(r"\S*results", "results", text.replace("\\", "/"))
    text = re.sub(r"\(run \S+\)", "(run)", re.sub(r"\bon (cuda|mps|cpu)$", "on device", text, flags=re.MULTILINE))
    lines = [line for line in text.splitlines() if "similar.csv" not in line]  # shown only when there are such pairs
    return [re.sub(r"(?<![\w])\d[\d.,]*(?!\w)( kB| MB)?", "N", line) for line in lines if "30d" not in line]


def ran(folder: Path, *arguments: str) -> str:
    """What Python prints there."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_outputs_shown_are_those_seen(tmp_path, samples_dir):
    for name in ("main.py", "configs.py"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(PROJECT / "dedup", tmp_path / "dedup", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(samples_dir, tmp_path / "samples")
    assert [command.split()[:3] for command, _ in SESSIONS] == [["python", "main.py", "samples"]] * 3
    for command, shown in SESSIONS:
        assert masked(ran(tmp_path, *command.split()[1:])) == masked(shown)
    clusters = int(re.search(r"^(\d+) clusters", SESSIONS[0][1], re.MULTILINE)[1])
    assert [len(ran(tmp_path, "-c", lines).splitlines()) for lines in PYTHON] == [clusters]
    listed = names("\n".join(row[0] for row in table("docs/files.md", "file")))
    assert [name for name in listed if not (tmp_path / "results" / name).is_file()] == []
