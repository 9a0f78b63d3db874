"""The jobs of the HTTP API, as a program uses them."""

import aiohttp
import pytest

from tests.harness import reference
from tests.serve.api import CLIP, done, events, problem, sent
from v2t_stream.demo.wer import word_error_rate


async def test_a_file_becomes_a_transcript_by_http_alone(client: aiohttp.ClientSession) -> None:
    """Programs that speak only HTTP cannot use the fleet."""
    job = await sent(client)
    told = await events(client, job)
    kinds = [kind for kind, _, _ in told if kind != "progress"]
    assert sorted(kinds) == sorted(["submitted", "downloaded", "chunk", "converted", "completed", "end"])
    ids = [id_ for _, id_, _ in told[:-1]]
    assert ids == sorted(set(ids))
    assert told[-1] == ("end", ids[-1], {"state": "completed"})
    async with client.get(f"/v1/jobs/{job}/transcript.txt") as answer:
        assert word_error_rate(reference(CLIP.name), await answer.text()) <= 0.1
        assert answer.headers["X-V2T-State"] == "completed"
        assert answer.headers["X-V2T-Transcript"].startswith("transcripts/")
    async with client.get(f"/v1/jobs/{job}/transcript.srt", params={"style": "social"}) as answer:
        assert max(len(line) for line in (await answer.text()).splitlines()) <= 29
    async with client.get(f"/v1/jobs/{job}") as answer:
        known = await answer.json()
        assert (known["state"], known["title"], known["caveats"]) == ("completed", "talk.flac", [])
    async with client.get("/v1/jobs", params={"title": "talk.flac", "limit": "1"}) as answer:
        listed = await answer.json()
        assert [each["id"] for each in listed["data"]] == [job]


async def test_a_job_that_has_ended_can_be_redone_and_removed(client: aiohttp.ClientSession) -> None:
    """Programs can only add jobs, and somebody else has to tidy up."""
    job = await done(client)
    async with client.delete(f"/v1/jobs/{job}") as answer:
        assert (await problem(answer, 409))["message"] == f"job {job} cannot be cancelled: it is already completed"
    async with client.post(f"/v1/jobs/{job}/retry", json={"chunk": 0}) as answer:
        assert answer.status == 202
    assert (await events(client, job))[-1][2] == {"state": "completed"}
    async with client.delete(f"/v1/jobs/{job}", params={"remove": "true"}) as answer:
        assert answer.status == 204
    async with client.get(f"/v1/jobs/{job}") as answer:
        await problem(answer, 404)


async def test_a_repeated_request_makes_one_job(client: aiohttp.ClientSession) -> None:
    """A client that lost the answer pays twice, or gets a job that is not its own."""
    headers = {"Idempotency-Key": "once"}
    wish = {"url": "http://127.0.0.1:9/nothing.mp3", "model": "demo"}
    jobs = []
    for _ in range(2):
        async with client.post("/v1/jobs", json=wish, headers=headers) as answer:
            jobs.append((await answer.json())["id"])
    assert jobs[0] == jobs[1]
    async with client.post("/v1/jobs", json=wish | {"title": "other"}, headers=headers) as answer:
        assert (await problem(answer, 422))["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("wish", "says", "param"),
    [
        ({"url": "http://a.example/b", "colour": "red"}, "unknown field 'colour'", "colour"),
        ({"url": "http://a.example/b", "owner": "me"}, "unknown field 'owner'", "owner"),
        ({"url": "ftp://a.example/b"}, "cannot be fetched", "url"),
        ({"url": "http://10.1.2.3/b"}, "leads to 10.1.2.3, which is not a public address", "url"),
        ({}, "must name either a url or a media key", None),
        ({"url": "http://a.example/b", "temperature": 7}, "temperature is not valid", "temperature"),
        ({"url": "http://a.example/b", "model": "smal"}, "did you mean small", "model"),
    ],
)
async def test_what_no_node_can_do_is_refused_at_once(
    client: aiohttp.ClientSession, wish: dict[str, object], says: str, param: str | None
) -> None:
    """A mistake shows only when the job has failed."""
    async with client.post("/v1/jobs", json=wish) as answer:
        error = await problem(answer, 400)
    assert says in error["message"]
    assert error["param"] == param


async def test_a_player_can_jump(client: aiohttp.ClientSession) -> None:
    """Whoever clicks a word waits until the whole file has come, or hears another place."""
    job, path, data = await done(client), "/v1/jobs/{}/media", CLIP.read_bytes()
    async with client.get(path.format(job)) as answer:
        assert await answer.read() == data
        assert answer.content_type in {"audio/x-flac", "audio/flac"}
        tag = answer.headers["ETag"]
    async with client.get(path.format(job), headers={"Range": "bytes=1000-1099"}) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 1000-1099/{len(data)}"
        assert await answer.read() == data[1000:1100]
    async with client.get(path.format(job), headers={"Range": "bytes=-5", "If-Range": tag}) as answer:
        assert await answer.read() == data[-5:]
    async with client.get(path.format(job), headers={"Range": "bytes=5-", "If-Range": '"other"'}) as answer:
        assert (answer.status, await answer.read()) == (200, data)
    async with client.get(path.format(job), headers={"Range": f"bytes={len(data)}-"}) as answer:
        await problem(answer, 416)
    async with client.head(path.format(job)) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(data)))


async def test_a_correction_counts_in_every_format_and_only_once(client: aiohttp.ClientSession) -> None:
    """A person's correction is lost, or overwrites another person's."""
    # Other tests do the same recording, and must not get the corrected transcript of it.
    job = await done(client, word_timestamps="true", beam_size="4")
    path = f"/v1/jobs/{job}/transcript"
    async with client.get(f"{path}.json") as answer:
        record, read = await answer.json(), answer.headers["X-V2T-Transcript"]
    words = record["segments"][0]["text"].split()
    text = " ".join(["Ishmael", *words[1:]])
    async with client.patch(path, json={"of": read, "segments": {"0": text}}) as answer:
        assert answer.status == 200
        now = (await answer.json())["segments"]["0"]
        assert (now["text"], [word["text"] for word in now["words"]][:2]) == (text, ["Ishmael", words[1]])
    async with client.get(f"/v1/jobs/{job}") as answer:
        assert (await answer.json())["corrected"]["by"]
    async with client.patch(path, json={"of": read, "segments": {"0": "late"}}) as answer:
        await problem(answer, 409)
    async with client.get(f"{path}.txt") as answer:
        assert (await answer.text()).startswith("Ishmael")
        now = answer.headers["X-V2T-Transcript"]
    async with client.get(f"{path}.txt", params={"original": "true"}) as answer:
        assert not (await answer.text()).startswith("Ishmael")
    async with client.patch(path, json={"of": now, "segments": {"99": "x"}}) as answer:
        assert "no segment '99'" in (await problem(answer, 400))["message"]
    for odd in ("-1", "9" * 5000, "²", ""):
        async with client.patch(path, json={"of": now, "segments": {odd: "x"}}) as answer:
            assert (await problem(answer, 400))["param"] == "segments"
    async with client.patch(path, json={"of": now, "segments": {"0": ""}}) as answer:
        assert (await answer.json())["segments"] == {"0": None}
