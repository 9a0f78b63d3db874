"""The server with the role that `v2t secrets` gives it."""

from pathlib import Path

import aiohttp

from tests import builders
from tests.patience import PATIENCE
from tests.secured import secured
from tests.serve.api import CLIP, events
from tests.serve.receiver import Receiver
from tests.serving import serving


async def test_the_servers_role_is_enough_for_all_that_jobs_offer(tmp_path: Path, receiver: Receiver) -> None:
    """A fleet with passwords has an API that refuses half of its requests."""
    with secured(tmp_path / "broker") as broker:
        environment = broker.environment("server")
        async with await broker.connect("operator") as operator:
            for fact in (
                builders.submitted("old", callback=receiver.url),
                builders.downloaded("old"),
                builders.failed("old"),
            ):
                await operator.publish(fact)
        url = environment.pop("NATS_URL")
        with serving(url, tmp_path / "home", **environment) as server:
            timeout = aiohttp.ClientTimeout(PATIENCE)
            async with aiohttp.ClientSession(server.url, timeout=timeout) as client:
                await receiver.until(1)
                form = aiohttp.FormData({"language": "en"})
                form.add_field("file", CLIP.read_bytes(), filename="talk.flac")
                headers = {"Idempotency-Key": "k"}
                async with client.post("/v1/jobs", data=form, headers=headers) as answer:
                    assert answer.status == 202, await answer.text()
                    path = answer.headers["Location"]
                async with client.get(path) as answer:
                    assert (await answer.json())["state"] == "queued", await answer.text()
                async with client.delete(path) as answer:
                    assert (await answer.json())["state"] == "cancelled", await answer.text()
                assert [kind for kind, _, _ in await events(client, "old")] == [
                    *("submitted", "downloaded", "failed", "end")
                ]
                async with client.post("/v1/jobs/old/retry") as answer:
                    assert answer.status == 202, await answer.text()
                async with client.delete("/v1/jobs/old") as answer:
                    assert answer.status == 200, await answer.text()
                async with client.delete("/v1/jobs/old", params={"remove": ""}) as answer:
                    assert answer.status == 204, await answer.text()
                async with client.get("/v1/fleet") as answer:
                    assert answer.status == 200, await answer.text()
                async with client.get("/v1/jobs") as answer:
                    assert [each["state"] for each in (await answer.json())["data"]] == ["cancelled"]
