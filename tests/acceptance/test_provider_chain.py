"""The chain in the real pipeline: real stages and broker, a real engine, and a service played by a real server."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.message import encode
from schemas.requests import SubmitRequest
from tests.harness import DATA, broker, ended, node, reference, transcribe, upload
from tests.patience import PATIENCE
from tests.remote_api import Answer, Api, remote_api
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.fleet.presence import fleet
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.subjects import SUBMIT_SUBJECT

KEY = "sk-very-secret-1234567890"
AFAR = "as many words from afar as anyone can say in the few seconds of this recording"


def chain(folder: Path, api: Api, *, local: bool) -> dict[str, str]:
    """The environment of a node whose first provider is a service, and whose second may be an engine."""
    file = folder / "chain.yaml"
    file.write_text(
        f"providers:\n- type: openai\n  base_url: {api.url}/v1\n  remote: true\n  retries: 0\n"
        + ("- type: faster_whisper\n  model: demo\n" if local else "")
    )
    return {"V2T_PROVIDERS": str(file), "OPENAI_API_KEY": KEY}


async def record(connection: Connection, job: str) -> bytes:
    return await JetStreamStore(connection).get(f"transcripts/{job}/transcript.json")


async def test_the_next_provider_does_what_the_first_does_not(tmp_path: Path) -> None:
    """Else an outage of a paid service fails jobs that the machine could do, or the service is used unasked."""
    async with broker(tmp_path / "nats") as (server, connection):
        media = await upload(connection, DATA / "5s.flac")
        with remote_api() as api:
            api.answers = [Answer({"error": "overloaded"}, 500)]
            environment = chain(tmp_path, api, local=True)
            with node(server.url, tmp_path / "home", **environment) as machine:
                job, text = await transcribe(connection, SubmitRequest(media=media, language="en"))
                assert job.state == "completed", job.reason
                assert not api.asked
                allowed = SubmitRequest(media=media, language="en", remote=True, title="again")
                job, text = await transcribe(connection, allowed)
                assert job.state == "completed", job.reason
                assert word_error_rate(reference("5s.flac"), text) <= 0.1
                assert [chunk.engine for chunk in job.chunks.values()] == ["faster-whisper"]
                assert api.asked
                api.answers = [Answer({"text": AFAR, "language": "english"})]
                job, text = await transcribe(connection, SubmitRequest(media=media, remote=True, title="third"))
                assert (job.state, " ".join(text.split())) == ("completed", AFAR)
                assert [(chunk.engine, chunk.model) for chunk in job.chunks.values()] == [("openai", "whisper-1")]
                logs = machine.log("transcribe")
                assert "openai failed, so faster_whisper is next: openai (127.0.0.1) answered 500: overloaded" in logs
                assert KEY.encode() not in logs.encode() + await record(connection, job.id)


async def test_a_remote_only_machine_asks_nobody_without_permission(tmp_path: Path) -> None:
    """Else audio is sent to a service, and paid for, that the user did not allow."""
    async with broker(tmp_path / "nats") as (server, connection):
        media = await upload(connection, DATA / "5s.flac")
        with remote_api() as api:
            api.answers = [Answer({"text": AFAR, "language": "english"})]
            environment = chain(tmp_path, api, local=False)
            with node(server.url, tmp_path / "home", **environment):
                # As any NATS client could send it: pinned to remote providers, which it does not allow.
                unchecked = encode(SubmitRequest(media=media, accelerator="remote"))
                ack = await connection.client.jetstream().publish(SUBMIT_SUBJECT, unchecked, timeout=PATIENCE)
                job = await ended(connection, job_id(await inbox_epoch(connection), ack.seq))
                assert job.state == "failed"
                assert "allows remote providers: add --remote" in (job.reason or "")
                # For others: it waits for a machine that may do it, and takes no harm from this one.
                wish = encode(SubmitRequest(media=media))
                ack = await connection.client.jetstream().publish(SUBMIT_SUBJECT, wish, timeout=PATIENCE)
                waiting = job_id(await inbox_epoch(connection), ack.seq)
                assert not api.asked
                request = SubmitRequest(media=media, accelerator="remote", remote=True)
                job, text = await transcribe(connection, request)
                assert (job.state, " ".join(text.split())) == ("completed", AFAR)
                assert len(api.asked) == 1
                api.asked.clear()
            with node(server.url, tmp_path / "other"):
                job = await ended(connection, waiting)
                assert job.state == "completed", job.reason
                assert not job.gaps
                assert not api.asked


async def test_what_the_only_node_is_not_set_up_to_do_is_refused_at_once(tmp_path: Path) -> None:
    """Else plain speech passes for its translation, or the job fails after minutes."""
    async with broker(tmp_path / "nats") as (server, connection):
        media = await upload(connection, DATA / "5s.flac")
        with node(server.url, tmp_path / "home", V2T_MODEL="large-v3-turbo", V2T_NODE="studio"):
            async with asyncio.timeout(PATIENCE):
                while not any(info.offers for info in await fleet(connection, "transcribe")):
                    await asyncio.sleep(0.2)
            wish = encode(SubmitRequest(media=media, task="translate"))
            ack = await connection.client.jetstream().publish(SUBMIT_SUBJECT, wish, timeout=PATIENCE)
            job = await ended(connection, job_id(await inbox_epoch(connection), ack.seq))
            assert job.state == "failed"
            said = "does not translate with the model 'large-v3-turbo'; submit it with --model small, which"
            assert said in (job.reason or "")


@pytest.mark.parametrize("command", ["list", "test"])
def test_the_providers_command(command: str, tmp_path: Path) -> None:
    """Else nobody knows before the first job whether a chain works, or the terminal shows the key."""
    with remote_api() as api:
        api.answers = [Answer(b"", 401)]
        environment = {**os.environ, "V2T_DATA_DIR": str(tmp_path), **chain(tmp_path, api, local=True)}
        arguments = ["list", "--json"] if command == "list" else ["test"]
        line = [sys.executable, "-m", "v2t_stream", "providers", *arguments]
        run = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert KEY not in run.stdout + run.stderr
    if command == "list":
        first, second = json.loads(run.stdout)
        assert (first["name"], first["remote"], first["key_present"]) == ("openai", True, True)
        assert (second["model"], second["remote"], second["key_present"]) == ("demo", False, None)
    else:
        first, second = run.stdout.splitlines()
        assert first.startswith("openai: failed")
        assert "check the key in OPENAI_API_KEY" in first
        assert second.startswith("faster_whisper: ok")
        assert "Mary and John" in second
        assert run.returncode == 1
