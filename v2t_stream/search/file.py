"""The file of the index: one for each broker, made by one process at a time and read by any number."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

VERSION: Final = 1  # of what is in the file; one of another version is made anew
PATIENCE: Final = 10.0  # seconds that SQLite waits for another process

_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CODE: Final = 0xFF  # the rest says where

# Where a job's segments are: their rows follow each other, so a segment's number needs no column.
_TABLES: Final = """
CREATE TABLE jobs (job TEXT PRIMARY KEY, transcript TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX rows ON jobs (first);
CREATE TABLE complete (yes INTEGER NOT NULL);
CREATE VIRTUAL TABLE said USING fts5 (
    text, owner, start UNINDEXED, end UNINDEXED, speaker UNINDEXED,
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co Mc Mn'", prefix = '1 2 3'
);
"""


def path_for(home: Path, broker: str) -> Path:
    """The index of the jobs on a broker, in the data folder. `broker`: its URL as it is set up, empty if it is not."""
    name = hashlib.sha256(broker.encode()).hexdigest()[:16] if broker else "here"
    return home / "search" / f"{name}.sqlite"


def remove(path: Path) -> None:
    """Whoever keeps the index makes it anew within seconds."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def opened_to_write(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The index, and whether it is new: there was none, or one that cannot be used. Raises sqlite3.Error."""
    if not path.exists():
        remove(path)  # what is left beside a file that is gone belongs to no other
        return _made(path), True
    connection = _connected(path)
    try:
        if _version(connection) == VERSION:
            connection.execute("SELECT count(*) FROM jobs").fetchone()
            return connection, False
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            connection.close()
            raise
    connection.close()
    remove(path)
    return _made(path), True


@contextlib.contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The index as it is now, while the block runs; None if there is none yet. Raises sqlite3.Error."""
    if not path.exists():
        yield None
        return
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("BEGIN")
        yield connection if _version(connection) == VERSION else None


def is_broken(error: sqlite3.Error) -> bool:
    """Whether it says that the file is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & _CODE in _BROKEN


def _made(path: Path) -> sqlite3.Connection:
    connection = _connected(path)
    connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
    return connection


def _connected(path: Path) -> sqlite3.Connection:
    # One thread at a time uses it, but not always the same one.
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    with contextlib.suppress(sqlite3.DatabaseError):  # the first look at what is in it says more
        connection.execute("PRAGMA journal_mode = WAL")  # readers wait for nobody
        connection.execute("PRAGMA synchronous = NORMAL")  # what a crash of the machine takes comes again
    return connection


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
