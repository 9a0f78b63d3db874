"""`v2t config`, and `--broker`."""

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from v2t_stream.broker.up import kept
from v2t_stream.cli import cli
from v2t_stream.cli.broker import mention
from v2t_stream.cli.config import template
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing set but its folders."""
    for name in list(os.environ):
        if name.startswith(("V2T_", "NATS_", "MINIO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NATS_URL", "")  # so that what --broker sets ends with the test
    monkeypatch.setenv("V2T_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("V2T_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "config.toml").touch(mode=0o600)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def rows(*arguments: str) -> dict[str, tuple[object, str]]:
    told = json.loads(run("config", "--json", *arguments))
    return {row["variable"]: (row["value"], row["from"]) for row in told["settings"]}


def test_each_setting_is_shown_with_its_source(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can find out why a machine uses another model than expected."""
    (machine / "config.toml").write_text("model = 'medium'\nthreads = 4")
    monkeypatch.setenv("V2T_MODEL", "tiny")
    found = rows()
    assert len(found) == len(Settings.__struct_fields__)
    assert (found["V2T_MODEL"], found["V2T_THREADS"]) == (("tiny", "environment"), (4, "file"))
    assert found["V2T_DEVICE"] == ("auto", "default")
    text = run("config")
    assert str(machine / "config.toml") in text
    assert all(name in text for name in found)


def test_no_secret_is_shown(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody pastes into a question gives the keys away."""
    (machine / "config.toml").write_text("minio_access_key = 'hush-a'\nminio_secret_key = 'hush-b'")
    monkeypatch.setenv("NATS_URL", "nats://me:hush@hub:4222,nats://me:hush@b")
    for text in (run("config"), run("config", "--json")):
        assert "nats://hub:4222,nats://b" in text
        assert "(hidden)" in text
        assert not any(part in text for part in ("hush", "me:"))


def test_it_says_which_broker_is_used(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs go to another broker than the user believes."""
    assert "a broker of its own" in run("config")
    with kept(machine / "data"):
        assert "the broker of v2t up on this machine, which is starting" in run("config")
        monkeypatch.setenv("NATS_URL", "nats://me:hush@hub:4222")
        assert "the broker at nats://hub:4222, and not the v2t up that runs here" in run("config")


def test_broker_chooses_for_one_command(machine: Path) -> None:
    """One look at another fleet needs an export, which is then forgotten."""
    (machine / "config.toml").write_text("nats_url = 'nats://hub'")
    assert rows()["NATS_URL"] == ("nats://hub", "file")
    for arguments in (["config", "--broker"], ["--broker"]):
        place = arguments if arguments[0] == "config" else ["--broker", "tls://me:hush@other", "config"]
        told = run(*place, *(["tls://me:hush@other"] if place is arguments else []), "--json")
        assert "hush" not in told
        row = next(row for row in json.loads(told)["settings"] if row["variable"] == "NATS_URL")
        assert (row["value"], row["from"]) == ("tls://other", "--broker")
        os.environ["NATS_URL"] = ""
    assert rows("--broker", "local")["NATS_URL"] == ("", "--broker")


def test_a_wrong_broker_is_refused_without_its_password(machine: Path) -> None:
    """A mistyped address waits for seconds, or its password stays on the screen."""
    done = CliRunner().invoke(cli, ["job", "list", "--broker", "http://me:hush@hub"])
    assert done.exit_code == 2
    assert "'http://hub': a broker's address begins with nats:// or tls://" in done.output
    assert "hush" not in done.output


def test_every_command_that_speaks_to_a_broker_has_the_option() -> None:
    """`--broker` works at one command and not at the next."""
    for command in (
        ["etl"],
        ["convert"],
        ["job", "list"],
        ["node"],
        ["node", "list"],
        ["tui"],
        ["doctor"],
        ["dead", "list"],
    ):
        assert "--broker" in run(*command, "--help"), command
    for command in (["up"], ["providers", "list"], ["secrets"]):
        assert "--broker" not in run(*command, "--help"), command


def test_the_template_sets_nothing_until_a_line_is_changed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that `v2t config edit` opens breaks every command, or pins defaults of today."""
    assert tomllib.loads(template()) == {}
    every = tomllib.loads(template().replace("# ", "").partition("change.")[2])
    assert every.keys() == set(Settings.__struct_fields__)
    (machine / "config.toml").unlink()
    monkeypatch.setenv("EDITOR", "true")
    assert "is valid" in run("config", "edit")
    assert (machine / "config.toml").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("EDITOR", "sed -i 's/# model = .*/modell = 1/'")
    with pytest.raises(SettingsError, match="did you mean model"):
        run("config", "edit")
    assert run("config", "path") == f"{machine / 'config.toml'}\n"  # also while the file is wrong


def test_a_command_mentions_its_broker_where_that_may_surprise(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs go to a fleet although `v2t up` runs here; or every command begins with a line that nobody needs."""

    def said(url: str, *, always: bool) -> str:
        mention(Settings(nats_url=url, data_dir=str(machine / "data")), always=always)
        return capsys.readouterr().err

    assert said("nats://hub", always=True) == ""  # no terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert said("", always=True) == said("nats://hub", always=False) == ""
    assert "using the broker at nats://hub\n" in said("nats://me:hush@hub", always=True)
    with kept(machine / "data"):
        assert said("", always=False) == ""
        for always in (True, False):
            assert "nats://hub, and not the v2t up that runs here" in said("nats://me:hush@hub", always=always)
