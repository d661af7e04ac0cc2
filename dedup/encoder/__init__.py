"""The network that turns a picture into a vector which its copies share. Shown by notebooks/02_encoder.ipynb.

In:  paths, or squares (b, 3, S, S) uint8.
Out: Embeddings: vectors (n, d) float32 of unit norm, the files' sizes, and what could not be read.

    model.py         EncoderCNN: networks side by side, GeM pooling, linear layer, unit norm; load_encoder
    resnet.py        a trunk that is trained here, and torchvision's
    efficientnet.py  a trunk that ImageNet has trained
    checkpoints.py   weight files of this and other projects, read; weights/ holds the default encoder's
    export.py        a trained encoder, written as ONNX
    inference.py     encoders run by ONNX Runtime or torch; open_encoder
    embeddings.py    extract_embeddings: files, read in batches, to vectors; vectors of an earlier run, remembered
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "model": ["EncoderCNN", "GeM", "load_encoder", "choose_device", "copy_detection_encoder"],
        "inference": ["EncoderError", "WEIGHTS_DIR", "open_encoder"],
        "embeddings": ["Embeddings", "extract_embeddings"],
        "export": ["export_encoder"],
    },
)
