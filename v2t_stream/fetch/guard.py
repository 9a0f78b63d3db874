"""Forbids a download process two things: connecting to addresses that are not public, and starting programs.

The check is an audit hook of Python itself. It sees each connection as it is made, with the address that the socket
gets. So it holds whatever led there (a link, a redirect, an entry of a list, a fragment that a manifest names),
whichever way to the network yt-dlp takes, and even if a name resolves to another address the second time. A check of
the link beforehand would see none of that, and no change inside yt-dlp can bypass this one. A hook holds for the whole
process and cannot be removed, which is why downloads have processes of their own. Each has one hook for all the links
that it fetches in turn.
"""

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from v2t_stream.errors import Reject
from v2t_stream.host.addresses import is_permitted, networks

_SENDS: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")
_STARTS: Final = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.startfile")
_RUNTIME: Final = "deno"  # runs YouTube's scripts; yt-dlp gives it no access to files or the network


class Guard:
    """Guards this process from now on. Until it gets a link, it permits public addresses only."""

    def __init__(self) -> None:
        self.turn_to("a link", "")
        sys.addaudithook(self._check)

    def turn_to(self, url: str, allow_addresses: str) -> None:
        """Name the link that is fetched from now on, as people read it. `allow_addresses`: as in Settings."""
        self._url = url
        self._allowed = networks(allow_addresses)
        self._proxies = set(_proxies())  # anew for each link: their names may resolve to other addresses by now

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SENDS:
            reached = arguments[1]
            if reached is None or (is_network(arguments[0]) and tuple(reached[:2]) in self._proxies):
                return
            if not is_network(arguments[0]) or not is_permitted(reached[0], self._allowed):
                host = reached[0] if isinstance(reached, tuple) else reached
                # Not an OSError, after which yt-dlp would try again, or another way.
                raise Reject(
                    f"{self._url} leads to {host}, which is not a public address: to allow it, add it to "
                    "V2T_ALLOW_ADDRESSES"
                )
        elif event in _STARTS and os.path.basename(os.fsdecode(arguments[0] or b"")) != _RUNTIME:  # noqa: PTH119  fewer calls
            # An ffmpeg would follow what a playlist names, past this hook. So yt-dlp must take it for missing.
            raise PermissionError(f"a download may not start programs: {arguments[0]!r}")


def is_network(connecting: socket.socket) -> bool:
    """Whether it leads to a network rather than, say, to a socket in the file system."""
    return connecting.family in (socket.AF_INET, socket.AF_INET6)


def _proxies() -> Iterator[tuple[str, int]]:
    """Where the proxies of the environment listen: the operator chose them, and they resolve the names."""
    for name, proxy in getproxies().items():
        if name == "no":
            continue
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if not parts.hostname:
            continue
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or _port(parts.scheme), type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            continue  # the download will say what is wrong with it
        yield from ((str(address[0]), int(address[1])) for *_, address in found)


def _port(scheme: str) -> int:
    return 1080 if scheme.startswith("socks") else 443 if scheme == "https" else 80
