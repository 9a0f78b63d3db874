"""A private certificate authority and the broker's certificate from it: enough for TLS within a fleet."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from v2t_stream.errors import SettingsError
from v2t_stream.host.private_file import write_private

_AUTHORITY_DAYS: Final = 3650
_SERVER_DAYS: Final = 730  # run `v2t secrets renew` before; `v2t secrets list` shows the days left
_PEM: Final = serialization.Encoding.PEM
_EARLIER: Final = timedelta(hours=1)  # clocks of machines may differ by this
CA, CA_KEY, SERVER, SERVER_KEY = "ca.pem", "ca-key.pem", "server.pem", "server-key.pem"


def make_authority(folder: Path) -> None:
    """Write ca.pem and ca-key.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "v2t-stream authority")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    write_private(folder / CA_KEY, _pem(key))
    write_private(folder / CA, builder.sign(key, hashes.SHA256()).public_bytes(_PEM).decode())


def names(hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    """Host names and addresses, for a certificate. Raises SettingsError for anything else."""
    return x509.SubjectAlternativeName([_general(host) for host in hosts])


def make_server_certificate(folder: Path, hosts: x509.SubjectAlternativeName, *, at: datetime | None = None) -> None:
    """Write server.pem and server-key.pem for these names and addresses, signed by the authority in `folder`.

    Replaces existing ones. It is valid from `at`, by default from now. Raises SettingsError if the authority's files
    are missing.
    """
    try:
        authority = x509.load_pem_x509_certificate((folder / CA).read_bytes())
        authority_key = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), None)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{folder} lacks the authority's {CA} or {CA_KEY} ({error}): put back both that v2t secrets init made"
        ) from error
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{folder / CA_KEY} is not from v2t secrets init: ask its owner to sign the certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "v2t-stream broker")])
    builder = (
        _builder(name, authority.subject, key.public_key(), _SERVER_DAYS, at)
        .add_extension(hosts, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    # A server that reloads between the two writes refuses the pair and keeps its old one.
    write_private(folder / SERVER_KEY, _pem(key))
    write_private(folder / SERVER, builder.sign(authority_key, hashes.SHA256()).public_bytes(_PEM).decode())


def hosts_of(folder: Path) -> list[str]:
    """The names and addresses in the server's certificate. Raises SettingsError if it is missing."""
    return [
        str(name.value)
        for name in _server(folder).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ]


def days_left(folder: Path) -> int:
    """Days until the server's certificate expires. Raises SettingsError if it is missing."""
    return (_server(folder).not_valid_after_utc - datetime.now(UTC)).days


def _server(folder: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate((folder / SERVER).read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder / SERVER} is not a certificate ({error}): run v2t secrets init") from error


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int, at: datetime | None = None
) -> x509.CertificateBuilder:
    begin = at or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _EARLIER)
        .not_valid_after(begin + timedelta(days=days))
    )


def _usage(**uses: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return x509.KeyUsage(**{**none, **uses})


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise SettingsError(f"--host {host!r} is not a host name or address: write it as in NATS_URL") from error


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
