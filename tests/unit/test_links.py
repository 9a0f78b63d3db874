"""Passwords and keys in submissions; see also tests/integration/test_secrets.py."""

from typing import cast

import pytest

from tests.unit.test_odd_facts import DEEP
from v2t_stream.jobs.links import keep_submission
from v2t_stream.store.protocol import ObjectStore


@pytest.mark.parametrize("data", [DEEP, b"[" * 60_000, b"\xff", b"", b'{"url":"\\ud800"}'])
async def test_what_nobody_can_read_can_be_given_up(data: bytes) -> None:
    """Else a submission of nested brackets is retried for ever and kills each stage that takes it."""
    nowhere = cast("ObjectStore", None)
    assert await keep_submission(nowhere, "j", data) == (data, "")


@pytest.mark.parametrize(
    "data",
    [
        b'{"url": "https:\\/\\/u:hush@h\\/a"}',
        b'{"url": "https:\\/\\/u:hush@h\\/a",}',  # which is no JSON
        b'{"url": "https:\\u002f\\/u:hush@h"}',
        b'["https://h/a?access_token=hush"',
        b"https://h/a?key=hush and more",
    ],
)
async def test_what_is_given_up_shows_no_password_however_it_is_written(data: bytes) -> None:
    """Else a viewer reads in the dead letter the password that the status hides."""
    kept: dict[str, bytes] = {}

    class Store:
        async def put(self, key: str, data: bytes) -> None:
            kept[key] = data

    shown, key = await keep_submission(cast("ObjectStore", Store()), "j", data)
    assert b"hush" not in shown
    assert kept == {key: data}
