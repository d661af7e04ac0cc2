"""How good the finding is. Shown by notebooks/05_benchmark.ipynb; calibration by 03_clustering.ipynb.

In:  distances or clusters, and the truth: which files show one picture.
Out: precision and recall, of pairs at every epsilon and of clusters; the epsilon that a wanted precision needs.

    scores.py       pair_curve: precision and recall over all pairs; Truth; score_grouping: wrong removals, lost photos
    calibration.py  calibrate_epsilon: from edited copies of the user's own pictures
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scores": ["PairCurve", "pair_curve", "Truth", "Score", "score_grouping", "grouping_of"],
        "calibration": ["Calibration", "CalibrationError", "calibrate_epsilon"],
    },
)
