"""Names that mean harm, through everything a run writes or says: none is live in a table, a page or a terminal."""

import csv
import html.parser
import os
import re
import shutil
import sys
from dataclasses import replace

import pytest
from PIL import Image

from dedup.clustering.clusters import Cluster, Member
from dedup.clustering.members import Reason, Why
from tests.test_main import call, find, pictures

__all__ = ["find", "pictures"]
HTML = ["<script>alert(1)<!script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "<!--", "]]>", "</x>"]
HTML += ["'onmouseover='alert(1)", "&lt;b&gt;", "{{7*7}}", "${7*7}", "<!script><iframe src=javascript:alert(1)>"]
CSV = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",
    "a,b",
    'a"b',
    "=cmd|' !C calc'!A0",
    ";=1",
]
TERMINAL = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http:x\x1b\\link",
    "\x9b31m",
    "\b\b\b",
    "a\x7f",
    "a\0x7fb".replace("\0", "\\"),
]
TERMINAL += ["\u202egpj.exe", "\u2028line", "\u200bnone", "\ufeffmark", "a\nrefused: b", "$(id)", "`id`", "-rf", "%s%n"]
NAMES = [f"{name.replace('/', '!')}.png" for name in HTML + CSV + TERMINAL]
NAMES += [os.fsdecode(b"\xff\xfe\x1b.png"), "\U000e0041.png"]


def unescape(text: str) -> str:
    """The name that `dedup.output.escape` wrote."""
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda hit: bytes.fromhex(hit[1].decode()), text.encode()))


class Tags(html.parser.HTMLParser):
    """Counts what a browser would make an element, and what would run."""

    def __init__(self, text: str):
        super().__init__()
        self.count, self.live = 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.count += 1
        self.live += [
            (tag, name) for name, value in attributes if name.startswith("on") or "javascript:" in (value or "")
        ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
def test_hostile_names_are_live_nowhere(find, pictures, tmp_path, capsys):
    size = (pictures / "a.png").stat().st_size
    seen = Member(pictures / "a.png", 256, 256, size, 0.0, "identical", 1.0, keeper=pictures / "a.png")
    for name in NAMES:
        shutil.copy(pictures / "a.png", pictures / name)
    going = tuple(replace(seen, path=pictures / name) for name in NAMES)
    staying = tuple(replace(seen, path=pictures / "b.png", reason=Reason(Why.CLOSER, name)) for name in NAMES)
    keeper = replace(seen, kind="keeper", keeper=None)
    out, pages = tmp_path / "out", []
    failures, similar = ({pictures / name: name for name in NAMES}, [(keeper.path, pictures / n, 0.1) for n in NAMES])
    for members in ((going[0],), going + staying):  # the page of one name, then of all
        find(
            clusters=[Cluster(1, keeper, members)], paths=("a.png", "b.png", *NAMES), failures=failures, similar=similar
        )
        assert call(pictures, "--output", out, "--quiet", "--dry-run") == 0
        pages.append(Tags((out / "report.html").read_text(encoding="utf-8")))
    assert call(pictures, "--apply", out / "plan.jsonl") == call(pictures, "--undo") == 0
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))
    assert pages[0].count == pages[1].count and pages[0].live == pages[1].live == []
    for table in ("clusters.csv", "similar.csv", "unreadable.csv"):
        with open(out / table, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        cells = [cell for row in rows for cell in row]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n＝"))]
        assert not [cell for cell in cells if any(char < " " or "\x7f" <= char < "\xa0" for char in cell)]
        assert {unescape(cell) for cell in cells} >= set(NAMES)
    assert Image.open(out / "clusters_001.png").size[0] > 500
    print(f"names: {len(NAMES)}")
    assert len(NAMES) >= 30
