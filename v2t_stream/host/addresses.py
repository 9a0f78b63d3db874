"""Network addresses that a link may lead to, and origins of web pages."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has assigned as global unicast
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")  # Python versions disagree on it; one cloud has its metadata there
_NAT64: Final = IPv6Network("64:ff9b::/96")  # a provider's translation from IPv6 to the IPv4 address in the last bits


def networks(text: str) -> tuple[Network, ...]:
    """The addresses and networks in `text`, separated by commas. Raises ValueError for anything else."""
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def origins(text: str) -> frozenset[str]:
    """The origins of web pages in `text`, separated by commas; `*` stands for all. Raises ValueError for others."""
    found = frozenset(part.strip() for part in text.split(",") if part.strip())
    for origin in found - {"*"}:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{origin!r} is not an origin such as https://chat.example.org")
    return found


def is_address(host: str) -> bool:
    """Whether it is an address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach `host`."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def is_permitted(host: str, allowed: tuple[Network, ...]) -> bool:
    """Whether a socket may connect to the address `host`: it must be public, or in one of `allowed`.

    A name is not permitted, because a later lookup may give another address.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return all(_is_public(each) or _is_in(each, allowed) for each in _reached(address)) or _is_in(address, allowed)


def _is_in(address: IPv4Address | IPv6Address, allowed: tuple[Network, ...]) -> bool:
    return any(address in network for network in allowed)


def _reached(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Where a packet to `address` may end: an IPv4 address inside an IPv6 one counts as itself."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    return [address, *filter(None, (address.sixtofour, *(address.teredo or ())))]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    # Python's is_global includes multicast, and unassigned IPv6 (such as fec0::/10).
    if isinstance(address, IPv6Address):
        # Python versions disagree on tunnels through IPv4; we check the addresses at their ends separately.
        tunnelled = address.teredo is not None or address.sixtofour is not None
        return address in _UNICAST and (address.is_global or tunnelled)
    return address.is_global and not (address.is_multicast or address.is_reserved or address in _PROTOCOLS)
