"""Message ids for what this machine sends to the inbox: the same submission twice within two minutes makes one job.

The id is random and stored here, because anyone who knew it beforehand could use it first: of two messages with one id
the stream keeps the first, whoever sent it. A hash of the submission would be known to everyone who can guess it.
"""

import hashlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from v2t_stream.host.private_file import write_private
from v2t_stream.topology.streams import DEDUPE_WINDOW

_FILE: Final = "sent.json"


class _Sent(msgspec.Struct, frozen=True):
    id: str
    at: float  # Unix seconds


def message_ids(home: Path, sent: Sequence[object], *, anew: bool = False) -> list[str]:
    """An id for each of `sent`. If the folder `home` cannot be read or written, the ids are always new.

    `anew`: from now on they have other ids, because what was sent before came to nothing.
    """
    now = time.time()
    file = home / _FILE
    try:
        before = msgspec.json.decode(file.read_bytes(), type=dict[str, _Sent])
    except (OSError, msgspec.DecodeError):
        before = {}
    known = {digest: one for digest, one in before.items() if 0 <= now - one.at < DEDUPE_WINDOW}
    digests = [hashlib.sha256(msgspec.json.encode(each)).hexdigest() for each in sent]
    for digest in digests:
        if anew or digest not in known:
            known[digest] = _Sent(secrets.token_urlsafe(), now)
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_private(file, msgspec.json.encode(known).decode())
    except OSError:
        pass
    return [known[digest].id for digest in digests]
