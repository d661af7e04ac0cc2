"""How the encoder learns what a copy is. Shown by notebooks/06_training.ipynb; nothing else needs this room.

In:  a folder of photos without labels.
Out: weights, and a log of the losses.

    loss.py     two edited copies of each photo, and the contrastive loss that judges their vectors
    trainer.py  Recipe: a training's settings; Trainer: its state after each batch
    head.py     a linear layer on a network that was trained on ImageNet, beside ours
    command.py  train; `python -m dedup.training PHOTOS --output run`
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loss": ["CopiesDataset", "schedule_batches", "contrastive_loss"],
        "trainer": ["Recipe", "TrainingError"],
        "command": ["read_photos", "train"],
    },
)
