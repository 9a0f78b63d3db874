"""Which broker a command speaks to."""

import sys

from v2t_stream.broker.embedded import find_running, is_passed_over
from v2t_stream.broker.up import is_kept
from v2t_stream.cli.output import say
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings


def with_broker(settings: Settings) -> Settings:
    """`settings` with the broker of NATS_URL, or the one that runs on this machine. Else it raises SettingsError."""
    if settings.nats_url:
        return settings
    if url := find_running(settings.home):
        return settings.on(url)
    raise SettingsError("no broker is set up: set NATS_URL to one, or start the embedded one with v2t up")


def described(settings: Settings) -> str:
    """Which broker commands use, for people."""
    if settings.nats_url:
        unused = ", and not the v2t up that runs here" if is_passed_over(settings.home, settings.nats_url) else ""
        return f"the broker at {settings.shown('nats_url')}{unused}"
    url, whose = find_running(settings.home), "v2t up" if is_kept(settings.home) else "another v2t command"
    if url:
        return f"the broker of {whose} on this machine, at {settings.on(url).shown('nats_url')}"
    if is_kept(settings.home):
        return "the broker of v2t up on this machine, which is starting"
    return "a broker of its own, which each command starts here and stops at its end"


def mention(settings: Settings, *, always: bool = False) -> None:
    """Say on a terminal which broker is used, if that may surprise; `always`: whenever it is not the command's own."""
    if not sys.stderr.isatty():
        return
    surprises = settings.nats_url and is_passed_over(settings.home, settings.nats_url)
    if surprises or (always and (settings.nats_url or is_kept(settings.home))):
        say(f"using {described(settings)}", err=True)
