"""Files that show one picture, which of them stays, and why. Shown by notebooks/03_clustering.ipynb.

In:  the graph of confirmed pairs and their matches.
Out: clusters: versions of one picture, each with the file that stays; of the others the reason why they stay, if any.

    clusters.py         cluster_labels (DBSCAN) and build_clusters
    versions.py         which files are one version, which file of each stays (the keeper), and what goes for it
    members.py          why a file stays: what it shows and its keeper does not; what may go at a level of `remove`
    evidence.py         what is known of files and of pairs of files, gathered before anything is decided
    quality.py          how well a file holds its picture, by its header; how well a shot came out
    detail.py           whether a picture was enlarged, or saved again, from another
    full_resolution.py  both files compared once more, larger, before one may go
    result.py           Result: all that a run found; the series of shots in it
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clusters": ["cluster_labels", "build_clusters", "Cluster"],
        "members": ["Member", "Reason"],
        "result": ["Result", "Series", "find_series"],
        "versions": ["keeper_keys"],
    },
)
