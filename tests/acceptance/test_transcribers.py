"""Both engines with the demo model and its recordings, each in its own process as in a worker."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from schemas.chunks import Span
from schemas.options import Request
from schemas.transcript import Segment
from stages.transcribers.faster_whisper.engine import FasterWhisper
from v2t_stream.audio import flac
from v2t_stream.audio.speech import SpeechFinder
from v2t_stream.audio.vad import SileroVad
from v2t_stream.demo import model_path
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.errors import Full, Reject
from v2t_stream.transcription.engine_host import EngineHost
from v2t_stream.transcription.job_language import SURE
from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.segments import segments
from v2t_stream.transcription.transcriber import Samples, Transcription
from v2t_stream.transcription.words import spoken

DATA = Path(__file__).parent.parent / "data"
REFERENCES = json.loads((DATA / "references.json").read_text())
pytestmark = pytest.mark.asyncio(loop_scope="module")
CLIPS = ("20s-1.flac", "20s-2.flac", "20s-3.flac")


def sound(name: str) -> Samples:
    return flac.decode((DATA / name).read_bytes())


def made(transcription: Transcription, chunk: Samples) -> tuple[Segment, ...]:
    """The segments that the pipeline makes of a chunk without removed pauses."""
    samples, finder = (chunk * 32_768).astype(np.int16), SpeechFinder()
    speech = [*finder.feed(SileroVad().feed(samples)), *finder.finish(samples.size)]
    layout = Layout([Span(0, chunk.size)], [Span(mark.onset, mark.offset - mark.onset) for mark in speech])
    words = layout.trimmed(spoken(transcription.segments, layout.speech))
    return segments([layout.placed(word) for word in words], word_times=True)


def text(transcription: Transcription) -> str:
    return " ".join(segment.text for segment in transcription.segments)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["faster-whisper", "whisper-cpp"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[EngineHost]:
    async with EngineHost(request.param, device="cpu", threads=2) as host:
        yield host


async def hear(
    host: EngineHost, chunks: Sequence[Samples], *, language: str | None = "en", word_timestamps: bool = False
) -> list[Transcription]:
    return await host.transcribe(chunks, Request(model="demo", language=language, word_timestamps=word_timestamps))


async def test_the_words_and_their_times_are_right(host: EngineHost) -> None:
    """The transcript is wrong, or its subtitles are out of step."""
    all_heard = await hear(host, [sound(clip) for clip in CLIPS])
    # Of all together: processors of two makers differ by a word.
    said = " ".join(sentence["text"] for clip in CLIPS for sentence in REFERENCES[clip])
    assert word_error_rate(said, " ".join(map(text, all_heard))) <= 0.02
    for clip, heard in zip(CLIPS, all_heard, strict=True):
        expected = REFERENCES[clip]
        assert heard.language == "en"
        found = made(heard, sound(clip))
        assert len(found) == len(expected)
        for segment, sentence in zip(found, expected, strict=True):
            assert segment.start == pytest.approx(sentence["start"], abs=0.3)
            assert segment.end == pytest.approx(sentence["end"], abs=0.4)  # the detector drops a last, soft consonant


@pytest.mark.parametrize("word_timestamps", [False, True])
async def test_chunks_together_are_as_chunks_alone(host: EngineHost, *, word_timestamps: bool) -> None:
    """A transcript depends on the machine's other work, or a chunk's words get a neighbour's times."""
    # Unlike ones, so that padding or an empty one in between could shift the others.
    chunks = [sound(CLIPS[0]), sound("5s.flac"), np.zeros(0, np.float32), sound(CLIPS[1]), sound("noise.flac")[:80_000]]
    together = await hear(host, chunks, word_timestamps=word_timestamps)
    for chunk, heard in zip(chunks, together, strict=True):
        (alone,) = await hear(host, [chunk], word_timestamps=word_timestamps)
        assert text(heard) == text(alone)
        for one, other in zip(heard.segments, alone.segments, strict=True):
            assert one.start == pytest.approx(other.start, abs=0.1)
            assert one.end == pytest.approx(other.end, abs=0.1)
            assert [word.text for word in one.words] == [word.text for word in other.words]


async def test_words_lie_within_their_segment_and_where_they_were_said(host: EngineHost) -> None:
    """Word by word subtitles run ahead, run backwards, or lose words."""
    heard = await hear(host, [sound(clip) for clip in CLIPS], word_timestamps=True)
    late = []
    for clip, transcription in zip(CLIPS, heard, strict=True):
        for segment, sentence in zip(made(transcription, sound(clip)), REFERENCES[clip], strict=True):
            assert " ".join(word.text for word in segment.words) == segment.text
            times = [time for word in segment.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert segment.start <= times[0]
            assert times[-1] <= segment.end
            assert all(word.probability is not None and 0 <= word.probability <= 1 for word in segment.words)
            late += [abs(w.end - end) for w, (_, _, end) in zip(segment.words, sentence["words"], strict=False)]
    assert np.mean(late) < 0.3


async def test_nothing_is_heard_in_silence_and_noise(host: EngineHost) -> None:
    """The transcript contains words that nobody said."""
    silence = np.zeros(10 * 16_000, np.float32)
    assert [t.segments for t in await hear(host, [silence, sound("noise.flac")[: 30 * 16_000]])] == [(), ()]


@pytest.mark.parametrize("length", [0, 1, 159, 160, 1_600, 2_400, 4_800, 16_000, 480_000])
async def test_chunks_of_every_length_do(host: EngineHost, length: int) -> None:
    """A short word alone between two pauses ends the engine, and in the end the job."""
    speech = np.concatenate([sound(clip) for clip in CLIPS])[8_000 : 8_000 + length]
    for words in (False, True):
        (heard,) = await hear(host, [speech], word_timestamps=words)
        for segment in heard.segments:
            assert 0 <= segment.start <= segment.end <= length / 16_000
            assert segment.text == segment.text.strip() != ""


async def test_an_empty_chunk_after_another_hears_nothing(host: EngineHost) -> None:
    """For a nearly empty chunk, whisper.cpp repeats what it heard last."""
    await hear(host, [sound("5s.flac")])
    assert (await hear(host, [np.zeros(10, np.float32)]))[0].segments == ()


async def test_what_is_said_over_and_over_is_kept(host: EngineHost) -> None:
    """The guard against an engine's loops removes a refrain."""
    first = REFERENCES["5s.flac"][0]
    sentence = sound("5s.flac")[: round((first["end"] + 0.4) * 16_000)]
    (heard,) = await hear(host, [np.tile(sentence, 10)])
    assert word_error_rate(" ".join([first["text"]] * 10), text(heard)) <= 0.15


async def test_the_language_is_detected_where_none_is_given(host: EngineHost) -> None:
    """A job without --language is transcribed in a wrong language, as nonsense."""
    heard = await hear(host, [sound(CLIPS[0]), np.zeros(0, np.float32), sound("5s.flac")], language=None)
    assert [heard[0].language, heard[2].language] == ["en", "en"]
    assert min(heard[0].confidence, heard[2].confidence) > SURE
    assert word_error_rate(" ".join(s["text"] for s in REFERENCES["5s.flac"]), text(heard[2])) == 0


async def test_whisper_cpp_tells_how_sure_it_is_of_a_language(tmp_path: Path) -> None:
    """Else a cough at the beginning decides the language of the whole job, if this engine hears it first."""
    model = bytearray(Path(model_path("whisper-cpp")).read_bytes())
    name = b"decoder.token_embedding.weight"
    row = 128 // 32 * 34  # bytes: the model's width in ggml's blocks of 8 bits
    english, chinese, german = (model.index(name) + len(name) + row * token for token in (50_259, 50_260, 50_261))
    for other in (chinese, german):  # it can no longer tell them apart
        model[other : other + row] = model[english : english + row]
    (tmp_path / "unsure.bin").write_bytes(model)
    async with EngineHost("whisper-cpp", device="cpu", threads=2) as host:
        (heard,) = await host.transcribe([sound("5s.flac")], Request(model=str(tmp_path / "unsure.bin")))
    assert heard.confidence == pytest.approx(1 / 3, abs=0.01)
    assert word_error_rate(" ".join(s["text"] for s in REFERENCES["5s.flac"]), text(heard)) == 0


async def test_the_requested_language_is_the_reported_one(host: EngineHost) -> None:
    """The transcript claims another language than the user's."""
    for language in ("fr", "yue"):
        (heard,) = await hear(host, [np.zeros(1_600, np.float32)], language=language)
        assert heard.language == language


async def test_an_unknown_language_is_rejected(host: EngineHost) -> None:
    """A typo stops the engine, or silently means English."""
    with pytest.raises(Reject, match=r"knows no language 'xx'"):
        await hear(host, [sound("5s.flac")], language="xx")


async def test_a_model_that_is_none_is_rejected(host: EngineHost, tmp_path: Path) -> None:
    """A wrong path crashes, or is retried again and again."""
    (tmp_path / "file.bin").write_bytes(b"not a model")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.bin").write_bytes(b"not a model")
    for model in ("file.bin", "folder", "missing"):
        with pytest.raises(Reject, match=str(tmp_path / model)):
            await host.warm(str(tmp_path / model))


@pytest.mark.parametrize("share", [0.03, 0.3])
async def test_a_part_of_a_model_is_rejected(tmp_path: Path, share: float) -> None:
    """whisper.cpp takes an interrupted copy for a model and dies on every chunk."""
    whole = model_path("whisper-cpp").read_bytes()
    (tmp_path / "part.bin").write_bytes(whole[: int(len(whole) * share)])
    async with EngineHost("whisper-cpp", device="cpu", threads=1) as host:
        with pytest.raises(Reject, match=r"part\.bin is not a model that whisper\.cpp can load"):
            await host.warm(str(tmp_path / "part.bin"))


async def test_where_memory_is_short_fewer_chunks_are_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large model on a small GPU every call fails, although single chunks would fit."""
    engine = FasterWhisper(model="demo", device="cpu", threads=2)
    chunks = [sound(clip) for clip in (*CLIPS, *CLIPS[:2])]
    wish = Request(language="en")
    expected = engine.transcribe(chunks, wish)
    hear = engine._generate
    room = 2
    tried = []

    def short(encoded: Any, prompts: list[list[int]], request: Request) -> Any:
        tried.append(len(prompts))
        if len(prompts) > room:
            raise RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED")
        return hear(encoded, prompts, request)

    monkeypatch.setattr(engine, "_generate", short)
    assert list(map(text, engine.transcribe(chunks, wish))) == list(map(text, expected))
    assert list(map(text, engine.transcribe(chunks, wish))) == list(map(text, expected))
    assert tried == [5, 2, 2, 1, 2, 2, 1]
    room = 0
    with pytest.raises(Full, match="the GPU has no room for the model 'faster-whisper' at present: stop what else"):
        engine.transcribe(chunks, wish)
