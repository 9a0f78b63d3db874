"""Which addresses a link may lead to."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.errors import SettingsError
from v2t_stream.host.addresses import is_permitted, networks
from v2t_stream.settings import Settings


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.5", "169.254.169.254"),  # noqa: S104  not bound to
        *("100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.255.255.250"),
        *("240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:a00:1::", "100::1", "4000::1"),
        *("localhost", "2130706433", "0x7f.1", "", "127.1"),
    ],
)
def test_no_link_leads_into_a_private_network(host: str) -> None:
    """Who can submit a link reads the router, the cloud's keys, or a service without a password."""
    assert not is_permitted(host, ())


@pytest.mark.parametrize(
    "host",
    [
        *("1.1.1.1", "142.250.185.78", "100.63.255.255", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"),
        *("::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"),
    ],
)
def test_the_public_web_is_there(host: str) -> None:
    """YouTube is refused; or everything, in a network that has only IPv6."""
    assert is_permitted(host, ())


def test_what_is_allowed_is_allowed_in_each_of_its_forms_and_nothing_else() -> None:
    """A NAS at home cannot be read; or allowing it opens the cloud's keys."""
    allowed = networks("192.168.1.0/24, 127.0.0.1,fd12::/16")
    assert all(is_permitted(host, allowed) for host in ("192.168.1.5", "127.0.0.1", "fd12::5", "::ffff:192.168.1.5"))
    assert not any(is_permitted(host, allowed) for host in ("192.168.2.5", "127.0.0.2", "169.254.169.254", "::1"))
    assert networks("") == networks(" , ") == ()


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_the_same_within_ipv6(address: IPv4Address) -> None:
    """A refused address is reached by writing it otherwise."""
    permitted = is_permitted(str(address), ())
    assert is_permitted(str(IPv6Address(f"::ffff:{address}")), ()) == permitted
    assert is_permitted(str(IPv6Address((0x64FF9B << 96) + int(address))), ()) == permitted
    if not permitted:
        assert not is_permitted(str(IPv6Address((0x2002 << 112) + (int(address) << 80))), ())


@given(st.ip_addresses(), st.integers(0, 32))
def test_each_address_is_allowed_by_its_network(address: IPv4Address | IPv6Address, bits: int) -> None:
    """The setting does not do what it says."""
    assert is_permitted(str(address), networks(f"{address}/{bits}"))
    assert ip_address(address) in networks(f"{address}/{bits}")[0]


def test_a_wrong_network_is_named() -> None:
    """A slip in the setting opens nothing and tells nothing, or stops the machine without a word."""
    with pytest.raises(SettingsError, match=r"V2T_ALLOW_ADDRESSES='192\.168\.1\.0/33' is wrong: .*such as 192"):
        Settings.from_environment({"V2T_ALLOW_ADDRESSES": "192.168.1.0/33"})
