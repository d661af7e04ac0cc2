"""What a file holds besides its picture, and which files belong to it. Shown by notebooks/04_deletion.ipynb.

A file may go only if the file that stays for it holds at least the same: capture time, place, keywords, a film, other
frames, more bits, a colour profile and so on.

In:  paths.
Out: Contents records; the names of what one holds and the other does not; the reason why a file stays.

    inventory.py   read_all_contents, what_it_lacks, why_it_stays
    metadata.py    EXIF, XMP, IPTC and texts as values by plain names
    merging.py     values that a file has and its keeper lacks, written into an XMP file beside the keeper
    parts.py       films, pictures and other data in a file, beside its picture
    companions.py  files beside a picture that belong to it: sidecars, films, RAW files, memos
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "companions": ["companions_of", "matched_companions"],
        "inventory": ["Contents", "read_all_contents", "what_it_lacks", "why_it_stays"],
    },
)
