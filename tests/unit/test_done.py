"""What counts as the same work, which is not done twice."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.options import Options
from schemas.requests import SubmitRequest
from v2t_stream.jobs.previous import key, sha256

OPTIONS = st.builds(
    Options,
    language=st.sampled_from([None, "en", "de"]),
    model=st.sampled_from([None, "small", "en"]),
    engine=st.sampled_from([None, "openai"]),
    word_timestamps=st.booleans(),
    multilingual=st.booleans(),
    prompt=st.sampled_from([None, "Ishmael"]),
    beam_size=st.sampled_from([None, 1, 5]),
    vad_threshold=st.sampled_from([None, 0.0, 0.3]),
)


@given(st.text(), st.text(), OPTIONS, OPTIONS)
def test_the_key_tells_media_and_settings_apart(one: str, other: str, first: Options, second: Options) -> None:
    """Somebody gets the words of another video, or by a model that was not asked for."""
    assert (key(one, first) == key(other, second)) == ((one, first) == (other, second))
    assert key(one, first).isalnum()


@pytest.mark.parametrize("change", [{"accelerator": "cuda"}, {"remote": True}])
def test_where_and_by_whom_it_is_done_does_not_matter(change: dict[str, object]) -> None:
    """A folder is done again because this time a graphics card was asked for."""
    assert key("x", msgspec.structs.replace(Options(), **change)) == key("x", Options())


def test_a_request_and_its_job_have_one_key() -> None:
    """`v2t convert` uploads what the stages then skip."""
    request = SubmitRequest(media="media/x", title="t", limit=3, force=True, language="en", model="small")
    assert key("x", request) == key("x", Options(language="en", model="small"))


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    """A file that was renamed is transcribed again."""
    (tmp_path / "a").write_bytes(b"talk")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"talk").hexdigest()
