"""Each check of a removal is taken out, each order swapped, one at a time: some test has to notice.

A planted bug is a file of dedup/, a text that stands in it once, and what it is replaced with.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

REMOVAL_TESTS = [
    "deletion/test_removal",
    "deletion/test_removal_merges",
    "deletion/test_removal_units",
    "deletion/test_removal_hostile",
    "deletion/test_known_losses",
    "deletion/test_removal_races",
    "deletion/test_removal_faults",
]
MERGE_TESTS = ["deletion/test_removal_merges"]
TESTS = {  # of a module, when not all of those: the likeliest to notice first
    "deletion/journal": ["deletion/test_removal_hostile", *REMOVAL_TESTS],
    "deletion/records": ["deletion/test_removal_hostile", *REMOVAL_TESTS],
    "contents/companions": ["contents/test_companions", "contents/test_why_it_stays", *MERGE_TESTS],
    "contents/inventory": ["contents/test_why_it_stays", "contents/test_inventory"],
    "contents/metadata": ["contents/test_inventory"],
    "contents/merging": MERGE_TESTS,
    "contents/parts": ["contents/test_inventory"],
    "dataset/decoding": ["dataset/test_hostile"],
}
FALSE = "if False:"

BUGS = {
    # what a keeper and a duplicate are
    "one file taken for two": ("deletion/checks", "if kept.identity == dropped.identity:", FALSE),
    "content is not compared": ("deletion/checks", "if now.blake2b != before.blake2b:", FALSE),
    "the keeper's content is not compared": (
        *("deletion/checks", '(("its keeper", kept, keep.snapshot), ("it", dropped, drop.snapshot))'),
        '(("it", dropped, drop.snapshot),)',
    ),
    "the duplicate's content is not compared": (
        *("deletion/checks", '(("its keeper", kept, keep.snapshot), ("it", dropped, drop.snapshot))'),
        '(("its keeper", kept, keep.snapshot),)',
    ),
    "size instead of content": ("deletion/checks", "if now.blake2b != before.blake2b:", "if now.size != before.size:"),
    "the keeper need not decode": ("deletion/checks", "    decoder.check(root.path / keep.path, kept.blake2b)\n", ""),
    "decoded once for all": ("deletion/checks", "if digest in self._seen:", "if self._seen:"),
    "the error of a decoder is swallowed": (
        *("deletion/checks", 'raise Refused(f"its keeper can\'t be decoded: {error}") from None'),
        "return None",
    ),
    # the second look
    "no second look when moving": (
        "deletion/removal",
        "        _look_again_at_all(roots, item.pairs, run.box, seen)\n",
        "        pass\n",
    ),
    "no second look when destroying": (
        "deletion/removal",
        "    _look_again_at_all(roots, left, box, seen)\n    for pair in left:",
        "    for pair in left:",
    ),
    "second look at the duplicate alone": (
        *("deletion/checks", '(("its keeper", root, keep, keeper), ("it", place, drop, dropped))'),
        '(("it", place, drop, dropped),)',
    ),
    "second look at the keeper alone": (
        *("deletion/checks", '(("its keeper", root, keep, keeper), ("it", place, drop, dropped))'),
        '(("its keeper", root, keep, keeper),)',
    ),
    "second look at contents alone": (
        *("deletion/checks", "(now.identity, now.blake2b) != (before.identity, before.blake2b)"),
        "now.blake2b != before.blake2b",
    ),
    "second look at inodes alone": (
        *("deletion/checks", "(now.identity, now.blake2b) != (before.identity, before.blake2b)"),
        "now.identity != before.identity",
    ),
    "what should not have moved stays moved": (
        "deletion/removal",
        "                go_home(root, run.box, pair)\n        except",
        "                pass\n        except",
    ),
    "put back without a word in the journal": (
        "deletion/removal",
        "    run.record(back=item.sequence)\n    raise reason",
        "    raise reason",
    ),
    "put back and told to be done": ("deletion/removal", "    raise reason\n", ""),
    "a failed put back is not told": (
        "deletion/removal",
        "{reason}; it stays in the trash as {run.name}/{pair.sequence}: {error}",
        "{reason}",
    ),
    # orders
    "moved before it is written down": (
        "deletion/removal",
        "    run.intend(item)\n    try:\n",
        "    with root.parent_of(item.drop.parts) as home:\n"
        "        home.rename(item.drop.parts[-1], run.box, str(item.sequence))\n    run.intend(item)\n    try:\n",
    ),
    "moved before it is verified": (
        "deletion/removal",
        "_verify_all(roots, item.pairs, roots[0], decoder)",
        '[tuple(read(roots[file.archive], file, "") for file in pair[:2]) for pair in item.pairs]',
    ),
    "destroyed before it is verified": (
        "deletion/removal",
        "    seen = _verify_all(roots, left, box, decoder)\n",
        "    box.unlink(str(left[0].sequence))\n    seen = _verify_all(roots, left, box, decoder)\n",
    ),
    "unlinked before it is linked": (
        *("deletion/trash", "        box.link(stored, home, name)\n"),
        "        descriptor = home.create(name)\n        os.close(descriptor)\n        box.unlink(stored)\n"
        "        box.link(stored, home, name)\n",
    ),
    "unlinked before the link is on disk": (
        *("deletion/trash", "    home.sync()\n    box.unlink(stored)\n    box.sync()\n"),
        "    box.unlink(stored)\n    home.sync()\n    box.sync()\n",
    ),
    "the journal does not reach the disk": ("deletion/trash", "    os.fsync(descriptor)\n", ""),
    "the moved file's folder does not reach the disk": ("deletion/removal", "        home.sync()\n", ""),
    "the trash does not reach the disk": ("deletion/removal", "        run.box.sync()\n", ""),
    "the new run does not reach the disk": (
        "deletion/trash",
        "    trash.make(name, 0o700)\n    trash.sync()\n",
        "    trash.make(name, 0o700)\n",
    ),
    "the new journal does not reach the disk": (
        *("deletion/trash", "            run.record(journal=1, created=now)\n            box.sync()\n"),
        "            run.record(journal=1, created=now)\n",
    ),
    "the placeholder's file does not reach the disk": (
        *("deletion/trash", "    home.sync()\n    box.sync()\n    box.unlink(_marker(stored))"),
        "    box.unlink(_marker(stored))",
    ),
    "what was destroyed does not reach the disk": (
        "deletion/removal",
        "        box.unlink(str(pair.sequence))\n        box.sync()\n",
        "        box.unlink(str(pair.sequence))\n",
    ),
    # links and odd files
    "links to files are followed": ("deletion/folders", '"O_NOFOLLOW", "O_NONBLOCK"', '"O_NONBLOCK"'),
    "links to folders are followed": (
        "deletion/folders",
        "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
    ),
    "links to folders are not looked for": (
        "deletion/folders",
        "if is_link(status) or not stat.S_ISDIR(status.st_mode):",
        FALSE,
    ),
    "links to files are not looked for": (
        "deletion/folders",
        "if is_link(status) or not stat.S_ISREG(status.st_mode):",
        FALSE,
    ),
    "a status follows links": ("deletion/folders", "os.stat(path, follow_symlinks=False, **at)", "os.stat(path, **at)"),
    "links in a plan are let pass": ("deletion/checks", "            if is_link(status):\n", "            if False:\n"),
    "a file that changes while it is read": (
        *(
            "deletion/folders",
            "if size != after.st_size or (opened.st_size, opened.st_mtime_ns) != (after.st_size, after.st_mtime_ns):",
        ),
        FALSE,
    ),
    "a growing file has no end": ("deletion/folders", "while size <= expected_size and (chunk", "while (chunk"),
    "a trash that is a link": (
        "deletion/trash",
        "        trash = root.folder(TRASH)\n",
        "        trash = Folder.open(root.path / TRASH)\n",
    ),
    "a lock that is a link": (
        "deletion/trash",
        "if lock and (is_link(lock) or not stat.S_ISREG(lock.st_mode)):",
        FALSE,
    ),
    # plans
    "absolute paths": (
        *("deletion/records", 'any(part in ("", ".", "..") for part in parts) or os.path.isabs(path)'),
        'any(part in (".", "..") for part in parts)',
    ),
    "paths that lead out": ("deletion/records", 'part in ("", ".", "..")', 'part in ("", ".")'),
    "paths with a dot": ("deletion/records", 'part in ("", ".", "..")', 'part in ("", "..")'),
    "paths with a NUL": ("deletion/records", 'or "\\0" in path ', ""),
    "paths into the trash": ("deletion/records", "if any(_plain(part) == TRASH for part in parts):", FALSE),
    "paths into the trash in capitals": ("deletion/records", "_plain(part) == TRASH", "part == TRASH"),
    "paths no system can hold": ("deletion/records", "        os.fsencode(path)\n", "        pass\n"),
    "dropped twice": (
        "deletion/journal",
        "if twice := [parts for parts, times in dropped.items() if times > 1]:",
        FALSE,
    ),
    "kept and dropped": (
        "deletion/journal",
        "if both := sorted(set(dropped) & {pair.keep.parts for pair in pairs if not pair.keep.archive}):",
        "if False:",
    ),
    "kept and dropped under another name": (
        "deletion/removal",
        "if any(drop.identity in kept for _, drop in seen):",
        "if False:",
    ),
    "any kind of match": ("deletion/records", 'if record["kind"] not in KINDS:', FALSE),
    "any digest": ("deletion/records", 'if not re.fullmatch("[0-9a-f]{64}", record["blake2b"]):', FALSE),
    "any size": ("deletion/records", 'if record["size"] < 1:', FALSE),
    "any type": ("deletion/records", "        if not is_of(record[key], kind):\n", "        if False:\n"),
    "any keys of a file": (
        "deletion/records",
        "if not isinstance(record, dict) or set(record) != set(_FIELDS):",
        "if not isinstance(record, dict):",
    ),
    "any keys of an item": (
        "deletion/records",
        'if set(record) - {"companions", "merge"} != {"keep", "drop", "kind"}:',
        "if False:",
    ),
    "a name twice in an object": ("deletion/records", "if len(dict(pairs)) < len(pairs):", FALSE),
    "any header": (
        "deletion/journal",
        "if set(header) - more != keys or not is_of(header[word], int) or header[word] != 1:",
        FALSE,
    ),
    "any move": ("deletion/journal", "if not is_of(sequence, int) or sequence <= last:", FALSE),
    "any back": (
        "deletion/journal",
        'if set(record) != {"back"} or not is_of(record["back"], int) or record["back"] not in moved:',
        FALSE,
    ),
    "any age": ("deletion/journal", "    if not is_of(created, int):\n", "    if False:\n"),
    "a cut line is read": ("deletion/journal", 'data[: data.rfind(b"\\n") + 1]', "data"),
    "an empty journal is bad": ("deletion/journal", 'if b"\\n" not in data:', FALSE),
    "kept by another cluster": (
        "deletion/removal",
        "dropping & (kept | planned)",
        "dropping & planned",
    ),
    "planned by another cluster": (
        "deletion/removal",
        "dropping & (kept | planned)",
        "dropping & kept",
    ),
    "any kind is planned": ("deletion/removal", " or member.kind not in KINDS:", ":"),
    "all members are planned": (
        "deletion/removal",
        "for member in (member for member in cluster.members if member.removable):",
        "for member in cluster.members:",
    ),
    "the size that was read is not compared": ("deletion/removal", "snapshot.size != member.bytes or ", ""),
    "the time of reading is not compared": (
        "deletion/removal",
        " or (read_since is not None and changed > read_since):",
        ":",
    ),
    "something is known of a link": ("deletion/removal", "if stat.S_ISREG(status.st_mode) and (content", "if (content"),
    "the content that was judged is not compared": (
        "deletion/removal",
        "if judged and judged != snapshot.blake2b:",
        FALSE,
    ),
    # undo, purge, runs
    "undo replaces what is there": (
        "deletion/trash",
        "        else:\n            raise Refused(_TAKEN)\n\n\ndef _is_taken",
        "        else:\n            box.rename(stored, home, name)\n\n\ndef _is_taken",
    ),
    "undo renames": (
        "deletion/trash",
        "        box.link(stored, home, name)\n    except",
        "        return box.rename(stored, home, name)\n    except",
    ),
    "undo takes any same content for its own": (
        "deletion/trash",
        " and ours.st_nlink > 1\n",
        "\n",
    ),
    "an undo that was stopped is not taken up": (
        *("deletion/trash", "(there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) and ours.st_nlink > 1"),
        "False",
    ),
    "a placeholder that was left is not taken up": (
        "deletion/trash",
        "box.find(_marker(stored)) and _is_placeholder(there, ours)",
        "False",
    ),
    "any empty file is a placeholder": (
        "deletion/trash",
        "box.find(_marker(stored)) and _is_placeholder(there, ours)",
        "_is_placeholder(there, ours)",
    ),
    "a placeholder is not looked at again": (
        "deletion/trash",
        "if not _is_placeholder(home.status(name), ours := box.status(stored)):",
        "ours = box.status(stored)\n    if False:",
    ),
    "a placeholder of any size": (
        "deletion/trash",
        "stat.S_ISREG(there.st_mode) and there.st_size == 0",
        "stat.S_ISREG(there.st_mode)",
    ),
    "a placeholder that is not exclusive": (
        "deletion/folders",
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL",
        "os.O_WRONLY | os.O_CREAT",
    ),
    "folders are not made": (
        "deletion/trash",
        "root.parent_of(pair.drop.parts, create=True)",
        "root.parent_of(pair.drop.parts)",
    ),
    "undo takes the first run": ("deletion/removal", "or moving)[-1:]", "or moving)[:1]"),
    "undo takes runs that moved nothing": ("deletion/removal", " if len(each.put_back) < len(each.items)]", "]"),
    "purge needs no word": ("deletion/removal", "if run is None and older_than is None:", FALSE),
    "purge of any age": ("deletion/removal", "if older_than is None or each.created <= latest", "if True"),
    "a run's name is not checked": ("deletion/trash", "if not _RUN_NAME.fullmatch(name):", FALSE),
    "a run's name is used again": ("deletion/trash", "    if trash.find(name):\n", "    if False:\n"),
    "no lock": (
        "deletion/trash",
        "        with FileLock(root.path / TRASH / LOCK, timeout=0):\n            yield trash",
        "        yield trash",
    ),
    "a trash inside the trash": ("deletion/checks", "if TRASH in Path(os.path.realpath(path)).parts:", FALSE),
    # errors
    "an error of one file ends all": ("deletion/outcome", "if error.errno not in OF_ONE_FILE:", "if True:"),
    "an error of the disk is one file's": ("deletion/outcome", "if error.errno not in OF_ONE_FILE:", FALSE),
    "a journal's error is one file's": (
        *(
            "deletion/trash",
            'raise OSError(errno.EIO, f"the journal could not be written: {error.strerror}") from None',
        ),
        "raise",
    ),
    "a folder's error is one file's": (
        *(
            "deletion/folders",
            'raise OSError(errno.EIO, f"a folder could not be synced: {error.strerror}", str(self.path)) from None',
        ),
        "raise",
    ),
    "a short write is not continued": (
        "deletion/trash",
        "data = data[os.write(descriptor, data) :]",
        'os.write(descriptor, data)\n        data = b""',
    ),
    "refused and told to be done": (
        "deletion/outcome",
        "self.refused.append((paths[0], str(error)))",
        "self.done.append(paths[0])",
    ),
    "refusals without an exit code": ("deletion/outcome", "(SOME_REFUSED if self.refused else DONE)", "DONE"),
    "stopped and told to be done": ("deletion/outcome", "self.exit_code, self.message = STOPPED, ", "self.message = "),
    # a picture and its companions
    "a companion is left behind": (
        "deletion/records",
        "files = ((self.keep, self.drop), *self.companions)",
        "files = ((self.keep, self.drop),)",
    ),
    "companions are not taken back": (
        "deletion/removal",
        "    for pair in item.pairs:\n        try:\n            if run",
        "    for pair in item.pairs[:1]:\n        try:\n            if run",
    ),
    "numbers of companions are given twice": (
        "deletion/removal",
        "                    sequence += item.last + 1\n",
        "                    sequence += 1\n",
    ),
    # what is told beside a keeper
    "an XMP file goes though what it tells was destroyed": (
        "deletion/removal",
        "if all(_is_home(root, pair) for pair in item.pairs):",
        "if True:",
    ),
    "a file is destroyed though nothing tells what it told": (
        "deletion/removal",
        "if _with_merge(roots[0], item)[1]:",
        FALSE,
    ),
    "a companion's like is replaced": ("deletion/removal", "if item.merge and item.before.drop.parts in named:", FALSE),
    "XMP files come back from the first on": ("deletion/removal", "reversed(history.items)", "history.items"),
    "what was told for a file that stays is left there": (
        "deletion/removal",
        "        take_away(root, run.box, item)\n    run",
        "        pass\n    run",
    ),
    "an XMP file that has changed is replaced": (
        "deletion/trash",
        "if not _holds(box, stored, old.blake2b):",
        FALSE,
    ),
    "an XMP file that appears is replaced": (
        "deletion/trash",
        "_place(box, stored + _MADE, home, name)",
        "box.rename(stored + _MADE, home, name)",
    ),
    "the XMP file of before does not come back": (
        "deletion/trash",
        "            go_home(root, box, item.before)\n",
        "            pass\n",
    ),
    "any name of an XMP file": ("deletion/records", "str(merge.name).casefold() in names\n", "True\n"),
    "two captions are told": (
        "contents/merging",
        "if other := [name for name in SINGLE if",
        "if other := [name for name in () if",
    ),
    "what is told is not read again": ("contents/merging", "if after != before | new | words:", FALSE),
    "values are told as they are compared": ("contents/merging", "written.get(value, value)", "value"),
    "another title is told beside the keeper's": (
        "contents/merging",
        "name in SINGLE and name not in kept and one",
        "name in SINGLE and one",
    ),
    "an XMP file of two pictures is taken": (
        "contents/companions",
        "if owned.get(path) == {picture.name}]",
        "if path in owned]",
    ),
    "a companion need not be the keeper's": (
        "deletion/checks",
        "    elif kept.blake2b != dropped.blake2b:",
        "    elif False:",
    ),
    "half of a unit is destroyed": (
        "deletion/removal",
        "        if pair not in left and _is_home(roots[0], pair):",
        "        if False:",
    ),
    "half of a unit comes home": (
        "deletion/trash",
        "    if len(pairs) > 1 and any(_is_taken(root, box, pair) for pair in pairs):",
        "    if False:",
    ),
    "what is left of a unit stays in the trash": (
        "deletion/trash",
        "sorted(pairs, key=lambda pair: box.find(str(pair.sequence)) is None)",
        "pairs",
    ),
    "kept for a companion and dropped": (
        "deletion/removal",
        "                        kept |= keeping\n",
        "",
    ),
    "dropped though kept for a companion": (
        "deletion/removal",
        " or keeping & planned",
        "",
    ),
    "a companion of two items": (
        "deletion/removal",
        "                        planned |= dropping\n",
        "                        planned.add(member.path)\n",
    ),
    "a companion in a protected folder is planned": (
        "deletion/removal",
        "(places.protects(*pair[::-1]) for pair in pairs)",
        "(places.protects(*pair[::-1]) for pair in pairs[:1])",
    ),
    "a companion without its like is planned": (
        "deletion/removal",
        "if reason := reason or next",
        "if reason := next",
    ),
    "companions of a plan are anything": (
        "deletion/records",
        "if not isinstance(companions, list) or not all(isinstance(each, dict) for each in companions):",
        "if False:",
    ),
    "any keys of a companion": (
        "deletion/records",
        'if set(each) != {"keep", "drop"}:',
        "if False:",
    ),
    "a companion in a protected folder may go": (
        "deletion/removal",
        "                        for pair in item.pairs:\n                            keeper",
        "                        for pair in item.pairs[:1]:\n                            keeper",
    ),
    # what is worth keeping besides its picture
    "a number anywhere is not read": (
        "contents/companions",
        'return plain, _COPY_NUMBER.sub("", plain, count=1), found[0] if found else ""',
        'return plain, plain, ""',
    ),
    "a clipped name is none": (
        "contents/companions",
        ">= CUT_OFF and",
        ">= 999 and",
    ),
    "an edited picture has no companion": (
        "contents/companions",
        "if version := _VERSION.search(stem):",
        "if version := None:",
    ),
    "Apple's names are not read": (
        "contents/companions",
        're.compile(r"^img_[eo](?=\\d)")',
        're.compile(r"^never")',
    ),
    "a letter goes on": (
        "contents/companions",
        "if end == len(text) or not text[end].isalnum()",
        "if True",
    ),
    "any companion is the like": (
        "contents/companions",
        "if twin is None or is_shared or",
        "if is_shared or",
    ),
    "a companion of two pictures goes with one": (
        "contents/companions",
        " or is_shared or not",
        " or not",
    ),
    "a linked companion may go": (
        "contents/companions",
        " or not _is_plain(path):",
        ":",
    ),
    "folders below are not looked at": (
        "contents/companions",
        "LEVELS_BELOW = 2 ",
        "LEVELS_BELOW = 0 ",
    ),
    "what is lacking may go": (
        "contents/inventory",
        "name not in kept.held or not values <= kept.held[name]",
        "False",
    ),
    "other values may go": (
        "contents/inventory",
        " or not values <= kept.held[name]",
        "",
    ),
    "IPTC is not read": (
        "contents/metadata",
        "for source in (_exif, _iptc, _texts, _xmp):",
        "for source in (_exif, _texts, _xmp):",
    ),
    "texts are not read": (
        "contents/metadata",
        "for source in (_exif, _iptc, _texts, _xmp):",
        "for source in (_exif, _iptc, _xmp):",
    ),
    "EXIF is not read": (
        "contents/metadata",
        "for source in (_exif, _iptc, _texts, _xmp):",
        "for source in (_iptc, _texts, _xmp):",
    ),
    "broken metadata end the reading": (
        "contents/metadata",
        "with broken_tells_nothing():  # what was read before counts",
        "if True:",
    ),
    "what is technical counts": (
        "contents/metadata",
        "    if _TECHNICAL.fullmatch(folded):\n        return\n",
        "",
    ),
    "the only film in XMP may go": (
        "contents/metadata",
        "        yield FILM, None\n",
        "        yield from ()\n",
    ),
    "pictures behind a JPEG may go": (
        "contents/parts",
        "            yield _kind_of_picture(data[start:at]), data[start:at]\n",
        "            pass\n",
    ),
    "previews are pictures of their own": (
        "contents/parts",
        "if start not in thumbnails:",
        "if True:",
    ),
    "an index of boxes is not read": (
        "contents/parts",
        "            yield from _of_meta(data[start:end])\n",
        "            pass\n",
    ),
    "parts that no rule knows may go": (
        "contents/parts",
        '            yield f"data in {kind}", content\n',
        "            pass\n",
    ),
    "a picture of any size is read": (
        "contents/inventory",
        'if image.width * image.height * BYTES_PER_PIXEL > MAX_BYTES:\n                raise ValueError("it is',
        'if False:\n                raise ValueError("it is',
    ),
    "other frame times may go": (
        "contents/inventory",
        "if any(times) else {}",
        "if False else {}",
    ),
    "the only CMYK colours may go": (
        "contents/inventory",
        "{CMYK: set()} if image",
        "{} if image",
    ),
    "sRGB under another name is a profile": (
        "contents/inventory",
        " <= _AS_SRGB:",
        " <= -1:",
    ),
    "files are read in this very process": (
        "contents/inventory",
        "read_all_contents([member_path, keeper_path], 2, facts)",
        "read_all_contents([member_path, keeper_path], 0, facts)",
    ),
    "a file in a trash may go": (
        "contents/inventory",
        "if any(_TRASHES.fullmatch(part) for part in member_path.relative_to(images_dir).parts[:-1]):",
        FALSE,
    ),
    "a file in a trash is a keeper": (
        "contents/inventory",
        "if any(_TRASHES.fullmatch(part) for part in keeper_path.relative_to(keeper_dir or images_dir).parts[:-1]):",
        FALSE,
    ),
    "a link may go": (
        "contents/inventory",
        "if not stat.S_ISREG(member.st_mode) or not stat.S_ISREG(keeper.st_mode):",
        FALSE,
    ),
    "a hard link to its keeper may go": (
        "contents/inventory",
        "if (member.st_dev, member.st_ino) == (keeper.st_dev, keeper.st_ino):",
        FALSE,
    ),
    "a file with other names may go": ("contents/inventory", 'if member.st_nlink > 1 else ""', 'if False else ""'),
    "a member of a set may go": (
        "contents/inventory",
        "            or together.reason\n",
        "",
    ),
    "a raw file may go without its JPEG": (
        "contents/companions",
        "    owned |= {folder / name: raws.owners(name) for name in pictures}\n",
        "",
    ),
    "a companion in capitals is none": (
        "contents/companions",
        "name.casefold()",
        "name",
    ),
    "an empty date is a date": (
        "contents/metadata",
        ' or not re.search("[1-9]", "".join(found.groups("")[:3]))',
        "",
    ),
    "a date in XMP is none": (
        "contents/metadata",
        "for source in (_exif, _iptc, _texts, _xmp):",
        "for source in (_exif, _iptc, _texts):",
    ),
    "the only place may go": (
        "contents/metadata",
        'yield "place", ',
        'yield "software", ',
    ),
    "the only film may go": (
        "contents/parts",
        'yield FILM if b"ftyp" in data or b"MotionPhoto_Data" in data else BEHIND_THE_END, data',
        "yield from ()",
    ),
    "the only transparency may go": (
        "contents/inventory",
        "return {TRANSPARENCY: set()} if",
        "return {} if",
    ),
    "an opaque channel is transparency": ("contents/inventory", ".getextrema()[0] < 255", ".getextrema()[0] < 256"),
    "the only 16 bits may go": (
        "contents/inventory",
        "if bits > 8 else {}",
        "if False else {}",
    ),
    "other frames may go": (
        "contents/inventory",
        "if len(shown) < 2:",
        "if True:",
    ),
    "any number of frames is read": ("contents/inventory", "if count > _MOST_FRAMES:", FALSE),
    "a frame of any size is read": (
        "contents/inventory",
        "    if image.width * image.height * BYTES_PER_PIXEL > MAX_BYTES:\n                raise",
        "    if False:\n                raise",
    ),
    "what can't be compared may go": (
        *("contents/inventory", 'return f"can\'t be compared with its keeper in full: {one_line(error)}"'),
        'return ""',
    ),
    "a keeper is decoded in this very process": (
        "deletion/checks",
        "run_apart(_why_unreadable, path, time_limit=LONGEST)",
        "_why_unreadable(path)",
    ),
    # decoding
    "pipes are waited for": ("dataset/decoding", ' | getattr(os, "O_NONBLOCK", 0)', ""),
    "a file of any size is read": ("dataset/decoding", "elif status.st_size > MAX_BYTES:", "elif False:"),
    "rare formats of any size are read": ("dataset/decoding", "RARE_BYTES.get(image.format, MAX_BYTES)", "MAX_BYTES"),
    "programs are opened as pictures": (
        "dataset/decoding",
        "(*FORMATS, NAMED.get(ending))",
        '(*FORMATS, "EPS", "FITS")',
    ),
    "what is cut short is filled up": (
        "dataset/decoding",
        "    Image.preinit()\n",
        "    Image.preinit()\n    __import__('PIL.ImageFile').ImageFile.LOAD_TRUNCATED_IMAGES = True\n",
    ),
}
# Checks that another one stands behind: both would have to go before anything could happen.
SECOND_LINES = {
    "links to files are followed",  # looked for right before
    "links to files are not looked for",  # never followed
    "links to folders are followed",
}


def planted(folder: Path, module: str, text: str, instead: str) -> Path:
    """A copy of the project's modules and tests with one bug."""
    for name in ("dedup", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    source = (folder / "dedup" / f"{module}.py").read_text(encoding="utf-8")
    assert source.count(text) == 1, (module, text, source.count(text))
    (folder / "dedup" / f"{module}.py").write_text(source.replace(text, instead), encoding="utf-8")
    return folder


def failing_test(folder: Path, module: str) -> str:
    """The first test that fails in a folder, of those about a module; "" if none does."""
    tests = [f"tests/{name}.py" for name in TESTS.get(module, REMOVAL_TESTS)]
    call = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "--tb=no",
        *tests,
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        result = subprocess.run(call, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)
    except subprocess.TimeoutExpired:
        return "it never ends"
    if result.returncode < 0:
        return f"the tests themselves end by signal {-result.returncode}"
    assert result.returncode in (0, 1), result.stdout[-2000:]
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if result.returncode else ""


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(BUGS.keys() - SECOND_LINES))
def test_a_planted_bug_is_caught(tmp_path, bug):
    caught = failing_test(planted(tmp_path / "planted", *BUGS[bug]), BUGS[bug][0])
    shutil.rmtree(tmp_path)
    assert caught, f"no test notices: {bug}"
    print(f"{bug}: {caught}")


@pytest.mark.parametrize("bug", BUGS)
def test_what_bugs_replace_stands_in_the_code_once(bug):
    module, text, _ = BUGS[bug]
    assert (PROJECT / "dedup" / f"{module}.py").read_text(encoding="utf-8").count(text) == 1
