"""The pictures of a folder, as the encoder wants them. Shown by notebooks/01_dataset.ipynb.

In:  a folder, and the folders in it that are treated differently (--prefer, --protect, --against).
Out: sorted paths; squares (b, 3, S, S) uint8, upright RGB; what can't be read, each file with its reason.

    images.py        list_images, ImagesDataset, read_batches: paths and squares
    decoding.py      a stranger's file (JPEG, PNG, HEIC, ...) to an upright RGB picture, or one line that says why not
    reading.py       worker processes that read ahead into shared memory
    folder_rules.py  what --prefer, --protect and --against mean for a file, and what a search passes over
    panels.py        pictures that a screenshot or a collage shows
    thumbnails.py    small copies for later looks, named by content
    samples.py       60 sample pictures with known duplicates
    copies.py        an edited copy of a picture, as chance will have it: geometry, tone, detail, captions, collages
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "images": ["list_images", "ImagesDataset", "read_batches"],
        "decoding": ["load_image", "UnreadableImage"],
        "folder_rules": ["Places"],
        "samples": ["write_samples"],
        "copies": ["make_copy", "EDIT_PROBABILITIES"],
    },
)
