"""Follows docs/extending.md in copies of the repository: what the page says works as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from tests.harness import ALL_STAGES, DATA, Node, broker, ended, node, reference, until, upload
from tests.patience import PATIENCE
from tests.remote_api import Answer, remote_api
from v2t_stream.audio import flac
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.jobs.operations import cancel, retry
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.streams import CHUNKS, JOBS
from v2t_stream.topology.subjects import results_of, tasks_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text()
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH: Final = re.compile(r"# (\S+/\S+)\n")
# How many files may be new or changed, of those that a section names.
LIMITS: Final[dict[str, Callable[[set[str]], bool]]] = {
    "An engine": lambda files: len(files - {"pyproject.toml"}) == 1,
    "A service": lambda files: len(files - {"pyproject.toml"}) == 1,
    "A format": lambda files: len(files) == 1,
    "A stage": lambda files: sum(file.endswith(".py") for file in files) <= 6,
    "An option": lambda files: len(files) <= 4,
    "A command": lambda files: len(files) == 2,
}


@dataclass
class Copy:
    """The repository with what one section of the page adds, installed for the processes that a test starts."""

    folder: Path
    home: Path
    files: set[str]

    @property
    def environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith(("V2T_", "NATS_"))}
        # Safe: the folder that the tests run in would come before the copy.
        return {**others, "PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1", "V2T_DATA_DIR": str(self.home)}

    def run(self, *command: str, **environment: str) -> str:
        """What a command prints that must succeed."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def v2t(self, *arguments: str, **environment: str) -> str:
        return self.run("-m", "v2t_stream", *arguments, **environment)


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def followed(title: str, tmp_path: Path) -> Copy:
    """A copy in which somebody has done what the section says, block by block."""
    copy = Copy(tmp_path / "copy", tmp_path / "home", set())
    copy.folder.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name and not name.startswith("tests/data/"):
            (copy.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy.folder / name)
    for language, text in _BLOCK.findall(section(title)):
        if language == "diff":
            copy.files |= set(re.findall(r"^\+\+\+ b/(.+)$", text, re.MULTILINE))
            apply = ["git", "apply", "--recount", "-p1"]
            apart = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
            subprocess.run(apply, cwd=copy.folder, env=apart, input=text.encode(), check=True)
        elif path := _PATH.match(text):
            assert not (copy.folder / path[1]).exists()
            copy.files.add(path[1])
            (copy.folder / path[1]).write_text(text[path.end() :])
    install(copy)
    return copy


def install(copy: Copy) -> None:
    """What an installer writes: the entry points of the copy's own pyproject.toml."""
    project = tomllib.loads((copy.folder / "pyproject.toml").read_text())["project"]
    package = copy.folder / f"v2t_stream-{project['version']}.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
    (package / "entry_points.txt").write_text("\n".join(lines) + "\n")


def listed(copy: Copy, **environment: str) -> list[str]:
    """The types that `v2t providers list` shows."""
    return [provider["type"] for provider in json.loads(copy.v2t("providers", "list", "--json", **environment))]


@pytest.mark.parametrize("title", LIMITS)
def test_an_example_takes_few_files_and_is_written_as_ours_are(title: str, tmp_path: Path) -> None:
    """Whoever adds something has to find places that nobody told them of, or is sent back by the linter."""
    copy = followed(title, tmp_path)
    assert LIMITS[title](copy.files), copy.files
    if "pyproject.toml" in copy.files:
        before = (ROOT / "pyproject.toml").read_text().splitlines()
        after = (copy.folder / "pyproject.toml").read_text().splitlines()
        assert len(after) == len(before) + 1
        assert set(before) < set(after)
    if not find_spec("ruff"):
        pytest.skip("ruff comes with the group dev: uv sync --group dev")
    code = sorted(file for file in copy.files if file.endswith(".py"))
    for check in (("check",), ("format", "--check")):
        copy.run("-m", "ruff", *check, "--no-cache", *code)


def test_the_page_has_an_example_for_all_it_names() -> None:
    """A section without an example, or an example that no test follows, is wrong and nobody sees it."""
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == list(LIMITS)
    for title in LIMITS:
        assert {"sh", "diff"} <= {language for language, _ in _BLOCK.findall(section(title))}


def test_the_engine_of_the_page_is_installed_and_hears(tmp_path: Path) -> None:
    """Whoever writes an engine by the page has one that no command knows, or that gives no words."""
    copy = followed("An engine", tmp_path)
    assert listed(copy, V2T_ENGINE="fixed") == ["fixed"]
    assert "These are always the same words." in copy.v2t("providers", "test", V2T_ENGINE="fixed")


def test_the_service_of_the_page_is_called_and_its_answer_read(tmp_path: Path) -> None:
    """Whoever writes a service by the page has one that is never called, or whose answer is lost."""
    copy = followed("A service", tmp_path)
    file = tmp_path / "providers.yaml"
    with remote_api() as api:
        api.answers = [Answer({"said": "Know thyself.", "tongue": "en"})]
        file.write_text(f"providers:\n  - type: murmur\n    base_url: {api.url}\n")
        assert listed(copy, V2T_PROVIDERS=str(file)) == ["murmur"]
        told = copy.v2t("providers", "test", V2T_PROVIDERS=str(file), MURMUR_API_KEY="hush")
    assert "Know thyself." in told
    (asked,) = api.asked
    assert (asked.path, asked.headers["Authorization"]) == ("/hear", "Bearer hush")
    assert dict(asked.fields) == {"model": "murmur-1"}
    assert flac.decode(asked.files["audio"][2]).size


_RENDERED: Final = """
import sys, msgspec
from schemas.transcript import Transcript
from v2t_stream.jobs.formats import render
print(render(msgspec.json.decode(sys.argv[1], type=Transcript), "html"), end="")
"""


def test_the_format_of_the_page_is_offered_and_written(tmp_path: Path) -> None:
    """A format added by the page is not offered, loses what is missing, or lets a transcript run scripts."""
    copy = followed("A format", tmp_path)
    segments = [{"start": 1.5, "end": 2, "text": "<script>x()</script>"}, {"start": 61, "end": 62, "text": "Plain."}]
    facts = {"job": "j", "title": "A talk", "source": "s", "duration": 90, "task": "transcribe", "language": "en"}
    gap = {"chunk": 1, "start": 70, "end": 80, "reason": "no engine"}
    record = facts | {"engines": [], "models": [], "segments": segments, "gaps": [gap]}
    assert copy.run("-c", _RENDERED, json.dumps(record)) == (
        '<!doctype html>\n<meta charset="utf-8">\n<title>A talk</title>\n'
        '<p data-start="1.5">&lt;script&gt;x()&lt;/script&gt;</p>\n'
        '<p data-start="61.0">Plain.</p>\n'
        '<p data-start="70.0">[missing: no engine]</p>\n'
    )
    assert "|html]" in copy.v2t("job", "transcript", "--help")
    assert "md,html" in copy.v2t("convert", "--help")


async def waiting(connection: Connection, stage: str) -> list[str]:
    return await connection.subjects(CHUNKS, tasks_of(stage))


async def check_run_and_end(connection: Connection, machine: Node, done: Job, media: str) -> None:
    """A retry goes through the stage in its own run, and nothing of a job that was cancelled waits for the stage."""
    first = done.chunks[0]
    assert await retry(connection, done, chunk=0) == 1
    again = await ended(connection, done.id)
    assert (again.state, again.run, again.chunks[0].run) == ("completed", 1, 1)
    assert again.chunks[0].segments == first.segments
    machine.kill("loudness")
    id_, _ = await submit(connection, SubmitRequest(media=media, language="en", force=True))
    cut = await until(connection, id_, lambda job: job.converted is not None)
    assert await waiting(connection, "loudness")
    await cancel(connection, None, cut)
    assert await waiting(connection, "loudness") == []


async def test_the_stage_of_the_page_runs_between_convert_and_transcribe(tmp_path: Path) -> None:
    """Whoever adds a stage by the page loses chunks, or has one that is passed by; or hides what it leaves out."""
    copy = followed("A stage", tmp_path)
    stages = {"PYTHONPATH": str(copy.folder), "PYTHONSAFEPATH": "1"}
    # A speech, and after it 40 s of noise that lie below -50 dBFS.
    speech = (flac.decode((DATA / "20s-1.flac").read_bytes()) * 32_768).astype(np.int16)
    noise = np.random.default_rng(1).normal(0, 30, 40 * 16_000).astype(np.int16)
    (tmp_path / "talk.flac").write_bytes(flac.encode(np.concatenate([speech, noise])))
    async with broker(tmp_path / "nats") as (server, connection):
        with node(server.url, copy.home, *ALL_STAGES, **stages) as machine:
            media = await upload(connection, tmp_path / "talk.flac")
            job, _ = await submit(connection, SubmitRequest(media=media, language="en", vad_threshold=0.0))
            cut = await until(connection, job, lambda job: job.converted is not None)
            assert cut.converted
            held = await waiting(connection, "loudness")
            assert len(held) == cut.converted.chunks > 1
            assert await connection.subjects(JOBS, results_of(job)) == []
            machine.start("loudness")
            done = await ended(connection, job)
            assert done.state == "completed", done.reason
            assert await waiting(connection, "loudness") == []
            heard = machine.log("transcribe")
            record = await JetStreamStore(connection).get(f"transcripts/{job}/transcript.json")
            await check_run_and_end(connection, machine, done, media)
    transcript = msgspec.json.decode(record, type=Transcript)
    said = " ".join(segment.text for segment in transcript.segments)
    assert word_error_rate(reference("20s-1.flac"), said) <= 0.05
    skipped = [n for n, result in done.chunks.items() if not result.engine]
    assert skipped
    assert all(f".chunk.{n} after" not in heard for n in skipped)
    assert transcript.unheard[-1].end == pytest.approx(transcript.duration, abs=0.1)
    assert {stretch.start for stretch in transcript.unheard} >= {done.chunks[n].start for n in skipped}


def test_the_set_up_of_the_stage_of_the_page_is_whole(tmp_path: Path) -> None:
    """In containers the new stage runs nowhere, or its worker may not take a message."""
    copy = followed("A stage", tmp_path)
    (copy.folder / "nats/auth.conf").write_text(copy.run("-m", "v2t_stream.access.roles"))
    assert "CONSUMER.MSG.NEXT.V2T_CHUNKS.loudness" in (copy.folder / "nats/auth.conf").read_text()
    kept = "profile_starts or prometheus_reads or asked_for_itself or auth_conf or every_consumer"
    passes_own_tests(copy, ["tests/unit/test_compose.py", "tests/unit/test_roles.py"], kept)


def passes_own_tests(copy: Copy, files: Sequence[str], which: str) -> None:
    """Run some tests of the copy's own."""
    copy.run("-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *files, "-k", which)


_ASKED: Final = """
import asyncio, sys
import numpy as np
from msgspec.structs import replace
from v2t_stream.cli.etl import etl
from v2t_stream.cli.options import wish
from v2t_stream.jobs.options import OPTIONS
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.chain import Chain
from v2t_stream.transcription.provider import Local

async def main(engine, model):
    params = etl.make_context("etl", ["--url", "http://example.org/x", "--repetition-penalty", "1.3"]).params
    asked = wish(url="http://example.org/x", **{name: params[name] for name in (*OPTIONS, "no_vad")})
    chain = Chain([Local(type=engine, name=engine, model=model)], Settings(), Models(Settings()))
    try:
        for careful in (False, True):
            sound = np.zeros(16_000, np.float32)
            heard = await chain.transcribe(sound, b"", replace(asked, language="en"), careful=careful)
            print(engine, [segment.text for segment in heard.transcription.segments])
    finally:
        await chain.close()

asyncio.run(main(*sys.argv[1:]))
"""

_WITNESS: Final = """
from schemas.transcript import Segment
from v2t_stream.engines.descriptor import EngineDescriptor
from v2t_stream.transcription.result import Transcription

ENGINE = EngineDescriptor(transcriber="witness:Witness")

class Witness:
    def __init__(self, *, model, device, threads): ...

    def transcribe(self, chunks, request):
        said = Segment(start=0.0, end=1.0, text=f"asked for {request.repetition_penalty}")
        return [Transcription((said,), "en") for _ in chunks]
"""


def test_the_option_of_the_page_reaches_the_engine(tmp_path: Path) -> None:
    """Whoever adds an option by the page has a flag that does nothing, or that breaks the engine it is for."""
    copy = followed("An option", tmp_path)
    assert re.search(r"--repetition-penalty FLOAT RANGE\s+Above 1", copy.v2t("convert", "--help"))
    (copy.folder / "witness.py").write_text(_WITNESS)
    (package := copy.folder / "witness-1.dist-info").mkdir()
    (package / "METADATA").write_text("Name: witness\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[v2t.engines]\nwitness = witness:ENGINE\n")
    assert copy.run("-c", _ASKED, "witness", "any").splitlines() == ["witness ['asked for 1.3']"] * 2
    assert copy.run("-c", _ASKED, "faster-whisper", "demo").splitlines() == ["faster-whisper []"] * 2


def test_the_option_of_the_page_passes_what_holds_options_together(tmp_path: Path) -> None:
    """An option by the page fails the suite: it is not documented, or an engine claims it and does not read it."""
    copy = followed("An option", tmp_path)
    files = ["tests/unit/test_docs.py", "tests/unit/test_options.py", "tests/unit/test_registration.py"]
    passes_own_tests(copy, files, "documented or offered or every_hint")


def test_the_command_of_the_page_runs(tmp_path: Path) -> None:
    """Whoever adds a command by the page has one that `v2t --help` does not name, or that does not start."""
    copy = followed("A command", tmp_path)
    assert re.search(r"version\s+Show the versions", copy.v2t("--help"))
    assert re.fullmatch(r"v2t-stream \S+\n(\S+ \S+\n){4}", copy.v2t("version"))
