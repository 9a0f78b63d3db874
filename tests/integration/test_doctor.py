"""`v2t doctor` as users call it, on brokers and stores with something wrong."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import submitted
from tests.clock import wrong_by
from tests.harness import S3Server, Server, broker, node, s3_server
from tests.observed import pulled_by
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.doctor import Finding, examine
from v2t_stream.doctor.broker import checks, waiting
from v2t_stream.settings import Settings
from v2t_stream.topology.queues import pause
from v2t_stream.topology.streams import CHUNKS, JOBS


def v2t(home: Path, url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {name: text for name, text in os.environ.items() if not name.startswith(("V2T_", "NATS_", "MINIO_"))}
    return subprocess.run(
        [sys.executable, "-m", "v2t_stream", *arguments],
        env={**bare, "NATS_URL": url, "V2T_DATA_DIR": str(home), "V2T_MODEL": "demo", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def doctor(home: Path, url: str, *options: str, code: int | None = 0, **environment: str) -> dict[str, dict[str, Any]]:
    """Its findings by name, after it exited with `code`; None for any."""
    done = v2t(home, url, "doctor", "--json", *options, **environment)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


async def look(url: str, **environment: str) -> dict[str, Finding]:
    """The findings in the broker and the store, by name."""
    settings = Settings.from_environment({"NATS_URL": url, **environment})
    async with await connect(url, name="test") as connection:
        return {finding.name: finding for finding in await examine(checks(connection, settings))}


async def retype(connection: Connection, path: str, **fields: object) -> None:
    """Change a stream or a consumer by hand."""
    kind, verb = ("CONSUMER", "CONSUMER.CREATE") if "." in path else ("STREAM", "STREAM.UPDATE")
    changed = {**(await connection.api(f"{kind}.INFO.{path}"))["config"], **fields}
    request = {"stream_name": path.split(".", maxsplit=1)[0], "config": changed} if "." in path else changed
    await connection.api(f"{verb}.{path}", request)


def test_without_a_broker_it_looks_at_the_machine_and_says_so(tmp_path: Path) -> None:
    """Else a new user cannot find out why nothing starts."""
    found = doctor(tmp_path / "home", "")
    machine = {"python", "accelerator", "engine", "providers", "downloads", "data", "disk", "secrets", "model"}
    assert set(found) == {*machine, "broker", "next"}
    assert found["next"]["found"].startswith("v2t convert FILE would start a broker and all stages on this machine, ")
    assert "only this machine was checked" in found["broker"]["found"]
    assert "transcribed 9 s" in found["engine"]["found"]
    assert not (tmp_path / "home").exists()  # it only looks


def test_a_broker_that_is_not_there_is_one_failure_among_what_else_is_found(tmp_path: Path) -> None:
    """Else a mistyped address hides everything else."""
    found = doctor(tmp_path, "nats://127.0.0.1:1", code=1)
    assert found["broker"]["status"] == "fail"
    assert "NATS_URL" in found["broker"]["found"]
    assert found["python"]["status"] == "ok"


async def test_a_broker_at_work_is_found_well(tmp_path: Path) -> None:
    """Else nobody believes doctor when it finds something."""
    async with broker(tmp_path / "nats") as (server, connection):
        with node(server.url, tmp_path / "node"):
            for stage in ("intake", "download", "convert", "transcribe", "aggregate"):
                await pulled_by(connection, stage, 1)
            give_up = time.monotonic() + PATIENCE
            while True:  # a process that is silent for a while is left out
                found = doctor(tmp_path / "home", server.url, code=None)
                found.pop("downloads")  # the age of yt-dlp is that of this checkout
                if not (ill := [finding for finding in found.values() if finding["status"] != "ok"]):
                    break
                assert time.monotonic() < give_up, ill
    assert "5 stages" in found["nodes"]["found"]


async def test_drift_is_shown_and_fixed(tmp_path: Path) -> None:
    """Else a broker that was changed by hand, or by an older release, loses messages unnoticed."""
    async with broker(tmp_path / "nats") as (server, connection):
        await retype(connection, JOBS, max_age=5 * 86_400 * 10**9)
        await retype(connection, f"{JOBS}.convert", ack_wait=7 * 10**9)
        topology = (await look(server.url))["topology"]
        assert (topology.status, topology.found) == (
            "warn",
            "stream V2T_JOBS: max_age is 5 d, should be 30 d; consumer convert: ack_wait is 7 s, should be 30 s",
        )
        shown = v2t(tmp_path, server.url, "topology", "show").stdout
        assert (
            "retention: media 3 d, media/uploads 3 d, transcripts for ever, "
            "models for ever, voices for ever, facts of jobs 5 d, dead letters 30 d" in shown
        )
        assert "  consumer convert: ack_wait is 7 s, should be 30 s\n" in shown
        await connection.api(f"CONSUMER.DELETE.{CHUNKS}.transcribe-any")
        await retype(connection, "OBJ_v2t_media", max_age=0)
        looked = await look(server.url)
        assert looked["topology"].status == "fail"
        assert "consumer transcribe-any is missing" in looked["topology"].found
        assert looked["store"].found == "bucket media: max_age is for ever, should be 3 d"
        found = doctor(tmp_path, server.url, "--fix")
        assert "consumer transcribe-any is missing" in found["fix"]["found"]
        assert {found[name]["status"] for name in ("fix", "topology", "store", "priorities")} == {"ok"}


async def test_doctor_names_work_that_no_node_takes(nats: tuple[Server, Connection]) -> None:
    """Else a queue that was paused for an evening holds back all jobs for good, and doctor reports nothing."""
    _, connection = nats
    assert (await waiting(connection)).status == "ok"
    await connection.publish(submitted())
    async with asyncio.timeout(PATIENCE):  # the server counts what waits a moment later
        while (found := await waiting(connection)).status == "ok":
            await asyncio.sleep(0.01)
    assert found.found == "1 message in download, and no machine runs the stage download"
    await pause(connection, "download")
    assert (await waiting(connection)).found == "download is paused (v2t queue resume download)"


async def test_a_broker_that_nobody_set_up_is_set_up(tmp_path: Path) -> None:
    """Else the first thing a user sees is a JetStream error."""
    server = Server(tmp_path / "nats")
    server.start()
    try:
        topology = (await look(server.url))["topology"]
        assert "stream V2T_INBOX is missing" in topology.found
        assert "--fix" in topology.advice
        assert doctor(tmp_path, server.url, "--fix")["topology"]["status"] == "ok"
    finally:
        server.stop()


ACCOUNT = """
max_payload: 32KB
accounts {{ A {{
  jetstream: {{ max_store: 1GB, max_streams: {streams} }}
  users: [{{ user: u, password: hush, permissions: {{ publish: {{ deny: {denied} }} }} }}]
}} }}
"""


@pytest.mark.parametrize(("streams", "advice"), [(12, "raise max_streams to 13"), (13, "max_payload")])
async def test_doctor_names_limits_that_are_too_low(tmp_path: Path, streams: int, advice: str) -> None:
    """Else the last stream, or the first long message, is refused with a number."""
    server = Server(tmp_path / "nats", ACCOUNT.format(streams=streams, denied="[]"))
    server.start()
    try:
        url = server.url.replace("//", "//u:hush@")
        found = await look(url)
        assert (found["limits"].status, advice in found["limits"].advice) == ("fail", True)
        assert found["user"].found == "u, from NATS_URL; account A"
        assert "hush" not in str(found)
    finally:
        server.stop()


async def test_what_a_role_may_not_see_is_a_finding_and_not_a_crash(tmp_path: Path) -> None:
    """Else a user with few permissions cannot use it at all."""
    denied = '["$JS.API.>", "$SYS.REQ.>"]'
    server = Server(tmp_path / "nats", ACCOUNT.format(streams=20, denied=denied))
    server.start()
    try:
        found = await look(server.url.replace("//", "//u:hush@"))
        assert found["broker"].status == "ok"
        assert "the user u may not" in found["user"].found
        assert {found[name].status for name in ("limits", "topology", "priorities", "store")} <= {"fail", "warn"}
    finally:
        server.stop()


@pytest.fixture
def minio(tmp_path: Path) -> Iterator[tuple[Server, S3Server]]:
    server = Server(tmp_path / "nats")
    server.start()
    try:
        store = s3_server(tmp_path / "minio", server.url)
        store.start()
        try:
            yield server, store
        finally:
            store.stop()
    finally:
        server.stop()


async def test_minio_s_buckets_rules_and_announcements(minio: tuple[Server, S3Server], tmp_path: Path) -> None:
    """Else uploads start no jobs and media fill the disk, and nothing says so."""
    server, store = minio
    assert {finding.status for finding in (await look(server.url, **store.environment)).values()} >= {"fail", "ok"}
    fixed = doctor(tmp_path, server.url, "--fix", **store.environment)
    assert {fixed[name]["status"] for name in ("store", "uploads", "store's clock")} == {"ok"}
    assert fixed["store"]["found"].endswith("media 3 d, transcripts for ever, models for ever, voices for ever")
    client = store.client()
    if store.PROGRAM == "minio":
        client.delete_bucket_lifecycle(bucket_name="v2t-media")
        client.delete_bucket_notification(bucket_name="v2t-uploads")
    else:
        client.delete_bucket_tags(bucket_name="v2t-media")
    found = await look(server.url, **store.environment)
    assert found["store"].found == "bucket media: max_age is for ever, should be 3 d"
    if store.PROGRAM == "minio":
        assert "v2t bucket init" in found["uploads"].advice
    fixed = doctor(tmp_path, server.url, "--fix", **store.environment)
    assert {fixed[name]["status"] for name in ("store", "uploads")} == {"ok"}


def test_doctor_names_a_wrong_clock(minio: tuple[Server, S3Server], tmp_path: Path) -> None:
    """Else S3 refuses everything with a message about a signature."""
    server, store = minio
    early = doctor(tmp_path, server.url, code=1, **store.environment, **wrong_by(3600, tmp_path / "clock"))
    assert early["clock"]["status"] == "warn"
    assert early["store's clock"]["status"] == "fail"
    assert "ahead of the store's" in early["store's clock"]["found"]
    assert "clock" in early["store"]["found"]


async def test_doctor_names_a_minio_that_is_away(minio: tuple[Server, S3Server], tmp_path: Path) -> None:
    """Else doctor hangs just when it is needed."""
    server, store = minio
    store.kill()
    found = await look(server.url, **store.environment)
    assert "start it, or correct MINIO_ENDPOINT" in found["uploads"].found
