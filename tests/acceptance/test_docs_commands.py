"""The commands in the README and docs/: each can be typed, and is run by a test or listed here with the reason why not.

What the pages say of settings, options and providers is held to the code by tests/unit/test_docs.py.
"""

import ast
import functools
import json
from pathlib import Path
from typing import Final

import click
import pytest

from tests.acceptance.test_cli import Terminal
from tests.conftest import Pipeline
from tests.harness import DATA, reference
from tests.pages import PAGES, ROOT, Command, anchors, commands, links, mentions, name
from v2t_stream.cli import cli, inputs
from v2t_stream.demo.wer import word_error_rate

# Which tests run a command of v2t: in one of the files there must be all words and options that a page gives it.
RUN: Final = {
    "": ("acceptance/test_extending.py",),
    "FILE": ("acceptance/test_docs_commands.py",),  # v2t talk.mp4, and v2t https://…
    "backup": ("acceptance/test_backup.py",),
    "config": ("unit/test_config.py",),
    "check": ("acceptance/test_interview.py",),
    "convert": (
        "acceptance/test_cli.py",
        "acceptance/test_docs_commands.py",
        "acceptance/test_extending.py",
        "acceptance/test_interview.py",
        "unit/test_speakers.py",
    ),
    "dead list": ("acceptance/test_cli_queues.py",),
    "dead redrive": ("acceptance/test_cli_queues.py",),
    "dead remove": ("acceptance/test_cli_queues.py",),
    "demo": ("acceptance/test_docs_commands.py",),
    "doctor": ("integration/test_doctor.py",),
    "etl": ("acceptance/test_cli.py", "acceptance/test_cli_lists.py"),
    "job cancel": ("integration/test_roles.py",),
    "job edit": ("integration/test_corrections.py",),
    "job list": ("acceptance/test_cli.py", "integration/test_job_removal.py"),
    "job media": ("acceptance/test_cli.py",),
    "job retry": ("acceptance/test_cli_lists.py",),
    "job rm": ("integration/test_job_removal.py",),
    "job speakers": ("acceptance/test_interview.py",),
    "job status": ("acceptance/test_cli.py", "integration/test_secrets.py"),
    "job transcript": ("acceptance/test_cli.py",),
    "keys add": ("serve/test_keys.py",),
    "keys list": ("serve/test_keys.py",),
    "keys renew": ("serve/test_keys.py",),
    "keys rm": ("serve/test_keys.py",),
    "metrics": ("integration/test_monitoring.py",),
    "models list": ("integration/test_models.py",),
    "models pull": ("integration/test_models.py",),
    "models rm": ("integration/test_models.py",),
    "models share": ("integration/test_models.py",),
    "node": ("integration/test_monitoring.py",),
    "node list": ("integration/test_roles.py",),
    "serve": ("serving.py",),
    "providers list": ("acceptance/test_extending.py",),
    "providers migrate": ("unit/test_former_providers.py",),
    "providers test": ("acceptance/test_extending.py",),
    "queue list": ("acceptance/test_cli_queues.py",),
    "queue pause": ("acceptance/test_cli_queues.py",),
    "queue resume": ("acceptance/test_cli_queues.py",),
    "restore": ("acceptance/test_backup.py",),
    "secrets add": ("unit/test_credentials.py",),
    "secrets init": ("unit/test_credentials.py",),
    "secrets list": ("unit/test_credentials.py",),
    "secrets renew": ("unit/test_credentials.py",),
    "secrets revoke": ("unit/test_credentials.py",),
    "topology apply": ("acceptance/test_bucket.py",),
    "tui": ("tui/test_web.py",),
    "up": ("acceptance/test_cli.py",),
    "voices add": ("integration/test_voices.py",),
    "voices list": ("integration/test_voices.py",),
    "voices rm": ("integration/test_voices.py",),
    "version": ("acceptance/test_extending.py",),  # which docs/extending.md adds
}
# Options that a page adds to the product, and the test that follows the page runs there.
ADDED: Final = {"--repetition-penalty", "version"}

# Everything else, by how it begins: a test (a file), or the reason why no test runs it.
OTHERS: Final = {
    "nats-server -c nats/server.conf": "tests/unit/test_docs.py",
    "nats-server -c ~/v2t-secrets/server.conf": "tests/integration/test_roles.py",
    "nats-server --signal reload": "tests/integration/test_roles.py",
    "python -m v2t_stream.access.roles": "tests/acceptance/test_extending.py",
    "python -c from minio": "tests/acceptance/test_bucket.py",
    "versitygw": "tests/acceptance/test_bucket.py",
    "pytest": "it is what runs this",
    "python -m tests.benchmarks": "a benchmark takes minutes, and its figures mean nothing beside other tests",
    "ruff": "everybody runs it before a commit, and so does .ci/run",
    "mypy": "everybody runs it before a commit, and so does .ci/run",
    "lint-imports": "everybody runs it before a commit, and so does .ci/run",
    ".ci/": "it runs all tests",
    "uv sync": "it installs what runs this",
    "uv tool install": "it changes the machine that the tests run on",
    "train.py": "it trains a model for an hour",
    "export.py": "it needs a model that was trained for an hour",
    "clips.py": "it makes files that are in the repository",
    "evaluate.py": "it judges a model that was trained for an hour",
    "docker": "no Docker engine can be counted on; tests/unit/test_compose.py checks compose.yaml and the Dockerfile",
    "minio": "no registry carries MinIO's server any more; tests run on it where V2T_TEST_S3=minio",
    "nats pub": "the tests publish with a client library; `nats` is a program of its own",
    "espeak-ng": "the voice is a program of its own, and the clips of the tests were made with it",
    "ffplay": "it is a program of its own, and no machine of the tests has a loudspeaker",
    "curl": "the tests read the same address without it",
    "journalctl": "it reads the log of a service that somebody has set up",
    "jq": "it reads what journalctl prints",
    "scp": "it needs another machine",
    **dict.fromkeys(("export", "set", ".", "umask", "cd"), "the shell does it"),
    **dict.fromkeys(("cp", "mv", "cat", "mkdir", "echo", "printf"), "it is no program of ours"),
}


def path_of(command: Command) -> tuple[str, click.Command, tuple[str, ...]]:
    """The words that name a command of v2t, the command, and the words that follow."""
    path: list[str] = []
    found: click.Command = cli
    words = command.words[1:]
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        further = found.get_command(click.Context(found), words[0])
        if further is None:
            path.append("FILE")
            break
        found, words = further, words[1:]
        path.append(further.name or "")
    return " ".join(path), found, words


def options(words: tuple[str, ...]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_every_command_of_a_page_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader types a line of the README and gets `no such option`."""
    (tmp_path / "talk.mp4").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)
    for kind in (click.Path, click.File):  # whose files the reader has
        monkeypatch.setattr(kind, "convert", lambda _, value, *__: value)
    monkeypatch.setattr(inputs, "is_there", lambda word: "." in word)
    wrong = []
    for command in commands():
        if command.words[0] == "v2t" and not ADDED & {*command.words}:
            try:
                cli.main([*command.words[1:]], standalone_mode=False)
            except click.ClickException as error:
                wrong.append(f"{command}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)


def test_every_command_that_a_sentence_names_exists() -> None:
    """A reader looks for a command or an option that a page speaks of, and finds none."""
    wrong = []
    for command in mentions():
        _, found, words = path_of(command)
        known = {option for parameter in found.params for option in parameter.opts} | {"--help", "--version", "--debug"}
        if isinstance(found, click.Group) and words and words[0].isalpha() and words[0].islower():
            wrong.append(f"{command}: there is no command {words[0]}")
        wrong += [f"{command}: there is no option {option}" for option in options(words) - known - ADDED]
    assert not wrong, "\n".join(wrong)


@functools.cache
def spoken(file: str) -> set[str]:
    """Every word in a string of a test file."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {word for string in strings for word in string.split()}


def test_every_command_of_a_page_is_run_by_a_test() -> None:
    """A page has a command that works nowhere, and no test knows of it."""
    missing = []
    for command in commands():
        if command.words[0] == "v2t":
            path, _, words = path_of(command)
            path = path or " ".join(ADDED & {*words})
            wanted = {*path.split(), *(options(words) - ADDED)}
            if not any(wanted <= spoken(file) for file in RUN.get(path, ())):
                missing.append(f"{command}: no test of {RUN.get(path)} has {sorted(wanted)}")
        elif not any(" ".join(command.words).startswith(start) for start in OTHERS):
            missing.append(f"{command}: name a test in OTHERS, or why there is none")
    assert not missing, "\n".join(missing)


def test_the_lists_of_commands_name_only_what_is_there() -> None:
    """A list says that a test runs a command, and the test or the command is gone."""
    shown = [*commands()]
    assert {path_of(command)[0] for command in shown if command.words[0] == "v2t"} | ADDED >= {*RUN}
    for start, by in OTHERS.items():
        assert any(" ".join(command.words).startswith(start) for command in shown), start
        if by.startswith("tests/") and by.endswith(".py"):
            assert (ROOT / by).exists(), by


def test_every_link_leads_somewhere() -> None:
    """A reader clicks, and the page or its section is gone."""
    broken = [f"{page}: {path.name}" for page, path, _ in links() if not path.exists()]
    broken += [
        f"{page}: {path.name}#{heading}"
        for page, path, heading in links()
        if heading and path.suffix == ".md" and path.exists() and heading not in anchors(path)
    ]
    assert not broken, "\n".join(broken)


def test_the_index_names_every_page() -> None:
    """A page is written, and nobody finds it."""
    index = ROOT / "docs" / "README.md"
    reached = {path for page, path, _ in links() if page == name(index)}
    assert reached >= {page for page in PAGES if page.parent == index.parent} - {index}


def test_the_readme_is_one_page() -> None:
    """A stranger has to scroll to learn what this is."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.timeout(300)
def test_the_first_command_of_the_readme_shows_a_transcript(tmp_path: Path) -> None:
    """The first thing that a stranger types fails."""
    out, err = Terminal(tmp_path / "home").run("demo")
    assert "word error rate    0.0%" in out, out + err


def test_the_files_of_a_user_become_transcripts_as_the_pages_say(pipeline: Pipeline, tmp_path: Path) -> None:
    """A user's own recording, with the options of the README, is the second thing they try."""
    terminal = Terminal(tmp_path / "home", pipeline.url)
    folder = tmp_path / "recordings"
    folder.mkdir()
    for clip in ("5s.flac", "20s-1.flac"):
        (folder / clip).write_bytes((DATA / clip).read_bytes())
    demo = ("--model", "demo", "--language", "en")
    terminal.run(folder / "5s.flac", *demo, "--force")
    assert (folder / "5s.srt").read_text().startswith("1\n00:00:0")
    out = tmp_path / "transcripts"
    hinted = ("--hotwords", "Anna, Peter", "--format", "srt,txt", "--output", out)
    terminal.run("convert", "--input", folder, *demo, *hinted)  # as `convert FOLDER`
    assert sorted(path.name for path in out.iterdir()) == ["20s-1.srt", "20s-1.txt", "5s.srt", "5s.txt"]
    words = (out / "20s-1.txt").read_text()
    assert word_error_rate(reference("20s-1.flac"), words) <= 0.05
    jobs = json.loads(terminal.run("job", "list", "--json")[0])
    assert {"5s.flac", "20s-1.flac"} <= {job["title"] for job in jobs}
