"""TLS, nkeys and credentials, on real servers: which servers we trust, and how we log in."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nacl.signing import SigningKey

from tests.harness import Server
from tests.secured import Secured, secured
from v2t_stream.access import certificates, credentials
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.login import Login
from v2t_stream.errors import BrokerError, SettingsError
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("secured")) as running:
        yield running


async def connected(environment: dict[str, str]) -> Connection:
    settings = Settings.from_environment(environment)
    return await connect(settings.nats_url, name="test", login=Login.of(settings))


async def refused(environment: dict[str, str], kind: type[Exception] = BrokerError) -> str:
    with pytest.raises(kind) as caught:
        await connected(environment)
    return str(caught.value)


# -- the server's certificate


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_a_server_nobody_vouches_for_is_not_talked_to(broker: Secured, scheme: str) -> None:
    """Else anyone in between learns all passwords."""
    environment = broker.environment("viewer")
    environment.pop("NATS_CA")
    environment["NATS_URL"] = environment["NATS_URL"].replace("tls://", f"{scheme}://")
    said = await refused(environment)
    assert said.startswith(f"the certificate of the NATS server at {scheme}://localhost:{broker.port} is not trusted (")
    assert said.endswith("): set NATS_CA to its authority's certificate")


async def test_another_authority_is_not_trusted(broker: Secured, tmp_path: Path) -> None:
    """Else a machine that has an old folder's file does not know what is wrong."""
    certificates.make_authority(tmp_path)
    said = await refused({**broker.environment("viewer"), "NATS_CA": str(tmp_path / "ca.pem")})
    assert said.endswith(f"): is NATS_CA={tmp_path}/ca.pem its authority's?")
    assert " is not trusted (" in said


async def test_an_expired_or_foreign_certificate_gives_a_sentence(tmp_path: Path) -> None:
    """Else the fleet stops two years after its set-up and only says that nobody answers."""
    with secured(tmp_path / "secrets") as own:
        credentials.renew(own.folder, ["other.example"])
        own.reload()
        said = await refused(own.environment("viewer"))
        assert f"the NATS server at tls://localhost:{own.port} is for other host names (" in said
        names, long_ago = certificates.names(["localhost"]), datetime.now(UTC) - timedelta(days=800)
        certificates.make_server_certificate(own.folder, names, at=long_ago)
        own.reload()
        said = await refused(own.environment("viewer"))
        assert "is not valid now (certificate has expired): renew it there" in said


@pytest.mark.parametrize("environment", [{"scheme": "tls"}, {"scheme": "nats", "NATS_CA": "ca.pem"}], ids=str)
async def test_no_password_is_sent_where_tls_was_taken_away(environment: dict[str, str], tmp_path: Path) -> None:
    """Else anyone in between says "no TLS here" and gets the password in the clear, as nats-py would send it."""
    heard = b""

    async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        info = {"server_id": "x", "version": "2.15.0", "max_payload": 1 << 20, "headers": True, "auth_required": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        heard += await reader.read()
        writer.close()

    certificates.make_authority(tmp_path)
    async with await asyncio.start_server(without_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = {"NATS_URL": f"{environment['scheme']}://me:hush@127.0.0.1:{port}"}
        if "NATS_CA" in environment:
            settings["NATS_CA"] = str(tmp_path / "ca.pem")
        said = await refused(settings)
    assert "does not offer TLS, so nothing was sent to it" in said
    assert heard == b""


async def test_a_wrong_password_is_not_in_its_error(broker: Secured) -> None:
    """Else it looks like a dead server, or the password shows in a log."""
    environment = broker.environment("viewer")
    environment["NATS_URL"] = f"tls://viewer:hush-hush@localhost:{broker.port}"
    said = await refused(environment)
    assert "rejects the user (authorization violation): put the right user and password" in said
    assert "hush" not in said


# -- files


@pytest.mark.parametrize("name", ["NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_NKEY", "NATS_CREDS"])
async def test_a_missing_or_invalid_file_is_named_with_its_variable(name: str, tmp_path: Path) -> None:
    """Else the user sees "no such file" without its name, or a library's error."""
    environment = {"NATS_URL": "tls://127.0.0.1:1", name: str(tmp_path / "missing")}
    if name in ("NATS_CERT", "NATS_KEY"):
        other = {"NATS_CERT": "NATS_KEY", "NATS_KEY": "NATS_CERT"}[name]
        assert await refused(environment, SettingsError) == (
            f"{name} is set, but {other} is not: a client certificate needs both"
        )
        (tmp_path / "other").write_text("x")
        environment[other] = str(tmp_path / "other")
    said = await refused(environment, SettingsError)
    assert said == f"{name}={tmp_path}/missing cannot be read (No such file or directory): use a readable file"
    (tmp_path / "missing").write_text("hush, this is none")
    said = await refused(environment, SettingsError)
    assert f"{name}={tmp_path}/missing" in said
    assert " no" in said
    assert "hush" not in said
    (tmp_path / "missing").write_bytes(b"\xff\xfe\x00")
    assert f"{name}={tmp_path}/missing" in await refused(environment, SettingsError)


async def test_the_embedded_broker_asks_for_no_files(tmp_path: Path) -> None:
    """Else NATS_CREDS, set for another program, keeps `v2t demo` from working."""
    assert Login.of(Settings.from_environment({"NATS_CREDS": str(tmp_path / "missing")})) == Login()


# -- who we are


async def works(environment: dict[str, str]) -> None:
    async with await connected(environment) as connection:
        await set_up(connection, Settings())


async def test_a_server_may_ask_for_our_certificate(broker: Secured, tmp_path: Path) -> None:
    """Else machines cannot log in with only their certificates."""
    folder = broker.folder
    _client_certificate(folder, tmp_path)
    tls = f"cert_file: {folder}/server.pem, key_file: {folder}/server-key.pem, ca_file: {folder}/ca.pem, verify: true"
    server = Server(tmp_path / "nats", f"tls {{ {tls} }}")
    server.start()
    try:
        environment = {"NATS_URL": f"tls://localhost:{server.port}", "NATS_CA": str(folder / "ca.pem")}
        assert "requires a client certificate: set NATS_CERT and NATS_KEY" in await refused(environment)
        await works({**environment, "NATS_CERT": f"{tmp_path}/me.pem", "NATS_KEY": f"{tmp_path}/me-key.pem"})
    finally:
        server.stop()


def _client_certificate(authority: Path, folder: Path) -> None:
    ca = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((authority / "ca-key.pem").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    built = certificates._builder(name, ca.subject, key.public_key(), 1).add_extension(usage, critical=False)
    (folder / "me.pem").write_bytes(built.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "me-key.pem").write_text(certificates._pem(key))


def _keys(kind: int) -> tuple[Any, str, str]:
    """An nkey of a kind of `nkeys`; the pair, its public key and its seed."""
    pair = nkeys.from_seed(nkeys.encode_seed(bytes(SigningKey.generate()), kind))
    return pair, pair.public_key.decode(), pair.seed.decode()


async def test_an_nkey_lets_us_in(tmp_path: Path) -> None:
    """Else a server that keeps no passwords cannot be used."""
    _, public, seed = _keys(nkeys.PREFIX_BYTE_USER)
    _, _, other = _keys(nkeys.PREFIX_BYTE_USER)
    server = Server(tmp_path / "nats", f"authorization {{ users: [{{nkey: {public}}}] }}")
    server.start()
    try:
        (tmp_path / "seed").write_text(f"{seed}\n")
        await works({"NATS_URL": server.url, "NATS_NKEY": str(tmp_path / "seed")})
        (tmp_path / "other").write_text(other)
        said = await refused({"NATS_URL": server.url, "NATS_NKEY": str(tmp_path / "other")})
        assert said.endswith("rejects the user (authorization violation): is NATS_NKEY the right one?")
        assert other not in said
    finally:
        server.stop()


async def test_credentials_let_us_in(tmp_path: Path) -> None:
    """Else a server whose users have JWTs, such as NATS' own cloud, cannot be used."""
    operator, account, system, user = (_keys(getattr(nkeys, f"PREFIX_BYTE_{kind}")) for kind in _KINDS)
    unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    accounts = {
        account[1]: _jwt(account, operator, "account", {"limits": {**unlimited, **storage, "wildcards": True}}),
        system[1]: _jwt(system, operator, "account", {"limits": {**unlimited, "wildcards": True}}),
    }
    token = _jwt(user, account, "user", dict.fromkeys(("subs", "data", "payload"), -1))
    preload = ", ".join(f"{name}: {jwt}" for name, jwt in accounts.items())
    extra = (
        f"operator: {_jwt(operator, operator, 'operator', {})}\nsystem_account: {system[1]}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {preload} }}"
    )
    server = Server(tmp_path / "nats", extra)
    server.start()
    try:
        creds = tmp_path / "me.creds"
        creds.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user[2]}\n------END USER NKEY SEED------\n"
        )
        await works({"NATS_URL": server.url, "NATS_CREDS": str(creds)})
        creds.write_text(creds.read_text().replace(user[2], account[2]))
        assert (await refused({"NATS_URL": server.url, "NATS_CREDS": str(creds)})).endswith(
            "is NATS_CREDS the right one?"
        )
    finally:
        server.stop()


_KINDS = ("OPERATOR", "ACCOUNT", "ACCOUNT", "USER")


def _jwt(of: tuple[Any, str, str], by: tuple[Any, str, str], kind: str, more: dict[str, Any]) -> str:
    claims: dict[str, Any] = {"iat": int(time.time()), "iss": by[1], "sub": of[1], "name": kind}
    claims["nats"] = {**more, "type": kind, "version": 2}
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    signature = base64.urlsafe_b64encode(by[0].sign(text.encode())).decode().rstrip("=")
    return f"{text}.{signature}"
