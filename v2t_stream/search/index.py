"""Writes the index."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from schemas.message import decode_as
from schemas.transcript import Seconds, Speaker
from v2t_stream.search.file import opened_to_write
from v2t_stream.search.folding import folded


class Line(msgspec.Struct, frozen=True):
    """A segment without the times of its words, which are most of a record."""

    start: Seconds
    end: Seconds
    text: str
    speaker: str = ""


class Lines(msgspec.Struct, frozen=True):
    """What the index needs of a record."""

    segments: tuple[Line, ...]
    speakers: tuple[Speaker, ...] = ()

    @classmethod
    def of(cls, record: bytes) -> Self:
        """Of a stored record. Raises msgspec.DecodeError."""
        return decode_as(cls, record)


class Index:
    """The index, for the one process that keeps it. All methods block, and raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._connection, self.is_new = opened_to_write(path)
        self._file = path.stat().st_ino

    def close(self) -> None:
        with self._turn:
            self._connection.close()

    @property
    def is_there(self) -> bool:
        """Whether the file is still the one that was opened: anybody may remove it, to have it made anew."""
        try:
            return self._path.stat().st_ino == self._file
        except FileNotFoundError:
            return False

    def known(self) -> dict[str, str]:
        """By job the transcript that is in the index."""
        with self._turn:
            return dict(self._connection.execute("SELECT job, transcript FROM jobs").fetchall())

    def replace(self, job: str, transcript: str, owner: str, lines: Lines) -> None:
        """Put a transcript there instead of what the job had."""
        key = folded(owner)
        names = {each.label: each.name for each in lines.speakers}
        with self._writing() as connection:
            _drop(connection, job)
            first = connection.execute("SELECT coalesce(max(last), 0) + 1 FROM jobs").fetchone()[0]
            connection.executemany(
                "INSERT INTO said (rowid, text, owner, start, end, speaker) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (row, folded(line.text), key, line.start, line.end, names.get(line.speaker) or line.speaker)
                    for row, line in enumerate(lines.segments, first)
                ),
            )
            last = first + len(lines.segments) - 1
            connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?)", (job, transcript, first, last))

    def drop(self, jobs: Sequence[str]) -> None:
        """Take jobs out."""
        for job in jobs:
            with self._writing() as connection:
                _drop(connection, job)

    def set_complete(self, *, yes: bool) -> None:
        """Tell readers whether all transcripts are in it."""
        with self._writing() as connection:
            connection.execute("DELETE FROM complete")
            connection.execute("INSERT INTO complete VALUES (?)", (yes,))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing of what the block does."""
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                yield self._connection


def _drop(connection: sqlite3.Connection, job: str) -> None:
    found: Iterable[tuple[int, int]] = connection.execute("SELECT first, last FROM jobs WHERE job = ?", (job,))
    for first, last in list(found):
        connection.execute("DELETE FROM said WHERE rowid BETWEEN ? AND ?", (first, last))
        connection.execute("DELETE FROM jobs WHERE job = ?", (job,))
