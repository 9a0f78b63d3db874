# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=1.26", "soxr>=0.5", "torch>=2.4"]
# ///
"""Training data: a corpus of spoken sentences, rendered once, and windows composed from it at random without end.

    uv run data.py corpus.npz --sentences 24000       (train.py does this by itself where there is none)

A window is a spectrogram with what the decoder should write and, beyond what Whisper was trained with, what is said
when: which word, which place in its sentence and which sentence fill every frame of the encoder, and over which frames
each token of the answer is spoken. Those labels are why the model learns in an hour; see README.md.

Frames are the encoder's, 50 a second; a spectrogram has 100 columns a second.
"""

import argparse
import math
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import grammar
import noise
import numpy as np
import speech
import tokens
import torch

SAMPLE_RATE = 16000
FRAMES_PER_SECOND = 50
CONTEXT = 1500  # frames of a whole window of 30 s
BANDS = 80
IGNORE = -100  # a label that counts for nothing
PLACES, PHRASES = (
    12,
    24,
)  # classes of the place of a word in its sentence (0: silence) and of the sentence in its window
PROMPT_TOKENS = 223  # the longest prompt that both engines give
SILENT = 0.08  # share of windows in which nobody speaks
TOLERANCE = 0.06  # seconds of a word that may be missing at the end
STOP_FRAMES = 6  # of a pause, in which a full stop is heard where there are no timestamps
FIRST_TIMESTAMP_SECONDS = 1.0  # the engines allow no later one at the beginning of a window
WORD_CLASS = {word: number for number, word in enumerate(grammar.VOCABULARY, 1)}  # 0: silence


class Corpus:
    """Spoken sentences."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self._samples, self._sample_ends = stored["samples"], stored["sample_ends"]
            self._starts, sentences = stored["starts"], stored["sentences"]
            voices = stored["voices"]
        self.sentences: list[grammar.Words] = [tuple(str(text).split()) for text in sentences]
        self.by_voice = [np.flatnonzero(voices == voice) for voice in range(len(speech.VOICES))]
        self._start_ends = np.cumsum([len(words) + 1 for words in self.sentences])

    def __getitem__(self, index: int) -> speech.Utterance:
        words = len(self.sentences[index]) + 1
        begin = self._sample_ends[index - 1] if index else 0
        starts = self._starts[self._start_ends[index] - words : self._start_ends[index]]
        return speech.Utterance(self._samples[begin : self._sample_ends[index]], starts)


def render_corpus(path: Path, sentences: int, seed: int = 1) -> None:
    """Speak sentences that are not held out, each voice in turn, and save them."""
    rng = np.random.default_rng(seed)
    chosen: list[grammar.Words] = []
    while len(chosen) < sentences:
        words = grammar.sentence(rng)
        if not grammar.is_held_out(words):
            chosen.append(words)
    voices = np.arange(sentences) % len(speech.VOICES)
    said = [speech.speak(words, speech.VOICES[voice], rng) for words, voice in zip(chosen, voices, strict=True)]
    np.savez(
        path,
        samples=np.concatenate([utterance.samples for utterance in said]),
        sample_ends=np.cumsum([len(utterance.samples) for utterance in said]),
        starts=np.concatenate([utterance.starts for utterance in said]),
        sentences=np.array([" ".join(words) for words in chosen]),
        voices=voices,
    )
    hours = sum(len(utterance.samples) for utterance in said) / SAMPLE_RATE / 3600
    print(f"{path}: {sentences} sentences, {hours:.1f} hours")


class Kind(NamedTuple):
    """A size of window. A short one is cheap, and lies anywhere in the 30 s that the positions and timestamps count."""

    frames: int
    batch: int

    @property
    def whole(self) -> bool:
        return self.frames == CONTEXT


@dataclass
class Phrase:
    """A sentence somewhere in a window."""

    words: grammar.Words
    written: grammar.Words  # the same as they are written
    starts: np.ndarray  # (words + 1,) seconds in the window, the last being the end

    def frame(self, index: int) -> int:
        return round(float(self.starts[index]) * FRAMES_PER_SECOND)


class Answer(NamedTuple):
    """A token that should be written, and the frames (first, end) where what it says is heard."""

    token: int
    span: tuple[int, int] | None = None


class Window(NamedTuple):
    """One example. Tokens are compact ids; having read tokens[: i + 1], the model should say targets[i]."""

    mel: torch.Tensor  # (80, 2 * frames) float32
    tokens: list[int]
    targets: list[int]  # or IGNORE
    spans: list[tuple[int, int] | None]  # of the targets
    labels: np.ndarray  # (3, frames) int64: word class, place in the sentence, number of the sentence or IGNORE
    offset: int  # frame of the 30 s at which this window begins


class Batch(NamedTuple):
    """Windows of one kind together; S is the longest number of tokens."""

    mel: torch.Tensor  # (batch, 80, 2 * frames)
    tokens: torch.Tensor  # (batch, S)
    targets: torch.Tensor  # (batch, S)
    spoken: torch.Tensor  # (batch, S, frames) bool: where each target is heard
    labels: torch.Tensor  # (batch, 3, frames)
    offsets: torch.Tensor  # (batch,)


class WindowMaker:
    """Composes windows. Every chance in here was chosen by trying; none is delicate."""

    def __init__(self, corpus: Corpus, layout: tokens.Layout, filters: np.ndarray, seed: int) -> None:
        self._corpus = corpus
        self._layout = layout
        self._filters = torch.from_numpy(filters)
        self._hann = torch.from_numpy(np.hanning(401)[:-1].astype(np.float32))
        self._rng = np.random.default_rng(seed)
        self._noises = noise.bank(self._rng)

    def batch(self, kind: Kind, prompted: float) -> Batch:
        """Compose a batch; `prompted` is the share of windows that begin with text said before, as the engines can."""
        windows = [self.window(kind, prompted) for _ in range(kind.batch)]
        longest = max(len(window.tokens) for window in windows)
        compact_end = self._layout.compact[tokens.END]
        read = torch.full((kind.batch, longest), compact_end)
        targets = torch.full((kind.batch, longest), IGNORE)
        spoken = torch.zeros(kind.batch, longest, kind.frames, dtype=torch.bool)
        for row, window in enumerate(windows):
            read[row, : len(window.tokens)] = torch.tensor(window.tokens)
            targets[row, : len(window.targets)] = torch.tensor(window.targets)
            for position, span in enumerate(window.spans):
                if span is not None:
                    spoken[row, position, max(0, span[0]) : max(1, span[1])] = True
        return Batch(
            torch.stack([window.mel for window in windows]),
            read,
            targets,
            spoken,
            torch.from_numpy(np.stack([window.labels for window in windows])),
            torch.tensor([window.offset for window in windows]),
        )

    def window(self, kind: Kind, prompted: float) -> Window:
        """Compose one window."""
        seconds = kind.frames / FRAMES_PER_SECOND
        if kind.whole and self._happens(0.5):
            seconds = self._rng.uniform(3, seconds)  # the end of a recording: the rest of the 30 s is padding
        timed = self._happens(0.4)  # else text alone, of which engines find the times by attention
        begun, cut = not timed and self._happens(0.1), self._happens(0.5 if timed else 0.05)
        samples, phrases = self._speech(seconds, begun=begun, cut=cut, padded=kind.whole)
        heard = len(samples) / SAMPLE_RATE
        mel = self._mel(self._spoiled(samples), kind.frames, silent=not phrases)
        offset = 0 if kind.whole or self._happens(0.1) else int(self._rng.integers(CONTEXT - kind.frames + 1))
        labels = self._labels(phrases, kind.frames)
        if timed:
            answers = self._timed_answers(phrases, heard, offset, kind) if phrases else [self._timestamp(0)]
        else:
            answers = self._untimed_answers(phrases, heard) if phrases else self._silence()
        answers.append(Answer(tokens.END))
        prompt = self._prompt(timed=timed) if self._happens(prompted) else []
        # 1 in 10 is read with a wrong language and 1 in 20 with the wrong task: the model is to transcribe regardless.
        language = tokens.ENGLISH if self._happens(0.9) else tokens.FIRST_LANGUAGE + int(self._rng.integers(99))
        task = tokens.TRANSCRIBE if self._happens(0.95) else tokens.TRANSLATE
        head = [*prompt, tokens.START, language, task, *([] if timed else [tokens.NO_TIMESTAMPS])]
        written = [answer.token for answer in answers]
        # After the start comes the language, by which engines detect it, or that nobody speaks.
        said = Answer(tokens.ENGLISH if phrases else tokens.NO_SPEECH), Answer(tokens.TRANSCRIBE)
        expected = [*said, *([] if timed else [Answer(IGNORE)]), *answers, Answer(IGNORE)]
        targets = [IGNORE] * len(prompt) + [answer.token for answer in expected]
        compact = self._layout.compact
        return Window(
            mel,
            [compact[token] for token in head + written],
            [compact.get(token, IGNORE) for token in targets],
            [None] * len(prompt) + [answer.span for answer in expected],
            labels,
            offset,
        )

    # ---- sound

    def _speech(self, seconds: float, *, begun: bool, cut: bool, padded: bool) -> tuple[np.ndarray, list[Phrase]]:
        """Say sentences with pauses until the window is full.

        `begun` lets the first begin in its middle, at a word; `cut` lets the last be cut off anywhere.
        """
        samples = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
        phrases: list[Phrase] = []
        if self._happens(SILENT):
            return samples, phrases
        position = self._rng.uniform(0.05, 1.0) if self._happens(0.85) else self._rng.uniform(0, 3)
        speakers = 1 if self._happens(0.6) else 3
        voices = [self._corpus.by_voice[self._rng.integers(len(speech.VOICES))] for _ in range(speakers)]
        volumes = self._rng.uniform(0.5, 1, speakers)
        alike = self._happens(0.3)
        while True:
            speaker = int(self._rng.integers(speakers))
            index = self._sentence(voices[speaker], phrases if alike else [])
            said, words = self._corpus[index], self._corpus.sentences[index]
            left_out = int(self._rng.integers(1, len(words))) if begun and not phrases else 0
            written = grammar.written_words(words)[left_out:]
            said, words = said.without(left_out), words[left_out:]
            first = int(position * SAMPLE_RATE)
            fits = first + len(said.samples) <= len(samples)
            if not fits and (not cut or first >= len(samples) - SAMPLE_RATE // 40):
                break
            piece = said.samples[: len(samples) - first]
            samples[first : first + len(piece)] += piece / np.float32(32768) * np.float32(volumes[speaker])
            phrases.append(Phrase(words, written, position + said.starts))
            if not fits:
                break
            position += len(said.samples) / SAMPLE_RATE + self._pause()
        if phrases and padded and not cut and self._happens(0.7):
            end = float(phrases[-1].starts[-1]) + self._rng.uniform(0.05, 1.5)
            samples = samples[: max(SAMPLE_RATE // 10, int(end * SAMPLE_RATE))]
        return samples, phrases

    def _sentence(self, voice: np.ndarray, alike: list[Phrase]) -> int:
        """Draw a sentence of a voice, by its number, if possible one that begins as one of `alike` does.

        Where the text repeats itself only attention tells how far it is; else a model skips what is in between.
        """
        beginnings = {phrase.words[0] for phrase in alike}
        drawn = [int(index) for index in self._rng.choice(voice, 8 if beginnings else 1)]
        return next((index for index in drawn if self._corpus.sentences[index][0] in beginnings), drawn[0])

    def _pause(self) -> float:
        lowest, highest = [(0.3, 0.9), (0.9, 1.6), (1.6, 4.0)][np.searchsorted([0.7, 0.92], self._rng.random())]
        return self._rng.uniform(lowest, highest)

    def _spoiled(self, samples: np.ndarray) -> np.ndarray:
        """Add noise to seven in ten, loud to some, and change the volume."""
        chance = self._rng.random()
        if chance < 0.7:
            loudness = 10 ** (self._rng.uniform(-4, -2) if chance < 0.5 else self._rng.uniform(-2.3, -1.6))
            samples = samples + noise.draw(self._noises, len(samples), self._rng) * np.float32(loudness)
        return np.clip(samples * np.float32(10 ** self._rng.uniform(-1.2, 0.1)), -1, 1)

    def _mel(self, samples: np.ndarray, frames: int, *, silent: bool) -> torch.Tensor:
        """Return the log mel spectrogram as Whisper takes it, (80, 2 * frames), with its colour changed at times."""
        spectrum = torch.stft(
            torch.from_numpy(samples), 400, 160, window=self._hann, center=True, pad_mode="reflect", return_complex=True
        )
        power = self._filters @ spectrum[:, :-1].abs() ** 2
        if self._happens(0.3):
            tilt = np.interp(np.arange(BANDS), [0, 20, 40, 60, 79], self._rng.uniform(-0.4, 0.4, 5))
            power *= torch.from_numpy((10**tilt).astype(np.float32))[:, None]
        if self._happens(0.08):
            power[int(self._rng.integers(55, 75)) :] *= 1e-3  # what a narrow telephone band leaves out
        logarithm = power.clamp_min(1e-10).log10()
        loudest = float(logarithm.max())
        # Whisper clips at 8 below the loudest of the whole recording, of which this is only a window.
        if silent:
            loudest += self._rng.uniform(0, 5) if self._happens(0.5) else 0
        elif self._happens(0.4):
            loudest += self._rng.uniform(0, 0.6)
        scaled = (logarithm.clamp_min(loudest - 8) + 4) / 4
        # faster-whisper pads the spectrogram with zeros, whisper.cpp the sound with silence.
        padding = 0.0 if self._happens(0.5) else (loudest - 4) / 4
        out = torch.full((BANDS, 2 * frames), padding)
        width = min(2 * frames, scaled.shape[1])
        out[:, :width] = scaled[:, :width]
        return out

    # ---- labels

    @staticmethod
    def _labels(phrases: list[Phrase], frames: int) -> np.ndarray:
        labels = np.zeros((3, frames), np.int64)
        labels[2] = IGNORE
        for number, phrase in enumerate(phrases):
            for place, word in enumerate(phrase.words):
                here = slice(phrase.frame(place), phrase.frame(place + 1))
                labels[:, here] = np.array([WORD_CLASS[word], place + 1, min(number, PHRASES - 1)])[:, None]
        return labels

    def _timed_answers(self, phrases: list[Phrase], heard: float, offset: int, kind: Kind) -> list[Answer]:
        """List what to write with timestamps: whole sentences, then the time at which one that is cut off begins."""
        answers: list[Answer] = []
        for number, phrase in enumerate(phrases):
            unfinished = phrase.starts[-1] > heard + TOLERANCE
            if unfinished and heard - phrase.starts[0] < 0.12:
                break
            begin = min(max(phrase.frame(0), 0), kind.frames)
            end = min(round(min(float(phrase.starts[-1]), heard) * FRAMES_PER_SECOND), kind.frames - 1)
            latest = FIRST_TIMESTAMP_SECONDS * FRAMES_PER_SECOND if kind.whole and not number else math.inf
            answers.append(self._timestamp(offset + min(begin, latest), (begin - 4, begin + 6)))
            if unfinished:
                # An engine starts the next window there.
                break
            answers += self._words(phrase, len(phrase.words))
            answers.append(Answer(self._layout.full_stop, (end - 6, end + 10)))
            answers.append(self._timestamp(offset + max(end, begin + 1), (end - 6, end + 4)))
        return answers

    def _untimed_answers(self, phrases: list[Phrase], heard: float) -> list[Answer]:
        """List what to write without timestamps: every word that is whole, for no later window hears it again.

        A full stop is heard somewhere in the pause after its sentence. That place is drawn anew each time, so that
        attention learns to cover the whole pause: engines let the next word begin where it ends.
        """
        answers: list[Answer] = []
        for phrase, following in zip_longest(phrases, phrases[1:]):
            whole = int(np.searchsorted(phrase.starts[1:], heard + TOLERANCE, "right"))
            answers += self._words(phrase, whole)
            if whole == len(phrase.words):
                end = phrase.frame(whole)
                last = following.frame(0) - STOP_FRAMES if following else end
                place = int(self._rng.integers(end, max(end, last) + 1))
                answers.append(Answer(self._layout.full_stop, (place, place + STOP_FRAMES)))
        return answers

    def _silence(self) -> list[Answer]:
        """Write that nobody speaks, or any word at random.

        Engines allow neither that nor an empty text: they want a word, and drop it where the model is unsure of it.
        whisper.cpp looks here, and not after the start, for how sure the model is that nobody speaks.
        """
        word = int(self._rng.choice([*self._layout.words.values()]))
        return [Answer(tokens.NO_SPEECH if self._happens(0.75) else word)]

    def _words(self, phrase: Phrase, count: int) -> list[Answer]:
        """List the first `count` words of a sentence."""
        return [
            Answer(self._layout.words[word], (phrase.frame(place), phrase.frame(place + 1)))
            for place, word in enumerate(phrase.written[:count])
        ]

    @staticmethod
    def _timestamp(frame: float, span: tuple[int, int] | None = None) -> Answer:
        return Answer(tokens.FIRST_TIMESTAMP + min(int(frame), CONTEXT), span)

    def _prompt(self, *, timed: bool) -> list[int]:
        """Make up text said before: sentences cut to a number of tokens, often as many as the engines give."""
        wanted = PROMPT_TOKENS if self._happens(0.55) else int(self._rng.integers(1, PROMPT_TOKENS))
        with_times = self._happens(0.9 if timed else 0.1)
        prompt: list[int] = []
        frame = int(self._rng.integers(50))
        while len(prompt) < wanted:
            words = grammar.written_words(grammar.sentence(self._rng))
            said = [*(self._layout.words[word] for word in words), self._layout.full_stop]
            end = frame + 15 * len(words) + int(self._rng.integers(-5, 15))
            if end > CONTEXT:  # the next window
                frame = int(self._rng.integers(50))
                end = frame + 15 * len(words)
            if with_times:
                said = [tokens.FIRST_TIMESTAMP + frame, *said, tokens.FIRST_TIMESTAMP + end]
            prompt += said
            frame = min(end + int(self._rng.integers(15, 80)), CONTEXT)
        return [tokens.PREVIOUS, *prompt[-wanted:]]

    def _happens(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sentences", type=int, default=24000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    render_corpus(arguments.out, arguments.sentences, arguments.seed)


if __name__ == "__main__":
    main()
