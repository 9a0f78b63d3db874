"""Uploads that are announced together, on a real S3 server and a real broker."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.events import Submitted
from schemas.message import decode_as, encode
from schemas.notification import Notification, Upload
from schemas.objects import Version
from stages.intake import Intake
from tests.builders import resources
from tests.harness import S3Server, broker, s3_server
from v2t_stream.errors import StoreError
from v2t_stream.jobs.upload_sync import UploadSync
from v2t_stream.runtime.set_up import set_up
from v2t_stream.runtime.stage import Submission
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.store.protocol import Found
from v2t_stream.topology.ids import upload_job_id
from v2t_stream.topology.streams import INBOX
from v2t_stream.topology.subjects import BUCKET_SUBJECT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = s3_server(tmp_path_factory.mktemp("minio"))
    server.start()
    yield server
    server.stop()


async def test_one_upload_that_cannot_be_looked_up_holds_up_no_other_of_its_message(
    server: S3Server, tmp_path: Path
) -> None:
    """Else uploads found together wait for ever behind one that the server refuses."""

    class Picky(MinioStore):
        async def look(self, key: str, version: Version | None = None) -> Found | None:
            if "odd" in key:
                raise StoreError("refused")
            return await super().look(key, version)

    odd, fine = (Upload(bucket="v2t-uploads", key=f"together/{name}.mp4", etag="e") for name in ("odd", "fine"))
    store = Picky(server.settings())
    await store.create(media_max_age=3600)
    async with broker(tmp_path / "nats") as (_, connection):
        intake = Intake(resources(connection, server.settings(), store=store))
        told = Submission("job", BUCKET_SUBJECT, encode(Notification.of(odd, fine)))
        facts = []

        async def take() -> None:
            async for fact in intake.process(told):
                facts.append(fact)  # noqa: PERF401  # those before the exception are wanted

        with pytest.raises(StoreError, match="refused"):
            await take()
        assert [fact.subject for fact in facts] == [Submitted.subject_of(job=upload_job_id(fine))]


async def test_many_long_names_are_announced_in_messages_that_fit(server: S3Server, tmp_path: Path) -> None:
    """Else a folder of long names is never picked up, because the broker takes no message that long."""
    settings = server.settings(MINIO_BUCKET_PREFIX="long-")
    async with broker(tmp_path / "nats") as (_, connection):
        await set_up(connection, settings, change_store=True)
        names = {"/".join(["ü" * 110] * 4) + f"/{n}.mp4" for n in range(40)}  # three times as long when escaped
        for name in names:
            server.client().put_object(
                bucket_name=settings.upload_bucket, object_name=name, data=io.BytesIO(b"x"), length=1
            )
        assert await UploadSync(connection, MinioStore(settings), settings).run() == (40, 0)
        state = (await connection.api(f"STREAM.INFO.{INBOX}"))["state"]
        assert 1 < state["messages"] < 40
        found = set()
        for number in range(state["first_seq"], state["last_seq"] + 1):
            message = (await connection.api(f"STREAM.MSG.GET.{INBOX}", {"seq": number}))["message"]
            found |= {each.key for each in decode_as(Notification, base64.b64decode(message["data"])).created()}
        assert found == names
