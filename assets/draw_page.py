"""Take the README's picture of the review page, with the sample pictures; needs Chromium and requirements-dev.txt.

python assets/draw_page.py  ->  assets/page.jpg
"""

import io
import sys
import tempfile
from pathlib import Path

from drawing import ASSETS
from PIL import Image
from playwright.sync_api import sync_playwright

import main
from dedup.dataset.samples import write_samples
from tests.browser import CHROMIUM

SIZE = {"width": 1280, "height": 1240}


def shoot(page_file: Path) -> bytes:
    """The top of the page, with the first cluster's crop chosen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(page_file.as_uri())
        page.wait_for_selector(".cell")
        for key in ["ArrowRight"] * 4:
            page.keyboard.press(key)
        page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        png = page.screenshot()
        browser.close()
    return png


def draw() -> None:
    with tempfile.TemporaryDirectory() as holder:
        folder, output = Path(holder) / "samples", Path(holder) / "results"
        write_samples(folder)
        if main.main([str(folder), "--output", str(output), "--quiet"]):
            sys.exit("the run over the sample pictures failed")
        png = shoot(output / "report.html")
    Image.open(io.BytesIO(png)).convert("RGB").save(ASSETS / "page.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    draw()
