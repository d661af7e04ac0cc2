"""The reading and encoding step on a Ray cluster. Described in docs/scale.md; nothing else needs this room.

In:  a folder that all machines see, or a bucket such as s3://bucket/photos.
Out: Embeddings, as extract_embeddings gives them.

    embed.py   embed_folder, cluster_bucket: the work, shared out
    bucket.py  a bucket's listing and its files
    shards.py  embeddings on disk, part by part, so that a stopped run can go on
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"embed": ["embed_folder", "cluster_bucket"]})
