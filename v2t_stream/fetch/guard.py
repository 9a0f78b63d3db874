"""What the process of a download must not do: connect to addresses that are not public, and start programs.

The check is an audit hook of Python itself, which sees each connection as it is made, with the address that the
socket gets: so it holds whatever led there (a link, a redirect, an entry of a list, a fragment that a manifest names),
whichever of yt-dlp's ways to the network is used, and also where a name resolves to another address the second time.
A check of the link before would know nothing of all that, and a change in yt-dlp's insides cannot lose this one. A hook
holds for the whole process and cannot be taken back, which is why downloads have processes apart. There is one hook in
each, for all the links that it fetches in turn.
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
_RUNTIME: Final = "deno"  # runs YouTube's scripts, and has no permissions: no files, no network


class Guard:
    """Guards this process from now on. Until it is told of a link, no address is permitted that is not public."""

    def __init__(self) -> None:
        self.turn_to("a link", "")
        sys.addaudithook(self._check)

    def turn_to(self, url: str, allow_addresses: str) -> None:
        """From now on `url` is what is fetched, for people. `allow_addresses`: as in Settings."""
        self._url = url
        self._allowed = networks(allow_addresses)
        self._proxies = set(_proxies())  # for each link, as their names may come to resolve to others

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SENDS:
            reached = arguments[1]
            if reached is None or (is_network(arguments[0]) and tuple(reached[:2]) in self._proxies):
                return
            if not is_network(arguments[0]) or not is_permitted(reached[0], self._allowed):
                host = reached[0] if isinstance(reached, tuple) else reached
                # Not an OSError, after which the download would be tried again, or another way.
                raise Reject(
                    f"{self._url} leads to {host}, which is no public address: where links may lead there, add it to "
                    "V2T_ALLOW_ADDRESSES"
                )
        elif event in _STARTS and os.path.basename(os.fsdecode(arguments[0] or b"")) != _RUNTIME:  # noqa: PTH119  fewer calls
            # An ffmpeg that it finds would follow what a playlist names, past this hook. So it counts as not there.
            raise PermissionError(f"a download starts no programs: {arguments[0]!r}")


def is_network(connecting: socket.socket) -> bool:
    """Whether it leads to a network, and not, say, to a socket in the file system."""
    return connecting.family in (socket.AF_INET, socket.AF_INET6)


def _proxies() -> Iterator[tuple[str, int]]:
    """Where the proxies of the environment listen: they are the operator's own, and it is they who resolve names."""
    for name, proxy in getproxies().items():
        if name == "no":
            continue
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if not parts.hostname:
            continue
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or _port(parts.scheme), type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            continue  # the download says what is wrong with it
        yield from ((str(address[0]), int(address[1])) for *_, address in found)


def _port(scheme: str) -> int:
    return 1080 if scheme.startswith("socks") else 443 if scheme == "https" else 80
