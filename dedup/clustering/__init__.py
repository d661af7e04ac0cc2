"""Files that show one picture, which of them stays, and why. Shown by notebooks/03_clustering.ipynb.

In:  the graph of confirmed pairs and their matches.
Out: clusters: members with one keeper each; of the others whether they may go, or the reason why they stay.

    clusters.py         cluster_labels (DBSCAN) and build_clusters
    evidence.py         what is known of each file and of each pair, gathered before anything is decided
    versions.py         which files are one version, and the best of each: one sort key
    members.py          reasons why a file stays; result.py: all that a run found
    quality.py          how well a file holds its picture, as its header tells
    detail.py           whether a file was enlarged or saved again from another
    full_resolution.py  both files again, with all their pixels, before one may go
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clusters": ["cluster_labels", "build_clusters", "Cluster"],
        "members": ["Member"],
        "result": ["Result"],
    },
)
