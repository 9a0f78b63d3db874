"""All subjects that a nats-server answers, read from the server itself."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from nats.js.api import Header

from v2t_stream.broker.embedded import server_path

_SUBJECT: Final = re.compile(rb"\$(?:JS|SYS|JSC|NRG|G)((?:\.(?:[A-Z]+|\*|>|%s))+)")
_HOLES: Final = ("*", "%s", ">")
# Headers that nats-py does not list: to read elsewhere in the stream, to trace a message, and between servers.
_MORE_HEADERS: Final = (
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Trace-Dest",
    "Nats-Trace-Only",
    "Nats-Trace-Hop",
    "Nats-Trace-Origin-Account",
    "Nats-Stream-Source",
    "Nats-Counter-Sources",
    "Nats-Request-Info",
    "Nats-Required-Api-Level",
    "Nats-Response-Type",
    "traceparent",
)


@functools.cache
def subjects() -> frozenset[str]:
    """The patterns of all subjects that the server knows, from its executable.

    Nothing separates them there from what follows, so each prefix of a pattern's last word counts as one.
    """
    found = {match[0].decode() for match in _SUBJECT.finditer(Path(server_path()).read_bytes())}
    beginnings = {each[:end] for each in found for end in range(each.rindex(".") + 2, len(each) + 1)}
    return frozenset(beginnings)


def headers() -> list[str]:
    """The headers that make the server do something."""
    return [*(each.value for each in Header if each.value.startswith("Nats-")), *_MORE_HEADERS]


def filled(pattern: str, consumers: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """`pattern` with streams and consumers filled in; `consumers`: by stream."""
    tokens = pattern.split(".")
    holes = [place for place, token in enumerate(tokens) if token in _HOLES]
    for values in _values(len(holes), consumers):
        for place, value in zip(holes, values, strict=True):
            tokens[place] = value
        yield ".".join(tokens)


def _values(holes: int, consumers: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    match holes:
        case 0:
            yield ()
        case 1:
            yield from ((stream,) for stream in (*consumers, "*", ">"))
        case _:
            rest = ("evil",) * (holes - 2)
            for stream, names in consumers.items():
                yield from ((stream, name, *rest) for name in itertools.chain(names, ("evil", "*", ">")))
