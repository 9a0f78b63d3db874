"""The real model in both engines' formats, each engine in its own process as in a worker."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.options import Request
from stages.engine_host import EngineHost
from tests.harness import DATA
from tests.real_model import real_model
from v2t_stream.audio.decode import MediaReader
from v2t_stream.wer import words

SPEECH = DATA / "real/jfk.flac"


@pytest.mark.parametrize("engine", ["faster-whisper", "whisper-cpp"])
async def test_a_speech_is_heard_word_for_word(engine: str) -> None:
    """Real speech is judged by a model whose weights were mixed up on the way from one format to the other."""
    with MediaReader(SPEECH) as reader:
        samples = np.concatenate(list(reader.blocks())).astype(np.float32) / 32_768
    wish = Request(model=str(real_model(engine)), language="en", word_timestamps=True)
    async with EngineHost(engine, device="cpu", threads=2) as host:
        (heard,) = await host.transcribe([samples], wish)
    said = words(SPEECH.with_suffix(".txt").read_text())
    assert words(" ".join(segment.text for segment in heard.segments)) == said
    timed = [word for segment in heard.segments for word in segment.words]
    assert [word.text.strip(",.?").lower() for word in timed] == said
    assert [word.start for word in timed] == sorted(word.start for word in timed)
    # The first "ask" is said from 3.3 s on, after a pause of a second; the last word ends at 10.5 s.
    assert 3.0 < next(word.end for word in timed if word.text == "ask") < 4.5
    assert 9.9 < timed[-1].end < 11


def test_two_test_runs_may_make_the_model_at_once(tmp_path: Path) -> None:
    """One run loads what another has half written, or fails for what the other has moved away."""
    command = [sys.executable, "-c", "from tests.real_model import real_model; print(real_model('whisper-cpp'))"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=DATA.parents[1]) for _ in range(2)]
    paths = {Path(run.communicate()[0].decode().strip()) for run in both}
    assert [run.returncode for run in both] == [0, 0]
    (path,) = paths
    assert list((tmp_path / "v2t-stream").iterdir()) == [path]
    assert path.read_bytes() == real_model("whisper-cpp").read_bytes()
