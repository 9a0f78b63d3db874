"""The folder that `v2t secrets` manages, through the command line."""

import re
import ssl
from pathlib import Path

import bcrypt
import pytest
from click.testing import CliRunner, Result

from v2t_stream.access import certificates, credentials
from v2t_stream.access.roles import ROLES
from v2t_stream.broker.login import Login
from v2t_stream.cli.secrets import secrets
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(secrets, [*map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    assert run("init", made, "--host", "hub.example", "--host", "10.0.0.1", "--host", "::1").exit_code == 0
    return made


def password(folder: Path, user: str) -> str:
    found = re.search(rf"^NATS_URL=tls://{user}:([^@]+)@", (folder / f"{user}.env").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_everything_is_for_its_owner_alone(folder: Path) -> None:
    """Else every user of the machine is the operator."""
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert not list(folder.glob("*.part"))


def test_no_password_is_printed_or_kept_where_the_server_reads(tmp_path: Path) -> None:
    """Else it shows in a terminal's history, or anyone who reads the server's files can act as anybody."""
    folder = tmp_path / "secrets"
    said = run("init", folder, "--host", "hub").output + run("add", folder, "worker", "m4").output
    said += run("list", folder).output
    names = [*(role.name for role in ROLES), "m4"]
    passwords = [password(folder, name) for name in names]
    assert len(set(passwords)) == len(names)
    assert all(len(each) == 32 for each in passwords)
    kept = "".join(path.read_text() for path in folder.iterdir() if path.suffix != ".env")
    for each in passwords:
        assert each not in said
        assert each not in kept
    for user in credentials.read(folder):
        assert bcrypt.checkpw(password(folder, user.name).encode(), user.password.strip('"').encode())
    for name in names:
        assert name in said


def test_what_is_there_is_never_overwritten(folder: Path) -> None:
    """Else a command called twice shuts out every machine."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = run("init", folder, "--host", "other")
    assert isinstance(again.exception, SettingsError)
    assert str(again.exception).startswith(f"{folder} is not empty, and its files may be in use: ")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_user_has_the_broker_it_is_for(folder: Path) -> None:
    """Else the file does not work on the machine it was made for."""
    assert run("add", folder, "worker", "m4").exit_code == 0
    text = (folder / "m4.env").read_text()
    assert re.search(r"^NATS_URL=tls://m4:[\w-]{32}@hub\.example:4222$", text, re.MULTILINE)
    assert f"NATS_CA={folder / 'ca.pem'}\n" in text
    assert [(user.name, user.role) for user in credentials.read(folder) if user.role == "worker"] == [
        ("worker", "worker"),
        ("m4", "worker"),
    ]


def test_a_folder_in_the_home_is_found_in_any_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a file made on Linux names a path that no Mac has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    run("init", tmp_path / "secrets", "--host", "hub")
    text = (tmp_path / "secrets" / "worker.env").read_text()
    assert "\nNATS_CA=~/secrets/ca.pem\n" in text  # the shell that reads it knows ~, and so do we
    settings = Settings.from_environment({"NATS_URL": "tls://hub", "NATS_CA": "~/secrets/ca.pem"})
    assert Login.of(settings).ca == str(tmp_path / "secrets" / "ca.pem")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "worker", "viewer"), "the user viewer already exists: choose another name"),
        (("add", "worker", "a b"), "invalid user name 'a b'"),
        (("add", "worker", "x@y"), "invalid user name 'x@y'"),
        (("revoke", "nobody"), r"unknown user nobody in .+auth\.conf: list the users"),
    ],
)
def test_impossible_settings_give_a_sentence(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    """Else two machines have one name, or a name makes a file that the server cannot read."""
    before = (folder / "auth.conf").read_bytes()
    command, *rest = arguments
    done = run(command, folder, *rest)
    assert isinstance(done.exception, SettingsError)
    assert re.match(says, str(done.exception))
    assert (folder / "auth.conf").read_bytes() == before


def test_a_line_taken_out_by_hand_stays_out(folder: Path) -> None:
    """Else adding a user brings back one that was removed."""
    auth = folder / "auth.conf"
    auth.write_text("\n".join(line for line in auth.read_text().split("\n") if 'user: "viewer"' not in line))
    run("add", folder, "worker", "m4")
    assert "viewer" not in [user.name for user in credentials.read(folder)]


def test_a_user_written_by_hand_is_not_lost_without_a_word(folder: Path) -> None:
    """Else adding a user removes another one."""
    auth = folder / "auth.conf"
    auth.write_text(auth.read_text().replace("    users: [", "    users: [\n      {user: me, password: mine}", 1))
    before = auth.read_bytes()
    done = run("add", folder, "worker", "m4")
    assert isinstance(done.exception, SettingsError)
    assert "has a user line that v2t secrets did not write" in str(done.exception)
    assert auth.read_bytes() == before


def test_a_revoked_user_is_gone_and_the_others_stay(folder: Path) -> None:
    """Else a removed machine comes back."""
    before = credentials.read(folder)
    assert run("revoke", folder, "worker").exit_code == 0
    assert not (folder / "worker.env").exists()
    assert credentials.read(folder) == [user for user in before if user.name != "worker"]


def test_the_authority_s_key_may_be_kept_elsewhere(folder: Path, tmp_path: Path) -> None:
    """Else an owner who keeps it in a safe cannot add machines, or must make a new authority that nobody trusts."""
    key = folder / certificates.CA_KEY
    key.rename(tmp_path / "safe")
    for command in (("add", folder, "worker", "m4"), ("list", folder), ("revoke", folder, "m4")):
        assert run(*command).exit_code == 0
    with pytest.raises(SettingsError, match=r"lacks .+ca-key\.pem.+: put back both that v2t secrets init made"):
        credentials.renew(folder, [])
    (tmp_path / "safe").rename(key)
    assert run("renew", folder).exit_code == 0


def test_a_renewed_certificate_keeps_its_names_unless_others_are_given(folder: Path) -> None:
    """Else renewing locks out machines that use the second name."""
    assert certificates.hosts_of(folder) == ["hub.example", "10.0.0.1", "::1"]
    users, before = credentials.read(folder), (folder / "server.pem").read_bytes()
    done = run("renew", folder)
    assert "valid for 729 more days" in done.output
    assert (folder / "server.pem").read_bytes() != before
    assert certificates.hosts_of(folder) == ["hub.example", "10.0.0.1", "::1"]
    run("renew", folder, "--host", "new.example")
    assert certificates.hosts_of(folder) == ["new.example"]
    assert credentials.read(folder) == users
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")  # they belong together


def test_a_foreign_folder_gives_a_sentence(tmp_path: Path) -> None:
    """Else the user sees a traceback of a missing file."""
    for command in (("list", tmp_path), ("add", tmp_path, "worker", "m4"), ("renew", tmp_path)):
        done = run(*command)
        assert isinstance(done.exception, SettingsError)
        assert "is this a folder from v2t secrets init?" in str(done.exception)


@pytest.mark.parametrize("listen", ["4222", "hub", "here:there"])
def test_an_invalid_address_to_listen_on_gives_a_sentence(tmp_path: Path, listen: str) -> None:
    """Else the broker does not start, and says why in its own words."""
    done = run("init", tmp_path / "s", "--host", "hub", "--listen", listen)
    assert isinstance(done.exception, SettingsError)
    assert str(done.exception).startswith(f"--listen {listen!r} is not an address with a port")
    assert not (tmp_path / "s").exists()


def test_a_host_that_is_none_leaves_nothing_behind(tmp_path: Path) -> None:
    """Else the corrected command is refused because the folder is not empty."""
    done = run("init", tmp_path / "s", "--host", "hüb")
    assert isinstance(done.exception, SettingsError)
    assert "is not a host name or address" in str(done.exception)
    assert not (tmp_path / "s").exists()
