"""Decisions frame by frame."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

FRAME: Final = 270  # samples from one decision of the segmentation to the next
Frames = NDArray[np.bool_]


def runs(speaks: Frames) -> Iterator[tuple[int, int]]:
    """Where each stretch of True begins and ends, in frames."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], speaks.astype(np.int8), [0]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
