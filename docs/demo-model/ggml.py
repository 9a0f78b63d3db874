"""Whisper's ggml file, as whisper.cpp reads it: read and write it, with the large matrices in 8 bits (q8_0) or in f16.

The file is: a magic number; eleven sizes; the mel filters; the bytes of every text token; then the tensors, each with
a header (number of dimensions, length of the name, type), its dimensions innermost first, its name and its values.

Two things whisper.cpp wants that no header says: the two position tables and all vectors are always f32, convolution
kernels f16; and the two convolution biases have the shape (channels, 1). A file that says it is f32 throughout (ftype
0) aborts the process in whisper.cpp 1.8, so there is no such choice here.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAGIC = 0x67676D6C
F32, F16, Q8_0 = 0, 1, 8  # ggml's numbers of the types of a tensor
FTYPE = {"f16": 1, "q8_0": 2007}  # of the file: 7 is "mostly q8_0", 2000 the version of ggml's quantised layouts
BLOCK = 32  # values of q8_0 that share one scale
Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", BLOCK)])

Weights = dict[str, np.ndarray]  # by the names of OpenAI's checkpoint, e.g. encoder.blocks.0.attn.query.weight


@dataclass
class WhisperFile:
    """What a ggml file of a Whisper model holds."""

    filters: np.ndarray  # (mel bands, 201) float32: the mel filters over a 400 point spectrum
    tokens: list[bytes]  # the bytes of each text token, by id; the special tokens come after and are not listed
    weights: Weights = field(default_factory=dict)  # float32, biases of the convolutions as plain vectors


def read(path: Path) -> WhisperFile:
    """Read the filters, the tokens and the weights of a ggml file with tensors in f32, f16 or q8_0."""
    with path.open("rb") as file:
        magic, *_sizes = _ints(file, 12)
        if magic != MAGIC:
            raise SystemExit(f"{path} is not a Whisper model in ggml's format.")
        rows, columns = _ints(file, 2)
        filters = np.frombuffer(file.read(4 * rows * columns), "<f4").reshape(rows, columns).copy()
        tokens = [file.read(_ints(file, 1)[0]) for _ in range(_ints(file, 1)[0])]
        weights = {}
        while header := file.read(12):
            dimensions, name_length, kind = struct.unpack("<3i", header)
            shape = _ints(file, dimensions)[::-1]
            name = file.read(name_length).decode()
            values = _read_values(file, kind, shape)
            weights[name] = values.reshape(-1) if name in CONVOLUTION_BIASES else values
    return WhisperFile(filters, tokens, weights)


CONVOLUTION_BIASES = ("encoder.conv1.bias", "encoder.conv2.bias")


def write(path: Path, model: WhisperFile, heads: int, precision: str = "q8_0") -> None:
    """Write a ggml file; `precision` is q8_0 or f16 and holds for the matrices, see the head of this module."""
    embedding = model.weights["decoder.token_embedding.weight"]
    audio_positions = model.weights["encoder.positional_embedding"]
    text_positions = model.weights["decoder.positional_embedding"]
    sizes = [
        len(embedding),
        *(*audio_positions.shape, heads, _layers(model.weights, "encoder")),
        *(*text_positions.shape, heads, _layers(model.weights, "decoder")),
        len(model.filters),
        FTYPE[precision],
    ]
    with path.open("wb") as file:
        file.write(struct.pack("<12i", MAGIC, *sizes))
        file.write(struct.pack("<2i", *model.filters.shape))
        file.write(model.filters.astype("<f4").tobytes())
        file.write(struct.pack("<i", len(model.tokens)))
        for token in model.tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, values in model.weights.items():
            shaped = values.reshape(-1, 1) if name in CONVOLUTION_BIASES else values
            kind = _kind(name, shaped, precision)
            file.write(struct.pack("<3i", shaped.ndim, len(name), kind))
            file.write(struct.pack(f"<{shaped.ndim}i", *reversed(shaped.shape)))
            file.write(name.encode() + _encoded(shaped, kind))


def quantised(values: np.ndarray) -> np.ndarray:
    """Quantise as ggml's quantize_row_q8_0 does: blocks of 32 along the last axis, 127 steps to the largest value."""
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, BLOCK)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    steps = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)
    out = np.empty(len(blocks), Q8_0_BLOCK)
    out["scale"] = scale[:, 0]
    out["values"] = np.trunc(steps + np.copysign(0.5, steps))  # C's roundf: halves away from zero
    return out


def _kind(name: str, values: np.ndarray, precision: str) -> int:
    if values.ndim == 1 or name.endswith("positional_embedding") or name in CONVOLUTION_BIASES:
        return F32
    return Q8_0 if precision == "q8_0" and values.ndim == 2 else F16


def _encoded(values: np.ndarray, kind: int) -> bytes:
    if kind == Q8_0:
        return quantised(values).tobytes()
    return values.astype("<f2" if kind == F16 else "<f4").tobytes()


def _read_values(file: BinaryIO, kind: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    if kind == Q8_0:
        blocks = np.frombuffer(file.read(count // BLOCK * Q8_0_BLOCK.itemsize), Q8_0_BLOCK)
        values = blocks["scale"].astype(np.float32)[:, None] * blocks["values"]
    elif kind in {F32, F16}:
        dtype = np.dtype("<f2" if kind == F16 else "<f4")
        values = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    else:
        raise SystemExit(f"Tensors of ggml's type {kind} cannot be read here: use a model in f16 or q8_0.")
    return values.astype(np.float32).reshape(shape)


def _layers(weights: Weights, side: str) -> int:
    return sum(name.startswith(f"{side}.blocks.") and name.endswith(".mlp_ln.weight") for name in weights)


def _ints(file: BinaryIO, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", file.read(4 * count))
