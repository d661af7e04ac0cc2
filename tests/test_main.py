"""The command line: as a process where the whole matters, in this process with a made-up result where a case does."""

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageFilter

import main
from dedup.config import SETTINGS
from dedup.deletion.folders import Folder
from dedup.deletion.outcome import GONE, Outcome
from dedup.deletion.trash import waiting_runs
from dedup.output import format_bytes
from dedup.report import messages
from dedup.workers import Losses
from tests.confirmation_pictures import photo as sample_photo
from tests.conftest import PROJECT
from tests.matching.test_motion import waved

HEAVY = ("torch", "torchvision", "sklearn", "scipy", "cv2", "matplotlib", "numpy", "PIL")


def run(*arguments: str | Path, cwd: Path = PROJECT) -> subprocess.CompletedProcess:
    """`python main.py ...` from `cwd`."""
    words = [sys.executable, PROJECT / "main.py", *arguments]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, encoding="utf-8", errors="surrogateescape")


def call(*arguments: str | Path) -> int:
    """The exit code of main.py in this process."""
    try:
        return main.main([str(argument) for argument in arguments])
    except SystemExit as error:
        return error.code


def tree(folder: Path) -> dict[str, bytes]:
    """Every file outside the trash, with its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".dedup-trash" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with a picture, its exact copy and a broken file."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    Image.radial_gradient("L").save(folder / "a.png")
    shutil.copy(folder / "a.png", folder / "b.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def find(monkeypatch, pictures):
    """Has `find_duplicates` give what is asked for, or raise it: b.png is a copy of a.png unless told otherwise."""
    from dedup import pipeline
    from dedup.clustering.clusters import Cluster, Member

    size = (pictures / "a.png").stat().st_size
    shared = {"width": 256, "height": 256, "bytes": size, "distance": 0.0, "coverage": 1.0}
    keeper = Member(pictures / "a.png", kind="keeper", **shared)
    copy = Member(pictures / "b.png", kind="identical", keeper=keeper.path, **shared)

    found = (Cluster(1, keeper, (copy,)),)

    def install(
        error=None,
        clusters=found,
        paths=("a.png", "b.png"),
        failures=None,
        similar=(),
        others=(),
        losses=(),
        passed_over=(),
    ):
        def find_duplicates(config, progress=True, ray=None, places=None):
            if error is not None:
                raise error
            listed = [pictures / path for path in paths]
            embeddings = SimpleNamespace(paths=listed, contents=[], failures=failures or {})
            return SimpleNamespace(
                config=config,
                embeddings=embeddings,
                clusters=list(clusters),
                matches={},
                epsilon=0.05,
                similar=list(similar),
                device="cpu",
                places=places,
                others=Counter(others),
                losses=Losses(losses),
                passed_over=passed_over,
            )

        monkeypatch.setattr(pipeline, "find_duplicates", find_duplicates)

    return install


def test_help_imports_nothing_heavy():
    code = f"import sys, main\ntry: main.main(['--help'])\nfinally: print([n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.endswith("[]\n")
    assert "examples:" in done.stdout and "exit codes:" in done.stdout


def test_undo_needs_nothing_that_reads_pictures(tmp_path):
    code = "import sys, main; main.main([sys.argv[1], '--undo']); print('PIL' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.endswith("False False\n"), done.stderr


def test_every_setting_has_an_option():
    assert {action.dest for action in main.build_parser()._actions} >= set(SETTINGS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing"], "images_dir missing does not exist"),
        (["a.png"], "is a file, not a folder"),
        ([""], "write '.' for the current folder"),
        ([".", "--epsilon", "3"], "[0, 2], or None for the encoder's own, got 3.0"),
        ([".", "--epsilon", "far"], "invalid float value: 'far'"),
        ([".", "--batch-size", "0"], "batch_size"),
        ([".", "--extensions", "*"], "extensions"),
        ([".", "--output", "a.png"], "output_dir a.png can't be made"),
        ([".", "--delete", "--dry-run"], "not allowed with"),
        ([".", "--eps", "1"], "unrecognized arguments"),
        ([".", "--older-than", "30d"], "goes with --purge"),
        ([".", "--run", "x"], "goes with --undo or --purge"),
        ([".", "--purge"], "--older-than"),
        ([".", "--purge", "--older-than", "30"], "such as 30d"),
        ([".", "--apply", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments, says, pictures, monkeypatch, capsys):
    monkeypatch.chdir(pictures)
    before = tree(pictures)
    assert call(*arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert says in last
    assert tree(pictures) == before


@pytest.fixture
def forbidden(pictures):
    """Takes rights from a folder and tells whether that had an effect, as it has none for a superuser."""
    changed = []

    def forbid(folder: Path, mode: int) -> Path:
        changed.append((folder, folder.stat().st_mode))
        folder.chmod(mode)
        if os.access(folder, os.R_OK | os.W_OK):
            pytest.skip("this user may do everything")
        return folder

    yield forbid
    for folder, mode in changed:
        folder.chmod(mode)


@pytest.mark.parametrize("arguments", [[], ["--undo"], ["--purge", "--older-than", "0d"], ["--calibrate", "0.9"]])
def test_a_folder_that_can_not_be_read_is_one_line_and_code_2(
    arguments, pictures, tmp_path, monkeypatch, forbidden, capsys
):
    forbidden(pictures, 0o000)
    assert call(pictures, "--output", tmp_path / "out", *arguments) == 2
    said = capsys.readouterr()
    assert "can't be read: permission denied" in said.err and (said.err + said.out).count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--calibrate", "0.9"]])
def test_an_output_that_can_not_be_written_is_told_before_any_work(
    arguments, find, pictures, tmp_path, forbidden, capsys
):
    find(AssertionError("work was done"))
    (tmp_path / "out").mkdir()
    forbidden(tmp_path / "out", 0o500)
    assert call(pictures, "--output", tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert "can't be written to: Permission denied; choose another" in said and said.count("\n") == 1


def test_a_run_says_what_was_found_and_what_to_do(find, pictures, tmp_path, capsys):
    find(failures={pictures / "broken.jpg": "not an image\nat all"})
    before = tree(pictures)
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    said = capsys.readouterr().out
    assert "2 images read, 1 unreadable" in said
    assert r"broken.jpg: not an image\nat all" in said
    assert "1 cluster of 2 files at epsilon 0.05" in said
    assert "1 file could go" in said
    assert f"--apply {tmp_path / 'out' / 'plan.jsonl'}" in said.splitlines()[-1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cache.sqlite",
        "clusters.csv",
        "clusters_001.png",
        "plan.jsonl",
        "report.html",
        "series.csv",
        "similar.csv",
        "thumbnails",
        "unreadable.csv",
    }
    assert (tmp_path / "out" / "unreadable.csv").read_text().splitlines()[1].startswith("broken.jpg,")
    assert tree(pictures) == before


def test_later_commands_repeat_the_level_of_removal(find, pictures, tmp_path, capsys):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet", "--remove", "edits") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" --remove edits")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert re.search(r'--apply decisions.json [^"]*--remove edits"', page)


def test_says_which_folders_of_other_programs_were_passed_over(find, pictures, tmp_path, capsys):
    find(passed_over=[pictures / f"{name}.lrdata" for name in "abcde"])
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    said = "5 folders of other programs passed over: a.lrdata, b.lrdata, c.lrdata and 2 more"
    assert said in capsys.readouterr().out.splitlines()


def test_names_ten_unreadable_files_and_where_the_others_are(find, pictures, tmp_path, capsys):
    find(failures={pictures / f"{number:02}.jpg": "broken" for number in range(12)})
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    said = capsys.readouterr().out
    assert "09.jpg" in said and "10.jpg" not in said
    assert "and 2 more, in" in said
    assert len((tmp_path / "out" / "unreadable.csv").read_text().splitlines()) == 13


def test_dry_run_lists_and_moves_nothing(find, pictures, tmp_path, capsys, monkeypatch):
    find()
    monkeypatch.setattr(main.configs, "delete_files", True)
    before = tree(pictures)
    assert call(pictures, "--output", tmp_path / "out", "--quiet", "--dry-run") == 0
    assert "b.png (identical) for a.png" in capsys.readouterr().out
    assert tree(pictures) == before


def test_a_folder_that_can_not_be_written_to_stays_as_it_is(find, pictures, tmp_path, capsys, monkeypatch):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    before = tree(pictures)

    def make(self, name, mode=0o777):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    monkeypatch.setattr(Folder, "make", make)
    capsys.readouterr()
    assert call(pictures, "--apply", tmp_path / "out" / "plan.jsonl") == 4 and tree(pictures) == before
    said = capsys.readouterr()
    assert said.err.endswith("can't be written to, nothing was moved: Permission denied\n")
    assert said.out.endswith("once the cause is mended, run the same command again\n")


@pytest.mark.parametrize("how", ["--delete", "configs.py", "--apply"])
def test_removal_can_be_undone(how, find, pictures, tmp_path, capsys, monkeypatch):
    find()
    before = tree(pictures)
    output = ["--output", tmp_path / "out", "--quiet"]
    if how == "configs.py":
        monkeypatch.setattr(main.configs, "delete_files", True)
    assert call(pictures, *output, *(["--delete"] if how == "--delete" else [])) == 0
    if how == "--apply":
        assert call(pictures, "--apply", tmp_path / "out" / "plan.jsonl") == 0
    said = capsys.readouterr().out
    assert "1 file moved to the trash" in said
    assert said.splitlines()[-1].endswith("--undo")
    assert sorted(tree(pictures)) == ["a.png", "broken.jpg"]
    assert call(pictures, "--undo") == 0
    assert "1 file put back" in capsys.readouterr().out
    assert tree(pictures) == before


def test_a_plan_is_not_applied_twice_or_elsewhere(find, pictures, tmp_path, capsys):
    find()
    plan, elsewhere = tmp_path / "out" / "plan.jsonl", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert call(pictures, "--output", tmp_path / "out", "--quiet", "--delete") == 0
    before = tree(pictures)
    for folder in (pictures, elsewhere):
        capsys.readouterr()
        assert call(folder, "--apply", plan) == 2
        told = capsys.readouterr()
        assert "it was applied before, or made for another folder" in told.err and "refused" not in told.out
        assert ("--undo" in told.out) == (folder == pictures) and "to write a new plan" in told.out
    assert tree(pictures) == before and not list(elsewhere.iterdir())
    assert len(list((pictures / ".dedup-trash").glob("*/journal.jsonl"))) == 1


def told(capsys) -> dict:
    """The one object that `--json` printed; docs/files.md has all of its keys."""
    facts = json.loads(capsys.readouterr().out)
    documented = (PROJECT / "docs" / "files.md").read_text(encoding="utf-8").split("## `--json`")[1].split("\n## ")[0]
    keys = re.findall(r"^\| (`.*?) \|", documented, re.MULTILINE)
    assert set(facts) <= set(re.findall(r"\w+", " ".join(keys)))
    return facts


def test_json_tells_of_each_command(find, pictures, tmp_path, capsys):
    out = ["--output", tmp_path / "out", "--json"]
    find(failures={pictures / "broken.jpg": "broken"}, others={".dng": 2})
    size = (pictures / "b.png").stat().st_size
    assert call(pictures, *out, "--dry-run") == 0
    facts = told(capsys)
    assert [facts[name] for name in ("command", "read", "unreadable", "clusters", "exit_code")] == [
        "dry_run",
        2,
        1,
        1,
        0,
    ]
    assert facts["kinds"] == {"identical": 1} and facts["not_read"] == {".dng": 2}
    assert facts["levels"] == dict.fromkeys(("exact", "copies", "edits"), {"files": 1, "bytes": size})
    assert facts["planned"] == {"files": 1, "pictures": 1, "bytes": size} and facts["would_go"] == ["b.png"]
    assert {Path(path).name for path in facts["written"]} >= {"report.html", "clusters.csv", "plan.jsonl"}
    assert all(Path(path).is_file() for path in facts["written"])
    assert call(pictures, *out, "--delete") == 0
    facts = told(capsys)
    assert [facts[name] for name in ("command", "done", "refused", "exit_code")] == ["delete", ["b.png"], [], 0]
    (pictures / "b.png").write_bytes(b"another")
    assert call(pictures, *out, "--undo") == 1
    facts, run_name = told(capsys), facts["run"]
    assert facts["run"] == run_name and facts["done"] == [] and facts["exit_code"] == 1
    assert facts["refused"][0]["path"] == "b.png" and facts["refused"][0]["reason"]
    (pictures / "b.png").unlink()
    assert call(pictures, *out, "--undo") == 0 and told(capsys)["done"] == ["b.png"]
    assert call(pictures, *out, "--apply", tmp_path / "out" / "plan.jsonl") == 0 and told(capsys)["done"] == ["b.png"]
    assert call(pictures, *out, "--purge", "--older-than", "0d") == 0
    facts = told(capsys)
    assert [facts[name] for name in ("command", "done", "exit_code")] == ["purge", ["b.png"], 0]


def test_the_bytes_of_what_could_go_are_those_of_all_files(find, pictures, tmp_path, capsys):
    find()
    for name in ("a.xmp", "b.xmp"):
        (pictures / name).write_bytes(b"x" * 5000)
    assert call(pictures, "--output", tmp_path / "out", "--json", "--dry-run") == 0
    said = capsys.readouterr()
    freed = sum((pictures / name).stat().st_size for name in ("b.png", "b.xmp"))
    assert json.loads(said.out)["planned"] == {"files": 2, "pictures": 1, "bytes": freed}
    assert f"1 file could go, with 1 file beside: {format_bytes(freed)}\n" in said.err


def test_json_of_a_run_with_nothing_to_remove(find, pictures, tmp_path, capsys):
    find(clusters=())
    out = (pictures, "--output", tmp_path / "out", "--json")
    assert call(*out, "--delete") == 0
    facts = told(capsys)
    assert facts["command"] == "delete" and facts["done"] == [] and facts["epsilon"] == 0.05
    assert call(*out, "--dry-run") == 0 and told(capsys)["would_go"] == []
    find(paths=(), clusters=(), failures={pictures / "broken.jpg": "broken"})
    assert call(*out) == 2 and "epsilon" not in told(capsys)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--undo", "--dry-run"], 2, "not allowed with"),
        (["--eps", "1"], 2, "unrecognized arguments"),
        (["--run", "x"], 2, "--run goes with"),
        (["--epsilon", "3"], 2, "got 3.0"),
        (["--apply", "missing.jsonl"], 2, "missing.jsonl"),
        ([], 70, "please report this line"),
        (["--quiet"], 130, "interrupted"),
    ],
)
def test_json_tells_of_errors(arguments, code, says, find, pictures, tmp_path, capsys):
    find(KeyboardInterrupt() if code == 130 else ValueError("ours"))
    assert call(pictures, "--output", tmp_path / "out", "--json", *arguments) == code
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert facts["exit_code"] == code and says in facts["error"] and says in said.err
    assert set(facts) <= {"command", "error", "exit_code", "run", "done", "refused", "xmp_files"}


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_what_cannot_be_looked_at_is_not_said_to_be_gone(find, pictures, tmp_path, capsys):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    plan = tmp_path / "out" / "plan.jsonl"
    text = plan.read_text("utf-8")
    assert '"b.png"' in text
    plan.write_text(text.replace('"b.png"', '"loop/b.png"'), "utf-8")
    (pictures / "loop").symlink_to("loop")
    assert call(pictures, "--apply", plan) == 2
    assert "the way to 'loop/b.png' is a link" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--dry-run", "--quiet"])
def test_where_there_is_nothing_to_find_nothing_more_is_said(find, pictures, tmp_path, capsys, option):
    find(clusters=())
    assert call(pictures, "--output", tmp_path / "out", option) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no duplicates at epsilon")


def test_a_second_undo_says_that_all_is_back(find, pictures, tmp_path, capsys):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet", "--delete") == 0
    assert call(pictures, "--undo") == 0
    capsys.readouterr()
    assert call(pictures, "--undo") == 0
    said = capsys.readouterr().out
    assert "every file is in its place already (run " in said and "0 files" not in said
    (pictures / "b.png").unlink()
    assert call(pictures, "--undo") == 1  # it is looked for
    said = capsys.readouterr().out
    assert "1 file can't come back" in said and "in its place" not in said


def test_purge_destroys_what_is_old_enough(find, pictures, tmp_path, capsys):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet", "--delete") == 0
    assert call(pictures, "--purge", "--older-than", "1d") == 0
    assert "nothing to destroy: no file in the trash is so old\n" in capsys.readouterr().out
    name = next((pictures / ".dedup-trash").glob("*/journal.jsonl")).parent.name
    assert call(pictures, "--purge", "--run", name, "--older-than", "1d") == 0
    assert f"no file in the trash is of this run and so old (run {name})\n" in capsys.readouterr().out
    assert call(pictures, "--purge", "--older-than", "0d") == 0
    assert "1 file destroyed" in capsys.readouterr().out
    assert call(pictures, "--purge", "--run", name) == 0
    assert f"no file in the trash is of this run (run {name})\n" in capsys.readouterr().out
    assert call(pictures, "--undo") == 1
    gone = "1 file can't come back, purged before or taken out of the trash: b.png\n0 files put back"
    assert capsys.readouterr().out.startswith(gone)
    assert sorted(tree(pictures)) == ["a.png", "broken.jpg"]


def test_a_run_that_there_is_not_is_told_in_one_line(find, pictures, tmp_path):
    (pictures / ".dedup-trash").mkdir()
    empty = run(pictures, "--purge", "--run", "nope")
    assert empty.returncode == 2 and empty.stderr == "main.py: there is no run nope; the trash is empty\n"
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet", "--delete") == 0
    (name,) = waiting_runs(pictures)
    for option in ("--purge", "--undo"):
        done = run(pictures, option, "--run", "nope")
        assert done.stderr == f"main.py: there is no run nope; in the trash are files of {name}\n"
        assert done.returncode == 2 and "0 files" not in done.stdout


def test_help_says_what_purge_takes_and_how_patterns_are_read():
    said = " ".join(run("--help").stdout.split())
    assert "of the run that --run names or of those that --older-than tells; needs one" in said
    assert "* stands for any letters, / too, and the name of a folder for all that is in it" in said


def test_files_that_were_purged_are_counted_and_some_are_named():
    refused = [(Path(f"{number}.png"), GONE) for number in range(17)] + [(Path("b.png"), "it has changed")]
    first, second = messages.refusals(Outcome(refused=tuple(refused)))
    assert first == "  refused: b.png: it has changed"
    assert second.startswith("17 files can't come back") and second.endswith(": 0.png, 1.png, 2.png and 14 more")


def test_a_refused_item_is_code_1_with_its_reason(find, pictures, tmp_path, capsys):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    (pictures / "b.png").write_bytes(b"edited since")
    assert call(pictures, "--apply", tmp_path / "out" / "plan.jsonl") == 1
    said = capsys.readouterr().out
    assert "refused: b.png: " in said and "0 files moved" in said
    assert (pictures / "b.png").read_bytes() == b"edited since"


def test_the_last_line_names_what_was_seen_in_the_trash(find, pictures, tmp_path, capsys):
    """Not what a call was meant to leave there."""
    find()
    plan, copy = tmp_path / "out" / "plan.jsonl", (pictures / "b.png").read_bytes()

    def last(*arguments) -> str:
        code = call(pictures, *arguments)
        return f"{code} {capsys.readouterr().out.splitlines()[-1].strip()}"

    look_again, last_run = messages.command(pictures), lambda: f"--undo --run {waiting_runs(pictures)[-1]}"
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    (pictures / "b.png").write_bytes(b"edited since")
    assert last("--apply", plan) == f"1 {look_again}"  # all refused: nothing to put back
    (pictures / "b.png").write_bytes(copy)
    assert last("--apply", plan).endswith("--undo") and len(waiting_runs(pictures)) == 1
    assert last("--purge", "--older-than", "1d").endswith(last_run())
    (pictures / "b.png").write_bytes(b"another")
    assert last("--undo").endswith(last_run())
    (pictures / "b.png").unlink()
    assert last("--undo") == f"0 {look_again}"
    assert last("--apply", plan).startswith("0 ")
    assert last("--purge", "--older-than", "0d") == last("--purge", "--older-than", "0d") == f"0 {look_again}"
    assert last("--undo") == f"1 {look_again}"


def test_a_plan_edited_by_hand_is_applied_as_it_stands(find, pictures, tmp_path, capsys):
    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    plan = tmp_path / "out" / "plan.jsonl"
    header, item = plan.read_text().splitlines()
    before = tree(pictures)
    for edited, code in ((header, 0), (f"{header}\n{item.replace('b.png', '../b.png')}", 2), (item, 2)):
        plan.write_text(edited + "\n")
        assert call(pictures, "--apply", plan) == code and tree(pictures) == before
    plan.write_text(f"{header}\n\n{item}\n")
    assert call(pictures, "--apply", plan) == 0 and sorted(tree(pictures)) == ["a.png", "broken.jpg"]
    capsys.readouterr()


def test_a_plan_that_can_not_be_written_is_not_replaced_by_an_older_one(find, pictures, tmp_path, capsys, monkeypatch):
    from dedup.deletion import removal

    find()
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    before = tree(pictures)

    def full(path, data, sync):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(removal, "write_whole", full)
    for arguments in ([], ["--dry-run"], ["--delete"]):
        capsys.readouterr()
        assert call(pictures, "--output", tmp_path / "out", "--quiet", *arguments) == 4
        said = capsys.readouterr()
        assert "No space left" in said.err and "--apply" not in said.out and tree(pictures) == before


def test_a_second_run_in_the_folder_is_code_3(find, pictures, tmp_path, capsys, monkeypatch):
    from dedup.deletion import removal

    monkeypatch.setattr(removal, "undo", lambda *_: Outcome(exit_code=3, message="another run is at work"))
    assert call(pictures, "--undo") == 3
    said = capsys.readouterr()
    assert "another run" in said.err and "again" in said.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 4, "No space left on device: x.png"),
    ],
)
def test_what_ends_a_run_is_one_line(error, code, says, find, pictures, tmp_path, capsys):
    find(error)
    assert call(pictures, "--output", tmp_path / "out") == code
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes are closed in another way there")
@pytest.mark.parametrize("arguments", [["pictures", "--undo"], ["missing"]])
@pytest.mark.parametrize("streams", [["stdout"], ["stdout", "stderr"]])
def test_a_reader_that_goes_away_ends_a_run_quietly(streams, arguments, tmp_path):
    folder = tmp_path / "pictures"
    (folder / ".dedup-trash").mkdir(parents=True)
    reading, writing = os.pipe()
    os.close(reading)
    errors = subprocess.STDOUT if "stderr" in streams else subprocess.PIPE
    words = [sys.executable, PROJECT / "main.py", *arguments]
    done = subprocess.run(words, cwd=tmp_path, stdout=writing, stderr=errors, text=True)
    os.close(writing)
    silent = arguments == ["missing"] and streams == ["stdout"]  # writes to stderr alone
    assert done.returncode == (2 if silent else 141)
    assert silent or not done.stderr


def test_an_address_without_a_cluster_is_one_line(pictures, tmp_path):
    pytest.importorskip("ray", reason="requirements-ray.txt is not installed")
    done = run(pictures, "--output", tmp_path / "out", "--quiet", "--ray", "ray://127.0.0.1:1")
    assert done.returncode == 2 and "no Ray cluster at ray://127.0.0.1:1: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_error_that_is_not_rays_is_not_called_so(find, pictures, tmp_path, capsys):
    find(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 4
    assert capsys.readouterr().err == "main.py: Connection reset by peer\n"


@pytest.mark.parametrize("verbose", [(), ("--verbose",)])
def test_a_fault_of_ours_has_a_code_of_its_own_and_a_line_to_report(verbose, find, pictures, tmp_path, capsys):
    find(ValueError("ours,\non two lines"))
    assert call(pictures, "--output", tmp_path / "out", *verbose) == 70
    said = capsys.readouterr().err
    assert r"please report this line" in said and r"ValueError: ours,\non two lines (test_main.py, line " in said
    assert ("Traceback" in said) == bool(verbose) and (said.count("\n") == 1 or verbose)


def test_no_memory_left_is_no_fault_of_ours(find, pictures, tmp_path, capsys):
    find(MemoryError())
    assert call(pictures, "--output", tmp_path / "out") == 4
    assert "no memory left" in capsys.readouterr().err


def test_what_was_not_read_for_its_ending_is_told_in_one_line(find, pictures, tmp_path, capsys):
    find(others={".mov": 1, ".psd": 1, "": 4})
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    assert "\n6 files not read: .mov 1, .psd 1, no ending 4\n" in capsys.readouterr().out
    find(others={f".{number}": 20 - number for number in range(11)})
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
    assert ".7 13, other endings 33\n" in capsys.readouterr().out


def test_what_a_job_has_lost_stays_and_is_counted_and_listed(find, pictures, tmp_path, capsys):
    for lost in ((pictures / "a.png",), (pictures / "a.png", pictures / "b.png")):
        find(losses={lost: "crashed its process"})
        assert call(pictures, "--output", tmp_path / "out", "--quiet") == 0
        said = capsys.readouterr().out
        assert f"1 {'file' if len(lost) == 1 else 'pair'} can't be looked at in full; --verbose names" in said
        assert "0 files could go: 0 B\nwhy each of them stays: see the column reason in clusters.csv\n" in said
        assert "a.png and" not in said
        assert len((tmp_path / "out" / "plan.jsonl").read_text().splitlines()) == 1
        assert "in full: crashed its process" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        listed = (tmp_path / "out" / "unreadable.csv").read_text()
        assert ("a.png,crashed its process" in listed) == (len(lost) == 1)
        call(pictures, "--output", tmp_path / "out", "--quiet", "--verbose")
        assert f"  {' and '.join(each.name for each in lost)}: crashed its process" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="streams are closed in another way there")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_error(closed, pictures, tmp_path):
    for arguments in ("--undo", "--help"):
        words = f"{sys.executable} main.py '{pictures}' {arguments}"
        codes = [
            subprocess.run(["sh", "-c", f"{words} {how}"], cwd=PROJECT, capture_output=True).returncode
            for how in ("", closed)
        ]
        assert codes[0] == codes[1] in (0, 2)


def test_no_images_and_no_readable_images_are_code_2(find, pictures, tmp_path, capsys):
    find(paths=(), clusters=(), others={".txt": 2})
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 2
    says = "none of its files has one of the extensions in configs.py; 2 files not read: .txt 2\n"
    assert capsys.readouterr().err == f"main.py: no images in {pictures}: {says}"
    find(paths=(), clusters=(), failures={pictures / "broken.jpg": "broken"})
    assert call(pictures, "--output", tmp_path / "out", "--quiet") == 2
    said = capsys.readouterr()
    assert "none of the images could be read" in said.err
    assert said.out == "0 images read, 1 unreadable\n  broken.jpg: broken\n"  # nothing of an encoder that saw none


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("写真 é.jpg", "写真 é.jpg"),
        ("a\nb\t\x1b[31m\x7f", r"a\nb\t\x1b[31m\x7f"),
        ("right\u202eleft", r"right\u202eleft"),
        ("line\u2028", r"line\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_names_are_harmless_on_a_terminal(name, written):
    assert messages.shown(name) == written


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="quotes for a POSIX shell, checked with bash")
@pytest.mark.parametrize(
    "name", ["plain", 'it\'s a "name"', "a\nb", "\x1b[31m'\\$HOME`id`", "$(id) \u202e 写", "\udcff*", "~", "-rf"]
)
def test_a_command_can_be_pasted(name, tmp_path, monkeypatch):
    words = messages.command(tmp_path / name, "--apply", Path(name))
    assert words.isprintable()
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True)
    pasted = [os.fsdecode(word) for word in told.stdout.split(b"\0")[:-1]]
    assert pasted[-3] == str(tmp_path / name)
    assert Path(pasted[-1]) == Path(name) and not pasted[-1].startswith("-")
    monkeypatch.chdir(tmp_path)
    assert messages.command(tmp_path / "here", "--undo").endswith(" here --undo")


@pytest.fixture(scope="module")
def sample_run(samples_dir, tmp_path_factory):
    """main.py on the sample pictures, once, from another folder."""
    output = tmp_path_factory.mktemp("run")
    done = run(samples_dir, "--output", "out", cwd=output)
    assert done.returncode == 0, done.stderr
    return done, output / "out"


def test_samples_as_a_process(sample_run):
    done, output = sample_run
    assert "Traceback" not in done.stderr
    assert "could go" in done.stdout
    assert (output / "clusters_001.png").is_file()
    assert (output / "clusters.csv").read_text(encoding="utf-8").startswith("path,cluster,keep,kind,distance,")


def test_json_of_the_samples_is_all_that_is_on_stdout(sample_run, samples_dir):
    text, output = sample_run
    done = run(samples_dir, "--output", output, "--json")
    facts = json.loads(done.stdout)
    assert done.returncode == facts["exit_code"] == 0
    assert f"\n{facts['clusters']} clusters of {facts['files_in_clusters']} files" in text.stdout
    assert f"\n{facts['planned']['files']} files could go" in text.stdout and "could go" in done.stderr
    assert f"up to {facts['levels']['edits']['files'] - facts['levels']['copies']['files']} more" in text.stdout
    assert sum(facts["kinds"].values()) == facts["files_in_clusters"] - facts["clusters"]
    wrong = run(samples_dir, "--json", "--epsilon", "far")
    assert wrong.returncode == 2 and json.loads(wrong.stdout)["exit_code"] == 2


def test_two_runs_write_the_same(sample_run, samples_dir, tmp_path):
    _, output = sample_run
    assert run(samples_dir, "--output", tmp_path / "again", "--num-workers", "0").returncode == 0
    assert (tmp_path / "again" / "clusters.csv").read_bytes() == (output / "clusters.csv").read_bytes()


def test_preferred_files_are_kept_by_a_process(tmp_path):
    """What the preferred ones lack stays beside them."""
    folder = tmp_path / "photos"
    (folder / "Originals").mkdir(parents=True)
    image, exif = sample_photo("chelsea.png"), Image.Exif()
    exif[0x0110] = "Box Brownie"
    image.save(folder / "a.png")
    image.save(folder / "b.jpg", quality=95, exif=exif)
    image.save(folder / "Originals" / "c.webp", quality=90)
    for words, keeper in (("png", "a.png"), ("folder:Originals", "Originals/c.webp"), ("smallest", "Originals/c.webp")):
        done = run(folder, "--output", tmp_path / "out", "--quiet", "--prefer", f"tif,{words}")
        assert done.returncode == 0, done.stderr
        with open(tmp_path / "out" / "clusters.csv", encoding="utf-8") as file:
            rows = {row["path"]: row for row in csv.DictReader(file)}
        assert rows[keeper]["kind"] == "keeper" and rows[keeper]["why"] == f"preferred: {words}"
        assert rows["b.jpg"]["keep"] == "1" and rows["b.jpg"]["reason"] == "has the camera that its keeper lacks"
    for words, says in (
        ("finest", "prefer knows oldest"),
        ("folder:Missing", "--prefer folder: Missing does not exist"),
    ):
        done = run(folder, "--output", tmp_path / "out", "--prefer", words)
        assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_series_as_a_process(tmp_path):
    """Three shots of one scene, one of them twice, one out of focus; a like one from another day; three exposures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, light in enumerate((0.4, 1.0, 2.5)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003], exif.get_ifd(0x8769)[0x9291] = "2019:01:01 10:00:00", f"{number}5"
        shot = sample_photo("coffee.png").point(lambda level, light=light: level * light)
        shot.save(folder / f"light {number}.jpg", quality=90, exif=exif)
        shot.save(folder / f"light {number} copy.jpg", quality=80, exif=exif)
    for moved, second, name in ((0, 0, "a"), (0.006, 1, "b"), (-0.006, 3, "c"), (0.012, 100_000, "d")):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2020:01:{1 + second // 86_400:02} 10:00:{second % 60:02}"
        image = waved(sample_photo("chelsea.png"), moved, waves=2)
        image = image.filter(ImageFilter.GaussianBlur(2)) if name == "b" else image
        image.save(folder / f"{name}.jpg", quality=90 if name == "a" else 95, exif=exif)
    shutil.copy(folder / "c.jpg", folder / "c copy.jpg")
    done = run(folder, "--output", tmp_path / "out", "--quiet", "--json", "--remove", "edits")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "series.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"light {number}.jpg" for number in range(3)] + ["a.jpg", "b.jpg", "c.jpg"]
    assert [row["captured"][-6:] for row in rows] == ["00.050", "00.150", "00.250", "00.000", "01.000", "03.000"]
    assert [row["series"] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert [row["suggested"] for row in rows[:3]] == ["0", "1", "0"]
    assert rows[4]["suggested"] == "0" and [row["suggested"] for row in rows[3:]].count("1") == 1
    facts = json.loads(done.stdout)
    assert facts["series"] == {"series": 2, "shots": 6} and facts["planned"]["files"] == 4  # the copies
    assert "2 series of 6 shots, the best of each marked, listed in" in done.stderr


def test_what_is_preferred_does_not_change_which_shot_is_suggested(tmp_path):
    """A small copy of a shot out of focus looks as sharp as the other shot."""
    (tmp_path / "photos" / "small").mkdir(parents=True)
    for moved, second, name in ((0, 0, "a"), (-0.006, 3, "b")):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2020:01:01 10:00:{second:02}"
        image = waved(sample_photo("chelsea.png"), moved, waves=2)
        image = image.filter(ImageFilter.GaussianBlur(0.8)) if name == "a" else image
        image.save(tmp_path / "photos" / f"{name}.jpg", quality=93, exif=exif)
        if name == "a":
            image = image.resize((image.width // 3, image.height // 3), Image.Resampling.LANCZOS)
            image.save(tmp_path / "photos" / "small" / "a.jpg", quality=95, exif=exif)
    words = (tmp_path / "photos", "--output", tmp_path / "out", "--quiet", "--prefer", "folder:small")
    assert run(*words).returncode == 0
    with open(tmp_path / "out" / "series.csv", encoding="utf-8") as file:
        shots = {row["path"]: row["suggested"] for row in csv.DictReader(file)}
    assert shots == {"small/a.jpg": "0", "b.jpg": "1"}


def test_series_without_a_cluster_are_on_the_page_that_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    for moved, second, name in ((0, 0, "a"), (-0.006, 3, "b")):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2020:01:01 10:00:{second:02}"
        waved(sample_photo("chelsea.png"), moved, waves=2).save(tmp_path / "photos" / f"{name}.jpg", exif=exif)
    said = run(tmp_path / "photos", "--output", tmp_path / "out", "--quiet").stdout
    assert "no duplicates" in said and "1 series of 2 shots" in said
    assert f"to look at them and decide, open {tmp_path / 'out' / 'report.html'}" in said


def test_an_empty_folder_as_a_process(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "no images in" in done.stderr and done.stderr.endswith(": it is empty\n") and done.stderr.count("\n") == 1
