"""`v2t completion`, and what a shell offers after Tab: quick, and quiet whatever is wrong.

Each function imports what it needs when it is called, because every command's module imports this one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from v2t_stream.text import one_line

if TYPE_CHECKING:
    from v2t_stream.broker.connection import Connection

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_PATIENCE: Final = 1.0  # seconds that a broker has to answer: somebody waits after Tab
_MOST: Final = 50  # jobs whose titles are shown beside their ids


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete v2t's commands, options, models and jobs.

    \b
    Put one of these lines where your shell finds it at its start:
      bash   echo 'eval "$(v2t completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(v2t completion zsh)"' >> ~/.zshrc
      fish   v2t completion fish > ~/.config/fish/completions/v2t.fish

    It takes effect in the next shell. bash needs version 4.4 or newer, and zsh compinit above that line.
    """  # noqa: D301  # click takes the character that \b stands for
    kind = get_completion_class(shell)
    assert kind  # noqa: S101  for the type checker: click knows the three
    # Not `source()`, which runs bash to learn its version and complains on stderr at each start of a shell.
    script = kind(context.find_root().command, {}, "v2t", "_V2T_COMPLETE")
    click.echo(script.source_template % script.source_vars())


def _quiet(find: Callable[[str], Iterable[str | CompletionItem]]) -> Completer:
    """What click calls: with a wrong setting or a broker that is away, nothing is offered, and nothing is printed."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001  # click's signature
        before = logging.root.manager.disable
        logging.disable()
        try:
            found = [each if isinstance(each, CompletionItem) else CompletionItem(each) for each in find(incomplete)]
        except Exception:  # noqa: BLE001  whatever is wrong, the shell offers nothing
            found = []
        finally:
            logging.disable(before)
        return [each for each in found if each.value.startswith(incomplete)]

    return complete


@_quiet
def jobs(incomplete: str) -> Iterable[str | CompletionItem]:
    """The ids of jobs, with their titles while there are few."""
    return asyncio.run(_asked(lambda connection: _jobs(connection, incomplete)))


def job_id(name: str = "job_id", **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The argument of a command that takes a job, completed."""
    return click.argument(name, **{"metavar": "ID", "shell_complete": jobs, **more})


@_quiet
def models(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001  # as all of these
    """The models that are on this machine."""
    from schemas.options import DEMO_MODEL  # noqa: PLC0415
    from v2t_stream.models.fetching import Models  # noqa: PLC0415
    from v2t_stream.settings import Settings  # noqa: PLC0415

    kept = Models(Settings.from_environment()).folder.kept()
    return sorted({DEMO_MODEL, *(each.name for each in kept if each.whole)})


@_quiet
def known_models(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001
    """The models that can be fetched by a name."""
    from v2t_stream.models import names  # noqa: PLC0415

    return sorted({name for known in names().values() for name in known})


@_quiet
def formats(incomplete: str) -> Iterable[str | CompletionItem]:
    """Formats separated by commas: the last one, without those before it."""
    from v2t_stream.jobs.formats import FORMATS  # noqa: PLC0415

    before, comma, _ = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in FORMATS if name not in before.split(",")]


@_quiet
def queues(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001
    from v2t_stream.topology.stages import STAGES  # noqa: PLC0415

    return [consumer.durable for row in STAGES for consumer in row.consumers]


@_quiet
def providers(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001
    """The engines and services that this machine has set up."""
    from v2t_stream.settings import Settings  # noqa: PLC0415
    from v2t_stream.transcription.providers import load  # noqa: PLC0415

    return [each.name for each in load(Settings.from_environment())]


@_quiet
def languages(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001
    from schemas.options import LANGUAGES  # noqa: PLC0415

    return sorted(LANGUAGES)


@_quiet
def engines(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001
    from v2t_stream.engines import registry  # noqa: PLC0415

    return sorted(registry.names())


@_quiet
def keys(incomplete: str) -> Iterable[str | CompletionItem]:  # noqa: ARG001
    """The names of the HTTP API's keys."""
    return asyncio.run(_asked(_keys))


async def _asked(ask: "Callable[[Connection], Awaitable[list[Any]]]") -> list[Any]:
    """What the broker answers; nothing if there is none."""
    from v2t_stream.broker.connect import connect  # noqa: PLC0415
    from v2t_stream.broker.embedded import find_running  # noqa: PLC0415
    from v2t_stream.broker.login import Login  # noqa: PLC0415
    from v2t_stream.settings import Settings  # noqa: PLC0415

    settings = Settings.from_environment()
    url = settings.nats_url or find_running(settings.home)
    if not url:
        return []
    async with asyncio.timeout(_PATIENCE):
        async with await connect(url, name="v2t completion", login=Login.of(settings)) as connection:
            return await ask(connection)


async def _keys(connection: "Connection") -> list[str]:
    from v2t_stream.access.keys import listed  # noqa: PLC0415

    return [each.key.name for each in await listed(connection)]


async def _jobs(connection: "Connection", incomplete: str) -> list[CompletionItem]:
    from schemas.events import Submitted  # noqa: PLC0415
    from schemas.message import decode_as  # noqa: PLC0415
    from v2t_stream.jobs.lists import history  # noqa: PLC0415
    from v2t_stream.topology.streams import JOBS  # noqa: PLC0415
    from v2t_stream.topology.subjects import job_of  # noqa: PLC0415

    subjects = await connection.subjects(JOBS, Submitted.subject_of(job="*"))
    wanted = [subject for subject in subjects if job_of(subject).startswith(incomplete)]
    titles = {}
    if len(wanted) <= _MOST:
        for fact in await history(connection, wanted):
            titles[fact.subject] = one_line(decode_as(Submitted, fact.data).title, 60)
    return [CompletionItem(job_of(subject), help=titles.get(subject) or None) for subject in wanted]
