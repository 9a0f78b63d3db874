"""Output for scripts."""

from typing import Any

import click
import msgspec

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def echo_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())
