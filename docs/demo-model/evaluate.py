# /// script
# requires-python = ">=3.11"
# dependencies = ["av>=14", "faster-whisper>=1.2.1", "numpy>=1.26", "pywhispercpp>=1.5"]
# ///
"""Measure one engine with the demo model on clips whose words are known.

    uv run evaluate.py faster-whisper                     the shipped model on tests/data
    uv run evaluate.py whisper-cpp --references ../../v2t_stream/demo/clip.json --language auto
    uv run evaluate.py faster-whisper --model OUT/faster-whisper --references CLIPS/references.json

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


class Segment(NamedTuple):
    """A piece of a transcript; seconds."""

    start: float
    end: float
    text: str


Transcribe = Callable[[np.ndarray], list[Segment]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=sorted(MODELS))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--references", type=Path, default=REPOSITORY / "tests/data/references.json")
    parser.add_argument("--language", default="en", help="en, or auto to let the engine detect it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compute-type", default="float32", help="of faster-whisper")
    parser.add_argument("--verbose", action="store_true", help="print what differs")
    arguments = parser.parse_args()

    # Threads that wait busily slow a machine with anything else to do a hundredfold; set before an engine is loaded.
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
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
        print(f"{arguments.engine:14}  {group:10}", summary(scores))


def load(arguments: argparse.Namespace) -> Transcribe:
    """Load the engine with the settings that suit the demo model."""
    model = str(arguments.model or MODELS[arguments.engine])
    language = arguments.language
    if arguments.engine == "faster-whisper":
        from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415 - one engine a process

        whisper = WhisperModel(
            model,
            device="cpu",
            compute_type=arguments.compute_type,
            cpu_threads=arguments.threads,
            local_files_only=True,
        )
        pipeline = BatchedInferencePipeline(whisper)
        chosen = None if language == "auto" else language

        def faster_whisper(samples: np.ndarray) -> list[Segment]:
            # The batched pipeline leaves timestamps out by default, which costs this model most of its accuracy.
            segments, info = pipeline.transcribe(
                samples, language=chosen, without_timestamps=False, condition_on_previous_text=False, batch_size=4
            )
            if chosen is None:
                print(f"language {info.language} {info.language_probability:.3f}", file=sys.stderr)
            return [Segment(piece.start, piece.end, piece.text) for piece in segments]

        return faster_whisper

    from pywhispercpp.model import Model  # noqa: PLC0415 - one engine a process

    # Settings of one call stay on the object for later ones, so all are given here.
    whisper_cpp = Model(
        model,
        redirect_whispercpp_logs_to=None,
        n_threads=arguments.threads,
        language=language,
        n_max_text_ctx=0,  # separates windows; no_context only separates calls
        print_progress=False,
        print_realtime=False,
    )
    return lambda samples: [
        Segment(piece.t0 / 100, piece.t1 / 100, piece.text) for piece in whisper_cpp.transcribe(samples)
    ]


class Score(NamedTuple):
    """How one clip went."""

    words: int  # in the reference
    errors: int  # words to change, to drop or to add
    sentences: int
    offsets: list[tuple[float, float]]  # start and end errors in seconds of the sentences found word for word
    seconds: float  # of sound
    took: float  # seconds
    heard: str


def measure(transcribe: Transcribe, clip: Path, sentences: list[dict[str, Any]]) -> Score:
    samples = media.decode(clip)
    began = time.perf_counter()
    segments = transcribe(samples)
    took = time.perf_counter() - began
    said = [word for sentence in sentences for word in normal(sentence["text"])]
    heard = [word for segment in segments for word in normal(segment.text)]
    errors, _ = aligned(said, heard)
    _, pairs = aligned(
        [normal(sentence["text"]) for sentence in sentences], [normal(segment.text) for segment in segments]
    )
    offsets = [
        (abs(sentences[i]["start"] - segments[j].start), abs(sentences[i]["end"] - segments[j].end)) for i, j in pairs
    ]
    text = "".join(segment.text for segment in segments)
    return Score(len(said), errors, len(sentences), offsets, len(samples) / media.SAMPLE_RATE, took, text)


def summary(scores: list[Score]) -> str:
    words, errors, sentences = (
        sum(getattr(score, name) for score in scores) for name in ("words", "errors", "sentences")
    )
    offsets = np.array([pair for score in scores for pair in score.offsets]).reshape(-1, 2)
    speed = sum(score.seconds for score in scores) / sum(score.took for score in scores)
    rate = f"WER {errors / words:6.2%} ({errors} of {words})" if words else f"{errors} words heard where none is"
    start, end = offsets.mean(0) if len(offsets) else (float("nan"),) * 2
    times = f"sentences {len(offsets)} of {sentences}, start ±{start:.3f} s, end ±{end:.3f} s"
    return f"{rate}, {times}, {speed:.0f} x real time"


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
