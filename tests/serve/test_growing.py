"""Words come while the recording is still being sent."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp

from tests.harness import DATA

RECORDING = (DATA / "3min.ogg").read_bytes()
MINUTE = len(RECORDING) * 70 // 180  # bytes: a little more than its first minute
STEP = 16 << 10  # bytes sent at once


def streamed(blocks: AsyncIterator[bytes], **fields: str) -> aiohttp.FormData:
    """A form with the file last, as OpenAI's client sends it."""
    form = aiohttp.FormData({"model": "demo", "language": "en", "stream": "true", "force": "true", **fields})
    form.add_field("file", blocks, filename="talk.ogg", content_type="audio/ogg")
    return form


class Sender:
    """Sends the first minute, and the rest when it is told to."""

    def __init__(self, data: bytes = RECORDING, first: int = MINUTE) -> None:
        self._data, self._first = data, first
        self.may_end = asyncio.Event()
        self.sent = 0

    async def blocks(self) -> AsyncIterator[bytes]:
        while self.sent < len(self._data):
            if self.sent >= self._first:
                await self.may_end.wait()
            block = self._data[self.sent : self.sent + STEP]
            yield block
            self.sent += len(block)


async def words(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    async for line in answer.content:
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))


async def test_the_first_words_come_before_the_last_byte_is_sent(client: aiohttp.ClientSession) -> None:
    """Whoever sends an hour over a slow line waits an hour for the first word."""
    sender = Sender()
    async with client.post("/v1/audio/transcriptions", data=streamed(sender.blocks())) as answer:
        assert answer.status == 200
        kinds, text = [], ""
        async for event in words(answer):
            if not kinds:
                assert sender.sent < len(RECORDING)
                assert event["type"] == "transcript.text.delta"
                sender.may_end.set()
            kinds.append(event["type"])
            text += event.get("delta", "")
        assert kinds[-1] == "transcript.text.done"
        assert event["text"] == text
        assert sender.sent == len(RECORDING)
