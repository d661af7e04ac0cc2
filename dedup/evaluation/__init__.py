"""How good the finding is. Shown by notebooks/05_benchmark.ipynb.

In:  distances or clusters, and the truth: which files show one picture.
Out: precision and recall, of pairs at every epsilon and of clusters; the epsilon that a wanted precision needs.

    curves.py       pair_curve: precision and recall over all pairs
    scores.py       Truth; score_grouping: precision, recall, wrong removals, lost photos
    calibration.py  calibrate_epsilon: from edited copies of the user's own pictures
    distinct.py     pictures of a folder that are different
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curves": ["PairCurve", "pair_curve"],
        "scores": ["Truth", "Score", "score_grouping", "grouping_of"],
        "calibration": ["Calibration", "CalibrationError", "calibrate_epsilon", "embed_copies"],
    },
)
