"""Keys of the HTTP API: what each opens, and what opens without one."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from schemas.keys import KeyRole
from tests.builders import submitted
from tests.harness import Server, shared_broker
from tests.harness import broker as fresh_broker
from tests.patience import PATIENCE
from tests.serve.api import problem
from tests.serve.inside import Inside, inside
from tests.serving import serving
from v2t_stream.access import keys

ELSEWHERE = "https://elsewhere.example"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shared_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def served(broker: Server, tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(broker.url, tmp_path) as running:
        yield running


async def job_of(served: Inside, key: str, name: str) -> str:
    """A job of the key's owner that waits, once the server knows it."""
    await served.connection.publish(submitted(name, title=name, owner=keys.id_of(key)))
    async with served.client(key) as client, asyncio.timeout(PATIENCE):
        while True:
            async with client.get("/v1/jobs") as answer:
                if name in [job["id"] for job in (await answer.json())["data"]]:
                    return name
            await asyncio.sleep(0.02)


def v2t(broker: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"NATS_URL": broker, "V2T_DATA_DIR": str(home), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "v2t_stream", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    ("role", "reads_fleet", "cancels", "cancels_others"),
    [("submitter", 403, 200, 404), ("viewer", 200, 403, 403), ("operator", 200, 200, 200)],
)
async def test_a_key_opens_what_its_role_may_do(
    served: Inside, role: KeyRole, reads_fleet: int, cancels: int, cancels_others: int
) -> None:
    """Who may only look cancels the work of others, or who may work is kept out."""
    key, other = await served.key("ann", role), await served.key("bob", "submitter")
    own, others = await job_of(served, key, f"own-{role}"), await job_of(served, other, f"others-{role}")
    async with served.client(key) as client:
        for method, path, status in (
            ("GET", f"/v1/jobs/{own}", 200),
            ("GET", "/v1/fleet", reads_fleet),
            ("DELETE", f"/v1/jobs/{others}", cancels_others),
            ("DELETE", f"/v1/jobs/{own}", cancels),
        ):
            async with client.request(method, path) as answer:
                assert answer.status == status, (method, path)
        async with client.get("/v1/session") as answer:
            assert await answer.json() == {"needed": True, "id": keys.id_of(key), "name": "ann", "role": role}


async def test_a_submitter_sees_no_trace_of_the_jobs_of_others(served: Inside) -> None:
    """Everybody who may send work learns what others have transcribed."""
    ann, bob = await served.key("ann", "submitter"), await served.key("bob", "submitter")
    hers, his = await job_of(served, ann, "hers"), await job_of(served, bob, "his")
    async with served.client(ann) as client:
        async with client.get("/v1/jobs", params={"limit": "1000"}) as answer:
            assert [job["id"] for job in (await answer.json())["data"]] == [hers]
        for path in ("", "/transcript.txt", "/events", "/media"):
            async with client.get(f"/v1/jobs/{his}{path}") as answer:
                assert (await problem(answer, 404))["message"].startswith(f"there is no job '{his}'")
        async with client.get("/v1/events") as answer:
            heard = b""
            while b"event: ready" not in heard:
                heard += await answer.content.readany()
            assert hers.encode() in heard
            assert his.encode() not in heard


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer sk-unknown", "Basic YTpi", f"Bearer v2t_{'0' * 10}_{'0' * 64}"]
)
async def test_nobody_comes_in_without_a_key_that_counts(served: Inside, header: str) -> None:
    """A guess, or a key of another service, opens the server."""
    await served.key("ann", "operator")
    async with served.client(**({"Authorization": header} if header else {})) as client:
        async with client.get("/v1/jobs") as answer:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            error = await problem(answer, 401)
            assert error["code"] == "invalid_api_key"
            assert "send Authorization: Bearer KEY" in error["message"]
            assert "0" * 10 not in error["message"]
        async with client.get("/health") as answer:
            assert answer.status == 200


async def test_a_removed_key_ends_what_it_has_open_and_nothing_of_others(served: Inside) -> None:
    """Somebody who may not look any more goes on looking for as long as the stream is open."""
    ann, bob = await served.key("ann", "viewer"), await served.key("bob", "viewer")
    async with served.client(ann) as hers, served.client(bob) as his, his.get("/v1/events") as goes_on:
        async with hers.get("/v1/events") as ends:
            await keys.remove(served.connection, "ann")
            with pytest.raises(aiohttp.ClientPayloadError):
                await ends.read()
        async with hers.get("/v1/jobs") as answer:
            await problem(answer, 401)
        await job_of(served, bob, "goes-on")
        heard = b""
        async with asyncio.timeout(PATIENCE):
            while b"goes-on" not in heard:
                heard += await goes_on.content.readany()
    refusal = await asyncio.to_thread(v2t, served.connection.url, Path("/nowhere"), "keys", "rm", "ann")
    assert (refusal.returncode, refusal.stderr) == (1, "v2t: there is no key ann: v2t keys list shows all\n")


async def test_keys_come_and_go_after_the_broker_was_away(tmp_path: Path) -> None:
    """A key that was removed while the broker restarted opens the server for ever."""
    async with fresh_broker(tmp_path / "nats") as (own, _), inside(own.url, tmp_path) as served:
        before = await served.key("ann", "viewer")
        own.stop()
        own.start()
        await keys.remove(served.connection, "ann")
        await served.answers(before, 401)
        await served.answers(await served.key("bob", "viewer"), 200)


async def test_a_renewed_key_keeps_its_jobs(served: Inside) -> None:
    """Whoever changes a key that leaked loses sight of all earlier jobs."""
    leaked = await served.key("ann", "submitter")
    job = await job_of(served, leaked, "kept")
    key = await keys.renew(served.connection, "ann")
    await served.answers(leaked, 401)
    await served.answers(key, 200)
    async with served.client(key) as client, client.get(f"/v1/jobs/{job}") as answer:
        assert answer.status == 200


async def test_a_page_keeps_its_key_where_no_script_and_no_other_site_gets_at_it(served: Inside) -> None:
    """A page of another site works with the key of whoever visits it."""
    key, own = await served.key("ann", "submitter"), served.url
    job = await job_of(served, key, "of-the-page")
    async with served.client() as client:
        async with client.post("/v1/session", json={"key": key}, headers={"Origin": ELSEWHERE}) as answer:
            await problem(answer, 403)
        async with client.post("/v1/session", json={"key": key}, headers={"Origin": own}) as answer:
            assert answer.status == 204
            cookie = answer.cookies["v2t_key"]
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Strict", "")
        async with served.client(Cookie=f"v2t_key={key}") as page:
            async with page.get("/v1/session") as answer:
                assert (await answer.json())["name"] == "ann"
            async with page.delete(f"/v1/jobs/{job}", headers={"Origin": ELSEWHERE}) as answer:
                assert ELSEWHERE in (await problem(answer, 403))["message"]
            async with page.delete(f"/v1/jobs/{job}", headers={"Origin": "null"}) as answer:
                await problem(answer, 403)
            async with page.delete(f"/v1/jobs/{job}", headers={"Origin": own}) as answer:
                assert answer.status == 200
        async with client.delete("/v1/session") as answer:
            assert answer.cookies["v2t_key"]["max-age"] == "0"
        by_https = {"Origin": "https://v2t.example", "Host": "v2t.example"}
        async with client.post("/v1/session", json={"key": key}, headers=by_https) as answer:
            assert answer.cookies["v2t_key"]["secure"]


@pytest.mark.parametrize("body", ["", "[]", '"key"', "{}", '{"key": 7}', '{"key": "\\ud800"}', "[" * 100_000])
async def test_a_session_begins_with_a_key_only(served: Inside, body: str) -> None:
    """Nonsense ends in an unexpected error, or in a cookie without a key."""
    await served.key("ann", "operator")
    headers = {"Content-Type": "application/json"}
    async with served.client() as client, client.post("/v1/session", data=body, headers=headers) as answer:
        assert answer.status in (400, 401)
        await problem(answer, answer.status)
        assert not answer.cookies


@pytest.mark.parametrize(
    ("method", "headers", "says"),
    [
        ("GET", {"Host": "elsewhere.example"}, "answers only to localhost, not to elsewhere.example"),
        ("GET", {"X-Forwarded-For": "192.0.2.1"}, "answers only to this machine, not to proxies"),
        ("GET", {"Forwarded": "for=192.0.2.1"}, "answers only to this machine, not to proxies"),
        ("POST", {"Origin": ELSEWHERE}, f"pages of {ELSEWHERE} may not change anything here"),
        ("POST", {"Origin": "null"}, "pages of null may not change anything here"),
    ],
)
async def test_without_keys_only_this_machine_comes_in(
    served: Inside, method: str, headers: dict[str, str], says: str
) -> None:
    """Any site that somebody visits, or whoever reaches a proxy here, reads and changes all jobs."""
    async with served.client() as client:
        async with client.request(method, "/v1/jobs", headers=headers) as answer:
            assert says in (await problem(answer, 403))["message"]
        for host in (f"localhost:{served.port}", f"127.0.0.1:{served.port}", f"[::1]:{served.port}"):
            ours = {"Host": host, "Origin": f"http://{host}", "Authorization": "Bearer sk-anything"}
            async with client.post("/v1/jobs", json={}, headers=ours) as answer:
                await problem(answer, 400)  # it came in, and asked for nothing
        async with client.get("/v1/session") as answer:
            assert await answer.json() == {"needed": False, "id": "", "name": "", "role": "operator"}


async def test_once_there_was_a_key_the_server_stays_closed(served: Inside) -> None:
    """Removing the last key opens the server to everybody whom a proxy lets through."""
    key = await served.key("ann", "operator")
    await keys.remove(served.connection, "ann")
    await served.answers(key, 401)
    async with served.client() as client, client.get("/v1/jobs") as answer:
        await problem(answer, 401)


async def test_pages_of_sites_that_a_setting_names_may_use_the_server(broker: Server, tmp_path: Path) -> None:
    """A page elsewhere cannot show transcripts, or a page of any other site can."""
    async with inside(broker.url, tmp_path, serve_origins="https://chat.example") as served:
        key = await served.key("ann", "operator")
        wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        async with served.client() as client:
            async with client.options("/v1/jobs", headers={"Origin": "https://chat.example", **wish}) as answer:
                assert answer.status == 204
                assert answer.headers["Access-Control-Allow-Origin"] == "https://chat.example"
                assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
                assert "Access-Control-Allow-Credentials" not in answer.headers
            async with client.options("/v1/jobs", headers={"Origin": ELSEWHERE, **wish}) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers
            # The browser has to be able to read why it is refused.
            async with client.get("/v1/jobs", headers={"Origin": "https://chat.example"}) as answer:
                assert answer.status == 401
                assert answer.headers["Access-Control-Allow-Origin"] == "https://chat.example"
        async with served.client(key, Origin="https://chat.example") as client, client.get("/v1/events") as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://chat.example"


async def test_other_machines_are_let_in_only_with_keys(broker: Server, tmp_path: Path) -> None:
    """One option opens everything to the whole network."""
    refusal = await asyncio.to_thread(v2t, broker.url, tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert refusal.returncode == 1
    *_, line = refusal.stderr.splitlines()
    assert json.loads(line)["message"] == (
        "other machines reach 0.0.0.0, and there is no key yet: make one with v2t keys add NAME --role operator"
    )


def test_a_key_is_shown_once_and_is_nowhere_at_rest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the broker's disk, a log or a backup has the keys of everybody."""
    with shared_broker(tmp_path / "nats") as broker:
        added = v2t(
            broker.url,
            tmp_path,
            "keys",
            "add",
            "ann",
            "--role",
            "operator",
            "--limit",
            "600",
            "--max-bytes",
            "2000000000",
        )
        key = added.stdout.strip()
        assert keys.id_of(key)
        again = v2t(broker.url, tmp_path, "keys", "add", "ann", "--role", "viewer")
        assert again.stderr == "v2t: there is a key ann already: choose another name, or v2t keys renew ann\n"
        with serving(broker.url, tmp_path / "serve") as server:
            asyncio.run(_use(server.url, key))
        listed = v2t(broker.url, tmp_path, "keys", "list", "--json")
        (row,) = json.loads(listed.stdout)
        assert (row["name"], row["role"], row["requests"], row["id"]) == ("ann", "operator", 600, keys.id_of(key))
        secret = key.rpartition("_")[2]
        said = "".join((added.stderr, listed.stdout, listed.stderr, *capfd.readouterr()))
        assert secret not in said
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files if secret.encode() in path.read_bytes()]
        assert [
            path for path in files if keys.id_of(key).encode() in path.read_bytes()
        ]  # the search finds what is there


async def _use(url: str, key: str) -> None:
    async with aiohttp.ClientSession(url) as client:
        for headers in ({"Authorization": f"Bearer {key}"}, {"Cookie": f"v2t_key={key}"}):
            async with client.get("/v1/jobs", headers=headers) as answer:
                assert answer.status == 200
        async with client.get(f"/v1/jobs/{key}") as answer:  # a key in the wrong place
            assert answer.status == 401
        async with client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}x"}) as answer:
            assert key not in await answer.text()
