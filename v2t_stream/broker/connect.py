"""Connects to a NATS server: how long it tries, and what it says if it fails."""

import asyncio
import contextlib
import logging
from typing import Final

import nats.errors

from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.denials import denied_subject
from v2t_stream.broker.login import NONE as NO_LOGIN
from v2t_stream.broker.login import Login, without_secret
from v2t_stream.broker.puller import words
from v2t_stream.errors import BrokerError

log = logging.getLogger(__name__)

OLDEST_SERVER: Final = (2, 12)  # consumer priority groups with ranks
_ANSWERS: Final = 20.0  # seconds in which a server must answer after it accepts a connection


class _Limit:
    """How long `connect` tries: shorter after a refusal, longer after a peer accepted the connection."""

    def __init__(self, patience: float, answers: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._patience = patience  # seconds
        self._answers = answers
        self.timeout = asyncio.timeout(patience)

    def reached(self) -> None:
        self._until(self._begun + max(self._patience, self._answers))

    def hear(self, error: Exception, *, is_final: bool) -> None:
        """`is_final`: the server will not change its mind."""
        if is_final:
            self._until(self._loop.time() + 0.1)  # a moment later, so that the client has closed its socket
        elif not isinstance(error, TimeoutError):
            self._until(self._begun + self._patience)

    def _until(self, when: float) -> None:
        with contextlib.suppress(RuntimeError):  # already connected or given up
            self.timeout.reschedule(when)


async def connect(
    url: str, *, name: str, patience: float = 5.0, answers: float = _ANSWERS, login: Login = NO_LOGIN
) -> Connection:
    """Connect to the NATS server at `url`, trying for `patience` seconds; after that it reconnects for ever.

    A server that accepts a connection but answers slowly gets more time: `answers`, in seconds.
    `url` may hold several, separated by commas; the first that answers is used. Raises SettingsError if a file of
    `login` is unusable, and BrokerError with one sentence: no answer, credentials rejected, certificate not trusted,
    server too old.
    """
    urls = [part.strip() for part in url.split(",")]
    where = ",".join(map(without_secret, urls))
    options = login.options(urls)
    trouble: list[Exception] = []
    told: set[tuple[int, str]] = set()
    limit = _Limit(patience, answers)

    async def on_error(error: Exception) -> None:
        if connected:
            # Log it once per lost connection; reconnecting goes on because somebody may fix the cause.
            tells = (client.stats["reconnects"], login.refusal(error, where))
            if tells[1] and tells not in told:
                log.error("%s", tells[1])
            told.add(tells)
        if client.is_connected and denied_subject(error) and not client.hear(error):
            log.warning("the NATS server at %s denied permission: %s", where, words(error))
        if not any(login.refusal(each, where) for each in trouble):  # the connection's end may add an error
            trouble[:] = [error]
        limit.hear(error, is_final=bool(login.refusal(error, where)))

    client = NatsClient(options.get("user", ""), insists_on_tls=login.needs_tls(urls), reached=limit.reached)
    connected = False
    try:
        async with limit.timeout:
            await client.connect(
                urls,
                name=name,
                **options,
                error_cb=on_error,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                connect_timeout=3,
                ping_interval=20,
                pending_size=64 << 20,
            )
            connected = True
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        with contextlib.suppress(AssertionError):  # an invalid URL
            await client.close()
        cause = trouble[0] if trouble else error
        raise BrokerError(
            login.refusal(cause, where)
            or f"no NATS server answers at {where} ({words(cause)}): start one, or correct NATS_URL, "
            "or unset it to use the embedded one"
        ) from error
    connection = Connection(client, where)
    await _check_version(connection)
    return connection


async def _check_version(connection: Connection) -> None:
    """Closes the connection and raises BrokerError if the server is too old."""
    version = connection.client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        await connection.close()
        raise BrokerError(
            f"the NATS server at {connection.url} is version {version.major}.{version.minor}.{version.patch}, but "
            f"{OLDEST_SERVER[0]}.{OLDEST_SERVER[1]} or newer is needed (consumer priority groups): update it"
        )
