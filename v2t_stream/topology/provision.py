"""Creates the streams and consumers of the topology, and updates those of an earlier release.

No stream ever loses a message by this. NATS changes in place what it can. A consumer that it cannot change is deleted
and created again (workers find its redelivered messages done). A stream that it cannot change raises what to do.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from v2t_stream.broker.connection import Connection
from v2t_stream.broker.error_codes import IN_USE
from v2t_stream.errors import BrokerError, Refused
from v2t_stream.retention import Retention
from v2t_stream.topology.drift import Drift, compare
from v2t_stream.topology.stages import ROWS, Consumer, StageRow
from v2t_stream.topology.streams import DEAD, DEDUPE_WINDOW, DONE, JOBS, LAYOUT, LAYOUT_KEY, STORE_KEY, STREAMS

log = logging.getLogger(__name__)

_NS: Final = 1_000_000_000
# The owner's choice in an existing stream; `apply` changes it only on request.
_OWNERS: Final = ("max_age", "duplicate_window", "ack_wait")
# What NATS never changes in a stream, and what it changes in a consumer without losing its place (nats-server#7268).
_FIXED: Final = ("retention", "storage")
_EDITABLE: Final = {"description", "ack_wait", "max_deliver", "max_ack_pending"}


class _Place(NamedTuple):
    """One stream or consumer: its NATS name and its expected configuration."""

    stream: str
    durable: str  # empty for a stream
    wanted: Mapping[str, Any]

    @property
    def what(self) -> str:
        return f"consumer {self.durable}" if self.durable else f"stream {self.stream}"

    @property
    def path(self) -> str:
        return f"{self.stream}.{self.durable}" if self.durable else self.stream


async def drift(connection: Connection, store: str, retention: Retention, *, replicas: int = 1) -> list[Drift]:
    """What `apply` with `told` would change. Raises BrokerError."""
    places = list(_places(store, retention, replicas))
    found = await asyncio.gather(*(_found(connection, place) for place in places))
    return [
        one for place, config in zip(places, found, strict=True) for one in compare(place.what, config, place.wanted)
    ]


async def apply(
    connection: Connection, store: str, retention: Retention | None = None, *, replicas: int = 1, told: bool = False
) -> None:
    """Create or update all streams and consumers; doing it again, or twice at once, changes nothing.

    `store`: where the jobs keep their files, for `applied.store_in_use`. `told`: the user asked for it, so ages and
    manual changes become what `retention` and the topology say. Otherwise existing streams keep theirs, because a node
    or a command without a setting must not undo the fleet's. A stream with more replicas always keeps them.

    Raises BrokerError if the server refuses, if a stream would have to be created again, and, if `told`, if a newer
    release has set up the broker; unless told, it leaves such a broker unchanged.
    """
    places = list(_places(store, retention or Retention(), replicas))
    found = {place.path: await _found(connection, place) for place in places}
    jobs = found[JOBS] or {}
    newest = int((jobs.get("metadata") or {}).get(LAYOUT_KEY, 0))
    if newest > LAYOUT:
        newer = f"the streams at {connection.url} were set up by a newer release (layout {newest}, this has {LAYOUT})"
        if told:
            raise BrokerError(f"{newer}: update v2t-stream on this machine, then apply again")
        log.warning("%s: leaving them unchanged", newer)
        return
    for place in places:
        _refuse_what_cannot_be(place, found[place.path])
    # Delete all before creating any: filters of a work queue may move from one to another.
    anew = [await _bring_up_to_date(connection, place, found[place.path], told=told) for place in places]
    for place in filter(None, anew):
        await _create(connection, place)


async def _bring_up_to_date(
    connection: Connection, place: _Place, config: dict[str, Any] | None, *, told: bool
) -> _Place | None:
    """Create or change one; if NATS cannot change it in place, delete it, and return how to create it again."""
    if config is None and not await _create(connection, place):
        config = await _found(connection, place)  # somebody else created it a moment ago
    if config is None or not (fields := _differing(place, config, told=told)):
        return None
    if place.durable and not fields <= _EDITABLE:
        await connection.api(f"CONSUMER.DELETE.{place.path}")
        return place._replace(wanted={**place.wanted, **_pause(config)})
    verb = "CONSUMER.CREATE" if place.durable else "STREAM.UPDATE"
    await connection.api(*_request(verb, place, _changed(place, config, fields)))
    return None


def _places(store: str, retention: Retention, replicas: int) -> Iterator[_Place]:
    """Everything that must exist, streams first."""
    ages = {JOBS: retention.facts, DEAD: retention.dead, DONE: retention.transcripts}
    for name, stream in STREAMS.items():
        max_age = int(ages.get(name, 0) * _NS)
        window = DEDUPE_WINDOW * _NS
        config = {
            "name": name,
            "storage": "file",
            "num_replicas": replicas,
            "allow_direct": True,
            "max_age": max_age,
            "duplicate_window": min(window, max_age or window),
            **stream,
        }
        if name == JOBS:
            config["metadata"] = {STORE_KEY: store, LAYOUT_KEY: str(LAYOUT)}
        yield _Place(name, "", config)
    for row in ROWS:
        for consumer in row.consumers:
            yield _Place(row.stream, consumer.durable, _consumer_config(row, consumer))


def _consumer_config(row: StageRow, consumer: Consumer) -> dict[str, Any]:
    config: dict[str, Any] = {
        "durable_name": consumer.durable,
        "description": row.does,
        "ack_policy": "explicit",
        "ack_wait": int(row.ack_wait * _NS),
        # The worker counts deliveries itself and dead-letters the message after the last. So a message whose
        # worker was killed every time also ends with a reason, instead of staying in the stream unseen.
        "max_deliver": -1,
        "max_ack_pending": consumer.pending,
    }
    if len(consumer.filters) == 1:
        config["filter_subject"] = consumer.filters[0]
    else:
        config["filter_subjects"] = list(consumer.filters)
    if consumer.is_new_only:
        config["deliver_policy"] = "new"
    if consumer.group:
        config |= {"priority_groups": [consumer.group], "priority_policy": "prioritized"}
    return config


async def _found(connection: Connection, place: _Place) -> dict[str, Any] | None:
    kind = "CONSUMER" if place.durable else "STREAM"
    info = await connection.find(f"{kind}.INFO.{place.path}")
    return info["config"] if info else None


async def _create(connection: Connection, place: _Place) -> bool:
    """False if another one already has the name."""
    try:
        await connection.api(*_request("CONSUMER.CREATE" if place.durable else "STREAM.CREATE", place, place.wanted))
    except Refused as error:
        if error.code not in IN_USE:
            raise
        return False
    return True


def _request(verb: str, place: _Place, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    request = {"stream_name": place.stream, "config": dict(config)} if place.durable else dict(config)
    return f"{verb}.{place.path}", request


def _differing(place: _Place, config: Mapping[str, Any], *, told: bool) -> set[str]:
    """The fields to change; for metadata its keys."""
    return {one.field for one in compare(place.what, config, place.wanted) if told or one.field not in _OWNERS}


def _changed(place: _Place, config: Mapping[str, Any], fields: set[str]) -> dict[str, Any]:
    """`config` with those fields as wanted, and the rest unchanged."""
    changed = {**config, **{field: place.wanted[field] for field in fields & place.wanted.keys()}}
    if place.wanted.get("metadata", {}).keys() & fields:
        changed["metadata"] = {**(config.get("metadata") or {}), **place.wanted["metadata"]}
    changed.pop("filter_subject", 0)
    changed.pop("filter_subjects", 0)
    changed |= {k: v for k, v in place.wanted.items() if "filter" in k}
    return changed


def _refuse_what_cannot_be(place: _Place, config: Mapping[str, Any] | None) -> None:
    if config is None or place.durable:
        return
    for one in compare(place.what, config, place.wanted):
        if one.field in _FIXED:
            raise BrokerError(
                f"{one}; NATS cannot change that in an existing stream, so nothing was changed: let its work finish, "
                f"save it with v2t backup, remove it with nats stream rm {place.stream}, then apply again"
            )


def _pause(config: Mapping[str, Any]) -> dict[str, Any]:
    """A paused queue stays paused."""
    return {"pause_until": config["pause_until"]} if config.get("pause_until") else {}
