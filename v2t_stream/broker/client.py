"""nats-py's client with the features it lacks.

A forbidden request fails at once, the client insists on TLS if it is set, a caller can give up a flush, and no message
can stop the client from reading later ones.

The methods below that begin with an underscore override nats-py's own, as of 2.16; pyproject.toml caps the version.
"""

import asyncio
import itertools
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Any

import nats.errors
import nats.protocol.parser
from nats.aio.client import Client
from nats.aio.msg import Msg

from v2t_stream.broker.denials import denial, denied_subject
from v2t_stream.errors import Denied

log = logging.getLogger(__name__)

# The server's separators: nats-py also splits at vertical tabs and form feeds, which a subject may contain.
nats.protocol.parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
nats.protocol.parser.HMSG_RE = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)

_REMEMBERED = 1024  # abandoned requests
_PLAIN = b"NATS/1.0\r\n"  # begins headers without a status


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drops asyncio's warning about the way nats-py ends each TLS connection."""
    return "eof_received" not in record.getMessage()


class NatsClient(Client):
    """The server reports a forbidden subject to the connection, not to the waiting request; this class links them."""

    def __init__(
        self, user: str = "", *, insists_on_tls: bool = False, reached: Callable[[], None] | None = None
    ) -> None:
        """`reached` is called when a peer accepts a connection, even before it proves to be a server."""
        super().__init__()
        self._user = user
        self._reached = reached
        self._insists_on_tls = insists_on_tls
        logging.getLogger("asyncio").addFilter(_is_wanted)
        self._asking: dict[str, tuple[str, Callable[[Denied], None]]] = {}  # by reply subject
        # The first refusal may end several requests at once; the refusals of the others come later.
        self._left: deque[str] = deque(maxlen=_REMEMBERED)  # subjects, in lower case
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._inbox = ""
        self._count = itertools.count()

    def expect(self, answer: str, subject: str, denied: Callable[[Denied], None]) -> None:
        """Call `denied` if `subject` turns out to be forbidden, until `expect_no_more`."""
        self._asking[answer] = subject, denied

    def expect_no_more(self, answer: str) -> None:
        if asked := self._asking.pop(answer, None):
            self._left.append(asked[0].lower())

    def hear(self, error: Exception) -> bool:
        """Take an error that the server sent outside any answer; returns whether one of our requests caused it."""
        found = denied_subject(error)
        if not found or found[0] != "publish":
            return False
        those = [(subject, denied) for subject, denied in self._asking.values() if subject.lower() == found[1]]
        for subject, denied in those:
            denied(denial(self._user, subject))
        return bool(those) or found[1] in self._left

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109  # nats-py's signature
        old_style: bool = False,  # noqa: ARG002, FBT001, FBT002
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Like nats-py's; raises Denied if the server forbids it."""
        if not self._inbox:
            self._inbox = self.new_inbox()
            await self.subscribe(f"{self._inbox}.*", cb=self._answered)
        reply = f"{self._inbox}.{next(self._count)}"
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[reply] = future

        def denied(error: Denied) -> None:
            if not future.done():
                future.set_exception(error)

        self.expect(reply, subject, denied)
        try:
            await self.publish(subject, payload, reply=reply, headers=headers)
            async with asyncio.timeout(timeout):
                answer = await future
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        finally:
            del self._answers[reply]
            self.expect_no_more(reply)
        if answer.headers and answer.headers.get("Status") == "503" and not answer.data:
            raise nats.errors.NoRespondersError
        return answer

    async def _answered(self, message: Msg) -> None:
        future = self._answers.get(message.subject)
        if future and not future.done():
            future.set_result(message)

    async def _process_pong(self) -> None:
        """Accepts the pong of an abandoned flush too: nats-py would stop reading, and the connection go silent."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        """Reads malformed headers as far as possible, in a quarter of nats-py's time.

        Anybody can send such headers, and nats-py would stop reading. Headers took it half the time of 10,000 facts.
        """
        if not headers:
            return None
        if not headers.startswith(_PLAIN):
            try:
                read: dict[str, str] | None = await super()._process_headers(headers)
            except (ValueError, IndexError) as error:
                log.warning("cannot read the headers of a message: %s", error)
            else:
                return read
        lines = (line.partition(":") for line in headers.decode(errors="replace").split("\r\n"))
        return {name: value.strip(" \t") for name, colon, value in lines if colon} or None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        """Accepts a subject that is not UTF-8 too, for the same reason; nobody then handles it."""
        return Msg(
            _client=self,
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _sid=sid,
        )

    async def _process_connect_init(self) -> None:
        if self._reached:
            self._reached()
        await super()._process_connect_init()

    def _connect_command(self) -> bytes:
        """Refuses to send the password if TLS is required and the server offers none; nats-py would send it."""
        if self._insists_on_tls and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        command: bytes = super()._connect_command()
        return command
