"""Measure how long the review page takes to show and to scroll, by the clock, in Chromium without a window or a GPU.

    python -m tests.page_timing [CLUSTERS]

Prints the time from opening the page to its first pictures, and how long frames take while it is scrolled.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.browser import CHROMIUM, made_up, write_made_up

CLUSTERS, FILES, FRAMES = 5000, 3, 600
# Each frame scrolls on by half a row; now and then the scroll bar is dragged far away. ms from frame to frame.
SCROLL = """frames => new Promise(done => {
  const times = [];
  const height = document.body.scrollHeight - innerHeight;
  const tick = () => {
    times.push(performance.now());
    if (times.length > frames) return done(times.slice(1).map((time, at) => time - times[at]));
    if (times.length % 60) scrollBy(0, 180);
    else scrollTo(0, height * Math.random());
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})"""


def write_large_page(folder: Path, clusters: int = CLUSTERS) -> Path:
    """A page of made-up clusters, the pictures of the first of which are there."""
    names = [[f"folder {n % 40}/picture {n} {place}.jpg" for place in range(FILES)] for n in range(clusters)]
    return write_made_up(folder, made_up(names), thumbnails=60)


def measure_page(browser, page_file: Path, frames: int = FRAMES) -> tuple[float, np.ndarray]:
    """Seconds to the first view, and (frames,) ms that each frame took while scrolling."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    page.goto(page_file.as_uri())
    page.wait_for_selector(".cell")
    page.evaluate("Promise.all([...document.images].slice(0, 6).map(image => image.decode()))")
    seconds = time.perf_counter() - began
    found = np.array(page.evaluate(SCROLL, frames))
    page.close()
    return seconds, found


def main() -> None:
    from playwright.sync_api import sync_playwright

    clusters = int(sys.argv[1]) if len(sys.argv) > 1 else CLUSTERS
    with tempfile.TemporaryDirectory() as holder, sync_playwright() as playwright:
        page = write_large_page(Path(holder), clusters)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        seconds, frames = measure_page(browser, page)
        browser.close()
    median, high, longest = np.percentile(frames, (50, 99, 100)).round()
    print(f"{clusters:,} clusters of {FILES} files: {seconds:.2f} s to the first view")
    told = f"median {median:g} ms, 99 of 100 within {high:g}, longest {longest:g}"
    print(f"{len(frames)} frames while scrolling: {told}")


if __name__ == "__main__":
    main()
