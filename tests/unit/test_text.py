"""Text from strangers that people read."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.text import HARMFUL, one_line, without_secrets


@given(st.text(), st.integers(1, 600))
def test_a_line_is_one_and_does_nothing(text: str, longest: int) -> None:
    """A title clears the screen, types into the terminal, forges a line of the log, or is read backwards."""
    line = one_line(text, longest)
    assert len(line) <= longest
    assert len(line.splitlines()) <= 1
    assert not HARMFUL.search(line)
    assert not re.search(r"  |^ | $", line) or len(line) == longest
    line.encode()
    assert one_line(line, longest) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("talk\r\n\tone", "talk one"),
        ("\x1b[2J\x1b]0;owned\x07talk", "[2J ]0;owned talk"),
        ("\x9b31mtalk", "31mtalk"),
        ("invoice\u202egpj.exe", "invoice gpj.exe"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\ud800", ""),
    ],
)
def test_what_does_harm_goes_and_what_belongs_to_a_script_stays(text: str, line: str) -> None:
    """The same; or Persian and Hindi titles fall apart."""
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("connect to nats://user:hush@hub:4222 failed", "connect to nats://hub:4222 failed"),
        ("nats://hush@hub:4222,nats://u:hush@b", "nats://hub:4222,nats://b"),
        ("'https://b.s3.com/a?X-Amz-Signature=hush&x=1' is gone", "'https://b.s3.com/a' is gone"),
        ("http://h/b/a.mp4?X-Amz-Date=1&X-Amz-Signature=hush", "http://h/b/a.mp4"),
        ("https://h/a.mp4?sv=1&sig=hush", "https://h/a.mp4"),
        ("https://u:hush@site/a@b?token=hush", "https://site/a@b"),
        ("https://u:hush%40hush@site/a", "https://site/a"),
        ("https://u:hu'sh@site/a", "https://site/a"),
        ("https://u:hu/sh@site/a", "https://site/a"),
        ("https://u:hu?sh@site/a", "https://site/a"),
        ("https://exa[mple/a?sig=hush#b", "https://exa[mple/a"),
        ("https://h/a?list=1&access_token=hush", "https://h/a"),
        ("https://h/a?accessToken=hush", "https://h/a"),
        ("https://h/a?access%5Ftoken=hush", "https://h/a"),
        ("https://h/a?PASSWORD=hush", "https://h/a"),
        ("https://h/a?key=hush", "https://h/a"),
        ("https://h/a?api_key=hush", "https://h/a"),
        ("https://h/a?client-secret=hush", "https://h/a"),
        ("https://h/a;jsessionid=hush?v=1", "https://h/a"),
        ("https://h/#access_token=hush", "https://h/"),
        ("https://h/a?md5=hush&expires=1", "https://h/a"),
        ("https://h/a?st=hush&e=1", "https://h/a"),
        ("https://h/a?ticket=hush", "https://h/a"),
        ("https://h/a?next=https%3A%2F%2Fu%3Ahush%40h2", "https://h/a"),
        ("https://h/a?next=https%3A%2F%2Fh2%3Ftoken%3Dhush", "https://h/a"),
        ("HTTPS://u:hush@H/a", "HTTPS://H/a"),
    ],
)
def test_no_secret_of_a_url_is_shown(text: str, shown: str) -> None:
    """Else status, lists, transcripts, dead letters and logs reveal a link's password."""
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "no URL: a@b",
        "https://h/watch?v=s&list=PL1&index=2&t=10s",
        "https://h/@channel/videos",
        "https://h:8443/a@b?keyword=x",
        "https://[::1]:80/a@b",
        "s3://b/a?sig=1.mp4",
        "'https://h' or 'me@x'",
    ],
)
def test_a_url_without_a_secret_stays_as_it_is(text: str) -> None:
    """Else nobody knows which video a job is about."""
    assert without_secrets(text) == text


@given(st.text(alphabet=st.characters(exclude_characters=" ", exclude_categories=("Z", "C")), min_size=8))
def test_no_password_is_shown_however_it_is_written(password: str) -> None:
    """The same, of passwords that nobody thought of."""
    secret = f"HUSH{quote(password, safe='')}HUSH"
    assert "HUSH" not in without_secrets(f"could not fetch https://me:{secret}@host/a.mp3: 401")
    assert "HUSH" not in without_secrets(f"could not fetch https://host/a.mp3?x=1&password={secret}: 401")
