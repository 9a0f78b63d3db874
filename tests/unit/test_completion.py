"""What a shell offers after Tab."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from v2t_stream.cli import cli
from v2t_stream.cli.completion import completion

ROOT = Path(__file__).parents[2]


def offered(*words: str) -> list[str]:
    """What is offered for the last of the words of a command line."""
    shell = ShellComplete(cli, {}, "v2t", "_V2T_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2T_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)


def test_commands_options_and_choices_are_offered() -> None:
    """Else a user types every word of a command line, or leaves it to look into the help."""
    assert offered("mo") == ["models"]
    assert {"list", "status", "rm", "edit"} <= {*offered("job", "")}
    assert "--keep-correction" in offered("job", "retry", "--")
    assert offered("job", "list", "--state", "ca") == ["cancelled"]
    assert offered("job", "transcript", "--format", "s") == ["srt"]
    assert "transcribe-cuda" in offered("queue", "pause", "")
    assert offered("etl", "--language", "e") == ["el", "en", "es", "et", "eu"]
    assert offered("providers", "test", "") == ["faster-whisper"]
    assert offered("etl", "--engine", "w") == ["whisper-cpp"]


def test_models_that_are_here_are_offered_and_those_to_fetch_where_one_fetches() -> None:
    """Else a model's name is copied from another window."""
    assert offered("etl", "--model", "") == ["demo"]  # no other is here
    assert "small" in offered("models", "pull", "sm")


def test_without_a_broker_or_with_wrong_settings_nothing_is_offered_or_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else a Tab writes an error over the command line, or waits for a server that is away."""
    assert offered("job", "status", "") == []
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:9")
    assert offered("job", "status", "") == []
    monkeypatch.setenv("V2T_THREADS", "many")
    assert offered("job", "status", "") == []
    assert capfd.readouterr() == ("", "")


def test_the_first_word_is_completed_without_importing_every_command() -> None:
    """Else the first Tab of a line takes a second."""
    code = (
        "import sys; from click.shell_completion import ShellComplete; from v2t_stream.cli import cli\n"
        "assert ShellComplete(cli, {}, 'v2t', '_V2T_COMPLETE').get_completions([], 'et')[0].value == 'etl'\n"
        "print(sorted({'msgspec', 'nats', 'rich', 'asyncio'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one_that_it_reads(shell: str) -> None:
    """Else each new shell begins with an error."""
    from click.testing import CliRunner

    script = CliRunner().invoke(cli, ["completion", shell]).output
    assert "_V2T_COMPLETE" in script
    assert completion.name == "completion"
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="this machine has no bash")
def test_bash_completes_through_the_installed_program() -> None:
    """Else the script calls the program in a way that it does not know."""
    environment = {**os.environ, "_V2T_COMPLETE": "bash_complete", "COMP_WORDS": "v2t que", "COMP_CWORD": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "v2t_stream"], env=environment, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("plain,queue\n", "")
