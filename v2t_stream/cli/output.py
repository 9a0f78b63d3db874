"""Output that all commands share."""

from pathlib import Path
from typing import Any

import click
import msgspec

from v2t_stream.errors import SettingsError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def echo_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())


def unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be written ({error.strerror}): choose another --output")
