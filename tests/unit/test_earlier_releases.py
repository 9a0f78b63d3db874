"""Reads what earlier releases sent and stored, and survives what later ones may send.

The files are real: tests/record_release.py wrote them. They are never changed; each release adds its own.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.events import DeadLetter
from schemas.message import encode
from schemas.notification import Notification
from schemas.transcript import Transcript
from tests.record_release import FIXTURES
from v2t_stream.broker.requests import Stored
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.formats import FORMATS, render_all
from v2t_stream.jobs.lists import place_of
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.submission import check, parse
from v2t_stream.jobs.summary import summary
from v2t_stream.retention import Retention
from v2t_stream.topology.provision import _places
from v2t_stream.topology.streams import LAYOUT
from v2t_stream.topology.subjects import BUCKET_SUBJECT, SUBMIT_SUBJECT, decode, job_of, message_type
from v2t_stream.transcription.providers import parse as parse_providers

RELEASES = sorted(FIXTURES.glob("release-*"))
NEWS: dict[str, Any] = {"from_the_future": {"deep": [1]}, "another": "word"}

releases = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)


def recorded(release: Path, name: str) -> Any:
    return json.loads((release / f"{name}.json").read_text())


def ours(release: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The messages that one of our structs is, by subject."""
    for message in recorded(release, "messages"):
        if message_type(message["subject"]):
            yield message["subject"], json.loads(message["data"])


def stored(release: Path, *, news: bool = False) -> list[Stored]:
    """The facts as they stood at the end, with what a later release may add to each."""
    facts = []
    for fact in recorded(release, "facts"):
        data = json.loads(fact["data"]) | (NEWS if news else {})
        facts.append(Stored(fact["subject"], json.dumps(data).encode(), fact["sequence"], fact["at"]))
    return facts


def states(facts: list[Stored]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(summary(job)) for job in sorted(fold_all(facts).values(), key=lambda job: job.id)]


def test_there_is_something_to_read() -> None:
    """Else all that follows proves nothing."""
    assert RELEASES
    for release in RELEASES:
        kinds = {type_.__name__ for subject, _ in ours(release) if (type_ := message_type(subject))}
        assert kinds >= {
            *("Submitted", "Downloaded", "Listed", "Converted", "Language", "ChunkDone", "Completed"),
            *("Failed", "Cancelled", "Progress", "ChunkTask", "Done"),
        }
        assert kinds & {"Retried", "Rerun"}


@releases
def test_each_message_is_read_whole(release: Path) -> None:
    """Else an old node's work is given up, or part of its message is lost."""
    for subject, data in ours(release):
        message = decode(subject, json.dumps(data).encode())
        assert message
        assert message.subject == subject
        assert json.loads(encode(message)) == data


@releases
def test_facts_fold_to_the_state_they_had(release: Path) -> None:
    """Else jobs look different after an upgrade: open again, or without their transcript."""
    expected = sorted(recorded(release, "jobs"), key=lambda job: job["id"])
    assert states(stored(release)) == expected


@releases
def test_dead_letters_submissions_uploads_and_nodes_are_read(release: Path) -> None:
    """Else submissions that waited during the upgrade are refused, or old nodes are invisible."""
    seen = dict.fromkeys(("submit", "bucket", "dead", "v2t_nodes"), 0)
    for message in recorded(release, "messages"):
        subject, data = message["subject"], message["data"].encode()
        kind = subject.split(".")[1]
        seen[kind] = seen.get(kind, 0) + 1
        if subject == SUBMIT_SUBJECT:
            check(parse(data))
        elif subject == BUCKET_SUBJECT:
            (upload,) = msgspec.json.decode(data, type=Notification).created()
            assert upload.key == "talks/a talk.flac"
        elif kind == "dead":
            letter = msgspec.json.decode(data, type=DeadLetter)
            assert decode(letter.original_subject, letter.data) or letter.original_subject.startswith("v2t.submit")
        elif kind == "v2t_nodes":
            info = msgspec.json.decode(data, type=NodeInfo)
            assert (info.node, info.key) == ("recorder", subject)
    assert all(seen.values())


@releases
def test_stored_transcripts_are_read_and_written_in_every_format(release: Path) -> None:
    """Else transcripts that are kept for ever can be read only by one release."""
    transcripts = recorded(release, "transcripts")
    assert transcripts
    for data in transcripts:
        transcript = msgspec.json.decode(json.dumps(data | NEWS), type=Transcript)
        assert json.loads(encode(transcript)) == data
        assert {format_ for format_, text in render_all(transcript) if text} == set(FORMATS)


def test_a_provider_file_of_an_earlier_release_is_read() -> None:
    """Else every node with such a file stops at the upgrade."""
    for release in RELEASES:
        assert parse_providers((release / "providers.yaml").read_bytes(), "providers.yaml")


@releases
def test_what_a_later_release_adds_to_a_message_is_ignored(release: Path) -> None:
    """Else the first new node of a fleet stops all old ones."""
    for subject, data in ours(release):
        assert decode(subject, json.dumps(data | NEWS).encode()) == decode(subject, json.dumps(data).encode())
    assert states(stored(release, news=True)) == states(stored(release))
    for message in recorded(release, "messages"):
        if message["subject"].startswith("$KV"):
            data = json.loads(message["data"])
            assert msgspec.convert(data | NEWS, NodeInfo) == msgspec.convert(data, NodeInfo)


@releases
def test_facts_that_only_a_later_release_knows_change_nothing(release: Path) -> None:
    """Else an old monitor or aggregator fails at the first new fact, or its end of the job is refused for it."""
    facts = stored(release)
    job = job_of(facts[0].subject)
    last = max(fact.sequence for fact in facts)
    news = [
        Stored(f"v2t.job.{job}.polished", json.dumps({"type": "polished", "job": job}).encode(), last + 1, 0.0),
        Stored(f"v2t.job.{job}.summary.short", b'{"type": "summary"}', last + 2, 0.0),
        # The same subject, another message: a type that changed.
        Stored(f"v2t.job.{job}.language", json.dumps({"type": "languages", "job": job}).encode(), last + 3, 0.0),
        Stored(f"v2t.job.{job}.failed", b"not even JSON", last + 4, 0.0),
    ]
    assert states(facts + news) == states(facts)
    lone = Job("tomorrow")
    lone.apply(Stored("v2t.job.tomorrow.polished", b"{}", 1, 0.0))
    assert (lone.state, lone.sequences) == ("queued", {"v2t.job.tomorrow.polished": 1})
    assert place_of(job) == (job, 0)


@releases
def test_a_topology_that_changed_has_another_number(release: Path) -> None:
    """Else an old node reverts a new node's set-up when it next starts."""
    then = recorded(release, "topology")
    fixed = ("max_age", "duplicate_window", "metadata", "num_replicas", "name")  # settings, or told by the server
    wanted = {place.durable or place.stream: place.wanted for place in _places("", Retention(), 1)}
    there = {**then["streams"], **then["consumers"]}
    same = wanted.keys() == there.keys() and all(
        there[name].get(field, type(value)()) == value
        for name, config in wanted.items()
        for field, value in config.items()
        if field not in fixed
    )
    assert same or then["layout"] < LAYOUT
