"""`v2t providers`: this machine's engines and services, in order, and whether each works."""

import time
from pathlib import Path
from typing import Any

import click

from schemas.options import HINTS
from v2t_stream.cli import completion
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.output import Column, echo_json, json_option, print_table, say, unwritable
from v2t_stream.engines.descriptor import Abilities
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.settings import Settings
from v2t_stream.text import one_line
from v2t_stream.transcription.provider import Provider
from v2t_stream.transcription.providers import file_of, load, parse, with_model
from v2t_stream.transcription.trial import clip, heard
from v2t_stream.units import counted, length

_WORDS = 8  # shown of what was heard
_NAMES = ("name", "type", "model", "where", "enabled", "key", "limits")
_COLUMNS = (*map(Column, _NAMES), Column("cannot", cut="nothing"))


@click.group()
def providers() -> None:
    """List and try this machine's engines and services."""


@providers.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List this machine's providers, in the order they are tried."""
    settings = Settings.from_environment()
    chain = [summary(provider, settings) for provider in load(settings)]
    if as_json:
        echo_json(chain)
        return
    print_table(_COLUMNS, map(_row, chain))
    for each in chain:
        if each["withdrawn"]:
            click.echo(f"v2t: {each['name']}: {each['withdrawn']}", err=True)
    file = file_of(settings)
    say(str(file) if file.exists() else f"({file} does not exist: this is V2T_ENGINE with V2T_MODEL)", err=True)


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    key = {None: "", True: f"{each['key_variable']} is set", False: f"{each['key_variable']} is not set"}
    limits = [length(each["timeout"]), counted(each["retries"], "retry", "retries")]
    limits += [f"{each['max_concurrency']} at once"] if each["max_concurrency"] else []
    limits += [f"{each['rate_limit_per_minute']} a minute"] if each["rate_limit_per_minute"] else []
    return (
        each["name"],
        each["type"],
        each["model"],
        "remote" if each["remote"] else "local",
        "yes" if each["enabled"] else "no",
        key[each["key_present"]],
        ", ".join(limits),
        ", ".join(each["cannot"]),
    )


@providers.command()
@click.argument("name", required=False, shell_complete=completion.providers)
def test(name: str | None) -> None:
    """Try each enabled provider, or NAME, on a short clip. A paid service charges for a few seconds."""
    settings = Settings.from_environment()
    chain = load(settings)
    if name and name not in [provider.name for provider in chain]:
        raise SettingsError(f"there is no provider {name!r}: use {', '.join(each.name for each in chain)}")
    wanted = [each for each in chain if each.name == name or (name is None and each.enabled)]
    samples, audio = clip()
    failures = 0
    for provider in wanted:
        click.echo(f"{provider.name}: ", nl=False)
        begun = time.monotonic()
        try:
            text = in_loop(heard(provider, settings, samples, audio))
        except V2TError as error:
            failures += 1
            click.echo(f"failed after {length(time.monotonic() - begun)}: {one_line(str(error))}")
        else:
            words = text.split()
            said = " ".join(words[:_WORDS]) + (" …" if len(words) > _WORDS else "")
            click.echo(f"ok after {length(time.monotonic() - begun)}: {one_line(said) or '(nothing heard)'}")
    if failures:
        click.get_current_context().exit(1)


@providers.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where to write it; by default where v2t looks for it. - prints it.",
)
def migrate(file: Path, output: Path | None) -> None:
    """Write FILE, a providers.yaml of the former v2t on Temporal, in today's form, and say what was left out."""
    from v2t_stream.transcription import former  # noqa: PLC0415  # only people who come from there need it

    target = output or file_of(Settings.from_environment())
    entries = former.read(file)
    for entry in entries:
        said = ", ".join(f"{name} {value}" for name, value in (entry.provider or {}).items() if name != "name")
        say(f"{one_line(entry.name)}: {one_line(said) or 'not carried over'}", err=True)
        for each in entry.left:
            say(one_line(each), name="  left out: ", indent=len("  left out: "), err=True)
    text = former.written([entry.provider for entry in entries if entry.provider])
    parse(text, f"what is left of {file}")
    if str(target) == "-":
        click.echo(text.decode(), nl=False)
        return
    _replace(file, target, text)
    say(f"wrote {target}; try it with v2t providers test", err=True)


def _replace(file: Path, target: Path, text: bytes) -> None:
    """Write `target`; if that is `file` itself, keep the former one beside it. Raises SettingsError."""
    try:
        if target.exists():
            beside = file.with_name(f"{file.name}.former")
            if not target.samefile(file) or beside.exists():
                raise SettingsError(f"{target} exists already: choose another --output")
            file.rename(beside)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
    except OSError as error:
        raise unwritable(target, error) from error


def summary(provider: Provider, settings: Settings) -> dict[str, Any]:
    """A provider for people and scripts. Of its key this says only whether it is set."""
    provider = with_model(provider, settings.model)
    abilities = provider.able(provider.model)
    return {
        "name": provider.name,
        "type": provider.type,
        "model": provider.model,
        "remote": provider.is_remote,
        "enabled": provider.enabled,
        "key_variable": provider.key_variable or None,
        "key_present": bool(provider.key) if provider.key_variable else None,
        "timeout": provider.timeout,
        "max_concurrency": provider.max_concurrency,
        "rate_limit_per_minute": provider.rate_limit_per_minute,
        "retries": provider.retries,
        "languages": sorted(abilities.languages) if abilities.languages is not None else None,
        "cannot": _cannot(abilities),
        "withdrawn": provider.withdrawn(provider.model),
    }


def _cannot(abilities: Abilities) -> list[str]:
    """What it cannot do for a job."""
    found = [] if abilities.translates else ["translate"]
    found += [] if abilities.word_times else ["word times"]
    found += [] if abilities.languages is None else [f"other languages than {', '.join(sorted(abilities.languages))}"]
    return found + [name.replace("_", " ") for name in HINTS if name not in abilities.hints]
