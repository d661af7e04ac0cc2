"""What a file holds besides its picture, and which files belong to it.

A file may go only if the file that stays for it holds at least the same: capture time, place, keywords, a film, other
frames, more bits, a colour profile and so on. Input: paths. Output: `Contents` records, and reasons why a file stays.
Shown by notebooks/04_deletion.ipynb.

    inventory.py   Contents of a file, what_it_lacks, why_it_stays
    metadata.py    EXIF, XMP, IPTC and text, by name
    parts.py       films, gain maps, depth and other pictures inside the file
    companions.py  files beside it that belong to it
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "companions": ["companions_of", "matched_companions"],
        "inventory": ["Contents", "read_contents", "what_it_lacks", "why_it_stays"],
    },
)
