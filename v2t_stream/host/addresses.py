"""Which addresses of the network a link may lead to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has given out for use between networks
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")  # of which Pythons differ; one cloud has its metadata there
_NAT64: Final = IPv6Network("64:ff9b::/96")  # a provider's way from IPv6 to the IPv4 address at its end


def networks(text: str) -> tuple[Network, ...]:
    """The addresses and networks in `text`, with commas between. Raises ValueError for what is neither."""
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def is_permitted(host: str, allowed: tuple[Network, ...]) -> bool:
    """Whether to connect to `host`, an address as a socket takes it: public, or in one of `allowed`.

    A name is not permitted: who resolves it later may get another answer than who looked before.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return all(_is_public(each) or _is_in(each, allowed) for each in _reached(address)) or _is_in(address, allowed)


def _is_in(address: IPv4Address | IPv6Address, allowed: tuple[Network, ...]) -> bool:
    return any(address in network for network in allowed)


def _reached(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Where a packet to `address` may end: an IPv4 address within an IPv6 one counts as itself."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    return [address, *filter(None, (address.sixtofour, *(address.teredo or ())))]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    # What Python calls global holds multicast, and IPv6 that nobody has been given (fec0::/10 among it).
    if isinstance(address, IPv6Address):
        # Of tunnels through IPv4 Pythons differ; those addresses at their ends are looked at apart.
        tunnelled = address.teredo is not None or address.sixtofour is not None
        return address in _UNICAST and (address.is_global or tunnelled)
    return address.is_global and not (address.is_multicast or address.is_reserved or address in _PROTOCOLS)
