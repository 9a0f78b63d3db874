"""Signatures of webhooks."""

import re

from tests.pages import ROOT
from tests.serve.receiver import SECRET
from v2t_stream.serve.hooks.signing import headers


def test_the_receiver_in_the_docs_knows_our_notices_from_others() -> None:
    """People copy it, and it takes nothing, or everything."""
    page = (ROOT / "docs" / "http-jobs.md").read_text()
    code = re.search(r"```python\n(import base64.*?)```", page, re.DOTALL)
    assert code
    receiver: dict[str, object] = {}
    exec(code[1], receiver)  # noqa: S102  # our own page
    is_ours = receiver["is_ours"]
    assert callable(is_ours)
    sent, body = headers("msg_1", 1_700_000_000, b'{"type":"job.completed"}', SECRET), b'{"type":"job.completed"}'
    assert is_ours(sent, body, SECRET)
    assert not is_ours(sent, body.replace(b"completed", b"failed"), SECRET)
    assert not is_ours(sent | {"webhook-timestamp": "1700000001"}, body, SECRET)
