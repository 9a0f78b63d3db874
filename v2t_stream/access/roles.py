"""The roles on the broker, and the server configuration that enforces them (it generates nats/auth.conf).

Each role except the operator has its own account, which sees only what it imports from the account V2T. Permissions
within one account would not hold: the server publishes an answer on the reply subject of the request, in its own
name. So a client that may only ask for the next message could have the answer "no message" sent to
`$JS.API.STREAM.DELETE.V2T_JOBS`. From another account, such an answer stays in that account.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from schemas.events import Cancelled, Corrected, DeadLetter, Named, Rerun
from schemas.hooks import Notify
from schemas.notification import BUCKET_SUBJECT
from schemas.once import Once
from schemas.requests import SUBMIT_SUBJECT
from v2t_stream.broker.denials import MAPPED
from v2t_stream.errors import SettingsError
from v2t_stream.store.protocol import MEDIA, MODELS, TRANSCRIPTS, UPLOADS, VOICES
from v2t_stream.topology.stages import NOTIFY, STAGES
from v2t_stream.topology.streams import (
    CHUNKS,
    DEAD,
    DONE,
    INBOX,
    JOBS,
    KEYS,
    NODES,
    ONCE,
    STORED_FACTS,
    STORED_KEYS,
    STREAMS,
)
from v2t_stream.topology.subjects import ALL_DEAD, ALL_DONE, ALL_FACTS, ALL_TASKS, any_run

API: Final = "$JS.API."
_HOME: Final = "V2T"  # the account of the streams
_GUESTS: Final = 1000  # connections; a server takes 65,536 by default and must have room for workers


class Role(NamedTuple):
    """What a role may do, in NATS subjects with wildcards. Every role may receive answers."""

    name: str
    does: str
    account: str
    publishes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()  # JetStream API requests, without `$JS.API.`
    hears: tuple[str, ...] = ()  # subjects to subscribe to
    serves: tuple[str, ...] = ()  # requests that it answers
    connections: int = 0  # at once, for all its users together; 0: the server's limit


class User(NamedTuple):
    name: str
    role: str
    password: str  # in the configuration's form: a bcrypt hash, or a variable


def _to_take(stream: str) -> tuple[str, ...]:
    """The requests to take work from `stream`."""
    durables = [consumer.durable for row in STAGES if row.stream == stream for consumer in row.consumers]
    return tuple(f"CONSUMER.MSG.NEXT.{stream}.{durable}" for durable in durables)


def _bucket(name: str) -> tuple[str, ...]:
    """The requests to read a bucket of the object store (ADR-20)."""
    stream = f"OBJ_{name}"
    return (f"STREAM.INFO.{stream}", f"STREAM.MSG.GET.{stream}", f"DIRECT.GET.{stream}", f"DIRECT.GET.{stream}.>")


# To read the facts of jobs. That needs no consumer, and only an operator may create one: a stream limits them, and the
# server publishes a consumer's messages on any subject that its creator names, in the account of the streams and in
# its own name.
_READ: Final = tuple(
    request for stream in (JOBS, DEAD) for request in (f"STREAM.MSG.GET.{stream}", f"DIRECT.GET.{stream}")
)
_LOOK: Final = (
    *(f"STREAM.INFO.{stream}" for stream in STREAMS),
    *(f"CONSUMER.INFO.{stream}.*" for stream in (INBOX, JOBS, CHUNKS)),
    "INFO",  # how much the broker stores
    f"STREAM.MSG.GET.{DONE}",
    f"DIRECT.GET.{DONE}",
    f"STREAM.MSG.GET.{CHUNKS}",  # the age of the oldest
    f"DIRECT.GET.{NODES}",
)

ROLES: Final = (
    Role("operator", "does everything: sets up streams, cancels, retries, submits, reads", _HOME),
    Role(
        "worker",
        "runs stages: takes work, publishes results, reads and writes media and transcripts",
        "V2T_WORKERS",
        publishes=(
            BUCKET_SUBJECT,  # for uploads that the server did not announce
            ALL_FACTS,
            ALL_TASKS,
            ALL_DONE,
            ALL_DEAD,
            *STREAMS[NODES]["subjects"],
            f"$O.{MEDIA}.>",
            f"$O.{TRANSCRIPTS}.>",
            *(f"$JS.ACK.{stream}.>" for stream in (INBOX, JOBS, CHUNKS)),
        ),
        asks=(
            *_LOOK,
            *_READ,
            *(request for stream in (INBOX, JOBS, CHUNKS) for request in _to_take(stream)),
            *_bucket(MEDIA),
            *_bucket(UPLOADS),
            *_bucket(TRANSCRIPTS),
            *_bucket(MODELS),
            *_bucket(VOICES),
            f"STREAM.PURGE.OBJ_{MEDIA}",  # replaced and useless objects
            f"STREAM.PURGE.OBJ_{TRANSCRIPTS}",
        ),
        hears=(Cancelled.subject_of(job="*"), Rerun.subject_of(job="*", run="*"), STORED_FACTS),
        serves=("$SRV.>",),
    ),
    Role(
        "viewer",
        "watches jobs, queues and the fleet, and reads transcripts",
        "V2T_VIEWERS",
        asks=(
            *_LOOK,
            *_READ,
            *_bucket(TRANSCRIPTS),
            *_bucket(MODELS),
            f"STREAM.INFO.OBJ_{MEDIA}",  # sizes, ages and keys; no content
            f"STREAM.INFO.OBJ_{UPLOADS}",
            f"STREAM.INFO.OBJ_{VOICES}",
        ),
        hears=(ALL_FACTS, STORED_FACTS, ALL_DEAD, *STREAMS[NODES]["subjects"]),
        connections=_GUESTS,
    ),
    Role(
        "submitter",
        "submits links and files, and cannot see their jobs",
        "V2T_SUBMITTERS",
        publishes=(SUBMIT_SUBJECT, f"$O.{UPLOADS}.C.*", f"$O.{UPLOADS}.M.*"),
        # No reads of submissions: a request may name a wildcard, so it would read others' too.
        asks=(f"STREAM.INFO.{INBOX}",),
        connections=_GUESTS,
    ),
    Role(
        "server",
        "serves the HTTP API: submits, reads, cancels, retries, corrects and removes jobs, and checks keys",
        "V2T_SERVERS",
        publishes=(
            SUBMIT_SUBJECT,
            Once.subject_of(name="*"),
            Cancelled.subject_of(job="*"),
            Rerun.subject_of(job="*", run="*"),
            *any_run(Corrected, job="*"),
            Named.subject_of(job="*"),
            f"$O.{UPLOADS}.>",
            f"$O.{TRANSCRIPTS}.>",
            Notify.subject_of(job="*"),
            DeadLetter.subject_of(stage=NOTIFY.name, job="*"),
            f"$JS.ACK.{JOBS}.{NOTIFY.name}.>",
        ),
        asks=(
            *_LOOK,
            *_READ,
            f"CONSUMER.MSG.NEXT.{JOBS}.{NOTIFY.name}",
            f"STREAM.MSG.GET.{INBOX}",  # a job exists for who submitted it before intake takes it
            f"STREAM.MSG.GET.{ONCE}",
            f"DIRECT.GET.{KEYS}",
            *_bucket(MEDIA),
            *_bucket(UPLOADS),
            *_bucket(TRANSCRIPTS),
            *_bucket(MODELS),
            # What is cancelled, retried, removed or replaced. The request has the pattern, so no subject says whose.
            *(f"STREAM.PURGE.{stream}" for stream in (JOBS, CHUNKS, DONE, DEAD)),
            *(f"STREAM.PURGE.OBJ_{bucket}" for bucket in (MEDIA, UPLOADS, TRANSCRIPTS)),
            f"STREAM.MSG.DELETE.{DEAD}",
        ),
        hears=(STORED_FACTS, STORED_KEYS),
    ),
    Role(
        "notifier",
        "publishes MinIO's upload notifications",
        "V2T_NOTIFIERS",
        publishes=(BUCKET_SUBJECT,),
        connections=_GUESTS,
    ),
)


_HEAD: Final = """\
# Who may do what: one account for each role. nats-server.conf includes this file.
# v2t_stream/access/roles.py generates it and explains why:
#
#   uv run python -m v2t_stream.access.roles > nats/auth.conf
#
# Here each role has one user. The server takes its password from its environment, with quotes inside the value, such
# as NATS_WORKER_PASSWORD='"secret"' (without them it would read 12e3 as a number). v2t secrets writes the same accounts
# with a user for each machine, with hashes instead of passwords and with TLS: docs/security.md.
#
# How to read this: the account V2T has the streams, and another account sees only what it imports from V2T. `to:` and
# `mappings` put the JetStream API of V2T where clients look for it.

"""


def role(name: str) -> Role:
    """The role called `name`; raises SettingsError with the known roles."""
    for each in ROLES:
        if each.name == name:
            return each
    raise SettingsError(f"unknown role {name!r}: use one of {', '.join(each.name for each in ROLES)}")


def template() -> str:
    """nats/auth.conf: one user of each role, with its password in the environment."""
    users = [User(each.name, each.name, f"$NATS_{each.name.upper()}_PASSWORD") for each in ROLES]
    return _HEAD + configuration(users)


def configuration(users: Iterable[User]) -> str:
    """The accounts of all roles with `users`, one per line, for a nats-server to include."""
    everyone = list(users)
    return "\n".join(["accounts {", *(line for each in ROLES for line in _account(each, everyone)), "}", ""])


def _account(of: Role, users: list[User]) -> Iterator[str]:
    yield f"  # {of.name}: {of.does}"
    yield f"  {of.account} {{"
    yield from _home() if of.account == _HOME else _guest(of)
    if of.connections:
        yield f"    limits {{ max_connections: {of.connections} }}"
    yield "    users: ["
    for user in users:
        if user.role == of.name:
            yield f"      {{user: {json.dumps(user.name)}, password: {user.password}}}  # {user.role}"
    yield "    ]"
    yield "  }"


def _home() -> Iterator[str]:
    """What the account that holds the streams offers to the others, and takes from them."""
    guests = [each for each in ROLES if each.account != _HOME]
    yield "    jetstream: enabled"
    services = {subject for each in guests for subject in (*each.publishes, *map(API.__add__, each.asks))}
    streams = {subject for each in guests for subject in each.hears}
    exports = [f"{{service: {json.dumps(subject)}{_kind(subject)}}}" for subject in sorted(services)]
    exports += [f"{{stream: {json.dumps(subject)}}}" for subject in sorted(streams)]
    yield from _listed("exports", exports)
    served = [(each.account, subject) for each in guests for subject in each.serves]
    yield from _listed("imports", [_import("service", account, subject) for account, subject in served])


def _guest(of: Role) -> Iterator[str]:
    """What a role's own account takes from the one that holds the streams."""
    if of.asks:
        yield f'    mappings: {{"{API}>": "{MAPPED}>"}}'
    imports = [_import("service", _HOME, subject) for subject in of.publishes]
    imports += [_import("service", _HOME, API + ask, to=MAPPED + ask) for ask in of.asks]
    imports += [_import("stream", _HOME, subject) for subject in of.hears]
    yield from _listed("imports", imports)
    yield from _listed("exports", [f'{{service: "{subject}", response_type: stream}}' for subject in of.serves])
    yield from _permissions(of)


def _kind(service: str) -> str:
    """Marks services that answer more than once; the server remembers each request to them for minutes."""
    tokens = service.split(".")
    is_batch = tokens[:4] == ["$JS", "API", "DIRECT", "GET"] and len(tokens) == 5
    return ", response_type: stream" if is_batch or "NEXT" in tokens else ""


def _import(kind: str, account: str, subject: str, to: str = "") -> str:
    target = f", to: {json.dumps(to)}" if to else ""
    return f"{{{kind}: {{account: {account}, subject: {json.dumps(subject)}}}{target}}}"


def _listed(name: str, entries: list[str]) -> Iterator[str]:
    if entries:
        yield f"    {name}: ["
        yield from (f"      {entry}" for entry in entries)
        yield "    ]"


def _permissions(of: Role) -> Iterator[str]:
    """Deny everything else explicitly, so that a program gets an error instead of waiting for an answer."""
    yield "    default_permissions {"
    yield "      publish: {"
    yield "        allow: ["
    yield from (f"          {json.dumps(subject)}" for subject in (*of.publishes, *map(MAPPED.__add__, of.asks)))
    yield "        ]"
    yield "      }"
    yield f"      subscribe: {json.dumps(['_INBOX.>', *of.hears, *of.serves])}"
    if of.serves:
        yield "      allow_responses: true"
    yield "    }"


if __name__ == "__main__":
    print(template(), end="")  # noqa: T201  # into the file
