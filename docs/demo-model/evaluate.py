# /// script
# requires-python = ">=3.11"
# dependencies = ["av>=14", "faster-whisper>=1.2.1", "numpy>=1.26", "pywhispercpp>=1.5"]
# ///
"""Measure one engine with the demo model on clips whose words are known.

    uv run evaluate.py faster-whisper                     the shipped model on tests/data
    uv run evaluate.py faster-whisper --times tokens      decoded with timestamp tokens
    uv run evaluate.py whisper-cpp --references ../../v2t_stream/demo/clip.json --language auto
    uv run evaluate.py faster-whisper --model OUT/faster-whisper --references CLIPS/references.json

The model decodes in two ways: text alone, whose words are then aligned with the sound (`--times words`, the default),
or with timestamp tokens around each sentence. Of whisper.cpp's text alone only the words are measured.

One engine a process: CTranslate2 and whisper.cpp share an OpenMP runtime when both are loaded, and can stall.

References lie beside their clips: {"20s-1.flac": [{"start", "end", "text", "words"}, ...], ...} in seconds, or for
clip.webm alone a clip.json with {"segments": [...]}. Clips whose names agree up to the dash are counted together.
"""

import argparse
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import media
import numpy as np

REPOSITORY = Path(__file__).parents[2]
MODELS = {
    "faster-whisper": REPOSITORY / "v2t_stream/demo/faster-whisper",
    "whisper-cpp": REPOSITORY / "v2t_stream/demo/whisper-cpp/ggml-demo.bin",
}


class Span(NamedTuple):
    """A word or a sentence; seconds, nan where they are not known."""

    start: float
    end: float
    text: str


class Heard(NamedTuple):
    """A transcript. Of its sentences and its words, those are empty whose times the way of decoding does not give."""

    text: str
    sentences: list[Span]
    words: list[Span]


Transcribe = Callable[[np.ndarray], Heard]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=sorted(MODELS))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--references", type=Path, default=REPOSITORY / "tests/data/references.json")
    parser.add_argument("--language", default="en", help="en, or auto to let the engine detect it")
    parser.add_argument("--times", choices=["words", "tokens"], default="words", help="where times come from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compute-type", default="float32", help="of faster-whisper")
    parser.add_argument("--verbose", action="store_true", help="print what differs")
    arguments = parser.parse_args()

    transcribe = load(arguments)
    references = json.loads(arguments.references.read_text())
    if "segments" in references:
        references = {f"{arguments.references.stem}.webm": references["segments"]}
    groups: dict[str, list[Score]] = defaultdict(list)
    for name, sentences in references.items():
        score = measure(transcribe, arguments.references.parent / name, sentences)
        groups[re.split(r"[-.]", name)[0]].append(score)
        if arguments.verbose:
            print(name, score.errors, score.heard, sep="\n  ")
    for group, scores in groups.items():
        print(f"{arguments.engine:14}  {arguments.times:6}  {group:6}", summary(scores))


def load(arguments: argparse.Namespace) -> Transcribe:
    """Load the engine with the settings that suit the demo model."""
    # Threads that wait busily slow a machine with anything else to do a hundredfold; set before an engine is loaded.
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    return {"faster-whisper": load_faster_whisper, "whisper-cpp": load_whisper_cpp}[arguments.engine](arguments)


def load_faster_whisper(arguments: argparse.Namespace) -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415 - one engine a process

    whisper = WhisperModel(
        str(arguments.model or MODELS["faster-whisper"]),
        device="cpu",
        compute_type=arguments.compute_type,
        cpu_threads=arguments.threads,
        local_files_only=True,
    )
    pipeline = BatchedInferencePipeline(whisper)
    detecting, aligning = arguments.language == "auto", arguments.times == "words"

    def transcribe(samples: np.ndarray) -> Heard:
        found, info = pipeline.transcribe(
            samples,
            language=None if detecting else arguments.language,
            without_timestamps=aligning,
            word_timestamps=aligning,
            condition_on_previous_text=False,
            batch_size=4,
        )
        segments = list(found)
        if detecting:
            print(f"language {info.language} {info.language_probability:.3f}", file=sys.stderr)
        sentences = [] if aligning else [Span(piece.start, piece.end, piece.text) for piece in segments]
        words = [Span(word.start, word.end, word.word) for piece in segments for word in piece.words or ()]
        return Heard("".join(piece.text for piece in segments), sentences, words)

    return transcribe


def load_whisper_cpp(arguments: argparse.Namespace) -> Transcribe:
    from pywhispercpp.model import Model  # noqa: PLC0415 - one engine a process

    # Settings of one call stay on the object for later ones, so all are given here.
    whisper = Model(
        str(arguments.model or MODELS["whisper-cpp"]),
        redirect_whispercpp_logs_to=None,
        n_threads=arguments.threads,
        language=arguments.language,
        no_timestamps=arguments.times == "words",
        n_max_text_ctx=0,  # separates windows; no_context only separates calls
        print_progress=False,
        print_realtime=False,
    )

    def transcribe(samples: np.ndarray) -> Heard:
        segments = [Span(piece.t0 / 100, piece.t1 / 100, piece.text) for piece in whisper.transcribe(samples)]
        text = " ".join(piece.text for piece in segments)
        return Heard(text, segments if arguments.times == "tokens" else [], [])

    return transcribe


class Score(NamedTuple):
    """How one clip went."""

    words: int  # in the reference
    errors: int  # words to change, to drop or to add
    sentences: int
    offsets: list[tuple[float, float]]  # start and end errors in seconds of the sentences found word for word
    word_offsets: list[tuple[float, float]]  # the same of the words that are right
    seconds: float  # of sound
    took: float  # seconds
    heard: str


def measure(transcribe: Transcribe, clip: Path, reference: list[dict[str, Any]]) -> Score:
    samples = media.decode(clip)
    began = time.perf_counter()
    heard = transcribe(samples)
    took = time.perf_counter() - began
    sentences = [Span(sentence["start"], sentence["end"], sentence["text"]) for sentence in reference]
    words = [Span(start, end, word) for sentence in reference for word, start, end in sentence["words"]]
    errors, _ = aligned(normal(" ".join(sentence.text for sentence in sentences)), normal(heard.text))
    pairs = matched(words, heard.words)
    # Decoded as text alone, a sentence is where its first and its last word are.
    starts, ends = ({getattr(one, edge): other for one, other in pairs} for edge in ("start", "end"))
    found = matched(sentences, heard.sentences) or [
        (one, Span(starts[one.start].start, ends[one.end].end, one.text))
        for one in sentences
        if one.start in starts and one.end in ends
    ]
    return Score(
        len(words),
        errors,
        len(sentences),
        [offset(*pair) for pair in found],
        [offset(*pair) for pair in pairs],
        len(samples) / media.SAMPLE_RATE,
        took,
        heard.text,
    )


def summary(scores: list[Score]) -> str:
    words, errors, sentences = (
        sum(getattr(score, name) for score in scores) for name in ("words", "errors", "sentences")
    )
    speed = sum(score.seconds for score in scores) / sum(score.took for score in scores)
    rate = f"WER {errors / words:6.2%} ({errors} of {words})" if words else f"{errors} words heard where none is"
    offsets = [pair for score in scores for pair in score.offsets]
    word_offsets = [pair for score in scores for pair in score.word_offsets]
    parts = [rate, f"{speed:.0f} x real time"]
    if offsets:
        parts.append(f"sentences {len(offsets)} of {sentences}: {spread(offsets)}")
    if word_offsets:
        parts.append(f"words: {spread(word_offsets)}")
    return ", ".join(parts)


def spread(offsets: list[tuple[float, float]]) -> str:
    mean, worst = np.mean(offsets, 0), np.max(offsets, 0)
    return f"start ±{mean[0]:.3f} s, at most {worst[0]:.2f}, end ±{mean[1]:.3f}, at most {worst[1]:.2f}"


def matched(said: list[Span], heard: list[Span]) -> list[tuple[Span, Span]]:
    """Pair what has the same words in both, in order."""
    _, pairs = aligned([normal(span.text) for span in said], [normal(span.text) for span in heard])
    return [(said[i], heard[j]) for i, j in pairs]


def offset(one: Span, other: Span) -> tuple[float, float]:
    return abs(one.start - other.start), abs(one.end - other.end)


def normal(text: str) -> list[str]:
    """Words without case and punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def aligned(left: list[Any], right: list[Any]) -> tuple[int, list[tuple[int, int]]]:
    """Return the edit distance of two lists and the index pairs of what is equal in both, in order."""
    cost = np.zeros((len(left) + 1, len(right) + 1), int)
    cost[:, 0], cost[0] = np.arange(len(left) + 1), np.arange(len(right) + 1)
    for i, one in enumerate(left, 1):
        for j, other in enumerate(right, 1):
            cost[i, j] = min(cost[i - 1, j - 1] + (one != other), cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    return int(cost[-1, -1]), list(_path(cost, left, right))[::-1]


def _path(cost: np.ndarray, left: list[Any], right: list[Any]) -> Iterator[tuple[int, int]]:
    i, j = len(left), len(right)
    while i and j:
        same = left[i - 1] == right[j - 1]
        if cost[i, j] == cost[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            if same:
                yield i, j
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1


if __name__ == "__main__":
    main()
