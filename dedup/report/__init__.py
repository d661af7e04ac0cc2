"""What a run found, to look at. Seen in all notebooks.

In:  a Result.
Out: pages of pictures (PNG), clusters.csv, similar.csv, report.html (from templates/), curves, the words of main.py.

    page.py           report.html, the page on which a user looks at clusters and decides
    tables.py         clusters.csv, similar.csv and the pages of pictures on disk; keeper_table: why a file stays
    grid.py           plot_cluster_grid: a row of pictures a cluster; plot_pictures: pictures side by side
    plots.py          curves and histograms; DrawnFigure: a figure that is the same byte for byte each time
    messages.py       what the command line says
    lettering.py      file names that can be drawn
    canvas.py         pictures and texts on one picture, in a few colours
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "grid": ["plot_cluster_grid", "plot_pictures"],
        "canvas": ["BLUE", "GREY", "VERMILION"],
        "plots": [
            "DrawnFigure",
            "plot_k_distances",
            "plot_distance_histogram",
            "plot_comparison",
            "plot_pair_curves",
            "plot_recall_by_edit",
        ],
        "tables": ["keeper_table"],
    },
)
