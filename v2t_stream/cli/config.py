"""`v2t config`: every setting in force, and where it comes from."""

import os
from typing import Any, Final

import click
import msgspec

from v2t_stream.cli.broker import described
from v2t_stream.cli.broker_option import CHOSEN
from v2t_stream.cli.output import Column, echo_json, json_option, print_table, say
from v2t_stream.errors import SettingsError
from v2t_stream.host.private_file import write_private
from v2t_stream.settings import Settings, variable
from v2t_stream.settings.file import file_of

_COLUMNS: Final = (Column("setting"), Column("value", cut="start"), Column("from"))
_INDENT: Final = 8
_HEAD: Final = """\
# The settings of this machine. The environment wins over this file, and --broker over both.
# What each one means: docs/settings.md. Remove the # in front of a line that you change.

"""


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def config(context: click.Context, *, as_json: bool) -> None:
    """Show every setting in force, its value, and where it comes from.

    Each is an environment variable. In config.toml it has the same name in lower case, without V2T_.
    """
    if context.invoked_subcommand:
        return
    settings, sources = Settings.sourced()
    rows = [_row(settings, field, source) for field, source in sources.items()]
    if context.find_root().meta.get(CHOSEN):
        next(row for row in rows if row["key"] == "nats_url")["from"] = "--broker"
    path = file_of(os.environ)
    if as_json:
        told = {"broker": described(settings), "file": str(path), "file_exists": path.is_file()}
        echo_json({**told, "settings": rows})
        return
    rows.sort(key=lambda row: row["from"] != "default")  # what was set is next to the prompt
    print_table(_COLUMNS, ([row["variable"], settings.shown(row["key"]), row["from"]] for row in rows))
    click.echo()
    missing = "" if path.is_file() else " (it does not exist yet; v2t config edit makes it)"
    say(f"{path}{missing}", name="file", indent=_INDENT)
    say(described(settings), name="broker", indent=_INDENT)


@config.command()
def path() -> None:
    """Print where config.toml is, or would be."""
    click.echo(file_of(os.environ))


@config.command()
def edit() -> None:
    """Open config.toml in $EDITOR, and check it afterwards. A new one lists all settings with their defaults."""
    file = file_of(os.environ)
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_private(file, template())
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be written ({error.strerror}): set V2T_CONFIG to a file of yours"
        ) from error
    click.edit(filename=str(file))
    Settings.from_environment()
    click.echo(f"{file} is valid")


def template() -> str:
    """A config.toml that sets nothing, with each setting and its default as a comment."""
    defaults = msgspec.to_builtins(Settings())
    return _HEAD + "".join(f"# {field} = {_toml(value)}\n" for field, value in defaults.items())


def _toml(value: object) -> str:
    """JSON writes text, numbers and truth as TOML does."""
    return msgspec.json.encode(value).decode()


def _row(settings: Settings, field: str, source: str) -> dict[str, Any]:
    shown = settings.shown(field)
    value = getattr(settings, field)
    return {
        "variable": variable(field),
        "key": field,
        "value": shown if isinstance(value, str) else value,
        "from": source,
    }
