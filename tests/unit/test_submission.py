"""What anyone may publish to v2t.submit, and how it is read."""

import contextlib
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import encode
from schemas.requests import SubmitRequest
from v2t_stream.errors import Reject
from v2t_stream.jobs.submission import check, parse
from v2t_stream.text import HARMFUL

URL = "http://example.org/talk.mp4"


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (URL.encode(), SubmitRequest(url=URL)),
        (f"\n  {URL}\r\n".encode(), SubmitRequest(url=URL)),
        (f'{{"url": "{URL}", "language": "de"}}'.encode(), SubmitRequest(url=URL, language="de")),
        (b' {"media": "media/x/talk.mp4", "title": "\\u4f8b"}', SubmitRequest(media="media/x/talk.mp4", title="例")),
        ("https://例子.com/演讲".encode(), SubmitRequest(url="https://例子.com/演讲")),
        (b"HTTPS://EXAMPLE.ORG", SubmitRequest(url="HTTPS://EXAMPLE.ORG")),
    ],
)
def test_text_and_json_are_understood(data: bytes, request_: SubmitRequest) -> None:
    """A right submission is refused."""
    assert parse(data) == request_
    check(request_)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty: send a URL"),
        (b" \n", "is empty: send a URL"),
        (b"\xff\xfe", "is not UTF-8 text: send a URL"),
        (b'{"url": "\xff"}', "is not UTF-8 text: send a URL"),
        (b'{"url": ', r"is not valid JSON \(.*truncated\): send a URL"),
        (b'{"url": "http://a"} and more', "is not valid JSON .*trailing"),
        (b'{"url": "\\ud800"}', "is not valid JSON"),
        (b'"http://a"', "Expected `object`, got `str`; its fields are .*url, media"),
        (b"[" * 100_000, "Expected `object`, got `array`; its fields are"),
        (b'{"url": 5}', "the submission's url is not valid: .*got `int`"),
        (b'{"url": ' + b"[" * 100_000, "the submission's url is not valid: .*got `array`"),
        (b'{"word_timestamps": "yes"}', "the submission's word_timestamps is not valid: .*got `str`"),
        (b'{"url": "http://a", "langauge": "en"}', "unknown field `langauge`; its fields are language, "),
        (
            b'{"accelerator": "tpu"}',
            "accelerator is not valid: .*'tpu'; it must be one of cuda, metal, coreml, cpu, remote, any",
        ),
        (b'{"limit": 0}', "the submission's limit is not valid: .*>= 1"),
        (b'{"task": "sing"}', "task is not valid: .*'sing'; it must be one of transcribe, translate"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, says: str) -> None:
    """A misspelt option is ignored, or the sender hears of a Python type."""
    with pytest.raises(Reject, match=says):
        parse(data)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "must name either a url or a media key"),
        ({"url": URL, "media": "media/x"}, "must name either a url or a media key"),
        ({"media": "transcripts/x"}, "invalid media key 'transcripts/x': it must start with media/"),
        ({"media": "media/../v2t-transcripts/x"}, r"invalid media key 'media/\.\./v2t-transcripts/x': .* not contain"),
        ({"url": "s3://b/x"}, "'s3://b/x' is not a complete URL: use s3://BUCKET/KEY"),
        ({"url": "s3://bucket/../other/x"}, "is not a complete URL: use s3://BUCKET/KEY"),
        ({"url": "s3://../x"}, "'s3://../x' is not a URL"),
        ({"url": "s3://bucket/a\0b"}, "is not a complete URL: use s3://BUCKET/KEY"),
        ({"url": "file:///etc/passwd"}, r"^'file:///etc/passwd' cannot be fetched: .*http://, https:// or s3://"),
        ({"url": "/etc/passwd"}, "'/etc/passwd' cannot be fetched: .*for a file use v2t convert"),
        ({"url": "C:\\talk.mp4"}, "cannot be fetched: .*for a file use v2t convert"),
        (
            {"url": "youtube.com/watch?v=1"},
            "cannot be fetched: use a URL that begins with http://, https:// or s3://",
        ),
        ({"url": "ftp://example.org/talk.mp4"}, "cannot be fetched"),
        ({"url": "data:audio/wav;base64,AAAA"}, "cannot be fetched"),
        ({"url": "ytsearch:talk"}, "cannot be fetched"),
        ({"url": "http://"}, "is not a complete URL"),
        ({"url": "http://a/b c"}, "is not a complete URL"),
        ({"url": "http://a\nhttp://b"}, r"'http://a\\nhttp://b' is not a complete URL"),
        ({"url": "http://a/\x1b[31m"}, r"'http://a/\\x1b\[31m' is not a complete URL"),
        ({"url": "http://[::1"}, "is not a URL"),
        ({"url": "http://a:99999/"}, r"is not a URL \(Port out of range"),
        ({"url": "http://a..b/"}, "is not a URL"),
        (
            {"url": "http://a/" + "x" * 5000},
            r"url has 5009 characters \('http://a/x.{30,40}…\): at most 4096",
        ),
        ({"url": URL, "title": "x" * 5000}, "the submission's title has 5000 characters"),
        ({"url": "http://a/\0" + "x" * 500}, r"^'http://a/\\x00x{100,}…' is not a complete URL"),
        ({"url": URL, "model": "x" * 300}, "unknown model 'x+…': `v2t models list` shows"),
        ({"url": URL, "model": "x" * 5000}, "the submission's model has 5000 characters"),
        ({"url": URL, "language": "x" * 5000}, "unknown language 'x+…': use an ISO 639 code"),
        ({"url": URL, "language": "xx"}, "unknown language 'xx': use an ISO 639 code such as en"),
        ({"url": URL, "language": "English"}, "unknown language 'English'"),
        ({"url": URL, "model": "smal"}, "unknown model 'smal': did you mean small"),
        ({"url": URL, "engine": "whisper"}, "unknown engine 'whisper': this machine has faster-whisper, whisper-cpp"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(fields: dict[str, str], says: str) -> None:
    """A job is started that can only fail, or a machine's own files can be asked for."""
    with pytest.raises(Reject, match=says) as caught:
        check(SubmitRequest(**fields))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@contextlib.contextmanager
def raised_in_one_line() -> Iterator[None]:
    try:
        yield
    except Reject as error:
        if HARMFUL.search(str(error)):
            raise AssertionError(str(error)) from error
        raise


@given(st.binary() | st.text().map(str.encode) | st.dictionaries(st.text(), st.text()).map(msgspec.json.encode))
def test_no_bytes_surprise_intake(data: bytes) -> None:
    """A message from anywhere is tried again and again instead of being refused."""
    with contextlib.suppress(Reject), raised_in_one_line():
        check(parse(data))


@given(st.builds(SubmitRequest, url=st.text(), title=st.none() | st.text(), language=st.none() | st.text()))
def test_what_is_sent_is_what_is_read(request: SubmitRequest) -> None:
    """The command line asks for one thing and the pipeline does another."""
    assert parse(encode(request)) == request
