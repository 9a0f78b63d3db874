"""What a log line looks like, and what must not get into it."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream import logs
from v2t_stream.logs import about, said
from v2t_stream.text import HARMFUL


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Give the root logger back as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    about("")


def test_json_says_what_a_line_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    """Else nobody finds what happened to one chunk among the lines of five stages."""
    logs.start("m4", "transcribe", form="json", debug=False)
    about("abc-1", 0)
    logging.getLogger("x").warning("again in %g s", 5)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "message": "again in 5 s",
        "node": "m4",
        "stage": "transcribe",
        "job": "abc-1",
        "chunk": 0,
    }


async def test_tasks_and_threads_keep_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    """Else lines of one job carry another job's id, because many run at once."""
    logs.start("m4", "convert", form="json", debug=False)

    async def work(job: str) -> None:
        about(job)
        await asyncio.sleep(0)
        await asyncio.to_thread(logging.getLogger("x").info, "of %s", job)

    await asyncio.gather(*(work(f"job{n}") for n in range(20)))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 20
    assert all(line["message"] == f"of {line['job']}" for line in lines)


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_keeps_its_traceback(form: logs.LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    """Else nobody can find a bug; in JSON it is one line, so that a log collector does not split it."""
    logs.start("m4", "convert", form=form, debug=False)
    try:
        _fail("what\x1b[31m\u202e is it")
    except ValueError:
        logging.getLogger("x").exception("unexpected")
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "test_logs.py" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    if form == "json":
        assert text.count("\n") == 1
        assert said(text) == "unexpected: ValueError: what [31m  is it"


def _fail(reason: str) -> None:
    raise ValueError(reason)


@given(st.text())
def test_no_text_breaks_a_line(text: str) -> None:
    """Else a title from the internet adds its own lines to the log, or moves the terminal's cursor."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None)
    for formatter in (logs._Json("n", "s"), logs._Text("s", color=False)):
        assert not HARMFUL.search(formatter.format(record))


def test_on_a_terminal_a_line_is_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a person reading `v2t up` sees braces."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs.start("m4", "convert", form="auto", debug=False)
    about("abc-1")
    logging.getLogger("x").error("given up")
    text = capsys.readouterr().err
    assert text.startswith("\x1b[2m")
    assert logs.said(text).split()[1:] == ["convert", "error", "given", "up", "job", "abc-1"]


def test_elsewhere_a_line_is_json() -> None:
    """Else a log collector must guess."""
    assert logs.resolved("auto") == "json"


@pytest.mark.parametrize("line", ["v2t: the sentence", '{"not": "a line"}', '{"time": "cut', "\x1b[2mx\x1b[m"])
def test_the_last_words_of_a_stage_are_words(line: str) -> None:
    """Else `v2t node list` shows braces or escapes where it should say why a stage died."""
    assert said(line) == line.replace("\x1b[2m", "").replace("\x1b[m", "")
