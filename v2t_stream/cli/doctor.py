"""`v2t doctor`: what keeps this machine, the broker and the store from working, and how to fix it."""

import asyncio
import shutil
import textwrap
from collections import Counter
from typing import Final

import click
from rich.console import Console

from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import find_running, server_path
from v2t_stream.broker.login import Login
from v2t_stream.broker.up import is_kept
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.output import echo_json, json_option
from v2t_stream.doctor import Check, Finding, Status, examine
from v2t_stream.errors import BrokerError, SettingsError, V2TError
from v2t_stream.runtime.set_up import drifted, set_up, store_drifted
from v2t_stream.runtime.stores import announce_uploads, open_store
from v2t_stream.settings import Settings

_MARKS: Final[dict[Status, tuple[str, str]]] = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}
_NAME: Final = 15  # columns
_WIDEST: Final = 120


@click.command()
@click.option("--fix", is_flag=True, help="Set up what is missing or different in the broker and the store.")
@json_option
def doctor(*, fix: bool, as_json: bool) -> None:
    """Check this machine, the broker and the store, and say what to do; exit code 1 if a check fails."""
    settings = Settings.from_environment()

    async def run() -> list[Finding]:
        from v2t_stream.doctor import first, model  # noqa: PLC0415  # heavy

        looking = asyncio.create_task(model.look(settings))
        findings = await look(("model", lambda: model.judge(looking)))
        known = looking.done() and not looking.cancelled() and not looking.exception()
        kept = is_kept(settings.home)
        return [*findings, first.command(settings, findings, looking.result() if known else None, kept=kept)]

    async def look(*more: tuple[str, Check]) -> list[Finding]:
        from v2t_stream.doctor import broker, machine  # noqa: PLC0415  # heavy

        checks = [*machine.checks(settings), *more]
        url = settings.nats_url or find_running(settings.home)
        if not url:
            return [*await examine(checks), _alone()]
        try:
            connection = await connect(url, name=f"v2t doctor on {settings.node}", login=Login.of(settings))
        except (BrokerError, SettingsError) as error:
            if settings.nats_url:
                return [*await examine(checks), Finding("broker", "fail", str(error))]
            return [*await examine(checks), _alone()]  # the broker that the file names was killed
        async with connection:
            fixed = [await _fix(connection, settings)] if fix else []
            found = await examine(
                broker.checks(connection, settings)
            )  # first: one check measures how fast the broker answers
            return [*await examine(checks), *found, *fixed]

    with Console(stderr=True).status("checking …"):
        findings = in_loop(run())
    if as_json:
        echo_json(findings)
    else:
        _print(findings)
    if any(finding.status == "fail" for finding in findings):
        click.get_current_context().exit(1)


def _alone() -> Finding:
    try:
        server_path()
    except BrokerError as error:
        return Finding("broker", "fail", str(error))
    found = "NATS_URL is not set and no broker runs here: only this machine was checked"
    return Finding("broker", "ok", found, "to check the embedded broker, run this while v2t up is running")


async def _fix(connection: Connection, settings: Settings) -> Finding:
    """Set up what is missing or different."""
    try:
        store = open_store(connection, settings)
        drifts = [*await drifted(connection, settings), *await store_drifted(store, settings)]
        await set_up(connection, settings, told=True)
        trouble = await announce_uploads(settings)
    except V2TError as error:
        return Finding("fix", "fail", str(error))
    if trouble:
        return Finding("fix", "warn", trouble)
    return Finding("fix", "ok", "; ".join(map(str, drifts)) or "nothing had to be set up")


def _print(findings: list[Finding]) -> None:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    indent = " " * (_NAME + 2)
    *checked, after = findings
    for finding in checked:
        mark, colour = _MARKS[finding.status]
        found = textwrap.fill(
            f"{finding.name:{_NAME}}{finding.found}", width, initial_indent=f"{mark} ", subsequent_indent=indent
        )
        click.echo(click.style(found[0], fg=colour, bold=True) + found[1:])
        if finding.advice:
            arrow = textwrap.fill(finding.advice, width, initial_indent=f"{indent}→ ", subsequent_indent=f"{indent}  ")
            click.echo(arrow)
    counts = Counter(finding.status for finding in checked)
    click.echo(f"{counts['ok']} fine, {counts['warn']} to look at, {counts['fail']} failed")
    click.echo(textwrap.fill(f"{after.found}.", width))
