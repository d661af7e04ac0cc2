"""What the command line says. Input: results. Output: lines that are safe on a terminal, commands that can be pasted.

Result, Outcome  ->  list of lines; failures  ->  unreadable.csv
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dedup.config import REMOVE
from dedup.deletion.outcome import BAD_PLAN, DONE, GONE, LOCKED, SOME_REFUSED, STOPPED
from dedup.deletion.records import AGAINST, MERGE
from dedup.output import count_of, escape, format_bytes, name_in, relative_path, write_table

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster, Member
    from dedup.clustering.result import Leak, Series
    from dedup.deletion.removal import Outcome
    from dedup.workers import Losses

SHOWN = 10  # unreadable files that the terminal names
MENTIONED = 3  # folders of other programs, and files that are gone from the trash, that it names
ENDINGS = 8  # endings of files that were passed over, that it names


def shown(text: object) -> str:
    r"""`text` on one line; control, format and broken characters, which a terminal obeys or hides, as \x.."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))


def near(path: Path) -> Path:
    """`path` as seen from the current folder, where it lies below that."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path


def quote(argument: str) -> str:
    """One argument for the shell: bash's $'..' where it holds what a terminal should not be sent."""
    if os.name == "nt":
        return subprocess.list2cmdline([argument])
    if argument.isprintable():
        return shlex.quote(argument)
    written = (
        chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}"
        for byte in argument.encode(sys.getfilesystemencoding(), "surrogateescape")
    )
    return f"$'{''.join(written)}'"


def command(images_dir: Path, *arguments: str | Path) -> str:
    """The command that runs main.py on a folder, as this process was started; a Path is never read as an option."""
    python = Path(sys.executable)
    usual = next((name for name in ("python", "python3") if shutil.which(name) == str(python)), near(python))
    words = (usual, near(Path(sys.argv[0])), Path(images_dir), *arguments)
    return " ".join(quote(_path_word(near(word)) if isinstance(word, Path) else word) for word in words)


def _path_word(path: Path) -> str:
    return f".{os.sep}{path}" if os.fspath(path).startswith("-") else os.fspath(path)


def write_unreadable(failures: dict[Path, str], images_dir: Path, path: Path) -> None:
    """The files that could not be read, as CSV: path, reason; names written as in clusters.csv."""
    names = ((name_in(failed, images_dir), reason) for failed, reason in failures.items())
    write_table(path, ("path", "reason"), ((name, escape(reason)) for name, reason in names))


def reading(
    read: int, failures: dict[Path, str], images_dir: Path, table: Path, archived: int | None = None
) -> Iterator[str]:
    """How many files were read, and which were not; `table` lists them if they are too many to name.

    archived : how many of the files lie in archives; None = there are none
    """
    of_them = "" if archived is None else f"; {archived:,} of them in the archive, {read - archived:,} incoming"
    yield f"{count_of(read, 'image')} read, {len(failures):,} unreadable{of_them}"
    for path, reason in list(failures.items())[:SHOWN]:
        yield f"  {shown(relative_path(path, images_dir))}: {shown(reason)}"
    if len(failures) > SHOWN:
        yield f"  and {len(failures) - SHOWN:,} more, in {shown(near(table))}"


def passing_over(others: Counter[str]) -> Iterator[str]:
    """How many files were not read for their endings; "" is none."""
    if others:
        ordered = sorted(others, key=lambda ending: (not ending, -others[ending], ending))
        named = [f"{shown(ending) or 'no ending'} {others[ending]:,}" for ending in ordered[:ENDINGS]]
        if rest := sum(others[ending] for ending in ordered[ENDINGS:]):
            named.append(f"other endings {rest:,}")
        yield f"{count_of(others.total(), 'file')} not read: {', '.join(named)}"


def needing(others: Counter[str], extensions: Sequence[str]) -> Iterator[str]:
    """How many of them could be read with a package that is not installed."""
    from dedup.dataset.decoding import missing_plugins

    for package, endings in missing_plugins(extensions).items():
        if count := sum(others[ending] for ending in endings):
            yield f"{count_of(count, 'file')} of them could be read: pip install {package}"


def leaving_alone(folders: Sequence[Path], images_dir: Path) -> Iterator[str]:
    """How many folders of other programs were not searched, and which."""
    if folders:
        named = _first([relative_path(folder, images_dir) for folder in folders])
        yield f"{count_of(len(folders), 'folder')} of other programs passed over: {named}"


def _first(paths: Sequence[Path]) -> str:
    """Some of them by name, and how many more there are."""
    more = f" and {len(paths) - MENTIONED:,} more" if len(paths) > MENTIONED else ""
    return ", ".join(map(shown, paths[:MENTIONED])) + more


def losing(losses: Losses, images_dir: Path, is_verbose: bool) -> Iterator[str]:
    """How many files and pairs could not be looked at in full; `is_verbose` names them, with the reason."""
    if losses:
        files = sum(len(paths) == 1 for paths in losses)
        found = [count_of(*each) for each in ((files, "file"), (len(losses) - files, "pair")) if each[0]]
        yield f"{' and '.join(found)} can't be looked at in full{'' if is_verbose else '; --verbose names them'}"
    for paths, reason in losses.items() if is_verbose else ():
        yield f"  {' and '.join(shown(relative_path(path, images_dir)) for path in paths)}: {shown(reason)}"


def undrawn(losses: Losses) -> Iterator[str]:
    """Pages of pictures that are missing, each with the reason."""
    for (page,), reason in losses.items():
        yield f"  {page.name} can't be drawn: {shown(reason)}"


def summary(clusters: Sequence[Cluster], planned: Outcome, images_dir: Path) -> dict:
    """What `--json` shows of a search: counts by kind of match and by level of `remove`, and the plan's items.

    For a level beyond this run's, the count is an upper bound: those files were not compared at full resolution.
    """
    from dedup.clustering.members import LEVELS, Why

    members = [member for cluster in clusters for member in cluster.members]
    able = [member for member in members if member.removable or (member.reason and member.reason.code == Why.LEVEL)]
    levels = {level: [member.bytes for member in able if member.kind in LEVELS[level]] for level in REMOVE}
    going = set(planned.done)
    pictures = sum(relative_path(member.path, images_dir) in going for member in drops(clusters))
    return {
        "clusters": len(clusters),
        "files_in_clusters": len(clusters) + len(members),
        "kinds": dict(Counter(str(member.kind) for member in members)),
        "levels": {level: {"files": len(found), "bytes": sum(found)} for level, found in levels.items()},
        "planned": {"files": len(going), "pictures": pictures, "bytes": planned.bytes},
        "xmp_files": len(planned.beside),
        "refused": refused(planned),
    }


def removing(outcome: Outcome) -> dict:
    """What `--json` shows of a removal, an undo or a purge."""
    return {"run": outcome.run, "done": list(map(str, outcome.done)), "refused": refused(outcome)}


def refused(outcome: Outcome) -> list[dict]:
    """Files that were left as they are, for `--json`."""
    return [{"path": str(path), "reason": reason} for path, reason in outcome.refused]


def finding(
    clusters: Sequence[Cluster],
    epsilon: float,
    planned: Outcome,
    images_dir: Path,
    is_archived: bool = False,
    remove: str = "copies",
) -> Iterator[str]:
    """How much was found, how much of it could go at a level of `remove`, and how much more at a higher one.

    is_archived : for keepers in an archive
    """
    if not clusters:
        yield f"no duplicates at epsilon {epsilon:.4g}"
        return
    facts = summary(clusters, planned, images_dir)
    plan, levels, files = facts["planned"], facts["levels"], count_of(facts["files_in_clusters"], "file")
    yield f"{count_of(len(clusters), 'cluster')} of {files} at epsilon {epsilon:.4g}"
    why = f"{'is' if plan['pictures'] == 1 else 'are'} in the archive and " if is_archived else ""
    beside = f", with {count_of(more, 'file')} beside" if (more := plan["files"] - plan["pictures"]) else ""
    yield f"{count_of(plan['pictures'], 'file')} {why}could go{beside}: {format_bytes(plan['bytes'])}"
    if planned.beside:
        yield f"{count_of(len(planned.beside), 'XMP file')} would be written beside kept pictures"
    if not plan["pictures"]:
        yield "why each of them stays: see the column reason in clusters.csv"
    for level in REMOVE[REMOVE.index(remove) + 1 :]:
        if more := levels[level]["files"] - levels[remove]["files"]:
            yield f"up to {count_of(more, 'more file')} could go with --remove {level}"
            break


def leaving(similar: Sequence[tuple], table: Path) -> Iterator[str]:
    """How many pairs are similar but not copies, and where they are listed."""
    if similar:
        yield f"{count_of(len(similar), 'pair')} alike but not confirmed, listed in {shown(near(table))}"


def showing(series: Sequence[Series], table: Path) -> Iterator[str]:
    """How many series of shots there are, and where they are listed; none of their shots goes for another."""
    if series:
        shots = count_of(sum(len(each.shots) for each in series), "shot")
        yield f"{len(series):,} series of {shots}, the best of each marked, listed in {shown(near(table))}"


def leaking(leaks: Sequence[Leak], incoming: int, table: Path) -> Iterator[str]:
    """How many incoming files show what the archive has, and where they are listed."""
    labels = f", {others:,} under another label" if (others := sum(leak.has_other_label for leak in leaks)) else ""
    listed = f"; listed in {shown(near(table))}" if leaks else ""
    yield f"{len(leaks):,} of {count_of(incoming, 'incoming file')} show what the archive has{labels}{listed}"


def planning(clusters: Sequence[Cluster], planned: Outcome, images_dir: Path) -> Iterator[str]:
    """Every file that would go, with the one that stays for it."""
    going = set(planned.done)
    for member in drops(clusters):
        path = relative_path(member.path, images_dir)
        if path in going:
            yield f"  {shown(path)} ({member.kind}) for {shown(relative_path(member.keeper, images_dir))}"
            going.remove(path)
    yield from (f"  {shown(path)}, which belongs to one of them" for path in sorted(going))


def drops(clusters: Sequence[Cluster]) -> Iterator[Member]:
    """Each member that may go."""
    return (member for cluster in clusters for member in cluster.members if member.removable)


def pronoun(files: Sequence) -> str:
    """Pronoun, it or them, for files that a sentence has counted."""
    return "it" if len(files) == 1 else "them"


def refusals(outcome: Outcome) -> Iterator[str]:
    """Every file that was left as it is, with the reason; those that are no longer in the trash are counted."""
    for path, reason in outcome.refused:
        if reason != GONE:
            yield f"  refused: {shown(path)}: {shown(reason)}"
    if gone := [path for path, reason in outcome.refused if reason == GONE]:
        yield f"{count_of(len(gone), 'file')} can't come back, purged before or taken out of the trash: {_first(gone)}"


def against(archives: Sequence[str | Path]) -> list[str | Path]:
    """The arguments of a command that name archives."""
    return [word for archive in archives for word in ("--against", Path(archive))]


def advice(
    outcome: Outcome, done: str, images_dir: Path, waiting: Sequence[str], archives: Sequence[str | Path] = ()
) -> Iterator[str]:
    """What to run next, after a removal call that is `done`: "moved to the trash", "put back" or "destroyed".

    waiting : the runs that were seen to have files in the trash after it, the latest last
    archives : that were compared with
    """
    compared = against(archives)
    if any(MERGE in reason for _, reason in outcome.refused):
        yield f"to write what keepers lack into XMP files beside them, run the same command again with {MERGE}"
    if outcome.lacks_archive:
        yield f"run the same command again, with {AGAINST} for each archive that was compared with"
    elif outcome.exit_code == LOCKED:
        yield "when the other run has ended, run the same command again"
    elif outcome.exit_code == BAD_PLAN and done == "moved to the trash":
        if waiting:
            yield f"to put back what is in the trash:\n  {command(images_dir, '--undo', '--run', waiting[-1])}"
        yield f"to write a new plan:\n  {command(images_dir, '--dry-run', *compared)}"
    elif outcome.exit_code == STOPPED and done == "moved to the trash" and not waiting:
        yield "once the cause is mended, run the same command again"
    elif not waiting or (done == "put back" and outcome.exit_code == DONE):
        if waiting:
            yield f"to put back what an earlier run moved:\n  {command(images_dir, '--undo')}"
        yield f"to look for duplicates again:\n  {command(images_dir, *compared)}"
    elif done == "moved to the trash" and outcome.exit_code <= SOME_REFUSED and outcome.run in waiting:
        purge = command(images_dir, "--purge", "--older-than", "30d", *compared)
        them = pronoun(outcome.done)
        yield f"to destroy {them}, 30 days from now:\n  {purge}"
        yield f"to put {them} back:\n  {command(images_dir, '--undo')}"
    else:
        mended = ", once the cause is mended" if done == "put back" and outcome.run == waiting[-1] else ""
        yield f"to put back what is in the trash{mended}:\n  {command(images_dir, '--undo', '--run', waiting[-1])}"
