"""Finding speech block by block gives what faster-whisper finds in the whole file."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import vad as reference
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.speech import HYSTERESIS, THRESHOLD, WINDOW, SpeechFinder, Stretch
from v2t_stream.audio.vad import SileroVad

CLIPS = sorted(Path(__file__).parents[1].joinpath("data").glob("*.flac"))
FIELD = CLIPS[0].parent / "field"
OPTIONS = reference.VadOptions(min_silence_duration_ms=160)  # those of faster-whisper's BatchedInferencePipeline

# Runs of one probability, as speech and silence come: of each side and edge of both thresholds, and mostly as short as
# the silences at which it is decided whether a stretch ends (5 windows), and how much of the silence it keeps (25).
probabilities = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.34, 0.9, 0.0, 0.9, 0.35, 0.4, 0.499, 0.5]),
        st.one_of(st.integers(1, 9), st.integers(20, 30)),
    ),
    max_size=20,
).map(lambda runs: [value for value, count in runs for _ in range(count)])


def find(probabilities: list[float], total: int, step: int) -> list[Stretch]:
    finder, found = SpeechFinder(), []
    for at in range(0, len(probabilities), step):
        found += finder.feed(probabilities[at : at + step])
    return [*found, *finder.finish(total)]


def padded(stretches: list[Stretch]) -> list[tuple[int, int]]:
    return [(stretch.start, stretch.end) for stretch in stretches]


def whole(audio: NDArray[np.float32]) -> list[tuple[int, int]]:
    return [(span["start"], span["end"]) for span in reference.get_speech_timestamps(audio, OPTIONS)]


@given(probabilities, st.integers(1, WINDOW), st.integers(1, 300))
def test_same_stretches_as_faster_whisper(probabilities: list[float], rest: int, step: int) -> None:
    """Other stretches would mean other, and mostly more, chunks: the same file would take longer than it should."""
    probabilities = [*probabilities, 0.0]
    total = len(probabilities) * WINDOW - rest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "get_vad_model", lambda: lambda _: np.array(probabilities))
        expected = whole(np.zeros(total, np.float32))
    assert padded(find(probabilities, total, step)) == expected


@given(probabilities, st.integers(1, WINDOW), st.integers(1, 300))
def test_marks_of_speech_hold_every_window_at_the_threshold(probabilities: list[float], rest: int, step: int) -> None:
    """Speech outside the marks is not missed when its words are; a mark on silence is heard twice for nothing."""
    probabilities = [*probabilities, 0.0]
    total = len(probabilities) * WINDOW - rest
    found = find(probabilities, total, step)
    marked = [n for s in found for n in range(s.onset // WINDOW, -(-s.offset // WINDOW))]
    certain = {n for n, p in enumerate(probabilities) if p >= THRESHOLD}
    assert certain <= set(marked)
    assert len(set(marked)) == len(marked)
    for stretch in found:
        assert stretch.start <= stretch.onset < stretch.offset <= stretch.end
        inside = range(stretch.onset // WINDOW, -(-stretch.offset // WINDOW))
        assert inside[0] in certain
        assert probabilities[inside[-1]] >= THRESHOLD - HYSTERESIS
    assert found == find(probabilities, total, len(probabilities))


@given(probabilities, st.sampled_from([1, 2, 31]))
def test_what_is_known_early_stays_true(probabilities: list[float], step: int) -> None:
    """Audio is dropped and long speech cut on the finder's word before a stretch ends: it must not go back on it."""
    finder, found, known, settled = SpeechFinder(), [], [], []
    for at in range(0, len(probabilities), step):
        found += finder.feed(probabilities[at : at + step])
        settled.append((finder.settled, len(found)))
        if finder.running:
            known.append(finder.running)
    found += finder.finish(len(probabilities) * WINDOW)
    assert all(one.end <= other.start for one, other in pairwise(found))
    for part in known:
        assert part.offset == part.end
        assert any(
            (stretch.start, stretch.onset) == (part.start, part.onset) and part.offset <= stretch.offset
            for stretch in found
        )
    for before, count in settled:
        assert all(stretch.start >= before for stretch in found[count:])


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_real_speech_in_blocks(clip: Path) -> None:
    """The detector's memory must survive the borders of blocks: a word there would be cut or lost."""
    with MediaReader(clip) as reader:
        audio = np.concatenate(list(reader.blocks()))
    vad, finder, found = SileroVad(), SpeechFinder(), []
    for block in np.split(audio, [100, 700, 33_333, 33_334, 70_000]):
        found += finder.feed(vad.feed(block).tolist())
    found += [*finder.feed(vad.finish().tolist()), *finder.finish(len(audio))]
    assert padded(found) == whole(audio.astype(np.float32) / 32_768)


@pytest.mark.parametrize("level", [None, -60, -50], ids=["digital", "-60 dBFS", "-50 dBFS"])
def test_the_first_word_after_minutes_of_silence_is_heard(level: float | None) -> None:
    """The detector's memory fills with silence, and half a sentence is lost after every long pause."""
    with MediaReader(FIELD / "first_track_silent.m4a") as reader:
        speech = np.concatenate(list(reader.blocks()))
    noise = np.random.default_rng(0).standard_normal(290 * SAMPLE_RATE)
    pause = np.rint(noise * 32_768 * (0 if level is None else 10 ** (level / 20))).astype(np.int16)
    alone, after = (
        sum(stretch.offset - stretch.onset for stretch in find(SileroVad().feed(audio).tolist(), len(audio), 100))
        for audio in (np.concatenate((pause[: 2 * SAMPLE_RATE], speech)), np.concatenate((pause, speech)))
    )
    assert after / SAMPLE_RATE == pytest.approx(alone / SAMPLE_RATE, abs=0.4)


def test_the_size_of_blocks_does_not_change_what_is_heard() -> None:
    """The same file is cut in other places on another machine, and a repeated conversion doubles sentences."""
    with MediaReader(CLIPS[0]) as reader:
        audio = np.concatenate(list(reader.blocks()))
    audio = np.concatenate((audio, np.zeros(20 * SAMPLE_RATE, np.int16), audio))
    whole, vad = SileroVad().feed(audio), SileroVad()
    parts = [vad.feed(block) for block in np.split(audio, [1, 700, 33_333, 250_000, 250_001, 600_000])]
    assert np.concatenate(parts) == pytest.approx(whole, abs=1e-4)
