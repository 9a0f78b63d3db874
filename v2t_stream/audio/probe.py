"""Samples the tracks of a file at some places to find the one with the speech."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from msgspec import structs

from schemas.transcript import Track
from v2t_stream.audio.level import Leveller, Wave
from v2t_stream.audio.parts import Part
from v2t_stream.audio.resample import MonoResampler
from v2t_stream.audio.source import open_media, read_only
from v2t_stream.audio.tracks import describe, eligible
from v2t_stream.audio.vad import SileroVad
from v2t_stream.errors import Reject

PLACES = 8  # spread over the file
SECONDS = 4.0  # per track and place
FIRST = 30.0  # seconds to sample at the start of a file that cannot seek
ENOUGH = 1.0  # seconds of speech after which the likeliest track wins
PACKETS = 5_000  # limit per place
TRACKS = 8  # limit of compared tracks, the likeliest ones


def choose_track(
    path: Path, part: Part, container: InputContainer, name: str, *, track: str | None, language: str | None
) -> tuple[AudioStream, tuple[Track, ...]]:
    """Return the right track of `container`, opened from this part of `path`, and all its tracks.

    `track`, `language`, `name` and exceptions: like `eligible`.
    """
    tracks = eligible(container, name, track=track, language=language)
    chosen = tracks[0]
    if len(tracks) > 1:
        media = open_media(path, part, name)  # reopened, because sampling breaks the order
        with media.closing:
            again = {stream.index: stream for stream in media.container.streams.audio}
            index = spoken_track(media.container, [again[stream.index] for stream in tracks], name).index
        chosen = next(stream for stream in tracks if stream.index == index)
    numbered = [stream.index for stream in container.streams if stream.type == "audio"]
    number = numbered.index(chosen.index) + 1
    return chosen, tuple(structs.replace(one, taken=one.number == number) for one in describe(container))


def spoken_track(container: InputContainer, tracks: Sequence[AudioStream], name: str) -> AudioStream:
    """Return the first of `tracks` unless it has no speech, or little, and another has more.

    Reading `container` at several places makes it unusable afterwards. At most half a minute of each is decoded.
    """
    tracks = tracks[:TRACKS]
    if len(tracks) == 1:
        return tracks[0]
    read_only(container, *tracks)
    speech = dict.fromkeys((track.index for track in tracks), 0.0)
    for seconds in _places(container):
        for index, wave in _sound(container, tracks, seconds, name):
            speech[index] += SileroVad().speech_seconds(Leveller().feed(wave))
        if speech[tracks[0].index] >= ENOUGH:
            return tracks[0]
    most = max(tracks, key=lambda track: speech[track.index])
    return most if speech[most.index] > 2 * speech[tracks[0].index] else tracks[0]


def _places(container: InputContainer) -> Iterator[float]:
    """Seek from place to place, and yield how many seconds to decode there."""
    if not container.duration:
        yield FIRST
        return
    start = container.start_time or 0
    for n in range(PLACES):
        try:
            container.seek(start + int(container.duration * (n + 0.5) / PLACES))
        except av.FFmpegError:
            if not n:
                yield FIRST
            return
        yield SECONDS


def _sound(
    container: InputContainer, tracks: Sequence[AudioStream], seconds: float, name: str
) -> Iterator[tuple[int, Wave]]:
    """The speech in each track from here on."""
    resamplers = {track.index: MonoResampler(name) for track in tracks}
    waves: dict[int, list[Wave]] = {track.index: [] for track in tracks}
    missing = {track.index: seconds for track in tracks}
    try:
        for packet in islice(container.demux(tuple(tracks)), PACKETS):
            for frame in packet.stream.decode(packet) if packet.size else ():
                missing[packet.stream_index] -= frame.samples / frame.sample_rate
                waves[packet.stream_index] += resamplers[packet.stream_index].push(frame)
            if max(missing.values()) <= 0:
                break
    except (av.FFmpegError, IndexError, Reject):
        pass  # damaged here; the sound so far counts
    for index, resampler in resamplers.items():
        wave = np.concatenate([*waves[index], *resampler.flush(), np.zeros(0, np.float32)])
        if wave.size:
            yield index, wave
