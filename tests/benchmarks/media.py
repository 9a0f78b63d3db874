"""Long recordings, made of the test clips."""

import math
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream

from schemas.chunks import SAMPLE_RATE
from tests.harness import DATA, reference
from v2t_stream.audio.decode import MediaReader

_CLIPS = ("3min.ogg", "20s-1.flac", "20s-2.flac", "20s-3.flac")  # four minutes
_RATE = 44_100
_BLOCK = 240.0  # seconds


def recording(folder: Path, minutes: int) -> Path:
    """An m4a as video sites give it (AAC, 44.1 kHz, stereo, 96 kbit/s) of at least `minutes`, made once."""
    path = folder / f"{minutes}min.m4a"
    if path.exists():
        return path
    block = folder / "block.m4a"
    if not block.exists():
        _encode(block)
    _repeat(block, path, _times(minutes))
    return path


def spoken(minutes: int) -> str:
    """What is said in `recording`."""
    return " ".join([reference(clip) for clip in _CLIPS] * _times(minutes))


def seconds(path: Path) -> float:
    """How long a recording is."""
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def _times(minutes: int) -> int:
    return math.ceil(minutes * 60 / _BLOCK)


def _encode(path: Path) -> None:
    samples = []
    for clip in _CLIPS:
        with MediaReader(DATA / clip) as reader:
            samples += list(reader.blocks())
        samples.append(np.zeros(SAMPLE_RATE // 2, np.int16))
    joined = np.concatenate(samples)
    joined = np.pad(joined, (0, max(0, int(_BLOCK * SAMPLE_RATE) - len(joined))))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=_RATE, layout="stereo")
        stream.bit_rate = 96_000
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE)
        for start in range(0, len(joined), SAMPLE_RATE):
            frame = av.AudioFrame.from_ndarray(joined[np.newaxis, start : start + SAMPLE_RATE], "s16", "mono")
            frame.sample_rate = SAMPLE_RATE
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))


def _repeat(block: Path, path: Path, times: int) -> None:
    """The block's packets over and over, without coding them again."""
    with av.open(str(path), "w") as container:
        stream: AudioStream | None = None
        at = 0
        for _ in range(times):
            with av.open(str(block)) as source:
                if stream is None:
                    stream = container.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(source.streams.audio[0]):
                    if not packet.size:
                        continue
                    packet.stream = stream
                    packet.pts = packet.dts = at
                    at += packet.duration or 0
                    container.mux(packet)
