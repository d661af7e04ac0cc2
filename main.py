"""The command line: find duplicate images, look at the clusters, move what is not needed to a trash folder, undo.

configs.py + command line  ->  report.html, grids, tables and plan.jsonl in output_dir; a summary; an exit code
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import configs
from dedup.config import SETTINGS, Config, ConfigError, Setting

if TYPE_CHECKING:
    from dedup.output import Phases

BAD_USAGE, STOPPED, FAULT, INTERRUPTED, UNHEARD = 2, 4, 70, 130, 141  # 70: EX_SOFTWARE of sysexits.h
REMOVALS = ("delete_files", "dry_run", "apply", "undo", "purge")
COMMANDS = (*REMOVALS[1:], "calibrate")  # options that say what a run does; without one it searches
INTERRUPTION = "interrupted; what was moved, if anything, comes back with --undo"
EPILOG = """\
examples:
  python main.py photos                           find duplicates, write grids and a plan; nothing is moved
  python main.py photos --dry-run                 the same, and list every file that would go
  python main.py photos --epsilon 0.7             compare less alike pictures as well
  python main.py photos --remove edits            let crops and edits of a kept picture go as well, not only copies
  python main.py photos --prefer oldest,heic      of a picture's files keep the oldest, of equally old ones the HEIC
  python main.py photos --merge-metadata          tell keywords and the like of what goes beside what stays
  python main.py photos --protect photos/archive  never move what lies in photos/archive
  python main.py new --against archive            say which files in new are in the archive already; it stays untouched
  python main.py train --against test             say which files to train on are among those to test on
  python main.py photos --calibrate 0.99          say at which epsilon 99 of 100 candidates are right
  python main.py photos --delete                  move what can go to a trash folder inside photos
  python main.py photos --apply plan.jsonl        do what a plan says, after you have looked at it or edited it
  python main.py photos --apply decisions.json    do what you decided on the page report.html
  python main.py photos --undo                    put the last run's files back
  python main.py photos --purge --older-than 30d  destroy what went to the trash 30 days ago or earlier
  python main.py photos --json --quiet            print one JSON object for a script; its keys are in docs/files.md

exit codes:
  0  done
  1  done, but some files were refused, each with its reason
  2  wrong usage, setting, plan or journal; nothing was touched
  3  another run is at work in this folder
  4  input or output error, or no memory left; stopped, --undo still works
  70  a fault of the program itself, with a line to report; --undo still works
  130  interrupted
  141  what read the output went away; stopped, --undo still works

Defaults stand in configs.py. Relative paths given here start at the current folder."""


class Parser(argparse.ArgumentParser):
    """Remembers what is wrong with a command line."""

    told = ""

    def error(self, message: str):
        self.told = message
        super().error(message)


def build_parser() -> Parser:
    parser = Parser(
        prog="main.py",
        description="Find duplicate images by what they show. Nothing is moved unless asked, and it can be put back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, setting in SETTINGS.items():
        if name not in ("delete_files", "remove"):
            add_setting(parser, name, setting)
    add = parser.add_argument
    add("--protect", metavar="DIR", action="append", default=[], help="compare what is in here, and never move it")
    add(
        "--against",
        metavar="DIR",
        action="append",
        default=[],
        help="compare with this archive; only files that it contains can go, and it is never changed",
    )
    add("--calibrate", type=float, metavar="P", default=None, help="only find the epsilon of this precision, as 0.99")
    add("--ray", metavar="ADDRESS", default=None, help="read and embed on a Ray cluster; see docs/scale.md")
    add("--verbose", action="store_true", default=False, help="name what could not be looked at, and where a fault was")
    add("--quiet", action="store_true", default=False, help="say nothing of the progress")
    add("--timing", action="store_true", default=False, help="print on stderr where the time went, by phase")
    add("--json", action="store_true", default=False, help="print one JSON object on stdout, all else on stderr")
    group = parser.add_argument_group("removal", "one of --delete, --dry-run, --apply, --undo, --purge")
    add_setting(group, "remove", SETTINGS["remove"])
    one = group.add_mutually_exclusive_group()
    add_setting(one, "delete_files", SETTINGS["delete_files"])
    one.add_argument("--dry-run", action="store_true", default=False, help="list what --delete would move")
    one.add_argument("--apply", metavar="FILE", default=None, help="do what this plan.jsonl or decisions.json says")
    one.add_argument(
        "--undo", action="store_true", default=False, help="put back what a run moved, the last by default"
    )
    one.add_argument(
        "--purge",
        action="store_true",
        default=False,
        help="destroy what is in the trash, of the run that --run names or of those that --older-than tells; needs one",
    )
    group.add_argument("--run", metavar="NAME", default=None, help="with --undo or --purge: only this run")
    group.add_argument(
        "--older-than",
        type=age,
        metavar="30d",
        default=None,
        help="with --purge: only runs that are so many hours (12h), days (30d) or weeks (4w) old; 0d is all",
    )
    return parser


def add_setting(parser, name: str, setting: Setting) -> None:
    """An argument that overrides a setting of configs.py."""
    option, _, value = setting.option.partition(" ")
    if not option.startswith("--"):
        parser.add_argument(name, metavar=option, nargs="?", help=setting.help)
    elif setting.repeats:
        parser.add_argument(option, dest=name, type=setting.parse, metavar=value, action="append", help=setting.help)
    elif value:
        parser.add_argument(option, dest=name, type=setting.parse, metavar=value, help=setting.help)
    elif option.startswith("--no-"):
        parser.add_argument(option, dest=name, action="store_false", help=f"do not {setting.help}")
    else:
        parser.add_argument(option, dest=name, action="store_true", help=setting.help)


def age(text: str) -> timedelta:
    """12h, 30d or 4w."""
    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"an age is a whole number and h, d or w, such as 30d; got {text!r}")
    return timedelta(**{{"h": "hours", "d": "days", "w": "weeks"}[found[2]]: int(found[1])})


def main(arguments: list[str] | None = None) -> int:
    open_streams()
    try:
        return answer(arguments)
    except BrokenPipeError:  # the reader of our output has seen enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return UNHEARD


def open_streams() -> None:
    """Have streams to write to, also where they were closed, and write to them whatever a name holds."""
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:  # else the next file that is opened would get its number, and what is meant for it
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not a notebook's
            stream.reconfigure(errors="backslashreplace")


def answer(arguments: list[str] | None) -> int:
    """Check the command line and run it; what ends it early is told in one line. The exit code."""
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
        check_together(parser, options)
    except SystemExit as ended:
        if parser.told and "--json" in (sys.argv if arguments is None else arguments):
            print_facts({"error": parser.told}, ended.code)
        raise
    options.facts = {"command": next((name for name in COMMANDS if vars(options)[name] not in (None, False)), "search")}
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        try:
            code = run(options)
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            code = fail(*ending(error, options.verbose), options.facts)
    if options.json:
        print_facts(options.facts, code)
    return code


def check_together(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if options.calibrate is not None and any(vars(options).get(name) for name in REMOVALS):
        parser.error("--calibrate only measures: it goes without --delete, --dry-run, --apply, --undo and --purge")
    if options.run and not (options.undo or options.purge):
        parser.error("--run goes with --undo or --purge")
    if options.older_than is not None and not options.purge:
        parser.error("--older-than goes with --purge")
    if options.purge and not options.run and options.older_than is None:
        parser.error("--purge needs --older-than AGE or --run NAME; --older-than 0d is everything")


def print_facts(facts: dict, code: int) -> None:
    """What `--json` prints: ASCII, so that any name comes through; a name that is no Unicode has surrogates."""
    print(json.dumps(facts | {"exit_code": code}))
    sys.stdout.flush()


def ending(error: BaseException, is_verbose: bool) -> tuple[str, int]:
    """What ended a run early, in one line, and the exit code."""
    if isinstance(error, ConfigError):
        return str(error), BAD_USAGE
    if isinstance(error, ModuleNotFoundError) and error.name in ("ray", "pyarrow"):
        return "--ray needs packages of its own: pip install -r requirements-ray.txt", BAD_USAGE
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {error}" if str(error) else INTERRUPTION, INTERRUPTED
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), STOPPED
    if isinstance(error, MemoryError):
        return "no memory left; a smaller batch_size and fewer num_workers need less", STOPPED
    return fault(error, is_verbose), FAULT


def fault(error: BaseException, is_verbose: bool) -> str:
    """What is to be reported of a fault of our own, in one line."""
    import traceback

    if is_verbose:
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where, version = f"{Path(frame.filename).name}, line {frame.lineno}", sys.version.split()[0]
    more = "" if is_verbose else ", and what --verbose shows of it"
    what = f"{type(error).__name__}: {error} ({where}; Python {version})"
    return f"a fault of the program itself; please report this line{more}: {what}"


def run(options: argparse.Namespace) -> int:
    """Do the one thing that was asked for; the exit code."""
    source = str(getattr(options, "images_dir", ""))
    if options.against and (options.ray or "://" in source):
        raise ConfigError("--against compares folders on this machine: it goes without --ray and buckets")
    if "://" in source:
        del options.images_dir
    config = Config.load(configs, **{name: value for name, value in vars(options).items() if name in SETTINGS})
    if "://" in source:
        return search_bucket(source, config, options)
    if not config.images_dir.is_dir():
        what = "is a file, not a folder" if config.images_dir.exists() else "does not exist"
        raise ConfigError(f"images_dir {config.images_dir} {what}; give the folder that holds the pictures")
    if not os.access(config.images_dir, os.R_OK | os.X_OK):
        raise ConfigError(f"images_dir {config.images_dir} can't be read: permission denied")
    from dedup.dataset.folder_rules import Places

    folders = config.images_dir, options.protect, options.against, config.output_dir
    options.places = Places.find(*folders, merges=config.merge_metadata)
    if options.apply or options.undo or options.purge:
        return change(config, options)
    if options.calibrate is not None:
        return calibrate(config, options)
    return search(config, options)


def make_output(config: Config) -> None:
    """Have a folder to write to, before any work is done that could not be written down."""
    what = "made"
    try:
        config.output_dir.mkdir(parents=True, exist_ok=True)
        what = "written to"
        tempfile.TemporaryFile(dir=config.output_dir).close()
    except OSError as error:
        text = f"output_dir {config.output_dir} can't be {what}: {error.strerror}; choose another"
        raise ConfigError(text) from error


def search_bucket(source: str, config: Config, options: argparse.Namespace) -> int:
    """Find in a bucket, on a Ray cluster; nothing in it is ever moved."""
    if not options.ray or config.delete_files or any(vars(options).get(name) for name in REMOVALS):
        raise ConfigError(f"{source} can only be searched, with --ray ADDRESS; nothing in a bucket is moved")
    make_output(config)
    from dedup.distributed import embed
    from dedup.encoder.inference import EncoderError
    from dedup.report import messages

    try:
        embeddings, labels = embed.cluster_bucket(source, config, options.ray, progress=not options.quiet)
    except EncoderError as error:
        raise ConfigError(str(error)) from error
    unreadable, written = config.output_dir / "unreadable.csv", config.output_dir / "clusters.csv"
    messages.write_unreadable(embeddings.failures, Path(), unreadable)
    say(messages.reading(len(embeddings.paths), embeddings.failures, Path(), unreadable))
    in_clusters = f"{labels.max(initial=-1) + 1} clusters of {(labels >= 0).sum()} files, not confirmed"
    say([in_clusters, f"listed in {messages.shown(messages.near(written))}"])
    options.facts |= {"read": len(embeddings.paths), "unreadable": len(embeddings.failures)}
    options.facts |= {"clusters": int(labels.max(initial=-1)) + 1, "files_in_clusters": int((labels >= 0).sum())}
    options.facts["written"] = [str(written), str(unreadable)]
    return 0


def search(config: Config, options: argparse.Namespace) -> int:
    """Find, report, plan and, if asked, move; say how far it is, and where the time went."""
    make_output(config)
    from dedup.output import RUN, Phases

    with Phases(RUN, is_shown=not options.quiet) as phase:
        status = search_in(config, options, phase)
    if options.timing:
        print(*phase.table(), sep="\n", file=sys.stderr)
    return status


def search_in(config: Config, options: argparse.Namespace, phase: Phases) -> int:
    """`search`, in the phases of a run."""
    from dedup.encoder.inference import EncoderError
    from dedup.pipeline import find_duplicates, open_store

    began, folder = time.time(), config.images_dir
    try:
        result = find_duplicates(config, progress=phase, ray=options.ray, places=options.places)
    except EncoderError as error:
        raise ConfigError(str(error)) from error
    from dedup.clustering.clusters import staying
    from dedup.clustering.result import find_series
    from dedup.deletion import removal  # not before reading has begun
    from dedup.report import messages, page, tables
    from dedup.workers import Losses

    paths, failures = result.embeddings.paths, result.embeddings.failures
    unread = [*messages.passing_over(result.others), *messages.needing(result.others, config.extensions)]
    passed_over = [*unread, *messages.leaving_alone(result.passed_over, folder)]
    if not paths and not failures:
        reasons = ["none of its files has one of the extensions in configs.py", *passed_over]
        raise ConfigError(f"no images in {folder}: {'; '.join(reasons) if any(folder.iterdir()) else 'it is empty'}")
    unreadable, plan = config.output_dir / "unreadable.csv", config.output_dir / "plan.jsonl"
    contents = dict(zip(paths, result.embeddings.contents, strict=False))
    again = said_again(options)
    apply = messages.command(folder, "--apply", page.DECISIONS, *again)
    similar, shots = config.output_dir / "similar.csv", config.output_dir / "series.csv"
    tables.write_similar(result.similar, folder, similar)
    places, archived, leaked = options.places, None, config.output_dir / "leaks.csv"
    leaked.unlink(missing_ok=True)  # another run's
    if options.against:
        archived, leaks = sum(places.archive_of(path) > 0 for path in paths), result.leaks
        tables.write_leaks(leaks, folder, leaked)
        options.facts["leaks"] = {"files": len(leaks), "differ": sum(leak.has_other_label for leak in leaks)}
    with open_store(config) as facts, phase("Writing"):
        tables.write_series(series := find_series(result, facts), folder, shots)
        digests = page.write_small(config, result, phase, facts, series)
        result.clusters[:] = staying(result.clusters, Losses(result.losses | facts.losses))  # as the page is to say
        data = page.page_data(config, result, digests, apply, facts, series)
        reviewed = page.write_page(config.output_dir, data)
        lost, undrawn = Losses(result.losses | facts.losses), Losses()
        found = staying(result.clusters, lost)
        drawn = {"contents": contents if config.cache else {}, "thumbnails": page.small_files(config, digests)}
        written = tables.write_report(
            found, folder, config.output_dir, phase, num_workers=config.num_workers, losses=undrawn, **drawn
        )
        judged = {"read_since": began, "contents": contents, "known": facts.content}
        planned = removal.make_plan(found, folder, plan, places=places, **judged)
    messages.write_unreadable(
        failures | {paths[0]: reason for paths, reason in lost.items() if len(paths) == 1}, folder, unreadable
    )
    phase.close()
    if paths:
        say([f"encoder {messages.shown(config.encoder)} on {result.device}"])
    say([*messages.reading(len(paths), failures, folder, unreadable, archived), *passed_over])
    say([*messages.losing(lost, folder, options.verbose), *messages.undrawn(undrawn)])
    files = [reviewed, *written, similar, shots, unreadable, *([leaked] if options.against else [])]
    files += [] if planned.message else [plan]
    options.facts |= {"read": len(paths), "unreadable": len(failures), "not_looked_at": len(lost)}
    options.facts |= {"epsilon": result.epsilon} if paths else {}
    options.facts |= {"not_read": dict(result.others), "similar": len(result.similar)}
    options.facts["series"] = {"series": len(series), "shots": sum(len(each.shots) for each in series)}
    options.facts |= messages.summary(found, planned, folder) | {"written": list(map(str, files))}
    if planned.message:  # the plan that lies there, if any, is another run's
        return fail(planned.message, planned.exit_code, options.facts)
    if not paths:
        return fail("none of the images could be read", BAD_USAGE, options.facts)
    say(messages.refusals(planned))
    say(messages.finding(found, result.epsilon, planned, folder, archived is not None, config.remove))
    say(messages.leaking(leaks, len(paths) - archived, leaked) if options.against else ())
    say([*messages.leaving(result.similar, similar), *messages.showing(series, shots)])
    if found:
        say(map(messages.shown, tables.describe_report(found, folder, written)))
    if found or series:
        say([f"to look at them and decide, open {messages.shown(messages.near(reviewed))}"])
    is_moving = config.delete_files and not options.dry_run
    options.facts |= {"command": "delete", "done": []} if is_moving else {}
    if options.dry_run:
        say(["would go, nothing was moved:", *messages.planning(found, planned, folder)] if planned.done else ())
        options.facts["would_go"] = list(map(str, planned.done))
    elif is_moving and planned.done:
        applied = removal.apply_plan(plan, folder, places=places)
        return max(planned.exit_code, conclude(applied, "moved to the trash", config, options))
    if planned.done:
        moving = messages.command(folder, "--apply", plan, *again)
        say([f"to move {messages.pronoun(planned.done)} to the trash:", f"  {moving}"])
    return planned.exit_code


def said_again(options: argparse.Namespace) -> list[str | Path]:
    """The words of a later command that name the same folders to write to and to spare, and how far removal goes."""
    from dedup.report import messages

    output = ["--output", Path(options.output_dir)] if "output_dir" in vars(options) else []
    protect = [word for path in options.protect for word in ("--protect", Path(path))]
    remove = ["--remove", options.remove] if "remove" in vars(options) else []
    merge = ["--merge-metadata"] if "merge_metadata" in vars(options) else []
    return output + protect + messages.against(options.against) + remove + merge


def calibrate(config: Config, options: argparse.Namespace) -> int:
    """Find the epsilon of a wanted precision for this folder, and draw how it was found."""
    make_output(config)
    from dedup.encoder.inference import EncoderError, open_encoder
    from dedup.evaluation import calibration
    from dedup.pipeline import images_to_search
    from dedup.report import messages, plots

    settings = {name: getattr(config, name) for name in ("image_resize", "batch_size", "num_workers")}
    try:
        encoder, paths = open_encoder(config.encoder, config.embedding_size), images_to_search(config)
        found = calibration.calibrate_epsilon(encoder, paths, options.calibrate, **settings, progress=not options.quiet)
    except (EncoderError, calibration.CalibrationError) as error:
        raise ConfigError(str(error)) from error
    curve = config.output_dir / "calibration.png"
    plots.plot_calibration(found).savefig(curve)
    given = [name for name in ("encoder", "embedding_size", "image_resize") if name in vars(options)]
    same = [word for name in given for word in ("--" + name.replace("_", "-"), str(vars(options)[name]))]
    say(calibration.describe(found, options.calibrate))
    again = messages.command(config.images_dir, "--epsilon", f"{found.epsilon:.4f}", *same, *said_again(options))
    say([f"curve: {messages.shown(messages.near(curve))}"])
    say(["to trust the encoder with it:", f"  {again} --no-verify", "to confirm what it finds:", f"  {again}"])
    options.facts |= {"epsilon": found.epsilon, "written": [str(curve)]}
    return 0


def change(config: Config, options: argparse.Namespace) -> int:
    """Apply a plan or decisions, undo or purge."""
    from dedup.deletion import checks, outcome, removal

    folder = config.images_dir
    if options.apply:
        from dedup.deletion.decisions import is_decisions

        if is_decisions(Path(options.apply)):
            return apply_decisions(config, options)
        plan = Path(options.apply)
        if checks.is_spent(plan, folder, len(options.against)):
            text = f"nothing that {plan} would move is in {folder}: it was applied before, or made for another folder"
            applied = outcome.Outcome(exit_code=outcome.BAD_PLAN, message=text)
        else:
            applied = removal.apply_plan(plan, folder, places=options.places)
        return conclude(applied, "moved to the trash", config, options)
    if options.undo:
        return conclude(removal.undo(folder, options.run), "put back", config, options)
    purged = removal.purge(folder, options.run, options.older_than, places=options.places)
    return conclude(purged, "destroyed", config, options)


def apply_decisions(config: Config, options: argparse.Namespace) -> int:
    """Do what was decided on the review page."""
    from dedup.deletion import applying, not_duplicates
    from dedup.output import count_of
    from dedup.report import messages

    outcome, remembered = applying.apply_decisions(
        Path(options.apply),
        config.images_dir,
        config.output_dir,
        config.num_workers,
        not options.quiet,
        options.places,
        remove=config.remove,
    )
    if remembered:
        store = messages.shown(messages.near(config.output_dir / not_duplicates.NOT_DUPLICATES))
        say([f"{count_of(remembered, 'pair')} remembered as no duplicates, in {store}"])
    return conclude(outcome, "moved to the trash", config, options)


def conclude(outcome, done: str, config: Config, options: argparse.Namespace) -> int:
    """Say what a removal call observed, and what to run next; its exit code."""
    from dedup.deletion import trash
    from dedup.deletion.outcome import Outcome
    from dedup.output import count_of
    from dedup.report import messages

    images_dir, run_name = config.images_dir, f" (run {messages.shown(outcome.run)})" if outcome.run else ""
    counted = f"{count_of(len(outcome.done), 'file')} {done}{run_name}"
    if done == "put back" and outcome.run and outcome == Outcome(run=outcome.run):  # undo has looked for each file
        counted = f"nothing to put back: every file is in its place already{run_name}"
    if done == "destroyed" and not outcome.message and not (outcome.done or outcome.refused):
        asked = ["of this run"] * bool(options.run) + ["so old"] * (options.older_than is not None)
        counted = f"nothing to destroy: no file in the trash is {' and '.join(asked)}{run_name}"
    beside = [f"{count_of(len(outcome.beside), 'XMP file')} written beside kept pictures"] if outcome.beside else []
    say([*messages.refusals(outcome), *([counted] if outcome.exit_code != BAD_USAGE else []), *beside])
    planned = options.facts.get("refused", [])  # what a search before it has refused
    options.facts |= messages.removing(outcome)
    options.facts["refused"] += planned
    if done == "moved to the trash":
        options.facts["xmp_files"] = len(outcome.beside)
    if outcome.message:
        fail(outcome.message, outcome.exit_code, options.facts)
    say(messages.advice(outcome, done, images_dir, trash.waiting_runs(images_dir), options.against))
    return outcome.exit_code


def say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def fail(message: str, code: int, facts: dict) -> int:
    """Say what went wrong, note it for `--json`; the exit code."""
    from dedup.report.messages import shown

    print(f"main.py: {shown(message)}", file=sys.stderr)
    facts["error"] = message
    return code


if __name__ == "__main__":
    sys.exit(main())
