"""Puts a NATS permission error into words: the server names only the subject, and only to the connection."""

import re
from typing import Final

from schemas.events import Submitted
from schemas.notification import BUCKET_SUBJECT
from schemas.requests import SUBMIT_SUBJECT
from v2t_stream.errors import Denied

_VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)
# The API in a role's account, where `$JS.API` is for the account's own streams.
MAPPED: Final = "v2t.api."
_OPERATORS: Final = "an operator's"

# By subject prefix, the first match counts: what the subject is for, and which credentials allow it.
_WORDS: Final = (
    (SUBMIT_SUBJECT, "submit", "a submitter's or an operator's"),
    (BUCKET_SUBJECT, "announce uploads", "a notifier's or an operator's"),
    (Submitted.SUBJECT.partition("{")[0], "change jobs", _OPERATORS),
    ("v2t.key.", "change the keys of the HTTP API", _OPERATORS),
    ("v2t.once.", "serve the HTTP API", "a server's or an operator's"),
    ("v2t.", "work", "a worker's"),
    ("$kv.v2t_nodes", "work as a node", "a worker's"),
    ("$js.ack.", "take work", "a worker's"),
    ("$js.api.consumer.msg.next.", "take work", "a worker's"),
    ("$js.api.direct.get.v2t_jobs", "read jobs", "a viewer's or an operator's"),
    ("$js.api.direct.get.v2t_keys", "read the keys of the HTTP API", "a server's or an operator's"),
    ("$js.api.consumer.info.", "look at jobs and queues", "a viewer's or an operator's"),
    ("$js.api.consumer.", "set up consumers", _OPERATORS),
    ("$js.api.stream.purge.obj_", "remove files", _OPERATORS),
    ("$js.api.stream.purge.", "change jobs", _OPERATORS),
    ("$js.api.stream.create.", "set up streams", _OPERATORS),
    ("$js.api.stream.update.", "set up streams", _OPERATORS),
    ("$js.api.stream.delete.", "delete streams", _OPERATORS),
    *(
        (f"$js.api.{request}.obj_v2t_voices", "read the library of voices", _OPERATORS)
        for request in ("stream.info", "stream.msg.get", "direct.get")
    ),
    ("$js.api.stream.info.obj_", "read files", "a viewer's or an operator's"),
    ("$js.api.stream.msg.get.v2t_inbox", "read submissions", _OPERATORS),
    ("$js.api.stream.msg.get.obj_", "read files", "a viewer's or an operator's"),
    ("$js.api.direct.get.obj_", "read files", "a viewer's or an operator's"),
    ("$js.api.", "look at jobs and queues", "a viewer's or an operator's"),
    ("$o.v2t_transcripts", "store transcripts", "a worker's or an operator's"),
    ("$o.v2t_voices", "change the library of voices", _OPERATORS),
    ("$o.", "store files", "a submitter's or an operator's"),
)


def denied_subject(error: BaseException) -> tuple[str, str] | None:
    """What the server forbids: publish or subscription, and the subject in lower case as nats-py has it; or None."""
    found = _VIOLATION.search(str(error))
    return (found[1], unmapped(found[2])) if found else None


def unmapped(subject: str) -> str:
    """The subject as the client requested it."""
    return f"$js.api.{subject.removeprefix(MAPPED)}" if subject.startswith(MAPPED) else subject


def denial(user: str, subject: str) -> Denied:
    """The sentence that says what `user` may not publish."""
    what, whose = next(
        ((what, whose) for beginning, what, whose in _WORDS if subject.lower().startswith(beginning)),
        ("do this", _OPERATORS),
    )
    who = f"the user {user}" if user else "this user of NATS"
    return Denied(f"{who} may not {what} (publish {subject}): use {whose} credentials")
