"""Files that show one picture, which of them stays, and why. Shown by notebooks/03_clustering.ipynb.

In:  the graph of confirmed pairs and their matches.
Out: clusters: members with one keeper each; of the others whether they may go, or the reason why they stay.

    clusters.py         cluster_labels (DBSCAN) and build_clusters
    members.py          whether a file shows anything that its keeper does not
    result.py           Result: all that a run found
The keeper:
    keeper.py           how it is chosen
    criteria.py         what makes one of two files the better one
    archives.py         the same with --against, where only files of the archive stay
    files.py, pairs.py  what is known of a file, of a pair of files; each found once
What a file was made from:
    quality.py          compression, as its header tells it
    resaving.py, jpeg_steps.py, jpeg_forensics.py, crop_provenance.py, monochrome.py
                        saved again, enlarged, edited, cut out, toned
Before a file may go:
    contents.py         what it holds besides its picture
    full_resolution.py  both files again, with all their pixels
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
