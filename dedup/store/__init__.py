"""What earlier runs found out, so that later ones take a fraction of the time: output_dir/cache.sqlite.

In:  the content of a file, and the code that looks at it.
Out: what was found then, or nothing.

    cache.py   bytes by keys, in SQLite; a broken file is thrown away with a line
    memory.py  what files held, what the encoder saw in them; forgotten when a room's code changes
    facts.py   what is told of one file by its content
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cache": ["Cache"],
        "memory": ["Memory"],
        "facts": ["Facts", "remembered"],
    },
)
