"""A chunk's audio as FLAC bytes and back, without loss."""

import io
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.errors import Reject

# 0 to 12. Measured on 30 s of speech: 3 takes 11 ms and leaves 61.5 %; 5, the default, 12 ms and 61.3 %; 12 takes
# 121 ms and leaves 60.4 %; below 3 the blocks are small, and the result is slower and bigger.
LEVEL = 3


def encode(samples: NDArray[np.int16]) -> bytes:
    """Encode mono 16 kHz `samples`, shape (samples,), at least one."""
    if samples.ndim != 1 or samples.dtype != np.int16 or not samples.size:
        raise ValueError(f"expected one row of int16 samples, not {samples.dtype} of shape {samples.shape}")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream(
            "flac", rate=SAMPLE_RATE, layout="mono", format="s16", options={"compression_level": str(LEVEL)}
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode(data: bytes) -> NDArray[np.float32]:
    """Return the samples within ±1, shape (samples,). Raises Reject if `data` is not from `encode`."""
    if not data.startswith(b"fLaC"):  # FFmpeg accepts anything as FLAC when the format is given
        raise Reject("a chunk's audio is not FLAC: convert the media again")
    try:
        with av.open(io.BytesIO(data), "r", format="flac") as container:
            stream = container.streams.audio[0]
            declared, form = stream.duration, (stream.rate, stream.channels, stream.format and stream.format.name)
            rows = [frame.to_ndarray()[0] for frame in container.decode(stream)]
    except (av.FFmpegError, IndexError) as error:
        raise Reject("a chunk's audio is damaged: convert the media again") from error
    samples = np.concatenate(rows) if rows else np.zeros(0, np.int16)
    if len(samples) != declared or form != (SAMPLE_RATE, 1, "s16"):
        raise Reject("a chunk's audio is cut off or is not 16 kHz mono: convert the media again")
    return samples.astype(np.float32) / np.float32(32768)
