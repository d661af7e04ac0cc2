"""The network that turns a picture into a vector which its copies share. Shown by notebooks/02_encoder.ipynb.

In:  paths, or squares (b, 3, S, S) uint8.
Out: Embeddings: vectors (n, d) float32 of unit norm, the files' sizes, and what could not be read.

    model.py        EncoderCNN: ResNet trunk, GeM pooling, linear layer, unit norm; load_encoder
    resnet.py       the trunk
    checkpoints.py  weight files of this and other projects, read and written; weights/ holds the default encoder's
    inference.py    the encoder at work, in this process or in one of its own
    memory.py       what the encoder saw in an earlier run
    embeddings.py   extract_embeddings: files, read in batches, to vectors
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "model": ["EncoderCNN", "GeM", "load_encoder", "choose_device", "copy_detection_encoder"],
        "inference": ["EncoderError"],
        "embeddings": ["Embeddings", "extract_embeddings"],
        "checkpoints": ["WEIGHTS_DIR", "export_encoder"],
    },
)
