"""What an attacker can do in any role except the operator's: tries everything that the server offers."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pytest
from nats.aio.msg import Msg

from schemas.requests import SubmitRequest
from tests import server_api
from tests.builders import dead, submitted
from tests.patience import PATIENCE
from tests.secured import Secured, secured
from v2t_stream.access.roles import ROLES, Role, role
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, Denied, StoreError
from v2t_stream.jobs.lists import read as read_job
from v2t_stream.jobs.operations import cancel
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.record import digest_of
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import CHUNKS, DEAD, DONE, INBOX, JOBS, STREAMS
from v2t_stream.topology.subjects import BUCKET_SUBJECT, SUBMIT_SUBJECT

GUESTS: Final = ("viewer", "submitter", "notifier")
BUCKETS: Final = tuple(f"OBJ_v2t_{name}" for name in ("media", "uploads", "transcripts", "models", "voices"))
EVERY_STREAM: Final = (*STREAMS, *BUCKETS)
DURABLES: Final = {
    stream: [each.durable for row in STAGES if row.stream == stream for each in row.consumers]
    for stream in EVERY_STREAM
}
UPLOADS: Final = "OBJ_v2t_uploads"
MODELS: Final = "OBJ_v2t_models"
VOICES: Final = "OBJ_v2t_voices"
FORGED: Final = {"Nats-Request-Info": '{"acc": "V2T", "svc": "V2T"}'}  # by which servers tell for whom they ask
_AT_ONCE: Final = 50  # requests; a server ends the connection of whom it has more to send than he takes
TRUSTED: Final = ("OBJ_v2t_media", "OBJ_v2t_transcripts")  # what a worker replaces and removes


class Secret(NamedTuple):
    """A secret that nobody else may learn."""

    key: str  # of what was sent
    data: bytes
    link: str

    def marks(self, guest: str) -> list[bytes]:
        """Marks to recognize it by, however it is wrapped. A viewer knows the keys from the facts of jobs."""
        plain = [self.data[:48], self.link.encode(), *([self.key.encode()] if guest != "viewer" else [])]
        return [*plain, *(base64.b64encode(each)[4:-4] for each in plain)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("secured")) as running:
        yield running


@pytest.fixture
async def operator(broker: Secured) -> AsyncIterator[Connection]:
    async with await broker.connect("operator") as connection:
        yield connection


@pytest.fixture
async def secret(broker: Secured, operator: Connection) -> Secret:
    """A submitter's waiting upload and link, and one of everything else."""
    mine = Secret(
        f"media/uploads/{secrets.token_hex(12)}/source.flac",
        secrets.token_hex(1_000_000).encode(),
        f"https://example.com/{secrets.token_hex(12)}.mp3",
    )
    async with await broker.connect("submitter") as connection:
        await JetStreamStore(connection).put(mine.key, mine.data)
        await submit(connection, SubmitRequest(url=mine.link))
    store = JetStreamStore(operator)
    await store.put("media/j/source", mine.data)
    await store.put("transcripts/j/transcript.txt", b"text")
    await store.put("models/m/model.bin", b"model")
    await operator.publish(submitted("j"))
    await operator.publish(dead("j"))
    return mine


async def held(connection: Connection) -> dict[str, Any]:
    """Each stream's configuration and contents, to the byte, and each consumer's progress."""
    found: dict[str, Any] = {}
    for stream in EVERY_STREAM:
        info = await connection.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
        found[stream] = info["created"], info["config"]
        listed = (await connection.api(f"CONSUMER.LIST.{stream}"))["consumers"]
        found[f"{stream} consumers"] = [
            (each["name"], each["config"], each["delivered"]["consumer_seq"], each["num_waiting"]) for each in listed
        ]
        if stream != "KV_v2t_nodes":
            messages = [stored async for stored in connection.watch(stream, ">", live=False) if stored]
            found[f"{stream} messages"] = {(each.sequence, each.subject): each.data for each in messages}
    return found


class Attacker:
    """Sends arbitrary data, and keeps all answers."""

    def __init__(self, connection: Connection) -> None:
        self._client = connection.client
        self.heard = bytearray()
        self.denied: set[str] = set()
        self._sent = 0
        self._tell = connection.client._error_cb

    async def __aenter__(self) -> Self:
        async def on_error(error: Exception) -> None:
            if "permissions violation for publish" in str(error).lower():
                self.denied.add(str(error).split('"')[1].lower())

        async def hear(message: Msg) -> None:
            self.heard += message.data + json.dumps(dict(message.headers or {})).encode()

        self._client._error_cb = on_error
        self._inbox = self._client.new_inbox()
        for subject in ("_INBOX.>", ">", "v2t.>", "$JS.>", "$O.>", "$KV.>", "$SYS.>"):
            await self._client.subscribe(subject, cb=hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client._error_cb = self._tell

    async def send(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._sent += 1
        reply = f"{self._inbox}.{self._sent}"
        await self._client.publish(subject, payload, reply=reply, headers=headers)
        if self._sent % _AT_ONCE == 0:
            await self.rest()

    async def rest(self) -> None:
        """Wait until the server has read all of it and sent its immediate answers."""
        await self._client.flush(int(PATIENCE))
        await asyncio.sleep(0.02)


def api_subjects() -> list[str]:
    """Every subject of the API and the system, for every stream and consumer, under both names used here."""
    plain = {each for pattern in server_api.subjects() for each in server_api.filled(pattern, DURABLES)}
    plain |= {f"$JS.API.DIRECT.GET.{stream}.{subject}" for stream in EVERY_STREAM for subject in (">", "$O.*.M.*", "*")}
    plain |= {f"$JS.API.DIRECT.GET.{UPLOADS}.$O.v2t_uploads.{kind}.{last}" for kind in "CM" for last in "*>x"}
    mapped = {"v2t.api." + each.removeprefix("$JS.API.") for each in plain if each.startswith("$JS.API.")}
    return sorted(plain | mapped)


def payloads(subject: str, reply: str) -> Iterator[bytes]:
    """All kinds of requests and commands, for any purpose."""
    yield b""
    stream = next((each for each in EVERY_STREAM if each in subject.split(".")), JOBS)
    consumer: dict[str, Any] = {"name": "evil", "durable_name": "evil", "ack_policy": "none"}
    for request in (
        {"stream_name": stream, "config": {**consumer, "deliver_subject": SUBMIT_SUBJECT, "headers_only": True}},
        {"subjects_filter": ">", "deleted_details": True},
        {"last_by_subj": ">"},
        {"last_by_subj": "$O.v2t_uploads.M.*"},
        {"seq": 1},
        {"seq": 1, "next_by_subj": ">", "batch": 1000},
        {"multi_last": [">"]},
        {"batch": 100, "no_wait": True},
        {"name": stream, "subjects": ["evil.>"]},
        {"stream_name": stream, "config": consumer},
        {"stream_name": stream, "config": {**consumer, "deliver_subject": reply}, "action": "create"},
        {"stream_name": stream, "config": {"ack_policy": "none", "inactive_threshold": 3_600_000_000_000}},
        {"seq": 1, "no_erase": True},
        {"filter": ">"},
        {"pause_until": "2050-01-01T00:00:00Z"},
        {"deliver_subject": reply, "no_consumers": True},
    ):
        yield json.dumps(request).encode()


def published(of: Role) -> Iterator[str]:
    """Subjects on which a role may publish, including some that a server might read as wildcards."""
    for pattern in of.publishes:
        yield pattern
        yield pattern.replace("*", "x").replace(">", "x")
        yield pattern.replace("*", ">")


def test_the_list_of_what_the_server_answers_is_whole() -> None:
    """Else the tests below check nothing, because the server's executable has a different form."""
    for known in ("STREAM.PURGE.*", "STREAM.MSG.DELETE.*", "CONSUMER.CREATE.*", "CONSUMER.RESET.%s.%s", "STREAM.LIST"):
        assert f"$JS.API.{known}" in server_api.subjects()
    assert "$SYS.REQ.SERVER.PING" in server_api.subjects()
    assert f"$JS.API.CONSUMER.PAUSE.{CHUNKS}.transcribe-cpu" in api_subjects()


@pytest.mark.parametrize("guest", GUESTS)
async def test_whatever_a_guest_does_the_work_and_the_words_of_others_stay(
    guest: str, broker: Secured, operator: Connection, secret: Secret
) -> None:
    """Else a stolen password of a viewer stops the fleet, or a submitter reads, swaps or removes what others sent."""
    before = await held(operator)
    heard = await everything_tried(broker, guest)
    after = await held(operator)
    for name, was in before.items():
        if name.endswith("messages"):
            assert was.items() <= after[name].items(), name
            assert guest != "viewer" or was == after[name], name
        else:
            assert was == after[name], name
    assert len(heard) > 1000  # it heard something, and so would have heard this
    assert not [mark for mark in secret.marks(guest) if mark in heard]
    assert await JetStreamStore(operator).get(secret.key) == secret.data


async def test_whatever_a_worker_does_there_is_only_what_it_must_be_trusted_with(
    broker: Secured, operator: Connection, secret: Secret
) -> None:
    """Else a stolen laptop is an operator: it creates consumers that make the server write wherever it likes.

    A worker stores facts, media and transcripts, so it can spoil those. It changes no stream, makes and removes no
    consumer, empties no stream of the work, submits nothing, and writes neither uploads nor shared models nor voices.
    """
    before = await held(operator)
    await everything_tried(broker, "worker")
    after = await held(operator)
    for name, was in before.items():
        if name.endswith("consumers"):
            assert [each[:2] for each in was] == [each[:2] for each in after[name]], name
        elif not name.endswith("messages"):
            assert was == after[name], name
        elif name.split()[0] not in TRUSTED:
            assert was.items() <= after[name].items(), name
    assert before[f"{UPLOADS} messages"] == after[f"{UPLOADS} messages"]
    assert before[f"{MODELS} messages"] == after[f"{MODELS} messages"]
    assert before[f"{VOICES} messages"] == after[f"{VOICES} messages"]
    inbox = f"{INBOX} messages"
    assert {subject for _, subject in after[inbox].keys() - before[inbox].keys()} == {BUCKET_SUBJECT}
    assert await JetStreamStore(operator).get(secret.key) == secret.data


async def everything_tried(broker: Secured, user: str) -> bytes:
    """Try everything as that user; returns the answers."""
    async with await broker.connect(user) as connection, Attacker(connection) as attacker:
        subjects = api_subjects()
        for subject in subjects:
            await attacker.send(subject)
        await attacker.rest()
        answered = [subject for subject in subjects if subject.lower() not in attacker.denied]
        assert len(attacker.denied) > len(subjects) / 2
        for subject in reversed(answered):  # so that what is made is not removed again
            for payload in payloads(subject, connection.client.new_inbox()):
                await attacker.send(subject, payload)
                await attacker.send(subject, payload, FORGED)
                for reply in (f"$JS.API.STREAM.DELETE.{DEAD}", SUBMIT_SUBJECT, f"$O.{MODELS[4:]}.M.x"):
                    await connection.client.publish(subject, payload, reply=reply)
        for subject in published(role(user)):
            for header in server_api.headers():
                for value in ("all", "sub", "0", "1", "@every 1s", "1s", f"$JS.API.STREAM.DELETE.{DEAD}", "$O.*.M.*"):
                    await attacker.send(subject, b"x", {header: value})
        await attacker.rest()
        await asyncio.sleep(0.5)  # what it set off
        return bytes(attacker.heard)


@pytest.mark.parametrize(("guest", "stream"), [("viewer", JOBS), ("submitter", INBOX)])
async def test_a_guest_that_floods_the_broker_slows_only_itself(
    guest: str, stream: str, broker: Secured, operator: Connection
) -> None:
    """Else a viewer can stop the workers: a server with 10,000 pending requests drops them all."""
    async with await broker.connect(guest) as connection:
        for _ in range(15_000):
            await connection.client.publish(f"$JS.API.STREAM.INFO.{stream}", reply="_INBOX.flood")
        for _ in range(20):
            async with asyncio.timeout(2):
                await operator.client.request(f"$JS.API.STREAM.INFO.{DONE}", timeout=2)
                assert await operator.publish(submitted(secrets.token_hex(4)))


async def test_guests_get_a_share_of_the_connections_and_an_error_beyond_it(broker: Secured) -> None:
    """Else a viewer who keeps connecting locks out the workers, or reads that no server answers."""
    limit = role("viewer").connections
    assert 0 < limit < 65_536 / 8  # of what a server takes by default
    async with contextlib.AsyncExitStack() as stack:
        auth = broker.folder / "auth.conf"
        was = auth.read_text()
        auth.write_text(was.replace(f"max_connections: {limit}", "max_connections: 3"))
        broker.reload()
        try:
            for _ in range(3):
                await stack.enter_async_context(await broker.connect("viewer"))
            with pytest.raises(BrokerError, match="takes no more connections for this user's role"):
                await broker.connect("viewer")
            async with await broker.connect("worker") as worker:
                assert await worker.messages(JOBS) >= 0
        finally:
            auth.write_text(was)
            broker.reload()


async def test_an_upload_is_never_replaced(broker: Secured, operator: Connection, secret: Secret) -> None:
    """Else anyone who learns a key can swap the file between the submission and its download."""
    async with await broker.connect("submitter") as connection:
        with pytest.raises(StoreError, match="is already stored and cannot be replaced"):
            await JetStreamStore(connection).put(secret.key, b"other")
    assert await JetStreamStore(operator).get(secret.key) == secret.data


@pytest.mark.parametrize("size", [1000, 3_000_000], ids=["one message", "several messages"])
async def test_what_is_written_behind_an_upload_counts_for_nothing(
    size: int, broker: Secured, operator: Connection
) -> None:
    """Else anyone who learns a key can put their own words into the sender's transcript."""
    key, data = f"media/uploads/{secrets.token_hex(12)}/source.flac", os.urandom(size)
    store = JetStreamStore(operator)
    record_subject = f"$O.v2t_uploads.M.{base64.urlsafe_b64encode(key.encode()).decode()}"
    async with await broker.connect("submitter") as sender, await broker.connect("submitter") as thief:
        await JetStreamStore(sender).put(key, data)
        written = await operator.last(UPLOADS, record_subject)
        assert written
        record = json.loads(written.data)
        other = b"words of somebody else"
        forged = {**record, "nuid": "other", "size": len(other), "chunks": 1, "digest": digest_of(sha256(other))}
        await thief.client.jetstream().publish("$O.v2t_uploads.C.other", other)
        await thief.client.jetstream().publish(f"$O.v2t_uploads.C.{record['nuid']}", other)
        await thief.client.jetstream().publish(record_subject, json.dumps(forged).encode())
    assert await store.get(key) == data
    assert (await store.size(key), await store.sha256(key)) == (size, sha256(data).hex())
    await store.delete(key)
    assert await store.size(key) is None
    assert not await operator.subjects(UPLOADS, record_subject)


@pytest.mark.parametrize(
    "forged",
    [
        *({"nuid": nuid} for nuid in (">", "*", "x.>", "x\n", "x y", "x\r\nPUB y 0")),
        *({"digest": digest} for digest in ("SHA-256=abc", "SHA-256=é", "MD5=", "no")),
        {"chunks": -1},
        {"size": -1},
    ],
    ids=str,
)
async def test_a_forged_record_of_an_upload_leads_nowhere(
    forged: dict[str, Any], broker: Secured, operator: Connection, secret: Secret
) -> None:
    """Else cancelling a stranger's job empties everyone's bucket, through a wildcard in the stranger's record."""
    key = f"media/uploads/{secrets.token_hex(12)}/source.flac"
    record = {"name": key, "nuid": "mine", "size": 1, "chunks": 1, "digest": digest_of(sha256(b"")), **forged}
    async with await broker.connect("submitter") as stranger:
        subject = f"$O.v2t_uploads.M.{base64.urlsafe_b64encode(key.encode()).decode()}"
        await stranger.client.jetstream().publish(subject, json.dumps(record).encode())
        job, _ = await submit(stranger, SubmitRequest(media=key))
    store = JetStreamStore(operator)
    for read in (store.size, store.sha256, store.get, store.delete):
        with pytest.raises(StoreError, match="its record in the store cannot be read"):
            await read(key)
    await operator.publish(submitted(job, media=key))
    await cancel(operator, store, await read_job(operator, job))
    assert await store.get(secret.key) == secret.data


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def test_a_guessed_id_swallows_no_submission(broker: Secured, tmp_path: Path) -> None:
    """Else a stranger who guesses a submission makes it count as sent, and the sender gets the id of another job."""
    request = SubmitRequest(url="https://example.com/talk.mp3")
    async with await broker.connect("submitter") as thief, await broker.connect("submitter") as sender:
        stolen, _ = await submit(thief, request)
        job, duplicate = await submit(sender, request)
        assert (job == stolen, duplicate) == (False, False)


async def test_what_a_submitter_could_not_send_leaves_no_warning(
    broker: Secured, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a submitter whose file cannot be read also gets a warning about permissions."""

    class Broken:
        def read(self, _: int) -> bytes:
            data, self.data = self.data, None
            if data is None:
                raise OSError("the disk is gone")
            return data

        data: bytes | None = os.urandom(100_000)

    async with await broker.connect("submitter") as connection:
        bucket = JetStreamStore(connection)._buckets["media/uploads"]
        with pytest.raises(OSError, match="gone"):
            await bucket.upload("media/uploads/x/y", Broken())  # type: ignore[arg-type]
        await connection.client.flush()
        with pytest.raises(Denied):
            await connection.api(f"STREAM.PURGE.{UPLOADS}")
    assert "denied permission" not in caplog.text


async def test_what_is_refused_after_somebody_gave_up_leaves_no_warning(
    broker: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    """Else only one of several refused requests is reported, and the others fill the log."""
    refused: asyncio.Queue[Exception] = asyncio.Queue()
    async with await broker.connect("viewer") as connection:
        hear = connection.client._error_cb

        async def on_error(error: Exception) -> None:
            await hear(error)
            refused.put_nowait(error)

        connection.client._error_cb = on_error
        for subject in ("v2t.submit", f"$JS.API.STREAM.PURGE.{JOBS}"):
            asking = asyncio.create_task(connection.client.request(subject, b"", 5))
            await asyncio.sleep(0)  # it is sent, and given up before the server has read it
            asking.cancel()
            await asyncio.wait({asking})
            async with asyncio.timeout(PATIENCE):
                await connection.client.flush()
                await refused.get()
        assert "denied permission" not in caplog.text
        await connection.client.publish("v2t.job.j.submitted", b"")  # which waits for no answer
        async with asyncio.timeout(PATIENCE):
            await connection.client.flush()
            await refused.get()
    assert caplog.text.count("denied permission") == 1


def test_every_role_but_those_of_our_own_processes_is_a_guest() -> None:
    """Else a new role is not tried."""
    assert {each.name for each in ROLES} == {"operator", "worker", "server", *GUESTS}
