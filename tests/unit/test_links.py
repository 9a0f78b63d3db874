"""What lets somebody in, in what was sent: see also tests/integration/test_secrets.py."""

from typing import cast

import pytest

from tests.unit.test_odd_facts import DEEP
from v2t_stream.jobs.links import keep_submission
from v2t_stream.store.protocol import ObjectStore


@pytest.mark.parametrize("data", [DEEP, b"[" * 60_000, b"\xff", b"", b'{"url":"\\ud800"}'])
async def test_what_nobody_can_read_can_be_given_up(data: bytes) -> None:
    """Else a submission of brackets within brackets is tried again for ever, and kills who takes it."""
    nowhere = cast("ObjectStore", None)
    assert await keep_submission(nowhere, "j", data) == (data, "")
