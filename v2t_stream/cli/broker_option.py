"""--broker, with which one command speaks to another broker than the others do."""

import os
from typing import Final

import click

CHOSEN: Final = "v2t.broker"  # in the context's meta: NATS_URL is that of --broker
_WITHOUT: Final = ("up", "providers", "secrets", "completion")  # these speak to no broker, or only to their own


def offer(name: str, command: click.Command) -> click.Command:
    """Add the option to a command that speaks to a broker, and to the commands below it."""
    if name not in _WITHOUT:
        _add(command)
    return command


def _add(command: click.Command) -> None:
    below = command.commands.values() if isinstance(command, click.Group) else ()
    for each in below:
        _add(each)
    runs = not below or getattr(command, "invoke_without_command", False)
    if runs and all(parameter.name != "broker" for parameter in command.params):  # a command's object is made once
        with_broker_option(command)


def _choose(context: click.Context, _: click.Parameter, url: str | None) -> None:
    """Children read the environment, so everything that this command starts uses the same broker."""
    if url is None:
        return
    from v2t_stream.settings import LOCAL, address  # noqa: PLC0415  # --help must not wait for it

    if url != LOCAL and (trouble := address.trouble(url)):
        raise click.BadParameter(f"{address.shown(url)!r}: {trouble}")
    os.environ["NATS_URL"] = url
    context.find_root().meta[CHOSEN] = True


with_broker_option: Final = click.option(
    "--broker",
    metavar="URL",
    expose_value=False,
    callback=_choose,
    help="Use this broker instead of NATS_URL's; local: this machine's own.",
)
