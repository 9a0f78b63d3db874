"""The options of subtitles on the command line, derived from the limits that a style has."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import click
from msgspec import structs

from schemas.options import declared
from schemas.transcript import Transcript
from v2t_stream.jobs.formats import CAPTIONS, KARAOKE
from v2t_stream.jobs.written import written
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.subtitles.style import BROADCAST, PLAIN, STYLES, Style
from v2t_stream.subtitles.tokens import has_times

_LIMITS: Final = {field.name: declared(field.type) for field in structs.fields(Style)}


class Shape(NamedTuple):
    """How the command line wants subtitles."""

    style: Style | None  # None: a cue for each segment
    highlight: bool  # with the time of each word

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """Take the options of `subtitle_options` out of those of a command."""
        return cls(wanted(options), options.pop("highlight"))

    def check(self, formats: list[str]) -> None:
        """Raises UsageError if an option would change none of these formats."""
        chosen = ", ".join(formats)
        if self.highlight and not any(name in KARAOKE for name in formats):
            raise click.UsageError(
                f"--highlight-words needs --format {' or '.join(KARAOKE)}: {chosen} cannot show the time of each word"
            )
        if self.style is not None and not any(name in CAPTIONS for name in formats):
            raise click.UsageError(
                f"a style shapes only subtitles, not {chosen}: set --format to one of {', '.join(CAPTIONS)}"
            )

    def needs_word_times(self, formats: list[str]) -> bool:
        """Whether a transcript in these formats is better with the time of every word."""
        return (self.style is not None and any(name in CAPTIONS for name in formats)) or (
            self.highlight and any(name in KARAOKE for name in formats)
        )

    async def written(self, store: ObjectStore, prefix: str, format: str) -> str:  # noqa: A002  as `written` calls it
        """The transcript at `prefix` in this format. Raises StoreError."""
        return await written(store, prefix, format, style=self.style, highlight=self.highlight)

    def caveat(self, record: Transcript, formats: list[str]) -> str:
        """A sentence if the transcript lacks times of words that these formats need; otherwise empty."""
        if not self.needs_word_times(formats) or all(map(has_times, record.segments)):
            return ""
        return (
            "the transcript has no times of words, so each word has its share of its segment's time, by letters; "
            "transcribe again with --word-timestamps for exact times"
        )


def style_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --subtitle-style, or --style, and an option for each limit of a style; `default`: the style without one."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, (kind, meta) in reversed(_LIMITS.items()):
            text = f"{(meta.description or '').capitalize()}."
            limits: dict[str, Any] = {
                "min": meta.ge if meta.gt is None else meta.gt,
                "max": meta.le,
                "min_open": meta.gt is not None,
            }
            range_ = click.IntRange if kind is int else click.FloatRange
            command = click.option(f"--{name.replace('_', '-')}", type=range_(**limits), help=text)(command)
        names = [name for name in STYLES if name != PLAIN or default == PLAIN]
        return click.option(
            "--subtitle-style" if default == PLAIN else "--style",
            "style",
            type=click.Choice(names),
            help="How subtitles are shaped: broadcast by the published guides, social one short line at a time."
            + (" plain: a cue for each segment." if default == PLAIN else ""),
            default=None if default == PLAIN else default,
            show_default=default if default != PLAIN else False,
        )(command)

    return decorate


def subtitle_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that writes subtitles."""
    command = click.option(
        "--highlight-words", "highlight", is_flag=True, help="In vtt and ass, keep the time of each word (karaoke)."
    )(command)
    return style_options(PLAIN)(command)


def wanted(options: dict[str, Any]) -> Style | None:
    """Take the options of `style_options` out of those of a command: the style with its changed limits."""
    name = options.pop("style")
    changed = {limit: value for limit in _LIMITS if (value := options.pop(limit)) is not None}
    if name == PLAIN and changed:
        raise click.UsageError(f"the style {PLAIN} has no limits: leave out --{next(iter(changed)).replace('_', '-')}")
    style = STYLES[name] if name else BROADCAST if changed else None
    style = structs.replace(style, **changed) if style else None
    if style and style.min_cue > style.max_cue:
        raise click.UsageError(f"--min-cue {style.min_cue:g} is more than --max-cue {style.max_cue:g}")
    return style
