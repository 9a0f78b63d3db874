"""Intake and commands refuse jobs that the running nodes can never do, on a real broker."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from schemas.message import encode
from schemas.options import Options
from schemas.requests import SubmitRequest
from stages.intake import Intake
from tests.builders import failed, resources, submitted
from tests.harness import broker
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Reject, SettingsError, V2TError
from v2t_stream.fleet.presence import Presence
from v2t_stream.jobs import operations
from v2t_stream.jobs.lists import read
from v2t_stream.runtime.session import session
from v2t_stream.runtime.stage import Submission
from v2t_stream.settings import Settings
from v2t_stream.topology.subjects import SUBMIT_SUBJECT
from v2t_stream.transcription.providers import offers, parse

TRANSLATE = SubmitRequest(url="http://example.org/talk.mp4", task="translate")


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with broker(tmp_path / "nats") as (_, connection):
        yield connection


async def announce(connection: Connection, node: str, model: str) -> None:
    """Announce a transcribe process with faster-whisper and this model."""
    providers = parse(f"providers: [{{type: faster_whisper, model: {model}}}]".encode(), "p")
    presence = Presence(node, "transcribe", takes=("any", "cpu"), offers=offers(providers, "small"))
    info = presence.info()
    await connection.client.jetstream().publish(
        info.key, msgspec.json.encode(info), timeout=PATIENCE
    )  # until it is stored


async def taken(connection: Connection, request: SubmitRequest) -> list[str]:
    """The facts that intake publishes for it, by name."""
    intake = Intake(resources(connection))
    message = Submission("e1-1", SUBMIT_SUBJECT, encode(request))
    return [type(fact).__name__ async for fact in intake.process(message)]


async def test_intake_refuses_what_no_node_is_set_up_to_do(connection: Connection) -> None:
    """Else the job downloads, converts and then fails chunk by chunk, or waits for ever."""
    assert await taken(connection, TRANSLATE) == ["Submitted"]  # as long as nobody is there
    await announce(connection, "studio", "large-v3-turbo")
    with pytest.raises(
        Reject, match="does not translate with the model 'large-v3-turbo'; submit it with --model small"
    ):
        await taken(connection, TRANSLATE)
    assert await taken(connection, replace(TRANSLATE, model="small")) == ["Submitted"]
    assert await taken(connection, replace(TRANSLATE, task="transcribe")) == ["Submitted"]
    await announce(connection, "attic", "small")
    assert await taken(connection, TRANSLATE) == ["Submitted"]


async def test_a_command_refuses_it_before_it_sends_a_file(connection: Connection, tmp_path: Path) -> None:
    """Else a film of many gigabytes is uploaded and then refused."""
    await announce(connection, "studio", "large-v3-turbo")
    settings = Settings(nats_url=connection.url, data_dir=str(tmp_path / os.urandom(4).hex()))
    with pytest.raises(SettingsError, match="faster-whisper on studio can do"):
        async with session(settings, work=True, options=Options(task="translate")):
            pytest.fail("the session began")
    async with session(settings, work=True, options=Options()):
        pass


async def test_a_retry_by_another_model_is_refused_like_a_submission(connection: Connection) -> None:
    """Else a completed job ends up failed, because the new model cannot do it."""
    await connection.publish(submitted("e1-1", url=TRANSLATE.url, options=Options(task="translate")))
    await connection.publish(failed("e1-1"))
    job = await read(connection, "e1-1")
    await announce(connection, "attic", "small")
    with pytest.raises(V2TError, match="faster-whisper does not translate with the model 'turbo'"):
        await operations.retry(connection, job, model="turbo")
    await announce(connection, "attic", "small")
    assert await operations.retry(connection, job, model="large-v3") is None  # all of it begins anew
