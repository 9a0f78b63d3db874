"""What each role can and cannot do, on a real server with the files of `v2t secrets init`."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from schemas.events import Cancelled, Corrected, Failed, Named, Rerun
from schemas.once import Once
from schemas.options import Options
from tests.builders import dead, submitted, task
from tests.harness import ALL_STAGES, DATA, alive, node, reference, s3_server, served
from tests.harness import broker as open_broker
from tests.observed import pulled
from tests.patience import PATIENCE
from tests.secured import Secured, secured
from v2t_stream.access import credentials, keys
from v2t_stream.access.roles import ROLES
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.errors import BrokerError, Denied, Refused
from v2t_stream.fleet.presence import check_may_work, fleet
from v2t_stream.jobs.dead_letters import dead_letters
from v2t_stream.jobs.lists import history, read
from v2t_stream.jobs.operations import cancel
from v2t_stream.monitoring.survey import Surveyor
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.topology.ids import inbox_epoch
from v2t_stream.topology.queues import queues
from v2t_stream.topology.streams import CHUNKS, DEAD, DONE, INBOX, JOBS, NODES, STREAMS
from v2t_stream.topology.subjects import BUCKET_SUBJECT, SUBMIT_SUBJECT

CLIP = str(DATA / "5s.flac")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("secured")) as running:
        yield running


def new() -> str:
    """An unused name."""
    return f"n{next(_numbers)}-{secrets.token_hex(4)}"


async def take(connection: Connection, stream: str, consumer: str, group: str | None = None) -> None:
    async with Puller(connection.client, stream, consumer, group=group) as puller:
        await puller.next(0)


async def make_consumer(connection: Connection, name: str) -> None:
    await connection.api(f"CONSUMER.CREATE.{JOBS}.{name}", {"stream_name": JOBS, "config": {"name": name}})
    await connection.api(f"CONSUMER.DELETE.{JOBS}.{name}")


async def discard(connection: Connection) -> None:
    with contextlib.suppress(Refused):  # no such message, for who may
        await connection.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": 1, "no_erase": True})


Action = Callable[[Connection], Awaitable[Any]]
EVERYBODY = {role.name for role in ROLES}

# What is done, and who may.
ACTIONS: dict[str, tuple[set[str], Action]] = {
    "submit": ({"operator", "submitter", "server"}, lambda c: c.submit(SUBMIT_SUBJECT, b"http://127.0.0.1:1/", new())),
    "learn the id of a submission": (EVERYBODY - {"notifier"}, inbox_epoch),
    "tell of an upload": ({"operator", "notifier", "worker"}, lambda c: c.submit(BUCKET_SUBJECT, b"{}", new())),
    "follow jobs": ({"operator", "worker", "viewer", "server"}, lambda c: history(c, ["v2t.job.>"])),
    "list jobs": ({"operator", "worker", "viewer", "server"}, lambda c: c.subjects(JOBS, "v2t.job.*.submitted")),
    "read a fact": ({"operator", "worker", "viewer", "server"}, lambda c: c.last(JOBS, "v2t.job.x.submitted")),
    "read what was done": ({"operator", "worker", "viewer", "server"}, lambda c: c.last(DONE, "v2t.done.x")),
    "read dead letters": ({"operator", "worker", "viewer", "server"}, lambda c: c.last(DEAD, "v2t.dead.x.y")),
    "see the fleet": ({"operator", "worker", "viewer", "server"}, fleet),
    "see all queues": ({"operator", "worker", "viewer", "server"}, queues),
    "count everything": ({"operator", "worker", "viewer", "server"}, lambda c: Surveyor(c).look()),
    "see shared models": ({"operator", "worker", "viewer", "server"}, lambda c: JetStreamStore(c).keys("models/")),
    "share a model": ({"operator"}, lambda c: JetStreamStore(c).put(f"models/{new()}/x", b"x")),
    "list dead letters": ({"operator", "worker", "viewer", "server"}, dead_letters),
    "remove a dead letter": ({"operator", "server"}, discard),
    "copy a stream": (
        {"operator"},
        lambda c: c.api(f"STREAM.SNAPSHOT.{DONE}", {"deliver_subject": c.client.new_inbox()}),
    ),
    "see a queue": (
        {"operator", "worker", "viewer", "server"},
        lambda c: c.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-cpu"),
    ),
    "read a transcript": (
        {"operator", "worker", "viewer", "server"},
        lambda c: JetStreamStore(c, timeout=5).get("transcripts/kept/transcript.txt"),
    ),
    "read a long transcript": (
        {"operator", "worker", "viewer", "server"},
        lambda c: JetStreamStore(c, timeout=5).get("transcripts/long/transcript.txt"),
    ),
    "read media": ({"operator", "worker", "server"}, lambda c: JetStreamStore(c, timeout=5).get("media/kept/source")),
    "send a file": (
        {"operator", "submitter", "server"},
        lambda c: JetStreamStore(c).put(f"media/uploads/{new()}/source", os.urandom(3_000_000)),
    ),
    "replace the media of a job": (
        {"operator", "worker"},
        lambda c: JetStreamStore(c).put("media/kept/source", b"media"),
    ),
    "read what was sent": (
        {"operator", "worker", "server"},
        lambda c: JetStreamStore(c, timeout=5).get("media/uploads/kept/source"),
    ),
    "see under which keys something was sent": (
        {"operator", "worker", "viewer", "server"},
        lambda c: JetStreamStore(c).delete_prefix("media/uploads/no"),
    ),
    "store a transcript": (
        {"operator", "worker", "server"},
        lambda c: JetStreamStore(c).put(f"transcripts/{new()}/transcript.txt", b"x"),
    ),
    "remove media": ({"operator", "worker", "server"}, lambda c: JetStreamStore(c).delete(f"media/{new()}/source")),
    "read a voice": ({"operator", "worker"}, lambda c: JetStreamStore(c).get("voices/kept/voice.json")),
    "keep a voice": ({"operator"}, lambda c: JetStreamStore(c).put(f"voices/{new()}/voice.json", b"x")),
    "remove a voice": ({"operator"}, lambda c: c.api("STREAM.PURGE.OBJ_v2t_voices", {"filter": "none"})),
    "take a chunk": ({"operator", "worker"}, lambda c: take(c, CHUNKS, "transcribe-cpu")),
    "take a chunk for anybody": ({"operator", "worker"}, lambda c: take(c, CHUNKS, "transcribe-any", "any")),
    "take a submission": ({"operator", "worker"}, lambda c: take(c, INBOX, "intake")),
    "take a download": ({"operator", "worker"}, lambda c: take(c, JOBS, "download")),
    "take a webhook": ({"operator", "server"}, lambda c: take(c, JOBS, "notify")),
    "publish a fact": ({"operator", "worker"}, lambda c: c.publish(submitted(new()))),
    "cancel a job": ({"operator", "worker", "server"}, lambda c: c.publish(Cancelled(job=new()))),
    "retry a job": (
        {"operator", "worker", "server"},
        lambda c: c.publish(Rerun(job=(job := new()), run=1, begins=submitted(job))),
    ),
    "correct a transcript": (
        {"operator", "worker", "server"},
        lambda c: c.publish(Corrected(job=new(), run=1, transcript="t", of="o", by="me")),
    ),
    "name speakers": ({"operator", "worker", "server"}, lambda c: c.publish(Named(job=new(), people=()))),
    "say that a job failed": (
        {"operator", "worker"},
        lambda c: c.publish(Failed(job=new(), stage="download", reason="no reason")),
    ),
    "remember a request": ({"operator", "server"}, lambda c: c.publish(Once(job="x", name=new(), digest="d"))),
    "read the keys": ({"operator", "server"}, keys.listed),
    "make a key": ({"operator"}, lambda c: keys.add(c, new(), "viewer")),
    "be a node": ({"operator", "worker"}, lambda c: check_may_work(c, "test")),
    "purge chunks": (
        {"operator", "server"},
        lambda c: c.api(f"STREAM.PURGE.{CHUNKS}", {"filter": "v2t.chunk.*.none.>"}),
    ),
    "withdraw a fact": (
        {"operator", "server"},
        lambda c: c.api(f"STREAM.PURGE.{JOBS}", {"filter": "v2t.job.none.failed"}),
    ),
    "set up": ({"operator"}, lambda c: set_up(c, Settings())),
    "make a stream": ({"operator"}, lambda c: c.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})),
    "delete a stream": ({"operator"}, lambda c: c.api(f"STREAM.DELETE.{DEAD}")),
    "read a submission that waits": (
        {"operator", "server"},
        lambda c: c.last(INBOX, SUBMIT_SUBJECT),
    ),
    "make a consumer": ({"operator"}, lambda c: make_consumer(c, "x")),
    "delete a consumer": ({"operator"}, lambda c: c.api(f"CONSUMER.DELETE.{JOBS}.convert")),
    "remake a consumer": ({"operator"}, lambda c: c.api(f"CONSUMER.CREATE.{JOBS}.convert", _REMADE)),
    "pause a consumer": ({"operator"}, lambda c: c.api(f"CONSUMER.PAUSE.{JOBS}.convert", {})),
    "list streams": ({"operator"}, lambda c: c.api("STREAM.NAMES")),
}
_REMADE = {"stream_name": JOBS, "config": {"durable_name": "convert", "ack_policy": "explicit"}}


@pytest.fixture(scope="module")
def filled(broker: Secured) -> Secured:
    """A broker with something to read and to take."""

    async def fill() -> None:
        async with await broker.connect("operator") as connection:
            store = JetStreamStore(connection)
            await store.put("media/kept/source", b"media")
            await store.put("media/uploads/kept/source", os.urandom(2_500_000))
            await store.put("transcripts/kept/transcript.txt", b"text")
            await store.put("transcripts/long/transcript.txt", os.urandom(2_500_000))
            await store.put("voices/kept/voice.json", b"voice")
            await connection.publish(submitted("x"))
            await connection.publish(dead("x", stage="intake", original_subject="v2t.submit"))

    asyncio.run(fill())
    return broker


@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_a_role_may_do_what_it_needs_and_nothing_else(role: str, filled: Secured) -> None:
    """Else a worker cannot work, or a stolen password of a viewer empties the queues.

    What is refused is refused at once, with a sentence that names the user and whose credentials would do.
    """
    async with await filled.connect(role) as connection:
        for name, (allowed, action) in ACTIONS.items():
            refusal = ""
            try:
                await action(connection)
            except Denied as error:
                refusal = str(error)
            assert (refusal == "") == (role in allowed), f"{name}: {refusal}"
            assert not refusal or re.fullmatch(
                rf"the user {role} may not .+ \(publish .+\): use an? .+ credentials", refusal
            )
            if role == "operator":
                await set_up(connection, Settings())


async def state(connection: Connection) -> dict[str, tuple[object, ...]]:
    """Each stream's configuration and contents, except what some roles may send, and the age of nodes' reports."""
    found = {}
    for stream in (
        *STREAMS,
        "OBJ_v2t_media",
        "OBJ_v2t_uploads",
        "OBJ_v2t_transcripts",
        "OBJ_v2t_models",
        "OBJ_v2t_voices",
    ):
        info = await connection.api(f"STREAM.INFO.{stream}")
        holds = [info["state"][name] for name in ("last_seq", "messages")]
        holds = [] if stream == INBOX else holds[: 1 if stream == NODES else 2]
        found[stream] = (info["created"], *holds, info["state"]["consumer_count"])
    return found


ANSWERED = {
    "worker": (
        (f"$JS.API.CONSUMER.MSG.NEXT.{CHUNKS}.transcribe-cuda", b'{"batch": 1, "no_wait": true}'),
        (f"$JS.API.DIRECT.GET.{JOBS}", b'{"last_by_subj": "v2t.job.none.failed"}'),
        (f"$JS.API.DIRECT.GET.{JOBS}", b'{"last_by_subj": "v2t.job.x.submitted"}'),
    ),
    "viewer": (
        (f"$JS.API.DIRECT.GET.{JOBS}", b'{"last_by_subj": "v2t.job.none.failed"}'),
        (f"$JS.API.DIRECT.GET.{JOBS}", b'{"last_by_subj": "v2t.job.x.submitted"}'),
        (f"$JS.API.STREAM.INFO.{JOBS}", b""),
    ),
    "submitter": ((SUBMIT_SUBJECT, b"http://127.0.0.1:1/"), (f"$JS.API.STREAM.INFO.{INBOX}", b"")),
    "notifier": ((BUCKET_SUBJECT, b"{}"),),
    "server": (
        (f"$JS.API.CONSUMER.MSG.NEXT.{JOBS}.notify", b'{"batch": 1, "no_wait": true}'),
        (SUBMIT_SUBJECT, b"http://127.0.0.1:1/"),
        (f"$JS.API.STREAM.INFO.{JOBS}", b""),
    ),
}
FORBIDDEN = (
    *("v2t.dead.x.y", "v2t.done.x", "$KV.v2t_nodes.x.y.1", "$O.v2t_transcripts.M.x"),
    *(f"{api}STREAM.DELETE.{DEAD}" for api in ("$JS.API.", "v2t.api.")),
    *(f"{api}STREAM.PURGE.{JOBS}" for api in ("$JS.API.", "v2t.api.")),
    *(f"{api}CONSUMER.DELETE.{CHUNKS}.transcribe-cpu" for api in ("$JS.API.", "v2t.api.")),
)


@pytest.mark.parametrize("role", sorted(ANSWERED))
async def test_the_server_cannot_be_had_to_publish_what_a_role_may_not(role: str, filled: Secured) -> None:
    """Else any requester can do everything, because the server sends its answer wherever the request says.

    Within one account it does: there the "no message" to a worker's pull deletes a stream.
    """
    forbidden = [subject for subject in FORBIDDEN if role != "worker" or subject.startswith(("$JS", "v2t.api"))]
    async with await filled.connect("operator") as operator, await filled.connect(role) as connection:
        before = await state(operator)
        for question, payload in ANSWERED[role]:
            for subject in ("v2t.job.zz.completed", *forbidden) if role != "worker" else forbidden:
                await connection.client.publish(question, payload, reply=subject)
        await connection.client.flush()
        await asyncio.sleep(1)  # nothing is to happen
        assert await state(operator) == before


async def test_a_worker_cancels_a_job_without_an_error_though_it_may_not_tidy_up(filled: Secured) -> None:
    """Else it gets a permission error about a job that is cancelled."""
    async with await filled.connect("worker") as worker:
        job, store = new(), JetStreamStore(worker)
        await worker.publish(submitted(job, media="media/uploads/kept/source"))
        await cancel(worker, store, await read(worker, job))
        assert (await read(worker, job)).state == "cancelled"
        assert await store.size("media/uploads/kept/source")


async def test_no_role_receives_the_answers_to_another(filled: Secured) -> None:
    """Else a viewer reads what only a worker or an operator may read, such as media."""
    async with await filled.connect("viewer") as viewer, await filled.connect("worker") as worker:
        heard: list[str] = []

        async def hear(message: Any) -> None:
            heard.append(message.subject)

        await viewer.client.subscribe("_INBOX.>", cb=hear)
        await viewer.client.flush()
        await JetStreamStore(worker).get("media/kept/source")
        await worker.last(JOBS, "v2t.job.x.submitted")
        assert not heard
        await viewer.last(JOBS, "v2t.job.x.submitted")
        async with asyncio.timeout(PATIENCE):
            while not heard:  # so it listens well
                await asyncio.sleep(0.01)


async def test_a_chunk_is_not_given_to_a_worker_that_was_killed(filled: Secured) -> None:
    """Else a message for a killed machine goes nowhere and waits half a minute for redelivery.

    An idle node is always asking, and the server must see through the accounts that nobody listens any more.
    """
    async with await filled.connect("operator") as operator, await filled.connect("worker") as other:
        killed = await filled.connect("worker")
        puller = Puller(killed.client, CHUNKS, "transcribe-metal")
        await puller.__aenter__()
        pulling = asyncio.create_task(puller.next(30))
        async with asyncio.timeout(PATIENCE):
            while not (await operator.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-metal"))["num_waiting"]:
                await asyncio.sleep(0.05)
        killed.client._transport._io_writer.transport.abort()  # type: ignore[union-attr]  # as the end of a process does
        await killed.client.close()
        pulling.cancel()
        async with asyncio.timeout(PATIENCE):
            while (await operator.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-metal"))["num_waiting"]:
                await asyncio.sleep(0.05)
        options = Options(accelerator="metal")
        await operator.publish(task(0, new(), options=options))
        async with Puller(other.client, CHUNKS, "transcribe-metal") as pulls:
            message = await pulled(pulls)
            assert message.metadata.num_delivered == 1
            await message.ack()


async def test_the_operator_sees_the_workers_services(filled: Secured) -> None:
    """Else `nats micro ls` shows an empty fleet."""
    from nats.micro.service import Service, ServiceConfig

    async with await filled.connect("operator") as operator, await filled.connect("worker") as worker:
        service = Service(worker.client, ServiceConfig(name="v2t-test", version="1.0.0", description="x"))
        await service.start()
        await worker.client.flush()  # the server hears what it answers to before it is asked
        try:
            answer = await operator.client.request("$SRV.PING.v2t-test", timeout=10)
        finally:
            await service.stop()
        assert json.loads(answer.data)["name"] == "v2t-test"


async def test_minio_tells_of_uploads_as_the_notifier(filled: Secured, tmp_path: Path) -> None:
    """Else MinIO needs an operator's password, or uploads start no jobs on a broker with TLS."""
    told = filled.environment("notifier")
    minio = s3_server(tmp_path / "minio", told["NATS_URL"], authority=told["NATS_CA"])
    minio.start()
    try:
        store = MinioStore(minio.settings())
        await store.create(media_max_age=3600)
        await store.announce_uploads()
        async with await filled.connect("operator") as operator:
            await operator.api(f"STREAM.PURGE.{INBOX}", {"filter": BUCKET_SUBJECT})
            await asyncio.to_thread(
                minio.client().fput_object, bucket_name="v2t-uploads", object_name="a.flac", file_path=CLIP
            )
            async with asyncio.timeout(PATIENCE):
                while not (told := await operator.last(INBOX, BUCKET_SUBJECT)):
                    await asyncio.sleep(0.1)
        assert b"a.flac" in told.data
    finally:
        minio.stop()


# -- users


async def test_a_machine_is_let_in_and_thrown_out_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a stolen laptop keeps working, or adding a machine stops all others."""
    with secured(tmp_path / "secrets") as broker:
        for name in ("m4", "m2"):
            credentials.add(broker.folder, "worker", name)
        kept = (broker.folder / "m4.env").read_text()
        broker.reload()
        async with await broker.connect("m4") as stolen, await broker.connect("m2") as other:
            await check_may_work(stolen, "m4")
            credentials.revoke(broker.folder, "m4")
            broker.reload()
            async with asyncio.timeout(PATIENCE):
                while stolen.client.is_connected:
                    await asyncio.sleep(0.05)
                while "rejects the user" not in caplog.text:  # its own log says why it works no more
                    await asyncio.sleep(0.05)
            await check_may_work(other, "m2")
        (broker.folder / "m4.env").write_text(kept)
        with pytest.raises(BrokerError, match=r"rejects the user \(authorization violation\)"):
            await broker.connect("m4")


async def test_a_renewed_certificate_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    """Else after two years all machines are locked out until somebody restarts the broker."""
    with secured(tmp_path / "secrets") as broker:
        async with await broker.connect("viewer") as connection:
            before = (broker.folder / "server.pem").read_bytes()
            credentials.renew(broker.folder, [])
            broker.reload()
            assert (broker.folder / "server.pem").read_bytes() != before
            assert connection.client.is_connected
        async with await broker.connect("viewer") as connection:
            served = connection.client._transport._io_writer.get_extra_info("ssl_object")  # type: ignore[union-attr]
            assert (
                ssl.DER_cert_to_PEM_cert(served.getpeercert(binary_form=True)).encode()
                == (broker.folder / "server.pem").read_bytes()
            )


async def test_a_broker_that_was_open_keeps_its_jobs(tmp_path: Path) -> None:
    """Else a user who follows docs/security.md loses existing transcripts."""
    async with open_broker(tmp_path / "open") as (_, connection):
        await connection.publish(submitted("kept"))
    streams = tmp_path / "secrets" / "nats-data" / "jetstream"
    with secured(tmp_path / "secrets") as broker:
        broker.stop()
        shutil.rmtree(streams / "V2T")
        shutil.move(tmp_path / "open" / "jetstream" / "$G", streams / "V2T")
        broker.start()
        async with await broker.connect("viewer") as viewer:
            assert await viewer.last(JOBS, "v2t.job.kept.submitted")


# -- the whole of it


def v2t(broker: Secured, user: str, home: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command as that user; its exit code and output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("V2T_", "NATS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "v2t_stream", *arguments],
        env={**inherited, **broker.environment(user), "V2T_DATA_DIR": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


REFUSED = {
    "viewer": (
        ("etl", "--url", "http://127.0.0.1:1/x"),
        ("convert", "--input", CLIP, "--distributed"),
        ("queue", "pause", "intake"),
        ("topology", "apply"),
        ("node",),
        ("stage", "download"),
        ("stage", "transcribe"),
    ),
    "submitter": (
        ("job", "list"),
        ("job", "status", "x"),
        ("job", "transcript", "x"),
        ("job", "cancel", "x"),
        ("queue", "list"),
        ("dead", "list"),
        ("topology", "show"),
        ("topology", "apply"),
        ("node", "list"),
        ("node",),
        ("stage", "intake"),
        ("health", "intake"),
    ),
    "notifier": (("etl", "--url", "http://127.0.0.1:1/x"), ("job", "list"), ("node",)),
    "worker": (
        ("etl", "--url", "http://127.0.0.1:1/x"),
        ("topology", "apply"),
    ),
}


@pytest.mark.parametrize(
    ("role", "command"), [(role, command) for role, commands in REFUSED.items() for command in commands]
)
def test_a_command_that_a_role_may_not_ends_with_a_sentence(
    role: str, command: tuple[str, ...], filled: Secured, tmp_path: Path
) -> None:
    """Else it hangs for minutes and blames the network."""
    code, _, err = v2t(filled, role, tmp_path, *command)
    assert code == 1
    *_, said = (line for line in err.splitlines() if "may not" in line)
    assert re.search(rf"the user {role} may not .+ \(publish .+\): use an? .+ credentials", said), err
    assert len([line for line in err.splitlines() if "denied permission" in line]) == 0, err


async def test_a_job_goes_its_way_through_the_roles(tmp_path: Path) -> None:
    """Else the roles do not work in practice: a submitter's link must become a transcript that a viewer can read."""
    with secured(tmp_path / "secrets") as broker, served(DATA) as site:
        environment = broker.environment("worker")
        with node(environment.pop("NATS_URL"), tmp_path / "worker", *ALL_STAGES, **environment) as machine:
            command = ("etl", "--url", f"{site}/20s-1.flac", "--model", "demo", "--language", "en")
            code, out, err = await asyncio.to_thread(v2t, broker, "submitter", tmp_path, *command)
            assert (code, err) == (0, "")
            job = out.strip()
            async with await broker.connect("viewer") as viewer:
                async with asyncio.timeout(PATIENCE):
                    while not await viewer.last(JOBS, f"v2t.job.{job}.completed"):
                        assert all(map(machine.is_running, ALL_STAGES)), {s: machine.log(s) for s in ALL_STAGES}
                        await asyncio.sleep(0.2)
                await alive(viewer)
                password = str(urlsplit(broker.environment("worker")["NATS_URL"]).password)
                listed = subprocess.run(["ps", "axww", "-o", "args"], check=True, capture_output=True, text=True).stdout
                assert password not in listed
            code, out, err = await asyncio.to_thread(v2t, broker, "viewer", tmp_path, "job", "transcript", job)
            assert (code, err) == (0, "")
            assert word_error_rate(reference("20s-1.flac"), out) <= 0.05
            for command in (("job", "list"), ("job", "status", job), ("node", "list"), ("topology", "show")):
                code, out, err = await asyncio.to_thread(v2t, broker, "viewer", tmp_path, *command)
                assert (code, err) == (0, ""), command
                assert out
            text = tmp_path / "corrected.txt"
            text.write_text("[00:00.000 - 00:09.000] What nobody said.\n")
            correct = ("job", "edit", job, "--file", str(text))
            code, _, err = await asyncio.to_thread(v2t, broker, "viewer", tmp_path, *correct)
            assert (code, "the user viewer may not" in err) == (1, True), err
            code, out, err = await asyncio.to_thread(v2t, broker, "operator", tmp_path, *correct)
            assert (code, err) == (0, "")
            code, out, err = await asyncio.to_thread(v2t, broker, "viewer", tmp_path, "job", "transcript", job)
            assert out == "What nobody said.\n"
            code, _, err = await asyncio.to_thread(v2t, broker, "viewer", tmp_path, "job", "rm", "--yes", job)
            assert (code, "the user viewer may not" in err) == (1, True), err
            code, _, err = await asyncio.to_thread(
                v2t, broker, "submitter", tmp_path, "convert", "--input", CLIP, "--distributed", "--model", "demo"
            )
            assert code == 1
            assert re.search(r"5s\.flac: sent as job \S+, but the user submitter may not read jobs .* to watch it", err)
            async with asyncio.timeout(PATIENCE):
                while "objects that nothing needs" not in machine.log("intake"):  # it keeps house
                    await asyncio.sleep(0.1)
            levels = {json.loads(line)["level"] for stage in ALL_STAGES for line in machine.log(stage).splitlines()}
            assert levels == {"info"}
        assert not any(password in path.read_text() for path in machine.home.rglob("*.log"))
        assert password not in broker.log
