"""Compares screenshots by the mean colours of blocks: other fonts change little in them, a broken layout much."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

_FOLDER: Final = Path(__file__).parent / "pictures"
_BLOCK: Final = 20  # pixels
_MEAN: Final = 4.0  # of 255, over the whole picture
_FAR: Final = 48  # of 255: such a block looks different
_SOME: Final = 0.04  # the share of blocks that may


def check(screenshot: bytes, name: str, *, anew: bool) -> None:
    """Compare a PNG with the picture of that name; `anew`: store it instead."""
    seen, path = _blocks(_decoded(io.BytesIO(screenshot))), _FOLDER / f"{name}.png"
    if anew:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_encoded(seen))
        return
    expected = _decoded(io.BytesIO(path.read_bytes())).astype(np.int16)
    assert seen.shape == expected.shape
    apart = np.abs(seen - expected)
    assert apart.mean() <= _MEAN, f"{name}: the mean difference is {apart.mean():.1f}"
    far = (apart.max(axis=2) > _FAR).mean()
    assert far <= _SOME, f"{name}: {far:.0%} of the picture looks different"


def _blocks(picture: NDArray[np.uint8]) -> NDArray[np.int16]:
    height, width = picture.shape[0] // _BLOCK, picture.shape[1] // _BLOCK
    cut = picture[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK, 3)
    return cut.mean(axis=(1, 3)).round().astype(np.int16)


def _decoded(file: io.BytesIO) -> NDArray[np.uint8]:
    with av.open(file) as container:
        frame: Any = next(container.decode(video=0))
        return np.asarray(frame.to_ndarray(format="rgb24"))


def _encoded(blocks: NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        stream: Any = container.add_stream("png", rate=Fraction(1))
        stream.width, stream.height, stream.pix_fmt = blocks.shape[1], blocks.shape[0], "rgb24"
        frame = av.VideoFrame.from_ndarray(blocks.astype(np.uint8), format="rgb24")
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    return file.getvalue()
