"""The folder of `v2t secrets`: the broker's configuration, its certificates, its users and their permissions.

auth.conf lists one user per line, with a bcrypt hash and never a password. Every change rewrites it with this
release's permissions; to shut out a user, remove the line.
"""

import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import bcrypt

from v2t_stream.access import certificates
from v2t_stream.access.roles import ROLES, User, configuration, role
from v2t_stream.errors import SettingsError
from v2t_stream.host.private_file import write_private

_AUTH: Final = "auth.conf"
_SERVER: Final = "server.conf"
PID: Final = "nats-server.pid"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_USER: Final = re.compile(r'^ *\{user: "([^"]+)", password: ("[^"]+")\}  # (\w+)$', re.MULTILINE)
# Slow hashes protect passwords that people invent. These have 192 random bits, and after a restart the server may have
# to check a thousand clients at once.
_ROUNDS: Final = 5


def create(folder: Path, hosts: Sequence[str], listen: str) -> list[User]:
    """Create the folder with one user of each role; `listen`: the address and port of the broker.

    Raises SettingsError if the folder is not empty.
    """
    port = _port(listen)
    names = certificates.names(hosts)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise SettingsError(
                f"{folder} is not empty, and its files may be in use: choose another folder, or add users with "
                "v2t secrets add"
            )
        folder.chmod(0o700)
        certificates.make_authority(folder)
        certificates.make_server_certificate(folder, names)
        write_private(folder / _SERVER, _server_conf(folder, listen))
        users = [_with_password(folder, each.name, each.name, hosts[0], port) for each in ROLES]
        _write_users(folder, users)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written ({error.strerror}): choose another folder") from error
    return users


def add(folder: Path, role_name: str, name: str) -> Path:
    """Add a user and return the file that its machine needs. Raises SettingsError if the user already exists."""
    role(role_name)
    if not _NAME.fullmatch(name):
        raise SettingsError(f"invalid user name {name!r}: use letters, digits, - and _, but no - or _ at the start")
    users = read(folder)
    if any(user.name == name for user in users):
        raise SettingsError(f"the user {name} already exists: choose another name, or revoke that user first")
    host, port = _address(folder)
    users.append(_with_password(folder, name, role_name, host, port))
    _write_users(folder, users)
    return folder / f"{name}.env"


def revoke(folder: Path, name: str) -> None:
    """Remove a user. Raises SettingsError if the user does not exist."""
    users = read(folder)
    left = [user for user in users if user.name != name]
    if len(left) == len(users):
        raise SettingsError(f"unknown user {name} in {folder / _AUTH}: list the users with v2t secrets list")
    _write_users(folder, left)
    (folder / f"{name}.env").unlink(missing_ok=True)


def renew(folder: Path, hosts: Sequence[str]) -> None:
    """Write a new server certificate and this release's permissions. No `hosts`: keep the present ones."""
    users = read(folder)
    certificates.make_server_certificate(folder, certificates.names(hosts or certificates.hosts_of(folder)))
    _write_users(folder, users)


def read(folder: Path) -> list[User]:
    """The users. Raises SettingsError if `folder` is not from v2t secrets init."""
    try:
        text = (folder / _AUTH).read_text()
    except OSError as error:
        raise SettingsError(
            f"{folder / _AUTH} cannot be read ({error.strerror}): is this a folder from v2t secrets init?"
        ) from error
    users = [User(name, role_, password) for name, password, role_ in _USER.findall(text)]
    if len(users) != len(re.findall(r"^[^#\n]*\buser:", text, re.MULTILINE)):
        raise SettingsError(
            f"{folder / _AUTH} has a user line that v2t secrets did not write and would drop: remove that line, and "
            "add the user with v2t secrets add"
        )
    return users


def _with_password(folder: Path, name: str, role_name: str, host: str, port: int) -> User:
    password = secrets.token_urlsafe(24)
    at = f"[{host}]" if ":" in host else host
    write_private(
        folder / f"{name}.env",
        f"# Anybody with this file is the {role_name} {name}. Run `set -a; . FILE; set +a` before v2t or nats.\n"
        f"NATS_URL=tls://{name}:{password}@{at}:{port}\n"
        f"# The path of {certificates.CA} on the machine that uses this file.\n"
        f"NATS_CA={_anywhere(folder / certificates.CA)}\n",
    )
    return User(name, role_name, json.dumps(bcrypt.hashpw(password.encode(), bcrypt.gensalt(_ROUNDS)).decode()))


def _anywhere(path: Path) -> str:
    """`path` in a form that fits other machines and users: relative to ~ if it is below the home directory."""
    absolute = path.absolute()
    return f"~/{absolute.relative_to(Path.home())}" if absolute.is_relative_to(Path.home()) else str(absolute)


def _write_users(folder: Path, users: list[User]) -> None:
    head = (
        f"# From v2t secrets. One user a line; after a change: nats-server --signal reload={folder.absolute() / PID}\n"
    )
    write_private(folder / _AUTH, head + configuration(users))


def _server_conf(folder: Path, listen: str) -> str:
    def here(name: str) -> str:
        return json.dumps(str(folder.absolute() / name))

    return f"""# The broker: nats-server -c {folder.absolute() / _SERVER}
# Written once by v2t secrets init; edit it as you like. nats/server.conf explains the settings.
server_name: v2t
listen: {json.dumps(listen)}
http: "127.0.0.1:8222"
pid_file: {here(PID)}
max_payload: 1MB

jetstream {{
  store_dir: {here("nats-data")}
  sync_interval: always
}}

tls {{
  cert_file: {here(certificates.SERVER)}
  key_file: {here(certificates.SERVER_KEY)}
  min_version: "1.3"
}}

include {_AUTH}
"""


def _address(folder: Path) -> tuple[str, int]:
    """The broker's address for users: the first name in the certificate, and the port."""
    try:
        found = re.search(r'^listen: "?([^"\n]+)', (folder / _SERVER).read_text(), re.MULTILINE)
    except OSError as error:
        raise SettingsError(
            f"{folder / _SERVER} cannot be read ({error.strerror}): is this a folder from v2t secrets init?"
        ) from error
    return certificates.hosts_of(folder)[0], _port(found[1]) if found else 4222


def _port(listen: str) -> int:
    _, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise SettingsError(f"--listen {listen!r} is not an address with a port: write it as 0.0.0.0:4222")
    return int(port)
