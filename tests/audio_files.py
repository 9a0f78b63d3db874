"""Writes media of known content with PyAV: beeps at full seconds, speech in chosen tracks."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.harness import DATA
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.vad import SileroVad

RATE: Final = 16_000
BEEP: Final = 0.3  # seconds, at the start of each full second except the first

Samples = NDArray[np.int16]


class Sounding(NamedTuple):
    """A track to write: samples of shape (channels, samples), within ±1, from second `start`."""

    samples: NDArray[np.float64]
    layout: str = "mono"
    start: float = 0.0
    metadata: Mapping[str, str] = {}
    disposition: int = 0
    jumps: Sequence[tuple[float, float]] = ()  # (second of the sound, what to add to its timestamps from there on)


def beeps(seconds: float, rate: int = RATE) -> NDArray[np.float64]:
    t = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * 440 * t) * ((t >= 1) & (t % 1 < BEEP))


def speech(name: str = "5s.flac", rate: int = RATE) -> NDArray[np.float64]:
    """A test clip."""
    resampler = av.AudioResampler(format="dbl", layout="mono", rate=rate)
    with av.open(DATA / name) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray()[0] for part in (*frames, *resampler.resample(None)) if part])


def write_tracks(
    path: Path,
    tracks: Sequence[Sounding],
    codec: str,
    *,
    rate: int = RATE,
    container_format: str | None = None,
    pictures: float = 0,
    picture_codec: str = "mpeg4",
    size: tuple[int, int] = (64, 64),
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Write the tracks, in order of time, with that many seconds of pictures."""
    with av.open(path, "w", format=container_format, options=options or {}) as container:
        film: VideoStream | None = None
        if pictures:
            film = container.add_stream(picture_codec, rate=25)
            film.width, film.height, film.pix_fmt = *size, "yuv420p"
        streams = []
        for track in tracks:
            stream = container.add_stream(codec, rate=rate, layout=track.layout, options=codec_options or {})
            if codec.startswith("wma"):
                stream.bit_rate = 64_000
            stream.metadata.update(track.metadata)
            stream.disposition = av.stream.Disposition(track.disposition)
            streams.append(stream)
        packets = [packet for stream, track in zip(streams, tracks, strict=True) for packet in _encoded(stream, track)]
        packets += _pictures(film, pictures) if film else []
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            container.mux(packet)
    return path


def _encoded(stream: AudioStream, track: Sounding) -> list[Any]:
    form = stream.codec_context.format.name
    rate = stream.codec_context.sample_rate
    resampler = av.AudioResampler(format=form, layout=track.layout, rate=rate)
    packets = []
    rows = np.atleast_2d(track.samples)
    step = stream.codec_context.frame_size or 1024
    for at in range(0, rows.shape[1], step):
        part = np.ascontiguousarray(rows[:, at : at + step].T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(part, format="dbl", layout=track.layout)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        start = track.start + sum(by for second, by in track.jumps if at / rate >= second)
        frame.pts = round(start * rate) + at
        for converted in resampler.resample(frame):
            packets += stream.encode(converted)
    return packets + stream.encode(None)


def _pictures(stream: VideoStream, seconds: float) -> list[Any]:
    packets = []
    grey = np.full((stream.height * 3 // 2, stream.width), 128, np.uint8)
    for n in range(round(seconds * 25)):
        picture = av.VideoFrame.from_ndarray(grey, "yuv420p")
        picture.pts, picture.time_base = n, Fraction(1, 25)
        packets += stream.encode(picture)
    return packets + stream.encode(None)


def read(path: Path, **asked: Any) -> Samples:
    with MediaReader(path, **asked) as reader:
        return np.concatenate(list(reader.blocks()))


def onsets(audio: Samples) -> list[float]:
    """When beeps begin, in seconds, to 5 ms."""
    hop = RATE // 200
    peaks = np.abs(audio[: len(audio) // hop * hop].astype(np.int32)).reshape(-1, hop).max(axis=1)
    loud = peaks > 4_000
    starts = np.flatnonzero(np.diff(loud, prepend=False) & loud)
    apart = np.diff(starts, prepend=-100) > 20  # dips from the codec are not new beeps
    return [float(start) * hop / RATE for start in starts[apart]]


def speech_seconds(audio: Samples) -> float:
    return SileroVad().speech_seconds(audio)
