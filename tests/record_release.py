"""Records what this release sends and stores, from a real run, for later releases.

    PATH=$PATH:/where/minio/is uv run python -m tests.record_release

writes tests/fixtures/release-<version>/. Run it once for each release and never change its files afterwards:
tests/unit/test_earlier_releases.py checks that each later release can read them.
"""

import asyncio
import contextlib
import io
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.msg import Msg

from schemas.requests import SubmitRequest
from tests.harness import DATA, S3Server, Server, ended, node, s3_server, until
from tests.web import web
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs import operations
from v2t_stream.jobs.lists import history, read
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.jobs.summary import summary
from v2t_stream.runtime.set_up import set_up
from v2t_stream.runtime.stores import announce_uploads
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import LAYOUT, STREAMS
from v2t_stream.topology.subjects import SUBMIT_SUBJECT

FIXTURES = Path(__file__).parent / "fixtures"
_OF_EACH = 3  # messages of one kind with the same fields


class _Recorder:
    """Some messages of each kind, as published."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], int] = {}
        self.messages: list[dict[str, Any]] = []

    async def hear(self, message: Msg) -> None:
        if not message.data:  # a node announces that it leaves
            return
        text = message.data.decode()
        fields = sorted(json.loads(text)) if text.startswith("{") else ["plain"]
        kind = (*_kind(message.subject), *fields)
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._seen[kind] <= _OF_EACH:
            self.messages.append({"subject": message.subject, "data": text})


def _kind(subject: str) -> list[str]:
    """A subject without the names that differ from job to job."""
    tokens = subject.split(".")
    return tokens[:2] + tokens[3:4] if tokens[1] == "job" else tokens[:2]


async def _run(folder: Path) -> dict[str, Any]:
    """The recorded files by name."""
    recorder = _Recorder()
    with contextlib.ExitStack() as stack:
        nats = Server(folder / "nats")
        nats.start()
        stack.callback(nats.stop)
        minio = s3_server(folder / "minio", nats.url)
        minio.start()
        stack.callback(minio.stop)
        site = stack.enter_context(web(DATA))
        async with await connect(nats.url, name="recorder") as connection:
            for subject in ("v2t.>", "$KV.v2t_nodes.>"):
                await connection.client.subscribe(subject, cb=recorder.hear)
            await set_up(connection, minio.settings())
            await announce_uploads(minio.settings())
            with node(nats.url, folder / "home", **minio.environment, V2T_NODE="recorder"):
                jobs = await _jobs(connection, minio, site.url)
            # The facts when all work is done.
            facts = await history(connection, ["v2t.job.>"])
            found = [await read(connection, job) for job in jobs]
            store = MinioStore(minio.settings())
            transcripts = [
                json.loads(await store.get(f"{job.completed.transcript}.json"))
                for job in found
                if job.completed and not job.completed.of
            ]
            topology = await _topology(connection)
    return {
        "messages.json": recorder.messages,
        "facts.json": [{**fact._asdict(), "data": fact.data.decode()} for fact in facts],
        "jobs.json": [summary(job) for job in found],
        "transcripts.json": transcripts,
        "topology.json": topology,
    }


async def _jobs(connection: Connection, minio: S3Server, site: str) -> list[str]:
    """One job for each way to end."""

    async def sent(**fields: Any) -> Job:
        job, _ = await submit(connection, msgspec.convert(fields, SubmitRequest))
        return await ended(connection, job)

    english = {"language": "en", "model": "demo"}
    plain = await connection.client.jetstream().publish(SUBMIT_SUBJECT, f"{site}/5s.flac\n".encode())
    jobs = [await ended(connection, job_id(await inbox_epoch(connection), plain.seq))]
    jobs.append(await sent(url=f"{site}/20s-1.flac", **english, word_timestamps=True, title="Words"))
    jobs.append(await sent(url=f"{site}/20s-1.flac", **english, word_timestamps=True, title="Done before"))
    jobs.append(await sent(url=f"{site}/nothing.flac", **english))
    jobs.append(await sent(url=f"{site}/feed/2", **english, limit=2))

    store = MinioStore(minio.settings())
    await store.put_file("media/uploads/recorder/long.ogg", DATA / "3min.ogg")
    job, _ = await submit(connection, SubmitRequest(media="media/uploads/recorder/long.ogg", model="demo"))
    await until(connection, job, lambda state: bool(state.downloaded))
    await operations.cancel(connection, store, await read(connection, job))
    jobs.append(await ended(connection, job))

    again = await sent(url=f"{site}/20s-2.flac", model="demo", force=True)
    await operations.retry(connection, again, chunk=0)
    jobs.append(await ended(connection, again.id))

    minio.client().put_object(
        bucket_name="v2t-uploads",
        object_name="talks/a talk.flac",
        data=io.BytesIO((DATA / "5s.flac").read_bytes()),
        length=(DATA / "5s.flac").stat().st_size,
        metadata={"language": "en", "model": "demo"},
    )
    async with asyncio.timeout(60):
        while not (
            uploaded := [s for s in await connection.subjects("V2T_JOBS", "v2t.job.*.submitted") if ".up-" in s]
        ):
            await asyncio.sleep(0.1)
    jobs.append(await ended(connection, uploaded[0].split(".")[2]))
    return [job.id for job in jobs]


async def _topology(connection: Connection) -> dict[str, Any]:
    """The layout's number, and the streams and consumers as the server has them."""
    streams = {name: (await connection.api(f"STREAM.INFO.{name}"))["config"] for name in STREAMS}
    consumers = {
        consumer.durable: (await connection.api(f"CONSUMER.INFO.{row.stream}.{consumer.durable}"))["config"]
        for row in STAGES
        for consumer in row.consumers
    }
    return {"layout": LAYOUT, "streams": streams, "consumers": consumers}


def main() -> None:
    target = FIXTURES / f"release-{version('v2t-stream')}"
    with tempfile.TemporaryDirectory() as folder:
        files = asyncio.run(_run(Path(folder)))
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (target / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
