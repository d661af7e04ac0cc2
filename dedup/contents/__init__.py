"""What a file holds besides its picture, and which files belong to it.

A file may go only if the file that stays for it holds at least the same: capture time, place, keywords, a film, other
frames, more bits, a colour profile and so on. Input: paths. Output: `Contents` records, and reasons why a file stays.
Notebook 04 shows it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "companions": ["companions_of", "matched_companions"],
        "inventory": ["Contents", "read_contents", "what_it_lacks", "why_it_stays"],
    },
)
