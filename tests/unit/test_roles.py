"""The roles as they are declared, against nats/auth.conf and against what is said of a denial."""

import re
from pathlib import Path

import pytest

from v2t_stream.access.roles import API, ROLES, User, configuration, role, template
from v2t_stream.broker.denials import denial
from v2t_stream.errors import SettingsError
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import CHUNKS, DEAD, DONE, JOBS, STREAMS

ROOT = Path(__file__).parents[2]


def may(name: str, subject: str) -> bool:
    """Whether a role may publish on `subject`."""
    of = role(name)
    if of.name == "operator":
        return True
    allowed = [*of.publishes, *(API + ask for ask in of.asks)]
    return any(_matches(each, subject) for each in allowed)


def _matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, given = wanted[:-1], given[: len(wanted) - 1] if len(given) >= len(wanted) else []
    return len(wanted) == len(given) and all(one in ("*", other) for one, other in zip(wanted, given, strict=True))


def test_auth_conf_says_what_the_roles_are() -> None:
    """Else who reads nats/auth.conf, or runs Compose, has other permissions than v2t secrets gives."""
    assert (ROOT / "nats/auth.conf").read_text() == template()


def test_a_worker_may_take_from_every_consumer_and_nobody_else_may() -> None:
    """Else a new stage works everywhere but on a broker with roles, or a viewer takes work away."""
    for row in STAGES:
        for consumer in row.consumers:
            subject = f"{API}CONSUMER.MSG.NEXT.{row.stream}.{consumer.durable}"
            assert [each.name for each in ROLES if may(each.name, subject)] == ["operator", "worker"]
            assert may("worker", f"$JS.ACK.{row.stream}.{consumer.durable}.1.2.3.4.5")
        for fact in row.results:
            assert may("worker", fact.subject_of(job="j", n=0))


@pytest.mark.parametrize("verb", ["CREATE", "UPDATE", "DELETE", "PURGE"])
def test_only_the_operator_changes_streams_and_a_server_what_is_in_them(verb: str) -> None:
    """Else a machine that was broken into empties the queues."""
    for stream in STREAMS:
        removes = verb == "PURGE" and stream in (JOBS, CHUNKS, DONE, DEAD)  # cancelled, retried and removed jobs
        wanted = ["operator", "server"] if removes else ["operator"]
        assert [each.name for each in ROLES if may(each.name, f"{API}STREAM.{verb}.{stream}")] == wanted


@pytest.mark.parametrize(
    ("subject", "what"),
    [
        ("v2t.submit", "submit"),
        ("v2t.bucket", "announce uploads"),
        ("v2t.key.x", "change the keys of the HTTP API"),
        ("v2t.once.x", "serve the HTTP API"),
        ("$JS.API.DIRECT.GET.V2T_KEYS", "read the keys of the HTTP API"),
        ("v2t.job.x.cancelled", "change jobs"),
        ("$KV.v2t_nodes.a.b.1", "work as a node"),
        ("$JS.API.CONSUMER.MSG.NEXT.V2T_CHUNKS.transcribe-cpu", "take work"),
        ("$JS.API.DIRECT.GET.V2T_JOBS", "read jobs"),
        ("$JS.API.CONSUMER.CREATE.V2T_JOBS.x", "set up consumers"),
        ("$JS.API.STREAM.MSG.GET.V2T_INBOX", "read submissions"),
        ("$JS.API.CONSUMER.CREATE.V2T_INBOX.x", "set up consumers"),
        ("$JS.API.STREAM.CREATE.V2T_JOBS", "set up streams"),
        ("$JS.API.STREAM.PURGE.V2T_CHUNKS", "change jobs"),
        ("$JS.API.STREAM.DELETE.V2T_CHUNKS", "delete streams"),
        ("$JS.API.CONSUMER.INFO.V2T_INBOX.intake", "look at jobs and queues"),
        ("$JS.API.STREAM.INFO.V2T_JOBS", "look at jobs and queues"),
        ("$JS.API.DIRECT.GET.OBJ_v2t_transcripts.$O.v2t_transcripts.M.x", "read files"),
        ("$O.v2t_uploads.C.x", "store files"),
        ("$O.v2t_voices.M.x", "change the library of voices"),
        ("$JS.API.DIRECT.GET.OBJ_v2t_voices.$O.v2t_voices.M.x", "read the library of voices"),
        ("$O.v2t_transcripts.C.x", "store transcripts"),
    ],
)
def test_a_denial_says_what_it_is_about_and_whose_credentials_would_do(subject: str, what: str) -> None:
    """Else the user is told to use credentials that are refused too."""
    said = re.fullmatch(r"the user me may not (.+) \(publish (\S+)\): use (.+) credentials", str(denial("me", subject)))
    assert said
    assert said[1] == what
    assert said[2] == subject
    for name in re.findall(r"an? (\w+)'s", said[3]):
        assert may(name, subject)


def test_an_unknown_role_gives_a_list_of_the_known_ones() -> None:
    """Else a typing error makes a user who may do nothing."""
    with pytest.raises(SettingsError, match="unknown role 'wroker': use one of operator, worker, viewer, submitter"):
        role("wroker")


def test_a_user_is_one_line() -> None:
    """Else to throw out a machine is more than to take out a line."""
    without = configuration([]).splitlines()
    lines = configuration([User("m4", "worker", '"hash"')]).splitlines()
    assert [line for line in lines if line not in without] == ['      {user: "m4", password: "hash"}  # worker']
    assert len(lines) == len(without) + 1
