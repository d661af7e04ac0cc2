"""Draw the README's picture: three clusters of the sample pictures, as the program finds them.

python assets/draw_clusters.py  ->  assets/clusters.jpg
"""

import io
import tempfile
from pathlib import Path

from drawing import ASSETS
from PIL import Image

import configs
from dedup.config import Config
from dedup.dataset.samples import write_samples
from dedup.pipeline import find_duplicates
from dedup.report.grid import plot_cluster_grid

SHOWN = ("chelsea", "astronaut", "coffee")  # has captions, crops and mirrors, a meme that stays


def main() -> None:
    with tempfile.TemporaryDirectory() as holder:
        folder = Path(holder) / "samples"
        write_samples(folder)
        found = find_duplicates(Config.load(configs, images_dir=folder, output_dir=Path(holder) / "results"))
        clusters = [cluster for cluster in found.clusters if cluster.keeper.path.name.startswith(SHOWN)]
        png = plot_cluster_grid(clusters, folder).png()
    Image.open(io.BytesIO(png)).save(ASSETS / "clusters.jpg", quality=88, subsampling=0)


if __name__ == "__main__":
    main()
