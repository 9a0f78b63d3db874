"""Logging: plain lines on a terminal, JSON elsewhere, each with its job and chunk."""

import contextvars
import functools
import logging
import os
import re
import sys
import time
from typing import Final

import msgspec

from v2t_stream.settings import LogFormat
from v2t_stream.text import one_line, printable, without_secrets

log = logging.getLogger(__name__)

# The job and chunk of the logging task; the tasks and threads that it starts inherit them.
_job: contextvars.ContextVar[str] = contextvars.ContextVar("job", default="")
_chunk: contextvars.ContextVar[int | None] = contextvars.ContextVar("chunk", default=None)

_LONGEST: Final = 2000  # characters of a message
_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_LEVELS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_PLAIN: Final = "\x1b[m"
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a log in JSON."""

    time: str  # UTC, ISO 8601
    level: str
    message: str
    node: str = ""
    stage: str = ""
    job: str = ""
    chunk: int | None = None
    error: str = ""  # a traceback


def about(job: str, chunk: int | None = None) -> None:
    """Add the job and chunk to every line that this task logs from now on."""
    _job.set(job)
    _chunk.set(chunk)


def start(node: str, stage: str = "", *, form: LogFormat, debug: bool) -> None:
    """Log to stderr from now on."""
    form = resolved(form)
    handler = logging.StreamHandler()
    handler.setFormatter(_Json(node, stage) if form == "json" else _Text(stage, color=form == "color"))
    # Do not collect unused fields (see "Optimization" in Python's logging HOWTO): a fifth of the cost.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG if debug else logging.INFO)


def resolved(form: LogFormat) -> LogFormat:
    """`form`, with `auto` replaced by the one that fits stderr."""
    if form != "auto":
        return form
    if not sys.stderr.isatty():
        return "json"
    return "text" if os.environ.get("NO_COLOR") else "color"


def is_json() -> bool:
    """Whether this process logs in JSON."""
    return any(isinstance(handler.formatter, _Json) for handler in logging.root.handlers)


def said(line: str) -> str:
    """The readable text of a log line in any format."""
    try:
        logged = msgspec.json.decode(line, type=Line)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _STYLE.sub("", line)
    error = logged.error.strip().rpartition("\n")[2]
    return f"{logged.message}: {error}" if error else logged.message


class _Formatter(logging.Formatter):
    def _trace(self, record: logging.LogRecord) -> list[str]:
        """The lines of the traceback, if any."""
        if not record.exc_info:
            return []
        return [printable(line) for line in without_secrets(self.formatException(record.exc_info)).split("\n")]


class _Json(_Formatter):
    def __init__(self, node: str, stage: str) -> None:
        super().__init__()
        self._node, self._stage = node, stage
        self._encode = msgspec.json.Encoder().encode

    def format(self, record: logging.LogRecord) -> str:
        line = Line(
            time=f"{_utc(int(record.created))}.{int(record.msecs):03}Z",
            level=record.levelname.lower(),
            message=_safe(record.getMessage()),
            node=self._node,
            stage=self._stage,
            job=_job.get(),
            chunk=_chunk.get(),
            error="\n".join(self._trace(record)),
        )
        return self._encode(line).decode()


class _Text(_Formatter):
    def __init__(self, stage: str, *, color: bool) -> None:
        super().__init__()
        self._stage = stage or "v2t"
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        message = _safe(record.getMessage())
        parts = [
            self._in(_DIM, time.strftime("%H:%M:%S", time.localtime(record.created))),
            self._in(_BOLD, f"{self._stage:10}"),
        ]
        if record.levelno != logging.INFO:
            parts.append(self._in(_LEVELS.get(record.levelname, _DIM), record.levelname.lower()))
        parts.append(message)
        if (job := _job.get()) and job not in message:
            chunk = _chunk.get()
            parts.append(self._in(_DIM, f"job {job}" if chunk is None else f"job {job} chunk {chunk}"))
        return "\n".join((" ".join(parts), *self._trace(record)))

    def _in(self, style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if self._color else text


@functools.lru_cache(maxsize=1)  # lines come in bursts
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _safe(text: str) -> str:
    return one_line(without_secrets(text), _LONGEST)
