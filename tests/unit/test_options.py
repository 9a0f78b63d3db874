"""The options of a job: how they are declared, and how people see them."""

import shlex
from collections.abc import Callable

import click
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.options import LANGUAGES, Options
from schemas.requests import SubmitRequest
from v2t_stream.cli.convert import convert
from v2t_stream.cli.etl import etl
from v2t_stream.cli.job_view import flags as flags_of
from v2t_stream.cli.options import wish
from v2t_stream.errors import Reject
from v2t_stream.jobs.options import OPTIONS
from v2t_stream.jobs.submission import check, of_fields
from v2t_stream.text import HARMFUL

URL = "http://example.org/talk.mp4"

TEXT = st.text(max_size=1000).filter(lambda text: text.strip(" ,") and not HARMFUL.search(text))
WISHES = st.builds(
    SubmitRequest,
    url=st.just(URL),
    language=st.sampled_from([None, *sorted(LANGUAGES)]),
    model=st.sampled_from([None, "small", "demo"]),
    task=st.sampled_from(["transcribe", "translate"]),
    word_timestamps=st.booleans(),
    prompt=st.none() | TEXT,
    hotwords=st.none() | TEXT,
    beam_size=st.none() | st.integers(1, 20),
    temperature=st.none() | st.floats(0, 1),
    engine=st.sampled_from([None, "faster-whisper", "openai", "custom-http"]),
    accelerator=st.sampled_from(["any", "cuda", "cpu"]),
    multilingual=st.booleans(),
    remote=st.booleans(),
    audio_track=st.none() | st.integers(1, 999).map(str) | st.sampled_from(["de", "deu", "zh-Hant", "en-US"]),
    vad_threshold=st.none() | st.floats(0, 1, exclude_max=True),
    force=st.booleans(),
)


def options_of(request: SubmitRequest) -> dict[str, object]:
    return {name: value for name, value in msgspec.to_builtins(request).items() if name in OPTIONS}


def test_every_option_is_offered() -> None:
    """A field that is added to a job can be asked for by nobody, or without a word of what it does."""
    assert set(OPTIONS) == {*Options.__struct_fields__, "force"}
    for option in OPTIONS.values():
        assert option.meaning
        assert len(option.meaning) <= 60  # so many columns has a field of the monitor's form
        assert option.default == SubmitRequest.__struct_defaults__[SubmitRequest.__struct_fields__.index(option.name)]


@given(WISHES)
def test_what_a_flag_says_is_what_is_sent(request: SubmitRequest) -> None:
    """An option is lost, or is another one, between the command line and the job."""
    check(request)
    context = etl.make_context("etl", ["--url", URL, *flags(options_of(request))])
    asked = {name: context.params[name] for name in (*OPTIONS, "no_vad")}
    assert wish(url=URL, **asked) == request


@given(WISHES)
def test_options_may_all_be_text(request: SubmitRequest) -> None:
    """`beam-size: 3` in an object's metadata, where everything is text, fails the upload."""
    texts = {name: str(value).lower() if value is True else str(value) for name, value in options_of(request).items()}
    assert of_fields({"url": URL, **texts}) == request


def flags(options: dict[str, object]) -> list[str]:
    """As a shell would pass on what `v2t job status` shows."""
    return shlex.split(flags_of(options))


@pytest.mark.parametrize("command", [etl, convert])
def test_without_detection_of_speech_is_one_flag(command: click.Command) -> None:
    """Who wants all sound transcribed has to know which number says so; or two flags that disagree are both taken."""
    source = ["--url", URL] if command is etl else ["--input", __file__]

    def asked(*more: str) -> SubmitRequest:
        params = command.make_context("x", [*source, *more]).params
        return wish(url=URL, **{name: params[name] for name in (*OPTIONS, "no_vad")})

    assert asked("--no-vad").vad_threshold == asked("--vad-threshold", "0").vad_threshold == 0
    assert asked("--no-vad", "--vad-threshold", "0").vad_threshold == 0
    assert asked().vad_threshold is None
    with pytest.raises(click.UsageError, match="give only one of them"):
        asked("--no-vad", "--vad-threshold", "0.5")


@pytest.mark.parametrize(
    "wrong",
    [
        ("--beam-size", "0"),
        ("--beam-size", "21"),
        ("--beam-size", "2.5"),
        ("--temperature", "1.1"),
        ("--temperature", "-0.1"),
        ("--vad-threshold", "1"),
        ("--vad-threshold", "high"),
        ("--task", "sing"),
    ],
)
def test_a_flag_out_of_range_is_refused_before_a_broker_is_asked(wrong: tuple[str, str]) -> None:
    """A wrong number is found out by a job that failed."""
    with pytest.raises(click.BadParameter) as caught:
        etl.make_context("etl", ["--url", URL, *wrong])
    assert wrong[0] in caught.value.format_message()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"beam_size": 0}, "beam_size is not valid: .*; it must be a whole number from 1 to 20"),
        ({"beam_size": 21}, "beam_size is not valid: .*; it must be a whole number from 1 to 20"),
        ({"temperature": 1.5}, "temperature is not valid: .*; it must be a number from 0 to 1"),
        ({"temperature": float("nan")}, "temperature is not valid: .*; it must be a number from 0 to 1"),
        ({"vad_threshold": 1.0}, "vad_threshold is not valid: .*; it must be a number from 0 to less than 1"),
        ({"vad_threshold": -0.1}, "vad_threshold is not valid"),
        ({"prompt": "x" * 1001}, "prompt is not valid: .*; it must be text of at most 1000 characters"),
        ({"hotwords": "x," * 501}, "hotwords is not valid: .*; it must be text of at most 1000 characters"),
        ({"prompt": "Ishmael\nQueequeg"}, r"the submission's prompt 'Ishmael\\nQueequeg' has a line end or a control"),
        (
            {"hotwords": "Ishmael\x1b[31m"},
            r"hotwords 'Ishmael\\x1b\[31m' has a line end or a control",
        ),
        ({"prompt": "\u202eleamhsI"}, "has a line end or a control character"),
        ({"prompt": "x" * 900 + "\0"}, "prompt 'x{100,}…' has a line end or a control character"),
        ({"prompt": " "}, "the submission's prompt is empty: leave it out"),
        ({"hotwords": " , ,"}, "the submission's hotwords is empty: leave it out"),
        ({"audio_track": ""}, "the submission's audio_track is empty"),
        ({"audio_track": "0"}, "unknown audio track '0': give its number, from 1, or its language"),
        ({"audio_track": "-1"}, "unknown audio track '-1'"),
        ({"audio_track": "1.5"}, r"unknown audio track '1\.5'"),
        ({"audio_track": "٣"}, "unknown audio track '٣'"),
        ({"audio_track": "de " * 20}, "audio_track is not valid: .*; it must be text of at most 32 characters"),
    ],
)
@pytest.mark.parametrize("way", [lambda fields: SubmitRequest(**fields), of_fields])
def test_a_limit_holds_however_a_request_came(
    way: Callable[[dict[str, object]], SubmitRequest], fields: dict[str, object], says: str
) -> None:
    """A prompt that no engine can take, or that colours a terminal, becomes a job; or the refusal is no sentence."""
    with pytest.raises(Reject, match=says) as caught:
        check(way({"url": URL, **fields}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
