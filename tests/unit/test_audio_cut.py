"""From media to chunks in one stream."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from faster_whisper.vad import VadOptions, collect_chunks, get_speech_timestamps
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.cut import Tape, cut
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.packing import Chunk, Packer
from v2t_stream.audio.speech import SpeechFinder, Stretch
from v2t_stream.audio.vad import SileroVad
from v2t_stream.errors import Reject

DATA = Path(__file__).parents[1] / "data"
LONG = DATA / "3min.ogg"
SILENT = DATA / "noise.flac"


def read(path: Path) -> NDArray[np.int16]:
    with MediaReader(path) as reader:
        return np.concatenate(list(reader.blocks()))


def write(path: Path, samples: NDArray[np.int16]) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_all(path: Path) -> list[Chunk]:
    with MediaReader(path) as reader:
        return [chunk for chunks in cut(reader) for chunk in chunks]


@pytest.fixture(scope="module")
def audio() -> NDArray[np.int16]:
    """Three minutes of speech, decoded."""
    return read(LONG)


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    """The same three minutes, cut."""
    return cut_all(LONG)


def test_as_few_chunks_as_faster_whisper(audio: NDArray[np.int16], chunks: list[Chunk]) -> None:
    """Each chunk more is a window more for the engine: 3 minutes must not cost more than in faster-whisper itself."""
    options = VadOptions(min_silence_duration_ms=160, max_speech_duration_s=30)
    floats = audio.astype(np.float32) / 32_768
    expected, _ = collect_chunks(floats, get_speech_timestamps(floats, options), max_duration=30)
    assert len(chunks) == len(expected)
    assert sum(len(chunk.samples) for chunk in chunks) == sum(map(len, expected))


def test_cut_in_the_same_places_as_the_whole(audio: NDArray[np.int16], chunks: list[Chunk]) -> None:
    """Where a block ends must not show: a stretch that goes on in the next one is cut as if it had come at once."""
    packer, expected = Packer(), []
    for stretch in get_speech_timestamps(audio.astype(np.float32) / 32_768, VadOptions(min_silence_duration_ms=160)):
        padded = Stretch(stretch["start"], stretch["end"], stretch["start"], stretch["end"])
        expected += packer.add(padded, audio[padded.start : padded.end])
    expected += packer.flush()
    assert [chunk.spans for chunk in chunks] == [chunk.spans for chunk in expected]


def test_marks_of_speech_in_a_stream_are_those_of_the_whole(audio: NDArray[np.int16], chunks: list[Chunk]) -> None:
    """A transcript that nobody reads is trusted for them: the border of a block or of a chunk must not lose any."""
    vad, finder = SileroVad(), SpeechFinder()
    probabilities = np.concatenate((vad.feed(audio), vad.finish()))
    whole = [*finder.feed(probabilities.tolist()), *finder.finish(len(audio))]
    places = [np.arange(mark.start, mark.start + mark.length) for chunk in chunks for mark in chunk.speech]
    assert np.array_equal(np.concatenate(places), np.concatenate([np.arange(s.onset, s.offset) for s in whole]))
    for chunk in chunks:
        for mark in chunk.speech:
            assert any(
                span.start <= mark.start and mark.start + mark.length <= span.start + span.length
                for span in chunk.spans
            )


def test_chunks_hold_what_their_spans_say(audio: NDArray[np.int16]) -> None:
    """Words would stand at wrong times if a chunk's samples were not those of its spans."""
    chunks = cut_all(LONG)
    for chunk in chunks:
        expected = np.concatenate([audio[span.start : span.start + span.length] for span in chunk.spans])
        assert np.array_equal(chunk.samples, expected)
    spans = [span for chunk in chunks for span in chunk.spans]
    assert all(one.start + one.length <= other.start for one, other in pairwise(spans))


@pytest.mark.parametrize("clip", [LONG, SILENT], ids=["speech", "silence"])
def test_audio_is_forgotten(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four hours must not lie in memory: a chunk's worth of speech does, and none of the silence."""
    held = []

    class Watched(Tape):
        def forget(self, before: int) -> None:
            super().forget(before)
            held.append(self.end - self.start)

    monkeypatch.setattr("v2t_stream.audio.cut.Tape", Watched)
    cut_all(clip)
    assert max(held) < 15 * SAMPLE_RATE


def test_no_speech_no_chunks() -> None:
    """Noise must not reach an engine, which would make words of it."""
    with MediaReader(SILENT) as reader:
        told = [chunks for chunks in cut(reader) if not chunks]
        # Progress through silence: the caller comes to word every few seconds of audio, not at the end only.
        assert len(told) > reader.position / 6
        assert reader.position == pytest.approx(reader.duration)


def test_speech_on_both_sides_of_a_long_silence(tmp_path: Path) -> None:
    """A chunk waits through minutes of silence for more speech: two windows would cost twice as much as one."""
    clip = read(DATA / "5s.flac")
    silence = np.zeros(120 * SAMPLE_RATE, np.int16)
    chunks = cut_all(write(tmp_path / "a.flac", np.concatenate((clip, silence, clip))))
    assert len(chunks) == 1
    assert chunks[0].spans[-1].start > 120 * SAMPLE_RATE


def test_damage_is_reported_through_the_thread(tmp_path: Path) -> None:
    """What is wrong with a file is told as well when another thread finds it."""
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 50_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(Reject, match="none of it can be decoded"):
        cut_all(path)


def test_left_on_the_way() -> None:
    """A cancelled job leaves neither a thread nor a file open; the test fails on the warning if one is."""
    reader = MediaReader(LONG)
    chunks = cut(reader)
    next(chunks)
    reader.close()
    with pytest.raises(RuntimeError, match="closed before its end"):
        list(chunks)


def test_tape() -> None:
    """Memory is flat because what was cut is forgotten, block by block, while places keep their numbers."""
    tape = Tape()
    for start in range(0, 50, 10):
        tape.append(np.arange(start, start + 10, dtype=np.int16))
    assert tape.end == 50
    tape.forget(25)
    assert tape.read(25, 41).tolist() == list(range(25, 41))
    assert tape.read(20, 21).tolist() == [20]
    tape.forget(50)
    assert tape.read(50, 50).tolist() == []
