"""The options of a transcription on the command line, derived from what `schemas` declares for a job."""

import re
from collections.abc import Callable
from typing import Any, Final

import click

from schemas.requests import SubmitRequest
from v2t_stream.cli import completion
from v2t_stream.jobs.options import OPTIONS, Option

_COMPLETED: Final = {
    "engine": completion.engines,
    "language": completion.languages,
    "model": completion.models,
}


def transcription_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each that a job has, under its name, and --no-vad."""
    command = click.option("--no-vad", is_flag=True, help="The same as --vad-threshold 0.")(command)
    for option in reversed(OPTIONS.values()):
        command = _flag(option)(command)
    return command


def _flag(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = f"--{option.name.replace('_', '-')}"
    text = f"{option.meaning[0].upper()}{option.meaning[1:]}."
    if option.kind is bool:
        return click.option(f"{name}/{name.replace('--', '--no-', 1)}", default=False, help=text)
    completer = _COMPLETED.get(option.name)
    alone: dict[str, Any] = {"is_flag": False, "flag_value": option.alone} if option.alone else {}
    kind, default = _type(option), option.default
    return click.option(
        name, type=kind, default=default, show_default=True, help=text, shell_complete=completer, **alone
    )


def _type(option: Option) -> Any:
    if option.choices:
        return click.Choice(option.choices)
    if option.meta.pattern:
        return _Matching(option)
    if option.kind is str:
        return str
    meta = option.meta
    limits: dict[str, Any] = {"min": meta.ge, "max": meta.le if meta.lt is None else meta.lt}
    kind = click.IntRange if option.kind is int else click.FloatRange
    return kind(**limits, max_open=meta.lt is not None)


class _Matching(click.types.StringParamType):
    """Text in a form that the option declares."""

    def __init__(self, option: Option) -> None:
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.search(self._option.meta.pattern or "", value):
            flag = f"--{self._option.name}"
            hint = f"; give {flag} {self._option.alone}, or put {flag} last" if self._option.alone else ""
            self.fail(f"{value!r} is not {self._option.limits}{hint}", param, ctx)
        return str(value)


def wish(*, no_vad: bool, **fields: Any) -> SubmitRequest:
    """The request that the command line asks for."""
    if no_vad:
        if fields["vad_threshold"]:
            raise click.UsageError("--no-vad contradicts --vad-threshold: give only one of them")
        fields["vad_threshold"] = 0.0
    return SubmitRequest(**fields)
