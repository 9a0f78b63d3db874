"""The checks of the broker and its store."""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import is_passed_over
from v2t_stream.doctor import Check, Finding, Status, in_thread
from v2t_stream.doctor.machine import amount
from v2t_stream.fleet.presence import fleet
from v2t_stream.monitoring.waiting import unserved
from v2t_stream.runtime.housekeeping import promise
from v2t_stream.runtime.set_up import check_store, drifted, store_drifted
from v2t_stream.runtime.stalls import ADVICE, confirmed, resting, unfinished
from v2t_stream.runtime.stores import minio_store, open_store
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import MEDIA, MODELS, TRANSCRIPTS, UPLOADS, VOICES
from v2t_stream.topology.drift import Drift, age
from v2t_stream.topology.queues import queues
from v2t_stream.topology.stages import ROWS, STAGES
from v2t_stream.topology.streams import CHUNKS, STORE_KEY, STREAMS
from v2t_stream.units import counted

_PAYLOAD: Final = 1 << 20  # bytes of a message; the object store cuts its chunks to fit
_LEAST: Final = 64 << 10  # bytes; a submission may be this large
_BUCKETS: Final = (MEDIA, UPLOADS, TRANSCRIPTS, MODELS, VOICES)  # a stream each
_NEAR: Final = 0.9  # of a limit
_APART: Final = 2.0  # seconds; if two clocks are further apart, times look wrong
_TOO_FAR: Final = 15 * 60.0  # seconds; if the clocks are further apart, S3 refuses requests
_S3_TELLS: Final = timedelta(seconds=1)  # S3 cuts its time off to whole seconds
_ANSWER: Final = 3.0  # seconds
_SHOWN: Final = 3  # of a list
LACKING: Final = ("none is running", ", but no ")  # how the finding about nodes says that a stage runs nowhere
_APPLY: Final = "fix it with v2t doctor --fix or v2t topology apply"


def checks(connection: Connection, settings: Settings) -> list[tuple[str, Check]]:
    found: list[tuple[str, Check]] = [
        ("broker", lambda: broker(connection, settings)),
        ("user", lambda: user(connection, settings)),
        ("limits", lambda: limits(connection)),
        ("durability", lambda: durability(settings)),
        ("topology", lambda: topology(connection, settings)),
        ("priorities", lambda: priorities(connection)),
        ("clock", lambda: clock(connection)),
        ("nodes", lambda: nodes(connection)),
        ("queues", lambda: waiting(connection)),
        ("jobs", lambda: jobs(connection)),
        ("store", lambda: store(connection, settings)),
    ]
    if settings.minio_endpoint:
        found += [
            in_thread("store's clock", lambda: store_clock(settings)),
            ("uploads", lambda: uploads(settings)),
        ]
    return found


async def broker(connection: Connection, settings: Settings) -> Finding:
    """The server's version; `connect` refuses one that is too old."""
    begun = time.monotonic()
    await connection.client.flush()
    took = (time.monotonic() - begun) * 1000
    version = connection.client.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    unused = "NATS_URL wins: the v2t up that runs here is not used (--broker local uses it)"
    advice = unused if settings.nats_url and is_passed_over(settings.home, settings.nats_url) else ""
    return Finding("broker", "ok", f"nats-server {number} at {connection.url}, answers in {took:.1f} ms", advice)


async def user(connection: Connection, settings: Settings) -> Finding:
    """Which user the server takes us for."""
    told = await _who(connection)
    if told is None:
        return Finding("user", "ok", "the server does not say who we are")
    account = told["data"].get("account", "")
    name = told["data"].get("user", "")
    if name:
        return Finding("user", "ok", f"{name}, from {'NATS_URL' if settings.nats_url else 'v2t up'}; account {account}")
    hosts = {urlsplit(url.strip()).hostname for url in connection.url.split(",")}
    if hosts <= {"127.0.0.1", "localhost", "::1"}:
        return Finding("user", "ok", "the broker has no users; only this machine can reach it")
    found = "the broker has no users: anyone who can reach it may do anything"
    return Finding("user", "warn", found, "set up users, see docs/security.md")


async def limits(connection: Connection) -> Finding:
    """Whether the account's limits leave room for what we need."""
    info = await connection.api("INFO")
    bound, stored, payload = info["limits"], info["storage"], connection.client.max_payload
    room = bound["max_storage"] if bound["max_storage"] >= 0 else math.inf
    streams = len(STREAMS) + len(_BUCKETS)
    consumers = max(sum(len(row.consumers) for row in ROWS if row.stream == name) for name in STREAMS)
    less = "raise the account's max_storage, or keep less, see docs/upgrade.md"
    troubles: list[tuple[bool, Status, str]] = [
        (0 <= bound["max_streams"] < streams, "fail", f"raise max_streams to {streams} or more"),
        (0 <= bound["max_consumers"] < consumers, "fail", f"raise max_consumers to {consumers} or more"),
        (bound["max_bytes_required"], "fail", "its streams have no max_bytes: set max_bytes_required to false"),
        (stored >= room, "fail", less),
        (payload < _LEAST, "fail", f"set max_payload to {_PAYLOAD >> 10}KB in its configuration"),
        (stored >= room * _NEAR, "warn", less),
        (payload < _PAYLOAD, "warn", f"with max_payload: {_PAYLOAD >> 10}KB a chunk's audio is one message"),
    ]
    of = f" of {amount(room)}" if room < math.inf else ", no limit for this account"
    found = f"{amount(stored)} stored{of}; messages up to {payload >> 10} KB"
    for holds, status, advice in troubles:
        if holds:
            return Finding("limits", status, found, advice)
    return Finding("limits", "ok", found)


async def durability(settings: Settings) -> Finding:
    """The server does not tell clients when it writes to the disk."""
    if not settings.nats_url:
        return Finding("durability", "ok", "the embedded broker acknowledges a message once it is on the disk")
    return Finding(
        "durability",
        "ok",
        "sync_interval cannot be seen from here",
        "on the broker's machine: curl -s localhost:8222/varz must show sync_always",
    )


async def topology(connection: Connection, settings: Settings) -> Finding:
    # Missing ones first. The check `store` says which store it is.
    drifts = sorted(await drifted(connection, settings), key=lambda drift: bool(drift.field))
    drifts = [drift for drift in drifts if drift.field != STORE_KEY]
    if drifts:
        return Finding("topology", "fail" if any(not one.field for one in drifts) else "warn", _some(drifts), _APPLY)
    count = sum(len(row.consumers) for row in ROWS)
    return Finding("topology", "ok", f"{len(STREAMS)} streams and {count} consumers are set up as expected")


async def priorities(connection: Connection) -> Finding:
    """Whether the server took the priority group: a server that does not know these ignores the field."""
    info = await connection.find(f"CONSUMER.INFO.{CHUNKS}.transcribe-any")
    if info is None:
        return Finding("priorities", "fail", "the queue for all nodes is missing", _APPLY)
    if info["config"].get("priority_policy") == "prioritized":
        return Finding("priorities", "ok", "the fastest waiting node is served first")
    return Finding("priorities", "fail", "the queue for all nodes has no priorities", _APPLY)


async def clock(connection: Connection, *, apart: float = _APART) -> Finding:
    """Whether the broker's clock and ours are at most `apart` seconds apart."""
    asked = datetime.now(UTC)
    told = await _who(connection)
    answered = datetime.now(UTC)
    if told is None or "time" not in told["server"]:
        return Finding("clock", "ok", "the server does not say what time it is")
    ahead = _ahead(asked, answered, datetime.fromisoformat(told["server"]["time"]))
    return _apart("clock", ahead, "the broker's", apart, s3=False)


async def nodes(connection: Connection) -> Finding:
    """Whether each stage runs somewhere, and all nodes run one release."""
    alive = [info for info in await fleet(connection) if info.is_alive]
    names, versions = {info.node for info in alive}, sorted({info.version for info in alive})
    missing = [row.name for row in STAGES if row.name not in {info.stage for info in alive}]
    found = f"{len(names)} with {len(alive)} stages"
    if not alive:
        return Finding("nodes", "warn", LACKING[0], "start v2t up here, or v2t node on your machines")
    if missing:
        return Finding("nodes", "warn", f"{found}{LACKING[1]}{', '.join(missing)}", "start v2t node on one of them")
    if len(versions) > 1:
        return Finding("nodes", "warn", f"{found}, running releases {', '.join(versions)}", "update the older ones")
    return Finding("nodes", "ok", f"{found}, release {versions[0]}")


async def waiting(connection: Connection) -> Finding:
    """Whether nodes take what waits."""
    found, told = await queues(connection), await fleet(connection)
    held = [f"{queue.name} is paused (v2t queue resume {queue.name})" for queue in found if queue.paused]
    held += [
        f"{counted(queue.waiting + queue.in_work, 'message')} in {queue.name}, and {why}"
        for queue in found
        if not queue.paused and (why := unserved(queue, told))
    ]
    if held:
        return Finding("queues", "warn", "; ".join(held), "start v2t node on a machine that does this work")
    return Finding("queues", "ok", f"{sum(queue.waiting for queue in found)} messages wait, and nodes are taking them")


async def jobs(connection: Connection) -> Finding:
    """Whether unfinished jobs can go on."""
    running = await unfinished(connection)
    stalled = await confirmed(connection, await resting(connection, running))
    if not stalled:
        return Finding("jobs", "ok", f"{len(running)} unfinished, each waiting or in progress")
    shown = "; ".join(f"{id_} cannot go on, because {stall.reason}" for id_, stall in list(stalled.items())[:_SHOWN])
    more = f"; and {len(stalled) - _SHOWN} more" if len(stalled) > _SHOWN else ""
    return Finding("jobs", "warn", f"{shown}{more}", ADVICE)


async def store(connection: Connection, settings: Settings) -> Finding:
    """Whether the buckets exist, and delete files when they should."""
    await check_store(connection, settings)
    there = open_store(connection, settings, timeout=_ANSWER)
    drifts = await store_drifted(there, settings)
    if drifts:
        return Finding("store", "fail" if any(not one.field for one in drifts) else "warn", _some(drifts), _APPLY)
    where = f"MinIO at {settings.minio_endpoint}" if settings.minio_endpoint else "the broker's own"
    return Finding(
        "store", "ok", f"{where}; kept: " + ", ".join(f"{n} {age(s)}" for n, s in (await there.lifetimes()).items())
    )


def store_clock(settings: Settings, *, apart: float = _APART) -> Finding:
    """The same for the store: S3 refuses requests if the clocks are a quarter of an hour apart. Blocks."""
    import urllib3  # noqa: PLC0415  # heavy

    scheme = "https" if settings.minio_secure else "http"
    asked = datetime.now(UTC)
    try:
        answer = urllib3.request("HEAD", f"{scheme}://{settings.minio_endpoint}/", timeout=_ANSWER, retries=False)
        answered = datetime.now(UTC)
        told = datetime.strptime(answer.headers["Date"], "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC)
    except (urllib3.exceptions.HTTPError, KeyError, ValueError):
        return Finding("store's clock", "ok", "the store does not say what time it is")
    return _apart("store's clock", _ahead(asked, answered, told, _S3_TELLS), "the store's", apart, s3=True)


async def uploads(settings: Settings) -> Finding:
    announces = await minio_store(settings, timeout=_ANSWER).announces_uploads()
    found = promise(announces, settings.upload_bucket)
    if announces == "nothing":
        return Finding("uploads", "warn", found, "run v2t bucket init, see docs/bucket.md")
    return Finding("uploads", "ok", found)


async def _who(connection: Connection) -> dict[str, Any] | None:
    """Who we are and what time it is, according to the server; None if we may not ask."""
    answer = await connection.user_info(_ANSWER)
    return answer if answer and "data" in answer and "server" in answer else None


def _ahead(asked: datetime, answered: datetime, told: datetime, cut: timedelta = timedelta()) -> float:
    """Seconds, at least, by which our clock is ahead of another; negative if it is behind.

    The other clock was read between `asked` and `answered`, and less than `cut` was cut off its time.
    """
    return max((asked - told - cut).total_seconds(), 0.0) + min((answered - told).total_seconds(), 0.0)


def _apart(name: str, ahead: float, whose: str, most: float, *, s3: bool) -> Finding:
    found = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} {whose}"
    if abs(ahead) <= most:
        return Finding(name, "ok", f"within {most:g} s of {whose}")
    advice = "synchronize the clocks of both machines with NTP"
    return Finding(name, "fail" if s3 and abs(ahead) > _TOO_FAR else "warn", found, advice)


def _some(drifts: list[Drift]) -> str:
    shown = "; ".join(str(drift) for drift in drifts[:_SHOWN])
    more = len(drifts) - _SHOWN
    return f"{shown}; and {more} more (v2t topology show)" if more > 0 else shown
