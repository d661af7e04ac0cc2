"""A browser to look at pages with, and pages for it: Chromium without a window, results that nobody had to compute."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from dedup.clustering.members import COVERED, LEVELS
from dedup.report.page import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IS_REQUIRED = bool(os.environ.get("DEDUP_REQUIRE_BROWSER"))


@pytest.fixture(scope="session")
def browser():
    """Chromium; a test that asks for it is skipped where there is none, and fails if DEDUP_REQUIRE_BROWSER is set."""
    if not CHROMIUM:
        (pytest.fail if IS_REQUIRED else pytest.skip)("Chromium is not installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """An opened page, with all it asked for and all that went wrong in it."""

    def __init__(self, browser, path: Path, **options):
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)  # a page of many names, drawn without a graphics card on a busy machine
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("dialog", lambda dialog: (self.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".cell, #nothing:not([hidden])")

    def cells(self, cluster: int):
        """The drawn cells of a cluster, numbered from 0."""
        return self.page.locator(f'.cell[data-key^="{cluster},"]')

    def cell(self, cluster: int, file: int):
        return self.page.locator(f'.cell[data-key="{cluster},{file}"]')

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def visit(browser):
    """Opens a file in the browser."""
    visits: list[Visit] = []

    def open_page(path: Path, **options) -> Visit:
        visits.append(Visit(browser, path, **options))
        return visits[-1]

    yield open_page
    for each in visits:
        each.context.close()


def made_up(names: list[list[str]]) -> dict:
    """A page's data with a cluster for each list of names, all but the first of which may go."""
    digest = "{:064x}".format
    number = iter(range(10**9))
    clusters = []
    for files in names:
        listed = [
            {"path": name, "url": f"{at % 7}.jpg", "blake2b": digest(at), "width": 400, "height": 300,
             "bytes": 2 * 10**6 - at, "date": "2020-01-01"}
            for name in files for at in [next(number)]
        ]  # fmt: skip
        pairs = [[place, 0, "resaved", 0.1, 1.0, 1.0, "", "", None] for place in range(1, len(files))]
        clusters.append({"files": listed, "pairs": pairs})
    return {
        "read": sum(map(len, names)),
        "unreadable": 0,
        "failures": [],
        "settings": {"remove": "copies"},
        "levels": list(LEVELS.items()),
        "covered": COVERED,
        "command": "python main.py photos --apply decisions.json",
        "clusters_found": len(names),
        "series_found": 0,
        "series": [],
        "images": "pictures/",
        "thumbnails": "thumbnails/",
        "clusters": clusters,
        "id": "made up",
    }


def write_made_up(folder: Path, data: dict, thumbnails: int = 0) -> Path:
    """A page of made-up data, with thumbnails for its first files."""
    (folder / "thumbnails").mkdir(exist_ok=True)
    digests = [file["blake2b"] for cluster in data["clusters"] for file in cluster["files"]]
    for at, digest in enumerate(digests[:thumbnails]):
        Image.new("RGB", (400, 300), (at % 255, at * 7 % 255, 99)).save(folder / "thumbnails" / f"{digest}.jpg")
    page = folder / "report.html"
    page.write_text(render(data), encoding="utf-8")
    return page
