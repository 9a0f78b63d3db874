"""Packing: few, full chunks that contain every moment of speech exactly once."""

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE, Span
from v2t_stream.audio.packing import LIMIT, SEARCH, Chunk, Packer, quietest
from v2t_stream.audio.speech import Stretch

SCALE = 100  # the property tests' second, in samples
PADDING = 40
SMALL = {"limit": 30 * SCALE, "search": 6 * SCALE}

# Pairs of silence and speech; silence may be nothing: stretches can touch.
stretches = st.lists(st.tuples(st.integers(0, 20 * SCALE), st.integers(1, 80 * SCALE)), max_size=20)


def places(spans: tuple[Span, ...]) -> list[int]:
    return [place for span in spans for place in range(span.start, span.start + span.length)]


def mark(at: int, speech: int) -> Stretch:
    """A stretch with its padding; of one that is short the padding is all."""
    return Stretch(at, at + speech, at + PADDING, max(at + PADDING, at + speech - PADDING))


def bare(start: int, samples: NDArray[np.int16]) -> Stretch:
    return Stretch(start, start + len(samples), start, start + len(samples))


def pack(packer: Packer, stretches: list[tuple[int, int]], step: int = 0) -> tuple[list[Chunk], list[int]]:
    """Pack stretches whose samples are their own places; also the places, in order. `step`: grow them by steps."""
    chunks: list[Chunk] = []
    places: list[int] = []
    at = 0
    for silence, speech in stretches:
        at += silence
        # Places are counted within int16, which is enough to tell one from its neighbours.
        samples = (np.arange(at, at + speech) % 30_000).astype(np.int16)
        places += samples.tolist()
        start = at
        # The finder lets a stretch grow as far as its speech; the padding comes when it is complete.
        for known in range(step, speech - PADDING, step) if step else ():
            start = max(at, packer.taken)
            part = Stretch(start, at + known, at + PADDING, at + known)
            chunks += packer.add(part, samples[start - at : known], complete=False)
        start = max(at, packer.taken)
        chunks += packer.add(mark(at, speech)._replace(start=start), samples[start - at :])
        at += speech
    return [*chunks, *packer.flush()], places


@given(stretches)
def test_all_speech_once_and_in_order(stretches: list[tuple[int, int]]) -> None:
    """Speech in no chunk is lost, in two it is said twice, and over 30 s the engine does not hear the rest."""
    chunks, places = pack(Packer(**SMALL), stretches)
    assert [place for chunk in chunks for place in chunk.samples.tolist()] == places
    for chunk in chunks:
        assert 0 < len(chunk.samples) <= SMALL["limit"]
        assert sum(span.length for span in chunk.spans) == len(chunk.samples)
        # The spans say where the samples are from, and none touches the next.
        assert [(span.start + n) % 30_000 for span in chunk.spans for n in range(span.length)] == chunk.samples.tolist()
        assert all(one.start + one.length < other.start for one, other in pairwise(chunk.spans))


@given(stretches, st.integers(SCALE, 10 * SCALE))
def test_the_size_of_blocks_does_not_matter(stretches: list[tuple[int, int]], step: int) -> None:
    """The same file is cut in the same places on every machine, so that a repeated conversion replaces its chunks."""
    whole, _ = pack(Packer(**SMALL), stretches)
    grown, _ = pack(Packer(**SMALL), stretches, step)
    assert [chunk.spans for chunk in grown] == [chunk.spans for chunk in whole]


@given(stretches, st.integers(0, 10 * SCALE))
def test_marks_of_speech_are_those_of_the_stretches(stretches: list[tuple[int, int]], step: int) -> None:
    """A mark that is lost or misplaced at a cut hides lost words from the audit, or has it look for some in silence."""
    chunks, _ = pack(Packer(**SMALL), stretches, step)
    ends = list(accumulate(silence + speech for silence, speech in stretches))
    marks = [mark(end - speech, speech) for end, (_, speech) in zip(ends, stretches, strict=True)]
    expected = [place for stretch in marks for place in range(stretch.onset, stretch.offset)]
    assert [place for chunk in chunks for place in places(chunk.speech)] == expected
    for chunk in chunks:
        assert set(places(chunk.speech)) <= set(places(chunk.spans))


@given(stretches)
def test_chunks_are_full(stretches: list[tuple[int, int]]) -> None:
    """A window costs the same however full it is: two neighbours that fit in one waste half of the work."""
    chunks, _ = pack(Packer(**SMALL), stretches)
    for one, other in pairwise(chunks):
        assert len(one.samples) + other.spans[0].length > SMALL["limit"] - SMALL["search"]


def test_long_speech_is_cut_in_its_pause() -> None:
    """A lecture without breaks must not be cut in the middle of a word when there is a breath to cut in."""
    speech = np.random.default_rng(0).integers(-9_000, 9_000, 70 * SAMPLE_RATE, dtype=np.int16)
    pauses = [26 * SAMPLE_RATE, 53 * SAMPLE_RATE]
    for pause in pauses:
        speech[pause : pause + SAMPLE_RATE // 4] //= 100
    packer = Packer()
    chunks = [*packer.add(bare(0, speech), speech), *packer.flush()]
    cuts = [chunk.spans[0].start for chunk in chunks[1:]]
    assert len(cuts) == 2
    for cut, pause in zip(cuts, pauses, strict=True):
        assert pause < cut < pause + SAMPLE_RATE // 4


def test_long_speech_without_any_pause_makes_full_chunks() -> None:
    """Music that passes for speech has no pause: of equal points the last is taken."""
    packer = Packer()
    samples = np.full(100 * SAMPLE_RATE, 1_000, np.int16)
    chunks = [*packer.add(bare(0, samples), samples), *packer.flush()]
    assert [round(len(chunk.samples) / SAMPLE_RATE) for chunk in chunks] == [30, 30, 30, 10]


def test_endless_speech_is_not_hoarded() -> None:
    """Hours of speech without a break are cut while they come: no more than a chunk is ever held back."""
    packer = Packer()
    samples = np.full(LIMIT + 1, 1_000, np.int16)
    assert not list(packer.add(bare(0, samples[:LIMIT]), samples[:LIMIT], complete=False))
    (chunk,) = packer.add(bare(0, samples), samples, complete=False)
    assert chunk.spans == (Span(0, packer.taken),)
    assert packer.taken > LIMIT - SEARCH


def test_quietest_of_little() -> None:
    """Where there is too little to choose from, all of it is kept."""
    assert quietest(np.zeros(100, np.int16)) == 100


@pytest.mark.parametrize("search", [0, 31])
def test_search_within_the_chunk(search: int) -> None:
    """A search that reaches outside the chunk would never end."""
    with pytest.raises(ValueError, match="within one chunk"):
        Packer(limit=30, search=search)
