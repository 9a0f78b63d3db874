"""Read and write the clips: decoding to the samples an engine wants, FLAC, Opus, and a small WebM video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

SAMPLE_RATE = 16000
OPUS_RATE = 48000  # Opus knows 16 kHz too, but its clock always counts 48,000 a second
FRAMES_PER_SECOND = 5
PICTURE = (180, 320)  # height, width


def decode(path: Path) -> np.ndarray:
    """Decode the sound of a file to 16 kHz mono float32 of shape (samples,) within ±1."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32) / 32768


def encode(path: Path, samples: np.ndarray, bit_rate: int = 24000) -> None:
    """Write 16 kHz mono sound: .flac without loss, .ogg as Opus, .webm as Opus with a picture of the wave."""
    with av.open(str(path), "w") as container:
        video = _add_picture(container) if path.suffix == ".webm" else None
        if path.suffix == ".flac":
            audio = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono", format="s16")
            audio.options = {"compression_level": "12"}
        else:
            audio = container.add_stream("libopus", rate=OPUS_RATE, layout="mono")
            audio.bit_rate = bit_rate
            audio.options = {"application": "voip"}
        if video:
            for picture in _pictures(samples):
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        resampler = av.AudioResampler(format=audio.format.name, layout="mono", rate=audio.rate)
        for frame in [*resampler.resample(_frame(samples)), *resampler.resample(None)]:
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def _frame(samples: np.ndarray) -> av.AudioFrame:
    values = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(values[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
    return frame


def _add_picture(container: OutputContainer) -> av.VideoStream:
    stream = container.add_stream("libvpx-vp9", rate=FRAMES_PER_SECOND)
    stream.height, stream.width = PICTURE
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "45", "b": "0", "cpu-used": "5"}
    return stream


def _pictures(samples: np.ndarray) -> Iterator[av.VideoFrame]:
    """Draw the whole wave once, and in each frame what was heard so far in another colour."""
    height, width = PICTURE
    loudness = np.array([np.abs(part).max(initial=0) for part in np.array_split(samples, width)])
    distance = np.abs(np.arange(height) - height / 2)[:, None]
    wave = distance <= np.maximum(1, loudness / max(loudness.max(), 1e-9) * height * 0.4)
    count = round(len(samples) / SAMPLE_RATE * FRAMES_PER_SECOND)
    for index in range(count):
        heard = np.arange(width) <= index / count * width
        image = np.full((height, width, 3), 24, np.uint8)
        image[wave & ~heard] = (96, 104, 120)
        image[wave & heard] = (80, 180, 255)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
        yield frame
