"""Which pairs of pictures show the same. Shown by notebooks/03_clustering.ipynb.

In:  vectors (n, d) of unit norm, the largest distance epsilon, and the files themselves.
Out: a sparse graph (n, n) of the pairs within epsilon, then of those that geometry confirms; for each pair that was
     compared a Match: its kind, the share of either picture that the other shows, the transform between them.

Candidates:
    neighbors.py     radius_neighbors_graph: pairs within epsilon, block by block
    scheduling.py    which of them are worth comparing
    confirmation.py  Verifier: compares them, in worker processes; explain: one pair, step by step
One pair:
    pictures.py      what is needed of one picture: a small copy, keypoints, the box without margins
    registration.py  transforms to try: whole on whole, turned, mirrored, by keypoints; one picture laid on the other
    similarity.py    where the two agree, and what moved between them
    differences.py   what was changed at one place, other tones, other colours
    classification.py  the kind of match; kinds.py: MatchKind
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "neighbors": ["radius_neighbors_graph"],
        "confirmation": ["Verifier", "match_pictures", "explain"],
        "classification": ["Match"],
        "kinds": ["MatchKind"],
    },
)
