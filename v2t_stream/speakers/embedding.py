"""Embeddings as bytes, for messages: a byte for each dimension keeps a cosine to a hundredth."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

# What makes the embeddings: those of another model cannot be compared. Transcripts do not say which it was, because all
# releases so far have this one.
MODEL: Final = "campplus"

_LENGTH: Final = 127  # of a vector as signed bytes


def as_bytes(vector: NDArray[np.float32]) -> bytes:
    """A vector of length 1."""
    return np.rint(vector * _LENGTH).astype(np.int8).tobytes()


def as_units(embeddings: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors of length 1, of shape (embeddings, dimensions); zeros for one that is empty or from another model."""
    dimensions = max(map(len, embeddings), default=0)
    vectors = np.zeros((len(embeddings), dimensions), np.float32)
    for n, embedding in enumerate(embeddings):
        if len(embedding) == dimensions:
            vectors[n] = np.frombuffer(embedding, np.int8)
    return units(vectors)


def units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors, each with a length of 1."""
    scaled: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return scaled
