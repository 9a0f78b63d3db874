"""Real speech with known words and, for a novel, known times of its sentences."""

import difflib
import json
from collections.abc import Iterable, Sequence
from itertools import accumulate, cycle, pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from schemas.transcript import Segment
from tests.harness import DATA
from v2t_stream.audio import flac
from v2t_stream.audio.decode import MediaReader
from v2t_stream.demo.wer import WordErrors, split_errors, words

REAL = DATA / "real"
SONNETS = ("sonnet1.mp3", "sonnet2.mp3")
NOVEL = "moby.opus"

Sound = NDArray[np.int16]  # (samples,) at 16 kHz


class Sentence(NamedTuple):
    """What is said from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


class Speech(NamedTuple):
    """A recording and what is said in it."""

    sound: Sound
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def seconds(self) -> float:
        return self.sound.size / SAMPLE_RATE


def recording(name: str) -> Speech:
    """A recording of tests/data/real; if the times of its sentences are not known, it is a single sentence."""
    path = REAL / name
    with MediaReader(path) as reader:
        sound = np.concatenate(list(reader.blocks()))
    known = path.with_suffix(".json")
    if known.exists():
        return Speech(sound, tuple(Sentence(**sentence) for sentence in json.loads(known.read_text())))
    text = path.with_suffix(".txt").read_text()
    return Speech(sound, (Sentence(0, sound.size / SAMPLE_RATE, text),))


def joined(parts: Iterable[Speech], pauses: Sequence[float]) -> Speech:
    """The recordings one after another, with digital silence of these lengths between them."""
    sounds: list[Sound] = []
    sentences: list[Sentence] = []
    at = 0.0
    for part, pause in zip(parts, cycle(pauses), strict=False):
        silence = np.zeros(round(pause * SAMPLE_RATE), np.int16)
        sentences += [Sentence(start + at, end + at, text) for start, end, text in part.sentences]
        sounds += [part.sound, silence]
        at += (part.sound.size + silence.size) / SAMPLE_RATE
    return Speech(np.concatenate(sounds), tuple(sentences))


def parted(speech: Speech) -> list[Speech]:
    """The recording, cut in the middle of each pause between sentences."""
    cuts = [0.0, *((one.end + other.start) / 2 for one, other in pairwise(speech.sentences)), speech.seconds]
    edges = [round(cut * SAMPLE_RATE) for cut in cuts]
    return [
        Speech(
            speech.sound[first:last],
            (Sentence(sentence.start - first / SAMPLE_RATE, sentence.end - first / SAMPLE_RATE, sentence.text),),
        )
        for sentence, first, last in zip(speech.sentences, edges, edges[1:], strict=False)
    ]


class Score(NamedTuple):
    """The words of a transcript compared with those that were said."""

    errors: WordErrors
    said: int

    @classmethod
    def of(cls, speech: Speech, segments: Iterable[Segment]) -> Self:
        said = words(speech.text)
        return cls(split_errors(said, words(" ".join(segment.text for segment in segments))), len(said))

    @property
    def wrong(self) -> float:
        """Word error rate."""
        return self.errors.total / self.said

    @property
    def lost(self) -> float:
        return self.errors.deleted / self.said

    def __str__(self) -> str:
        substituted, deleted, inserted = (f"{100 * part / self.said:.1f}" for part in self.errors)
        return f"{self.wrong:.1%} ({substituted} misheard, {deleted} lost, {inserted} invented)"


class Starts(NamedTuple):
    """How many seconds late a transcript is with each sentence, by its number; negative if it is early."""

    offsets: dict[int, float]
    sentences: int  # in all

    @classmethod
    def of(cls, speech: Speech, segments: Iterable[Segment]) -> Self:
        """A sentence begins with its first word.

        Leaves out sentences whose first or second word was misheard, because the words in their place may have been
        said elsewhere.
        """
        heard = [(word, timed.start) for segment in segments for timed in segment.words for word in words(timed.text)]
        said = [words(sentence.text) for sentence in speech.sentences]
        flat = [word for sentence in said for word in sentence]
        matcher = difflib.SequenceMatcher(None, flat, [word for word, _ in heard], autojunk=False)
        places = {block.a + n: block.b + n for block in matcher.get_matching_blocks() for n in range(block.size)}
        offsets = {}
        firsts = accumulate(map(len, said), initial=0)
        for number, (sentence, first) in enumerate(zip(speech.sentences, firsts, strict=False)):
            second = min(first + 1, len(flat) - 1)
            if first in places and places.get(second) == places[first] + second - first:
                offsets[number] = heard[places[first]][1] - sentence.start
        return cls(offsets, len(said))

    def within(self, share: float) -> float:
        """The seconds that are enough for this share of the sentences."""
        return float(np.quantile(np.abs([*self.offsets.values()]), share))

    @property
    def earliest(self) -> float:
        return min(self.offsets.values())

    @property
    def worst(self) -> int:
        """The number of the sentence that is furthest off."""
        return max(self.offsets, key=lambda number: abs(self.offsets[number]))


def written(folder: Path, name: str, speech: Speech) -> Path:
    """The recording as a FLAC file."""
    path = folder / f"{name}.flac"
    path.write_bytes(flac.encode(speech.sound))
    return path
