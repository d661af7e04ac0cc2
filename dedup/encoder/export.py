"""Export. Input: a trained encoder. Output: one file that ONNX Runtime runs and torch can read.

EncoderCNN, vectors of photos (n, embedding_size)  ->  *.onnx, weights of 8 bits, settings in its metadata
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dedup.encoder.checkpoints import PREFIX, ROW_STEP, WHOLE_NUMBERS, principal_directions
from dedup.encoder.model import EncoderCNN, LocalCentering, branches_of
from dedup.encoder.resnet import fold_batch_norms

LARGEST_WEIGHT = 127  # of an 8-bit number, on either side of 0
OPSET = 20  # of ONNX


class _Rows(nn.Module):
    """The encoder as it is exported: images with their channels last, as decoders give them."""

    def __init__(self, encoder: EncoderCNN):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.encoder(images.permute(0, 3, 1, 2))


def export_encoder(encoder: EncoderCNN, vectors: np.ndarray, path: Path, metadata: Mapping[str, object]) -> None:
    """Write a trained encoder as ONNX, its final layer turned to the principal directions of `vectors`.

    The rotation keeps every cosine, and the leading rows are the best shorter embedding. The directions are those of
    the second moment about zero, not about the mean, since cosines are measured from zero. Weights are stored in 8
    bits, with a step for each output channel; computing is in float32.

    Parameters
    ----------
    vectors : (n, embedding_size) float32, unit norm: what the encoder gave for training images
    metadata : epsilon, image_resize and network at least, perhaps strict_epsilon; stored as strings

    Raises
    ------
    ValueError : vectors of another length, metadata missing or unknown, weights that are not finite
    """
    if vectors.ndim != 2 or vectors.shape[1] != encoder.embedding_size:
        raise ValueError(f"vectors are (n, {encoder.embedding_size}) for this encoder, got {vectors.shape}")
    if missing := {"epsilon", "image_resize", "network"} - set(metadata):
        raise ValueError(f"metadata lacks {', '.join(sorted(missing))}")
    branches_of(str(metadata["network"]))
    encoder = copy.deepcopy(encoder).cpu().eval()
    fold_batch_norms(encoder.branches)
    turn(encoder, principal_directions(torch.from_numpy(np.asarray(vectors))))
    _round(encoder)
    if broken := [name for name, tensor in encoder.state_dict().items() if not tensor.isfinite().all()]:
        raise ValueError(f"not finite: {', '.join(broken)}")
    about = {"strict_epsilon": metadata["epsilon"]} | dict(metadata) | {"embedding_size": encoder.embedding_size}
    if isinstance(encoder.centering, LocalCentering):
        about |= {"share": encoder.centering.share, "temperature": encoder.centering.temperature}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_as_onnx(encoder, {key: str(value) for key, value in about.items()}))


def turn(encoder: EncoderCNN, directions: torch.Tensor) -> None:
    """Rotate the encoder's output space, in place. directions : (d, d) float64, orthonormal"""
    with torch.no_grad():
        for parameter in encoder.embedding.parameters():
            parameter.copy_((directions @ parameter.double()).float())
        if isinstance(encoder.centering, LocalCentering):
            encoder.centering.photos.copy_((encoder.centering.photos.double() @ directions.T).float())


@torch.no_grad()
def _round(encoder: EncoderCNN) -> None:
    """Round weights to what 8 bits can hold, in place."""
    for tensor in encoder.state_dict().values():
        if _is_stored_in_bytes(tensor):
            step = _step(tensor)
            tensor.copy_((tensor / step).round() * step)


def _is_stored_in_bytes(numbers: torch.Tensor | np.ndarray) -> bool:
    return numbers.ndim > 1 and math.prod(numbers.shape) > LARGEST_WEIGHT


def _step(numbers: torch.Tensor) -> torch.Tensor:
    """The quantisation step of each row: its largest number is 127 steps."""
    return (numbers.abs().amax(dim=tuple(range(1, numbers.ndim)), keepdim=True) / LARGEST_WEIGHT).clamp(min=1e-12)


def _as_onnx(encoder: EncoderCNN, metadata: Mapping[str, str]) -> bytes:
    import onnx

    side = encoder.image_resize
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    batch, edge = torch.export.Dim("batch", min=1), torch.export.Dim("side", min=32, max=1024)
    program = torch.onnx.export(
        _Rows(encoder).eval(),
        (example,),
        input_names=["images"],
        output_names=["vectors"],
        dynamic_shapes=({0: batch, 1: edge, 2: edge},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    _store_in_bytes(model.graph)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    for node in model.graph.node:  # removes traces of the code, which hold paths of this machine
        del node.metadata_props[:]
    return model.SerializeToString(deterministic=True)


def _store_in_bytes(graph) -> None:
    """Store every matrix or kernel of the encoder in an ONNX graph as whole numbers times a step for each row."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = []
    for tensor in list(graph.initializer):
        numbers, name = numpy_helper.to_array(tensor), tensor.name
        if name.startswith(PREFIX) and _is_stored_in_bytes(numbers):
            step = _step(torch.from_numpy(numbers.copy())).numpy()
            graph.initializer.remove(tensor)
            graph.initializer.append(
                numpy_helper.from_array(np.rint(numbers / step).astype(np.int8), name + WHOLE_NUMBERS)
            )
            graph.initializer.append(numpy_helper.from_array(step, name + ROW_STEP))
            nodes.append(helper.make_node("Cast", [name + WHOLE_NUMBERS], [name + ".float"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [name + ".float", name + ROW_STEP], [name]))
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
