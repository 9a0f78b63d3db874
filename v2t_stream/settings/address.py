"""What NATS_URL may be, and how it is shown to people."""

import re
from typing import Final
from urllib.parse import urlsplit

_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_NEXT: Final = re.compile(r",(?=\s*\w+://)")  # between two servers; a password may hold a comma too


def shown(text: str) -> str:
    """The servers of `text` without users, passwords and tokens, also if it is no valid URL."""
    return ",".join(map(_without_login, _NEXT.split(text)))


def has_login(text: str) -> bool:
    return "@" in text


def trouble(text: str) -> str:
    """What is wrong with `text`, and what to do; empty if nothing is. It never quotes a password."""
    return next(filter(None, map(_trouble, text.split(","))), "")


def _trouble(server: str) -> str:
    scheme, separator, rest = server.strip().rpartition("://")
    host = rest.rpartition("@")[2]
    if separator and scheme not in _SCHEMES:
        return f"a broker's address begins with nats:// or tls://, such as nats://{_name(host) or 'hub'}:4222"
    if re.search(r"\s", rest):
        return "there is a space in it: remove it"
    try:
        parts = urlsplit(f"nats://{host}")
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not has_port:
        return "its port is not a number from 1 to 65535: write it as in nats://hub:4222"
    if not parts.hostname:
        return "it names no host: write it as in nats://hub:4222"
    return "remove what follows the port" if parts.path.strip("/") or parts.query or parts.fragment else ""


def _name(host: str) -> str:
    """The name in `host`, if it can be one."""
    found = re.match(r"[A-Za-z0-9.-]+", host)
    return found[0] if found else ""


def _without_login(server: str) -> str:
    scheme, separator, rest = server.strip().rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
