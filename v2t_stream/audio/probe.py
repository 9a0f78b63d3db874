"""Listening into the tracks of a file at some places, to find the one with the speech."""

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
SECONDS = 4.0  # of each track at each place
FIRST = 30.0  # seconds at the start of a file in which one cannot go to a place
ENOUGH = 1.0  # seconds of speech, after which the likeliest track is taken without hearing further
PACKETS = 5_000  # that are read at one place at most
TRACKS = 8  # that are compared, the likeliest ones


def choose_track(
    path: Path, part: Part, container: InputContainer, name: str, *, track: str | None, language: str | None
) -> tuple[AudioStream, tuple[Track, ...]]:
    """Return the track of `container`, opened from this part of `path`, that is meant, and all there are.

    `track`, `language`, `name` and what is raised: as in `eligible`.
    """
    tracks = eligible(container, name, track=track, language=language)
    chosen = tracks[0]
    if len(tracks) > 1:
        media = open_media(path, part, name)  # for what is decoded here and there cannot be decoded in order
        with media.closing:
            again = {stream.index: stream for stream in media.container.streams.audio}
            index = spoken_track(media.container, [again[stream.index] for stream in tracks], name).index
        chosen = next(stream for stream in tracks if stream.index == index)
    numbered = [stream.index for stream in container.streams if stream.type == "audio"]
    number = numbered.index(chosen.index) + 1
    return chosen, tuple(structs.replace(one, taken=one.number == number) for one in describe(container))


def spoken_track(container: InputContainer, tracks: Sequence[AudioStream], name: str) -> AudioStream:
    """Return the first of `tracks` unless there is no speech in it, or little, and more in another.

    It reads `container` here and there, which is of no other use afterwards. At most half a minute of each is decoded.
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
    """Go from place to place, and tell how many seconds are to be heard there."""
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
    """What is heard in each track from here on."""
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
        pass  # damaged here; what was heard until then counts
    for index, resampler in resamplers.items():
        wave = np.concatenate([*waves[index], *resampler.flush(), np.zeros(0, np.float32)])
        if wave.size:
            yield index, wave
