"""Copies a broker's streams, with their consumers, to files; in the layout of `nats account backup`.

Each stream has a folder: stream.tar.s2, as the server packs it (messages, consumers and their progress), and
backup.json, its configuration. The streams depend on each other, because a fact in one stands for work in another, so a
copy is valid only if nothing happened while it was made.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import nats.errors

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.store.protocol import MEDIA, TRANSCRIPTS, UPLOADS, VOICES
from v2t_stream.topology.streams import CHUNKS, DEAD, DONE, INBOX, JOBS, NODES, STREAMS

# Its contents matter only for the moment.
_STREAMS: Final = tuple(name for name in STREAMS if name != NODES)
_BUCKETS: Final = (f"OBJ_{MEDIA}", f"OBJ_{UPLOADS}", f"OBJ_{TRANSCRIPTS}", f"OBJ_{VOICES}")
_CHUNK: Final = 128 << 10  # bytes of one message
_PATIENCE: Final = 30.0  # seconds without an answer
_DATA: Final = "stream.tar.s2"
_INFO: Final = "backup.json"


async def backup(connection: Connection, folder: Path, *, buckets: bool) -> dict[str, int]:
    """Write all streams, and with `buckets` also the object store's, into `folder`; returns the messages in each.

    Raises BrokerError if something happened meanwhile: then the copy is inconsistent.
    """
    names = [*_STREAMS, *(_BUCKETS if buckets else ())]
    try:
        before = {name: await _state(connection, name) for name in names}
        for name in names:
            await _copy(connection, name, folder / name)
        await _check_rest(connection, before)
    except BaseException:
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    return {name: state["messages"] for name, state in before.items()}


async def restore(connection: Connection, folder: Path) -> dict[str, int]:
    """Create all streams in `folder`; returns the messages in each.

    A broker that was set up but never used counts as empty. Raises BrokerError if it has been used.
    """
    names = [place.parent.name for place in sorted(folder.glob(f"*/{_INFO}"))]
    if not {INBOX, JOBS, CHUNKS, DONE, DEAD} <= set(names):  # what every release has had
        raise BrokerError(f"{folder} holds no backup: name the folder that v2t backup wrote")
    present = {name: state for name in (*names, NODES) if (state := await _state(connection, name))}
    for name, state in present.items():
        if state["last_seq"] and name != NODES:
            raise BrokerError(
                f"the broker at {connection.url} has been used already ({name} has messages): restore into a new one, "
                "for example with another V2T_DATA_DIR"
            )
    for name in present:
        await connection.api(f"STREAM.DELETE.{name}")
    counts = {}
    try:
        for name in names:
            counts[name] = await _make(connection, name, folder / name)
    except BaseException:
        for name in counts:  # a half-restored stream could neither be used nor restored again
            with contextlib.suppress(BrokerError):
                await connection.api(f"STREAM.DELETE.{name}")
        raise
    return counts


async def _state(connection: Connection, stream: str) -> dict[str, Any]:
    """The state of a stream that changes when something happens in it; empty if it does not exist."""
    info = await connection.find(f"STREAM.INFO.{stream}")
    state = info["state"] if info else {}
    return {field: state[field] for field in ("messages", "last_seq", "num_deleted") if field in state}


async def _check_rest(connection: Connection, before: dict[str, dict[str, Any]]) -> None:
    """Raises BrokerError if a stream has changed."""
    for name, state in before.items():
        if await _state(connection, name) != state:
            raise BrokerError(
                f"{name} changed during the backup, so the copy would be inconsistent: stop v2t up and all nodes (they "
                "continue their work when they are back), then run it again"
            )


async def _copy(connection: Connection, stream: str, place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    client = connection.client
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        request = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": _CHUNK}
        info = await connection.api(f"STREAM.SNAPSHOT.{stream}", request)
        with (place / _DATA).open("wb") as file:
            while True:
                message = await subscription.next_msg(timeout=_PATIENCE)
                if not message.data:
                    break
                await asyncio.to_thread(file.write, message.data)
                if message.reply:
                    await client.publish(message.reply, b"")  # the server sends only so much before it needs this
        # The server ends this way both when all is sent and when something went wrong.
        if (message.headers or {}).get("Status", "204") != "204":
            raise BrokerError(f"{stream} could not be copied: {(message.headers or {}).get('Description')}")
    except (nats.errors.Error, TimeoutError) as error:
        raise BrokerError(f"{stream} could not be copied: the NATS server stopped sending it") from error
    finally:
        await subscription.unsubscribe()
    about = {"type": "stream", "config": info["config"], "state": info["state"]}
    (place / _INFO).write_text(json.dumps(about, indent=1))


async def _make(connection: Connection, stream: str, place: Path) -> int:
    about = json.loads((place / _INFO).read_text())
    request = {"config": about["config"], "state": about["state"]}
    inbox = (await connection.api(f"STREAM.RESTORE.{stream}", request))["deliver_subject"]
    async for chunk in _chunks(place / _DATA):
        try:
            reply = await connection.client.request(inbox, chunk, timeout=_PATIENCE)
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"{stream} could not be restored: the NATS server stopped taking it") from error
        answer = json.loads(reply.data) if reply.data else {}
        if "error" in answer:
            raise BrokerError(f"{stream} could not be restored: {answer['error'].get('description')}")
    return int(about["state"]["messages"])


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """The file, then the empty message that marks its end."""
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
    yield b""
