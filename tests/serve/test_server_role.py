"""`v2t serve` with a role of its own, on a broker of `v2t secrets init`."""

import asyncio
from pathlib import Path

import aiohttp

from tests.harness import ALL_STAGES, node
from tests.patience import PATIENCE
from tests.secured import secured
from tests.serve.api import CLIP, done, problem, sent
from tests.serving import serving
from v2t_stream.access import keys


async def test_a_server_needs_no_more_than_its_role(tmp_path: Path) -> None:
    """People run it with the operator's password, which whoever breaks into the server then has."""
    with secured(tmp_path / "secrets") as broker:
        worker, server = broker.environment("worker"), broker.environment("server")
        async with await broker.connect("operator") as operator:
            key = await keys.add(operator, "ann", "operator")
            await keys.add(operator, "bob", "viewer")
        with (
            node(worker.pop("NATS_URL"), tmp_path / "worker", *ALL_STAGES, **worker),
            serving(server.pop("NATS_URL"), tmp_path / "server", **server) as running,
        ):
            await _everything(running.url, key)
            async with await broker.connect("operator") as operator:
                await keys.remove(operator, "ann")
            async with _client(running.url, key) as client, asyncio.timeout(PATIENCE):
                while (await client.get("/v1/jobs")).status != 401:
                    await asyncio.sleep(0.02)
        assert not [line for line in broker.log.splitlines() if "Violation" in line]


def _client(url: str, key: str) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {key}"}
    return aiohttp.ClientSession(url, headers=headers, timeout=aiohttp.ClientTimeout(PATIENCE))


async def _everything(url: str, key: str) -> None:
    """Do each thing that writes, and read all that there is to read."""
    async with _client(url, key) as client:
        job = await done(client)
        for path in ("", "/transcript.srt", "/media"):
            async with client.get(f"/v1/jobs/{job}{path}") as answer:
                assert answer.status == 200, (path, await answer.text())
        for path in ("/v1/jobs", "/v1/models", "/v1/fleet"):
            async with client.get(path) as answer:
                assert (await answer.json())["data"], path
        async with client.get(f"/v1/jobs/{job}/transcript.json") as answer:
            prefix = answer.headers["X-V2T-Transcript"]
        async with client.patch(
            f"/v1/jobs/{job}/transcript", json={"of": prefix, "segments": {"0": "What nobody said."}}
        ) as answer:
            assert answer.status == 200, await answer.text()
        async with asyncio.timeout(PATIENCE):
            while not (await (await client.get("/v1/search", params={"q": "nobody"})).json())["data"]:
                await asyncio.sleep(0.02)
        async with client.post(f"/v1/jobs/{job}/retry", json={"chunk": 0}) as answer:
            assert answer.status == 202, await answer.text()
        wish = {"url": "http://127.0.0.1:9/nothing.mp3", "model": "demo"}
        once = {"Idempotency-Key": "once"}
        ids = [(await (await client.post("/v1/jobs", json=wish, headers=once)).json())["id"] for _ in range(2)]
        assert ids[0] == ids[1]
        form = aiohttp.FormData({"model": "demo", "response_format": "text"})
        form.add_field("file", CLIP.read_bytes(), filename="talk.flac")
        async with client.post("/v1/audio/transcriptions", data=form) as answer:
            assert answer.status == 200, await answer.text()
        cancelled = await sent(client)
        async with client.delete(f"/v1/jobs/{cancelled}") as answer:
            assert (await answer.json())["state"] in ("cancelled", "completed")
        async with client.delete(f"/v1/jobs/{cancelled}", params={"remove": "true"}) as answer:
            assert answer.status == 204, await answer.text()
        async with client.get(f"/v1/jobs/{cancelled}") as answer:
            await problem(answer, 404)
