"""The command line `v2t`. Each command's module is imported only when it is called, so that `--help` is instant."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click

from v2t_stream.cli.broker_option import offer, with_broker_option
from v2t_stream.errors import V2TError
from v2t_stream.text import one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_LONGEST: Final = 4000  # characters of an error, which may quote what a stranger sent

_COMMANDS: Final = {
    "demo": ("demo", "Transcribe a spoken clip with everything on this machine."),
    "convert": ("convert", "Transcribe files and write the transcripts next to them."),
    "etl": ("etl", "Transcribe the media at a URL."),
    "job": ("job", "List jobs, show one, print, correct or remove its transcript."),
    "check": ("check", "List what in a file of subtitles breaks a style."),
    "queue": ("queue", "Show what waits for each stage, pause a queue, resume it."),
    "dead": ("dead", "Show what could not be done and why, retry it, or discard it."),
    "tui": ("tui", "Watch jobs and the fleet, read along, and act, in the terminal."),
    "serve": ("serve", "Serve OpenAI's audio API, jobs and a page over HTTP."),
    "keys": ("keys", "Add, list and remove the keys of v2t serve."),
    "bucket": ("bucket", "Let uploads to MinIO start jobs, and pick up missed ones."),
    "secrets": ("secrets", "Make a broker's certificates, users and roles."),
    "topology": ("topology", "Set up streams and buckets, and show them."),
    "providers": ("providers", "List and try this machine's engines and services."),
    "models": ("models", "List, fetch, share and remove models."),
    "voices": ("voices", "Keep the voices of people, whom later jobs can name."),
    "up": ("node", "Run the embedded broker and all stages until stopped."),
    "node": ("node", "Run all stages of this machine on the broker of NATS_URL."),
    "stage": ("node", "Run one stage on the broker of NATS_URL."),
    "metrics": ("metrics", "Serve the metrics of the fleet for Prometheus."),
    "doctor": ("doctor", "Find out what does not work here, and how to fix it."),
    "config": ("config", "Show every setting in force, and where it comes from."),
    "backup": ("backup", "Copy all jobs and their files into a folder."),
    "restore": ("backup", "Restore such a copy to a new broker."),
    "completion": ("completion", "Print the script that makes a shell complete v2t's commands."),
    "health": ("health", "Check that a stage of this machine is working, for health checks."),
}


class _Commands(click.Group):
    """Knows the names and summaries of the commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature, as below
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"v2t_stream.cli.{_COMMANDS[cmd_name][0]}")
        return offer(cmd_name, getattr(module, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A file, a folder or a link in place of a command is what to transcribe."""
        word = args[0]
        if word in _COMMANDS or (word.startswith("-") and word != "-"):
            return super().resolve_command(ctx, args)
        from v2t_stream.cli.inputs import is_link, is_there, near  # noqa: PLC0415  # --help needs none of it

        if is_link(word):
            return "etl", self.get_command(ctx, "etl"), ["--wait", *args]
        if is_there(word):
            return "convert", self.get_command(ctx, "convert"), args
        if ctx.resilient_parsing:  # a shell asks how the line may go on
            return None, None, args
        raise click.UsageError(f"no such command or file: {word!r}{near(word, _COMMANDS)}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """The names of the commands; click itself would import all of them for their help."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  # only a shell needs it

        known = [(name, text) for name, (_, text) in _COMMANDS.items() if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in known] + options


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--debug", is_flag=True, help="Show tracebacks and all log messages.")
@click.version_option(package_name="v2t-stream", prog_name="v2t")
@with_broker_option
@click.pass_context
def cli(context: click.Context, *, debug: bool) -> None:
    """Video in, transcript out, over as many machines as you own.

    A file, a folder or a link needs no command: v2t talk.mp4.
    """
    context.obj = debug


def main() -> None:
    """Run the command of sys.argv.

    Exit codes: 0 done; 1 failed, with a sentence on stderr; 2 wrong usage; 3 done, but a recording is cut off;
    130 interrupted.
    """
    try:
        sys.exit(cli(prog_name="v2t", standalone_mode=False))  # click itself would exit with 1 on Ctrl-C
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except V2TError as error:
        if "--debug" in sys.argv:
            raise
        _tell(str(error))
        sys.exit(error.EXIT_CODE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # whatever happens, the user gets a sentence
        if "--debug" in sys.argv:
            raise
        _tell(f"unexpected {type(error).__name__}: {error} (v2t --debug shows where)")
        sys.exit(1)


def _tell(sentence: str) -> None:
    """Print why the command ended, or log it if the log is JSON."""
    sentence = one_line(sentence, _LONGEST)
    if (logs := sys.modules.get("v2t_stream.logs")) and logs.is_json():
        logs.log.error("%s", sentence)
    else:
        from v2t_stream.cli.output import say  # noqa: PLC0415  # `--help` needs none of it

        say(sentence, name="v2t: ", indent=len("v2t: "), err=True)
