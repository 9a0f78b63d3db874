# /// script
# requires-python = ">=3.11"
# dependencies = ["av>=14", "numpy>=1.26", "soxr>=0.5"]
# ///
"""Make clips whose words and times are known, of sentences that training never uses.

uv run clips.py make OUT              5 s, 20 s and 3 min clips and one of noise, with OUT/references.json
uv run clips.py join clip.webm DIRECTORY NAME...    join clips of such a directory; writes clip.json beside it
"""

import argparse
import json
from pathlib import Path
from typing import Any

import grammar
import media
import noise
import numpy as np
import speech

SAMPLE_RATE = speech.SAMPLE_RATE
PAUSE = 0.6  # seconds of silence between joined clips
FADE = SAMPLE_RATE // 20  # samples

Sentence = dict[str, Any]  # start, end, text, words: [[word, start, end], ...]; seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("out", type=Path)
    making.add_argument("--seed", type=int, default=1)
    joining = commands.add_parser("join")
    joining.add_argument("out", type=Path)
    joining.add_argument("directory", type=Path)
    joining.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.out, np.random.default_rng(arguments.seed))
    else:
        join(arguments.out, arguments.directory, arguments.names)


def make(out: Path, rng: np.random.Generator) -> None:
    """Write a set of clips for evaluation, a third of them each without noise, with little and with more."""
    out.mkdir(parents=True, exist_ok=True)
    plan = [(f"5s-{index + 1}.flac", 5.0) for index in range(12)]
    plan += [(f"20s-{index + 1}.flac", 20.0) for index in range(6)]
    plan += [(f"3min-{index + 1}.ogg", 180.0) for index in range(3)]
    bank = noise.bank(rng)
    references: dict[str, list[Sentence]] = {}
    for index, (name, seconds) in enumerate(plan):
        samples, references[name] = clip(seconds, rng)
        samples += noise.draw(bank, len(samples), rng) * (0, 0.0005, 0.002)[index % 3]
        media.encode(out / name, samples)
    media.encode(out / "noise.flac", noise.draw(bank, 20 * SAMPLE_RATE, rng) * 0.003)
    references["noise.flac"] = []
    write_json(out / "references.json", references)


def clip(seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, list[Sentence]]:
    """Fill a clip with held-out sentences, each in any voice, with pauses of up to a second and a half."""
    samples = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    sentences: list[Sentence] = []
    position = rng.uniform(0.2, 0.8)
    while True:
        words = held_out_sentence(rng)
        said = speech.speak(words, speech.VOICES[rng.integers(len(speech.VOICES))], rng)
        first = int(position * SAMPLE_RATE)
        if first + len(said.samples) > len(samples) - SAMPLE_RATE // 10:
            return samples, sentences
        samples[first : first + len(said.samples)] += said.samples / 32768 * 0.8
        times = [round(position + float(start), 3) for start in said.starts]
        spans = [[word, *span] for word, *span in zip(words, times[:-1], times[1:], strict=True)]
        sentences.append({"start": times[0], "end": times[-1], "text": grammar.written(words), "words": spans})
        position += len(said.samples) / SAMPLE_RATE + rng.uniform(0.35, 1.5)


def held_out_sentence(rng: np.random.Generator) -> grammar.Words:
    while not grammar.is_held_out(words := grammar.sentence(rng)):
        pass
    return words


def join(out: Path, directory: Path, names: list[str]) -> None:
    """Join clips with pauses; what follows the last word of each is cut but for half a second."""
    references = json.loads((directory / "references.json").read_text())
    silence = np.zeros(int(PAUSE * SAMPLE_RATE), np.float32)
    pieces: list[np.ndarray] = []
    sentences: list[Sentence] = []
    for name in names:
        offset = sum(map(len, pieces)) / SAMPLE_RATE
        samples = media.decode(directory / name)[: int((references[name][-1]["end"] + 0.5) * SAMPLE_RATE)]
        fade = np.linspace(0, 1, FADE, dtype=np.float32)
        samples[:FADE] *= fade
        samples[-FADE:] *= fade[::-1]
        pieces += [samples, silence]
        sentences += [shifted(sentence, offset) for sentence in references[name]]
    media.encode(out, np.concatenate(pieces))
    text = " ".join(sentence["text"] for sentence in sentences)
    write_json(out.with_suffix(".json"), {"text": text, "segments": sentences})


def shifted(sentence: Sentence, offset: float) -> Sentence:
    """Move a sentence by `offset` seconds."""
    words = [[word, round(start + offset, 3), round(end + offset, 3)] for word, start, end in sentence["words"]]
    return sentence | {
        "start": round(sentence["start"] + offset, 3),
        "end": round(sentence["end"] + offset, 3),
        "words": words,
    }


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON with one line a sentence: short, and a change shows as a line."""
    text = json.dumps(value, separators=(",", ":"))
    path.write_text(text.replace('{"start"', '\n{"start"').replace('}],"', '}],\n"') + "\n")


if __name__ == "__main__":
    main()
