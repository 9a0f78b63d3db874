# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=1.26", "soxr>=0.5", "torch>=2.4"]
# ///
"""Train the demo model from nothing on two cores in about an hour.

    uv run train.py RUN --minutes 62                          writes RUN/final.pt, and RUN/last.pt on the way
    uv run train.py RUN --minutes 20 --from OTHER/final.pt    goes on with whole windows
    uv run train.py RUN --minutes 20 --from ggml-demo.bin     the same from an exported model

The schedule counts time, not steps: a slower machine needs more minutes for the same model.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from multiprocessing import Value
from pathlib import Path
from typing import Any, NamedTuple

import ggml
import numpy as np
import tokens
import torch
from data import CONTEXT, Batch, Corpus, Kind, WindowMaker, render_corpus
from model import Whisper
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

WARMING_STEPS = 200
SAVE_EVERY = 90.0  # seconds
PRINT_EVERY = 100  # steps

S3, S6, S12, S30 = Kind(150, 20), Kind(300, 10), Kind(600, 6), Kind(CONTEXT, 4)


class Phase(NamedTuple):
    """What to train on until a share of the time has passed."""

    until: float
    kinds: dict[Kind, float]  # with the share of batches
    prompted: float  # share of batches that have prompts


# Words are learned in short windows, where attention has little to search; then the windows grow.
PHASES = (
    Phase(0.04, {S3: 1}, 0),
    Phase(0.16, {S3: 0.2, S6: 0.8}, 0),
    Phase(0.30, {S6: 0.4, S12: 0.6}, 0),
    Phase(0.40, {S6: 0.2, S12: 0.4, S30: 0.4}, 0.25),
    Phase(0.65, {S6: 0.1, S12: 0.2, S30: 0.7}, 0.25),
    Phase(1.00, {S6: 0.04, S12: 0.08, S30: 0.88}, 0.25),
)
CONTINUED = PHASES[-2].until  # where a run begins that goes on from another
PROMPTED_WINDOWS = 0.9  # of a batch that has prompts


class Windows(IterableDataset[Batch]):
    """Batches without end, made in another process as training goes on."""

    def __init__(self, corpus: Path, whisper_file: Path, progress: Any, seed: int) -> None:
        self._corpus, self._whisper_file, self._progress, self._seed = corpus, whisper_file, progress, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        seed = self._seed + (worker.id if worker else 0)
        whisper = ggml.read(self._whisper_file)
        maker = WindowMaker(Corpus(self._corpus), tokens.Layout(whisper.tokens), whisper.filters, seed)
        rng = np.random.default_rng(seed)
        while True:
            phase = next(phase for phase in PHASES if self._progress.value <= phase.until)
            kinds = list(phase.kinds)
            kind = kinds[rng.choice(len(kinds), p=list(phase.kinds.values()))]
            yield maker.batch(kind, PROMPTED_WINDOWS if rng.random() < phase.prompted else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a directory for checkpoints")
    parser.add_argument("--minutes", type=float, default=62)
    parser.add_argument("--from", dest="begin", type=Path, help="a checkpoint (.pt) or an exported model (.bin)")
    parser.add_argument("--decoder-only", action="store_true", help="leave the encoder as it is: twice as many steps")
    parser.add_argument("--corpus", type=Path, help="made by data.py; rendered into the run where absent")
    parser.add_argument("--sentences", type=int, default=24000, help="to render")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that make windows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=Path, default=tokens.DEMO_MODEL, help="a ggml file of a multilingual Whisper")
    train(parser.parse_args())


def train(arguments: argparse.Namespace) -> None:
    """Train for as long as was asked and save the averaged weights."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.run.mkdir(parents=True, exist_ok=True)
    corpus = arguments.corpus or arguments.run / "corpus.npz"
    if not corpus.exists():
        render_corpus(corpus, arguments.sentences, arguments.seed)
    net = starting_point(arguments.begin, tokens.Layout.load(arguments.tokens))
    net.encoder.requires_grad_(not arguments.decoder_only)
    # The weights that are kept are an average over the last thousand steps, over fewer in the beginning.
    average = AveragedModel(
        net, avg_fn=lambda old, new, count: old.lerp(new, 1 - min(0.999, (1 + count) / (10 + count)))
    )
    optimizer = torch.optim.AdamW(parameter_groups(net), betas=(0.9, 0.98))
    beginning = CONTINUED if arguments.begin else 0.0
    progress = Value("d", beginning)
    windows = Windows(corpus, arguments.tokens, progress, arguments.seed)
    report = Report()
    began = saved = time.monotonic()
    for step, batch in enumerate(DataLoader(windows, batch_size=None, num_workers=arguments.workers)):
        passed = (time.monotonic() - began) / 60 / arguments.minutes
        if passed >= 1:
            break
        progress.value = now = beginning + (1 - beginning) * passed
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(arguments.rate, step, now)
        losses = net.losses(batch)
        total = losses.total(teaching=1 if now < 0.5 else 0.4)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(net)
        report.add(
            batch.labels.shape[-1], [losses.text.item(), losses.words_right, losses.times_right, losses.frames_right]
        )
        if step % PRINT_EVERY == PRINT_EVERY - 1:
            report.show(f"{passed * arguments.minutes:5.1f} min, step {step + 1}")
        if time.monotonic() - saved > SAVE_EVERY:
            save(arguments.run / "last.pt", net, average)
            saved = time.monotonic()
    save(arguments.run / "final.pt", net, average)


def starting_point(begin: Path | None, layout: tokens.Layout) -> Whisper:
    """Make a new model, or one with the weights of a checkpoint or of an exported model."""
    if begin is None:
        return Whisper(layout)
    if begin.suffix == ".bin":
        net = Whisper(layout)
        net.load_exported(ggml.read(begin).weights)
        return net
    checkpoint = torch.load(begin, weights_only=True)
    net = Whisper(layout, **checkpoint["sizes"])
    net.load_state_dict(checkpoint["average"])
    return net


def parameter_groups(net: Whisper) -> list[dict[str, Any]]:
    """Let only matrices decay, and none that is an embedding."""
    embeddings = ("decoder.base", "decoder.unused", "decoder.timestamp_", "decoder.positional_embedding")
    decaying = {name for name, value in net.named_parameters() if value.ndim > 1 and not name.startswith(embeddings)}
    groups: dict[bool, list[torch.nn.Parameter]] = defaultdict(list)
    for name, value in net.named_parameters():
        groups[name in decaying].append(value)
    return [{"params": groups[True], "weight_decay": 0.01}, {"params": groups[False], "weight_decay": 0.0}]


def learning_rate(highest: float, step: int, progress: float) -> float:
    """Rise for 200 steps, then fall along a cosine to a fiftieth."""
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return highest * min(1, (step + 1) / WARMING_STEPS) * (0.02 + 0.98 * cosine)


class Report:
    """Means since the last print, by size of window."""

    def __init__(self) -> None:
        self._seen: dict[int, list[list[float]]] = defaultdict(list)

    def add(self, frames: int, figures: list[float]) -> None:
        self._seen[frames].append(figures)

    def show(self, when: str) -> None:
        for frames, rows in sorted(self._seen.items()):
            loss, words, times, labels = np.nanmean(rows, axis=0)
            print(
                f"{when}: {frames / 50:2.0f} s windows, loss {loss:.3f}, right: words {words:.3f}, "
                f"times {times:.3f}, frames {labels:.3f}",
                flush=True,
            )
        self._seen.clear()


def save(path: Path, net: Whisper, average: AveragedModel) -> None:
    """Write a checkpoint, whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save({"sizes": net.sizes, "average": average.module.state_dict()}, partial)
    partial.replace(path)


if __name__ == "__main__":
    main()
