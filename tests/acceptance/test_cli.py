"""The command line as its users call it: real processes, without a terminal."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Pipeline
from tests.harness import ALL_STAGES, DATA, node, reference, served, shared_broker
from tests.patience import PATIENCE
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.jobs.formats import FORMATS

DEMO = ("--model", "demo", "--language", "en")


class Terminal:
    """Runs `v2t` with a data directory and, if there is one, the test's broker."""

    def __init__(self, home: Path, url: str = "") -> None:
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("V2T_", "NATS_"))},
            "V2T_DATA_DIR": str(home),
            "V2T_ALLOW_ADDRESSES": "127.0.0.1",
            "NATS_URL": url,
        }

    def start(self, *arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "v2t_stream", *map(str, arguments)],
            cwd=cwd,
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(
        self, *arguments: str | Path, code: int = 0, cwd: Path | None = None, **environment: str
    ) -> tuple[str, str]:
        """Its stdout and stderr, after checking that it exited with `code` and no traceback."""
        with self.start(*arguments, cwd=cwd, **environment) as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return out, err

    def complaint(self, *arguments: str | Path, **environment: str) -> str:
        """The one sentence on stderr with which it gives up."""
        out, err = self.run(*arguments, code=1, **environment)
        assert out == ""
        assert err.startswith("v2t: ")
        assert err.count("\n") == 1
        return err.removeprefix("v2t: ").rstrip("\n")


@pytest.fixture
def alone(tmp_path: Path) -> Terminal:
    """A machine with no broker."""
    return Terminal(tmp_path / "home")


@pytest.fixture
def terminal(pipeline: Pipeline, tmp_path: Path) -> Terminal:
    """A machine that uses the running pipeline."""
    return Terminal(tmp_path / "home", pipeline.url)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with served(DATA) as url:
        yield url


def words(srt: str) -> str:
    """The text of subtitles."""
    return " ".join(line for line in srt.splitlines() if line and not line.isdigit() and "-->" not in line)


def test_convert_writes_transcripts_with_nothing_set_up(alone: Terminal, tmp_path: Path) -> None:
    """The first command a new user tries does not work."""
    clip = tmp_path / 'a talk "one" it\'s 例子\nand [b].flac'
    clip.write_bytes((DATA / "20s-1.flac").read_bytes())
    out, err = alone.run("convert", "--input", clip, *DEMO, "--format", "srt,txt", "--output", tmp_path / "out")
    srt, txt = (tmp_path / "out" / f"{clip.stem}.{suffix}" for suffix in ("srt", "txt"))
    assert out == f"{srt}\n{txt}\n"
    assert word_error_rate(reference("20s-1.flac"), txt.read_text()) <= 0.05
    assert word_error_rate(reference("20s-1.flac"), words(srt.read_text())) <= 0.05
    assert re.search(r"completed: 20 s of media in \d", err)
    assert not processes(tmp_path / "home")


def test_convert_of_a_folder_names_the_bad_file_and_does_the_others(terminal: Terminal, tmp_path: Path) -> None:
    """One broken recording in a folder costs the transcripts of all of them."""
    folder = tmp_path / "talks"
    (folder / "b").mkdir(parents=True)
    (folder / "one.flac").write_bytes((DATA / "5s.flac").read_bytes())
    (folder / "b" / "two.flac").write_bytes((DATA / "20s-2.flac").read_bytes())
    (folder / "bad.mp4").write_text("Dear Sir,\n")
    (folder / "notes.txt").write_text("not a recording")
    out, err = terminal.run("convert", "--input", folder, *DEMO, code=1)
    assert sorted(out.splitlines()) == [str(folder / "b" / "two.srt"), str(folder / "one.srt")]
    for name, clip in (("one", "5s"), ("b/two", "20s-2")):
        assert word_error_rate(reference(f"{clip}.flac"), words((folder / f"{name}.srt").read_text())) <= 0.1
    assert re.search(rf"^v2t: {folder}/bad\.mp4 is not audio or video", err, re.MULTILINE)
    assert err.endswith("v2t: 1 of 3 files could not be transcribed\n")


@pytest.mark.timeout(900)  # twenty commands
def test_etl_and_job_commands_together(terminal: Terminal, site: str, tmp_path: Path) -> None:
    """A script cannot follow a job, or get its transcript."""
    asked = (*DEMO, "--temperature", "0", "--beam-size", "4")
    terminal.run("queue", "pause", "download")
    try:
        out, err = terminal.run("etl", "--url", f"{site}/20s-3.flac?cli", *asked)  # it waits for nothing
    finally:
        terminal.run("queue", "resume", "download")
    job = out.strip()
    assert re.fullmatch(r"\w+-\w+\n", out)
    assert err == ""

    out, err = terminal.run("etl", "--url", f"{site}/20s-3.flac?cli", *asked, "--wait")
    assert word_error_rate(reference("20s-3.flac"), out) <= 0.05
    assert re.search(rf"^{job} 20s-3 completed: (19|20)(\.\d)? s of media in ", err, re.MULTILINE)

    out, _ = terminal.run("job", "status", job)
    assert re.search(r"^state +completed$", out, re.MULTILINE)
    assert re.search(r"^options +--language en --model demo --beam-size 4 --temperature 0\.0$", out, re.MULTILINE)
    out, _ = terminal.run("job", "status", job, "--json")
    status = json.loads(out)
    assert status["options"] == {"language": "en", "model": "demo", "beam_size": 4, "temperature": 0.0}
    assert (status["id"], status["state"], status["language"]) == (job, "completed", "en")
    out, _ = terminal.run("job", "list", "--json")
    (listed,) = (each for each in json.loads(out) if each["id"] == job)
    assert listed.items() <= status.items()
    out, _ = terminal.run("job", "list")
    assert re.search(rf"^{job}  completed  en  +(19|20)\S* s .* 20s-3$", out, re.MULTILINE)

    for format_ in FORMATS:
        file = tmp_path / f"transcript.{format_}"
        assert terminal.run("job", "transcript", job, "--format", format_, "--output", file)[0] == ""
        assert file.read_text()
    out, _ = terminal.run("job", "transcript", job)
    assert word_error_rate(reference("20s-3.flac"), out) <= 0.05
    media = tmp_path / "media"
    assert terminal.run("job", "media", job, "--output", media)[0] == ""
    assert media.read_bytes() == (DATA / "20s-3.flac").read_bytes()


def test_subtitles_in_a_style_need_no_repair(terminal: Terminal, tmp_path: Path) -> None:
    """Whoever publishes them has to go over every cue; or what is written again later has other words."""
    style = ("--subtitle-style", "broadcast")
    _, err = terminal.run("convert", DATA / "3min.ogg", "--output", tmp_path, *DEMO, "--format", "srt,vtt", *style)
    out, _ = terminal.run("check", tmp_path / "3min.srt", tmp_path / "3min.vtt")
    assert out.count("cues, nothing breaks the style") == 2
    job = re.findall(r"^(\S+) 3min.ogg completed", err, re.MULTILINE)[-1]
    out, err = terminal.run("job", "transcript", job, "--format", "srt", *style)
    assert out == (tmp_path / "3min.srt").read_text()
    assert err == ""
    out, _ = terminal.run("job", "transcript", job, "--format", "srt", "--max-line-width", "30")
    (tmp_path / "narrow.srt").write_text(out)
    terminal.run("check", tmp_path / "narrow.srt", "--max-line-width", "30")
    _, err = terminal.run("check", tmp_path / "narrow.srt", "--max-line-width", "20", code=1)
    assert "problems found" in err


def test_follow_prints_segments_in_their_order(terminal: Terminal, site: str) -> None:
    """A reader who follows a job sees sentences out of order, or progress among them."""
    out, err = terminal.run("etl", "--url", f"{site}/3min.ogg?follow", *DEMO, "--follow")
    lines = [re.fullmatch(r"\[(\d\d:\d\d) - \d\d:\d\d\] (.+)", line) for line in out.splitlines()]
    assert len(lines) > 30
    assert all(lines)
    times = [line[1] for line in lines if line]
    assert times == sorted(times)
    assert " completed: 3 min of media" in err


def test_a_command_runs_when_a_transcript_is_ready(terminal: Terminal, site: str, tmp_path: Path) -> None:
    """A user has to wait at the terminal to upload what is finished."""
    clip = tmp_path / "a; touch owned.flac"
    clip.write_bytes((DATA / "5s.flac").read_bytes())
    command = ("--exec", "cp {} copy; echo $TRANSCRIPT_JOB", "--exec", "exit 4")
    done = (tmp_path / "copy", tmp_path / "owned")
    out, err = terminal.run("convert", clip, *DEMO, *command, "--notify", code=1, cwd=tmp_path)
    assert done[0].read_text() == (tmp_path / "a; touch owned.srt").read_text()
    assert not done[1].exists()
    assert re.fullmatch(r"\w+-\w+", out.splitlines()[-1])
    assert "v2t: a; touch owned.flac: the command of --exec exited with 4; its transcript is ready" in err
    assert "v2t: the command of --exec failed 1 of 2 times after the transcript was ready: see above" in err
    out, err = terminal.run("etl", f"{site}/5s.flac?exec", *DEMO, "--wait", "--exec", "echo job {}")
    assert re.search(r"^job \w+-\w+$", out, re.MULTILINE)


def test_a_failed_job_says_so_everywhere(terminal: Terminal, site: str) -> None:
    """A script goes on as if there were a transcript."""
    said = terminal.run("etl", "--url", f"{site}/missing.mp4", *DEMO, "--wait", code=1)[1].splitlines()
    assert re.fullmatch(rf"v2t: job (\S+) failed: {site}/missing\.mp4 does not exist \(HTTP 404\): .*", said[-1])
    job = said[-1].split()[2]
    out, err = terminal.run("job", "status", job, code=1)
    assert re.search(r"^state +failed$", out, re.MULTILINE)
    assert re.search(r"^reason +.*does not exist \(HTTP 404\): check the link$", out, re.MULTILINE)
    assert err == ""
    assert json.loads(terminal.run("job", "status", job, "--json", code=1)[0])["state"] == "failed"
    assert re.search(rf"^job {job} has no transcript: it is failed \(", terminal.complaint("job", "transcript", job))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("job", "status", "nope"), "there is no job 'nope': v2t job list shows all jobs"),
        (("job", "transcript", "nope"), "there is no job 'nope': v2t job list shows all jobs"),
        (("job", "media", "nope"), "there is no job 'nope': v2t job list shows all jobs"),
        (("etl", "--url", "file:///etc/passwd"), "'file:///etc/passwd' cannot be fetched: use a URL that begins with"),
        (("etl", "--url", "http://a/", "--language", "xx"), "unknown language 'xx': use an ISO 639 code"),
        (("etl", "--url", "http://a/", "--model", "smal"), "unknown model 'smal': did you mean small"),
        (
            ("etl", "--url", "http://a/", "--prompt", "a\nb"),
            r"the submission's prompt 'a\\nb' has a line end or a control",
        ),
        (
            ("convert", "--input", DATA, "--audio-track", "first one"),
            "unknown audio track 'first one': give its number",
        ),
        (("convert", "--input", DATA, "--format", "doc"), "unknown format 'doc': use json, "),
        (
            ("convert", "--input", Path(__file__).parent),
            "nothing to transcribe in .*: skipped [0-9]+ files without audio or video: ",
        ),
        (
            ("convert", "--input", DATA, "--output", "/proc/out"),
            "/proc/out cannot be written .*: choose another --output",
        ),
    ],
)
def test_a_wrong_wish_is_refused_with_a_sentence(arguments: tuple[str, ...], says: str, terminal: Terminal) -> None:
    """The user sees a traceback, or waits for an impossible job."""
    assert re.match(says, terminal.complaint(*arguments))


def test_a_wrong_setting_is_named(terminal: Terminal) -> None:
    """A misspelt setting is ignored."""
    assert terminal.complaint("job", "list", V2T_NODES="mac") == "unknown setting V2T_NODES: did you mean V2T_NODE?"


def test_wrong_usage_exits_with_2(alone: Terminal) -> None:
    """A script cannot tell a wrong call from a failed job."""
    for arguments in (("etl",), ("etl", "--ulr", "x"), ("nonsense",), ("convert", "--input", "/missing")):
        out, err = alone.run(*arguments, code=2)
        assert out == ""
        assert "Error: " in err


def test_without_a_broker_it_says_so_in_seconds(alone: Terminal) -> None:
    """A wrong address looks like a program that hangs."""
    begun = time.monotonic()
    said = alone.complaint("job", "list", NATS_URL="nats://me:secret@127.0.0.1:9")
    assert time.monotonic() - begun < 60  # of which connecting takes 5, and a busy machine what it takes
    assert re.match(r"no NATS server answers at nats://127\.0\.0\.1:9 \(.*\): start one, or correct NATS_URL", said)
    assert "secret" not in said


def test_debug_shows_the_traceback(alone: Terminal) -> None:
    """Nobody can find out where a bug is."""
    with alone.start("--debug", "etl", "--url", "file:///etc/passwd") as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Traceback" in err


def test_help_imports_nothing_heavy(alone: Terminal) -> None:
    """`v2t --help` takes seconds."""
    heavy = {"nats", "numpy", "av", "faster_whisper", "ctranslate2", "yt_dlp", "rich", "uvloop", "asyncio"}
    script = (
        "import sys; from v2t_stream.cli import main; sys.argv = ['v2t', '--help']\n"
        "try: main()\n"
        f"finally: print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert all(command in done.stdout for command in ("convert", "etl", "job", "demo", "up"))


def test_ctrl_c_leaves_at_once_and_leaves_nothing_behind(alone: Terminal, site: str, tmp_path: Path) -> None:
    """Engines keep using the machine after the user stopped them, or the terminal is stuck."""
    with alone.start("etl", "--url", f"{site}/3min.ogg", *DEMO, "--wait") as process:
        assert process.stderr
        first = process.stderr.readline()
        job = first.split()[1]
        while "converting" not in process.stderr.readline():
            pass
        assert len(processes(tmp_path / "home")) > 5
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"v2t: cancelled job {job}\n" in err
    assert "Traceback" not in err
    assert not processes(tmp_path / "home")
    (left,) = json.loads(alone.run("job", "list", "--json")[0])
    assert (left["id"], left["state"]) == (job, "cancelled")


def test_a_command_beside_v2t_up_uses_it_and_leaves_it(alone: Terminal, site: str, tmp_path: Path) -> None:
    """The terminal is stuck after the transcript, or a second set of engines takes the machine."""
    file = tmp_path / "config.toml"
    file.write_text('node = "named-in-the-file"')
    with alone.start("up", "--port", "0", V2T_CONFIG=str(file)) as up:
        try:
            assert up.stdout
            assert re.match(r"up at nats://127\.0\.0\.1:\d+, data in ", up.stdout.readline())
            with alone.start("etl", "--url", f"{site}/5s.flac?up", *DEMO, "--wait") as process:
                try:
                    out, _ = process.communicate(timeout=PATIENCE)
                finally:
                    process.kill()
            assert process.returncode == 0
            assert word_error_rate(reference("5s.flac"), out) <= 0.1
            assert len(processes(tmp_path / "home")) <= 8  # v2t up, its broker, five stages, an engine
            nodes = json.loads(alone.run("node", "list", "--json")[0])
            assert {one["node"] for one in nodes} == {"named-in-the-file"}  # its stages have its settings
            out, _ = alone.run("etl", "--url", f"{site}/20s-1.flac?up", *DEMO)  # returns: v2t up does the work
            follow = ("job", "status", out.strip(), "--json")
            while json.loads(alone.run(*follow)[0])["state"] != "completed":
                time.sleep(0.1)
        finally:
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=PATIENCE)
    assert up.returncode == 0
    assert not processes(tmp_path / "home")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the broker outlives a command that was killed")
def test_a_command_goes_on_where_the_one_was_killed_whose_stages_it_used(
    alone: Terminal, site: str, tmp_path: Path
) -> None:
    """It waits for ever for stages, and a broker, that nobody runs any more."""
    home = tmp_path / "home"
    with alone.start("up", "--port", "0") as owner:
        assert owner.stdout
        assert owner.stdout.readline().startswith("up at ")
        while len(stages(home)) < len(ALL_STAGES):
            time.sleep(0.05)
        owner.send_signal(signal.SIGSTOP)  # so that nothing takes the job before it is killed
        for pid in stages(home):
            os.kill(pid, signal.SIGKILL)
        with alone.start("etl", "--url", f"{site}/5s.flac?kept", *DEMO, "--wait") as other:
            assert other.stderr
            assert other.stderr.readline().startswith("job ")
            owner.kill()
            out, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, err
    assert word_error_rate(reference("5s.flac"), out) <= 0.1
    assert "Traceback" not in err
    assert not processes(home)


def test_wait_outlasts_a_restart_of_the_broker(site: str, tmp_path: Path) -> None:
    """A restart of the broker loses the watcher, though not the job."""
    command = ("etl", "--url", f"{site}/3min.ogg", *DEMO, "--wait")
    with (
        shared_broker(tmp_path / "nats") as server,
        node(server.url, tmp_path / "node"),
        Terminal(tmp_path / "home", server.url).start(*command) as process,
    ):
        assert process.stderr
        while "converting" not in process.stderr.readline():
            pass
        server.kill()
        time.sleep(2)
        server.start()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert word_error_rate(reference("3min.ogg"), out) <= 0.05
    assert "Traceback" not in err


def stages(home: Path) -> list[int]:
    """Those of them that are stages."""
    return [pid for pid in processes(home) if b"\0stage\0" in of_process(pid, "cmdline")]


def processes(home: Path) -> list[int]:
    """All processes that were started to work in the data directory `home`."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if f"V2T_DATA_DIR={home}\0".encode() in of_process(pid, "environ")]


def of_process(pid: int, name: str) -> bytes:
    """A file of /proc about it; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""
