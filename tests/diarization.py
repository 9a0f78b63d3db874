"""How much of the speech is given to the wrong speaker, and voices in turn whose times are known."""

import io
import itertools
import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE, Span
from tests.harness import DATA
from v2t_stream.audio.cut import cut
from v2t_stream.audio.decode import MediaReader

MEETINGS: Final = DATA / "meetings"
VOICES: Final = (("en-us+m3", 40, 150), ("en-us+f2", 60, 165), ("en-us+f4", 90, 160), ("en-us+Annie", 50, 170))
_RATE: Final = 100  # frames a second


class Said(NamedTuple):
    start: float
    end: float
    speaker: str


class Recording(NamedTuple):
    samples: NDArray[np.float32]
    said: list[Said]

    def cut(self, folder: Path) -> list[tuple[Span, ...]]:
        """The spans of each chunk, as convert cuts them."""
        path = self.write(folder / "recording.wav")
        with MediaReader(path) as reader:
            return [chunk.spans for chunks in cut(reader) for chunk in chunks]

    def of(self, spans: Sequence[Span]) -> NDArray[np.float32]:
        """The samples of a chunk."""
        return np.concatenate([self.samples[span.start : span.start + span.length] for span in spans])

    def write(self, path: Path) -> Path:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((self.samples * 32767).astype(np.int16).tobytes())
        return path


def meetings() -> dict[str, Recording]:
    """Half a minute each of people in meetings, by name."""
    lines = [line.split() for line in (MEETINGS / "ami.rttm").read_text().splitlines()]
    said: dict[str, list[Said]] = {}
    for _, name, _, start, length, _, _, speaker, *_ in lines:
        said.setdefault(name, []).append(Said(float(start), float(start) + float(length), speaker))
    return {name: Recording(_decoded(MEETINGS / f"{name}.flac"), turns) for name, turns in said.items()}


def in_turn(people: int, sentences: Sequence[str]) -> Recording:
    """Made voices that say a sentence each, one after the other, with pauses of 0.2 to 0.9 s."""
    parts: list[NDArray[np.float32]] = []
    said: list[Said] = []
    at = 0
    for place, sentence in enumerate(sentences):
        # Not simply in a circle: who speaks before whom changes.
        speaker = (place + place // people) % people
        pause = np.zeros(int(SAMPLE_RATE * (0.2 + 0.1 * (place % 8))), np.float32)
        spoken = _spoken(sentence, VOICES[speaker])
        begin = at + pause.size
        parts += [pause, spoken]
        at = begin + spoken.size
        said.append(Said(begin / SAMPLE_RATE, at / SAMPLE_RATE, str(speaker)))
    return Recording(np.concatenate(parts), said)


def error_rate(recordings: Sequence[tuple[Recording, Sequence[Said]]], collar: float = 0.5) -> float:
    """The diarization error rate over all recordings, each with the turns that were found in it.

    Overlap counts, from the first to the last second of the reference; `collar` seconds around each of its boundaries
    do not. Speakers are matched so that the rate is the least possible. (NIST's md-eval, as pyannote.metrics has it.)
    """
    wrong = total = 0
    for recording, found in recordings:
        said = recording.said
        frames = int(recording.samples.size / SAMPLE_RATE * _RATE)
        truth, guess = _active(said, frames), _active(found, frames)
        counts = np.zeros(frames, np.bool_)
        counts[int(min(turn.start for turn in said) * _RATE) : int(max(turn.end for turn in said) * _RATE)] = True
        for edge in (edge for turn in said for edge in (turn.start, turn.end)):
            counts[max(0, round((edge - collar / 2) * _RATE)) : round((edge + collar / 2) * _RATE)] = False
        truth, guess = truth[:, counts], guess[:, counts]
        wrong += np.maximum(truth.sum(0), guess.sum(0)).sum() - _matched(truth, guess)
        total += truth.sum()
    return float(wrong / total)


def _matched(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> int:
    """Frames in which the right speakers were found, with the best match of names."""
    shared = truth.astype(np.int64) @ guess.T.astype(np.int64)
    shared = np.pad(shared, ((0, 0), (0, max(0, shared.shape[0] - shared.shape[1]))))
    orders = itertools.permutations(range(shared.shape[1]), shared.shape[0])
    return max(int(sum(shared[place, column] for place, column in enumerate(order))) for order in orders)


def _active(turns: Sequence[Said], frames: int) -> NDArray[np.bool_]:
    """Who speaks in each frame, of shape (speakers, frames)."""
    names = sorted({turn.speaker for turn in turns})
    active = np.zeros((len(names), frames), np.bool_)
    for turn in turns:
        active[names.index(turn.speaker), round(turn.start * _RATE) : round(turn.end * _RATE)] = True
    return active


def _spoken(text: str, voice: tuple[str, int, int]) -> NDArray[np.float32]:
    name, pitch, pace = voice
    command = ("espeak-ng", "-v", name, "-p", str(pitch), "-s", str(pace), "--stdout", text)
    wave = subprocess.run(command, capture_output=True, check=True).stdout
    samples = _decode(wave)
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    return samples[loud[0] : loud[-1]]


def _decoded(path: Path) -> NDArray[np.float32]:
    return _decode(path.read_bytes())


def _decode(data: bytes) -> NDArray[np.float32]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(io.BytesIO(data)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)
