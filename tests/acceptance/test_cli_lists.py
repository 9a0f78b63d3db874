"""The command line with several links or files, and with work that was done before."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_cli import DEMO, Terminal, words
from tests.conftest import Pipeline
from tests.harness import DATA, reference
from tests.web import Web, web
from v2t_stream.demo.wer import word_error_rate


@pytest.fixture
def terminal(pipeline: Pipeline, tmp_path: Path) -> Terminal:
    """A machine that uses the running pipeline."""
    return Terminal(tmp_path / "home", pipeline.url)


@pytest.fixture(scope="module")
def site() -> Iterator[Web]:
    with web(DATA) as site:
        yield site


def test_a_playlist_is_followed_and_read_entry_by_entry(terminal: Terminal, site: Web) -> None:
    """A user cannot see how far a channel is, which video failed, or read the finished ones."""
    site.missing.add("20s-2.flac")
    out, err = terminal.run("etl", "--url", f"{site.url}/feed/3", "--limit", "2", *DEMO, "--force", "--wait", code=1)
    last = re.fullmatch(r"v2t: job (\S+) failed: 1 of 2 entries failed, the first because .*", err.splitlines()[-1])
    assert last
    job = last[1]
    heading, text = out.split("\n", 1)
    assert heading == f"==> Episode 1 ({job}_1) <=="
    assert word_error_rate(reference("20s-1.flac"), text) <= 0.05
    assert f"{job} A podcast listed: 0 of 2 done" in err

    out, _ = terminal.run("job", "status", job, code=1)
    assert re.search(r"^entries +2: 1 completed, 1 failed$", out, re.MULTILINE)
    assert re.search(rf"^  {job}_1  completed  Episode 1: ", out, re.MULTILINE)
    assert re.search(rf"^  {job}_2  failed  Episode 2: .*does not exist", out, re.MULTILINE)
    status = json.loads(terminal.run("job", "status", job, "--json", code=1)[0])
    assert [child["state"] for child in status["children"]] == ["completed", "failed"]
    out, _ = terminal.run("job", "list")
    assert re.search(rf"^{job}  failed .*  A podcast \(1 of 2 completed\)$", out, re.MULTILINE)
    assert f"{job}_1" not in out
    said = terminal.complaint("job", "transcript", job)
    assert said == f"job {job} is a list: print the transcripts of its entries, {job}_1 to {job}_2"
    out, _ = terminal.run("job", "transcript", f"{job}_1")
    assert out == text

    site.missing.clear()
    out, _ = terminal.run("job", "retry", job)
    assert out == f"retrying job {job} (1 of 2 entries)\n"


def test_several_links_and_a_file_of_them(terminal: Terminal, site: Web, tmp_path: Path) -> None:
    """Users must send links one by one, or one talk's words look like another's."""
    (tmp_path / "links.txt").write_text(f"\ufeff# talks\n\n  {site.url}/5s.flac\r\n{site.url}/missing.mp4\n")
    arguments = ("etl", "--url", f"{site.url}/20s-2.flac", "--file", tmp_path / "links.txt", *DEMO)
    out, _ = terminal.run(*arguments)
    jobs = out.split()
    assert len(jobs) == 3
    out, err = terminal.run(*arguments, "--wait", code=1)
    first, second = re.split(r"^==> 5s \(.*\) <==\n", out, maxsplit=1, flags=re.MULTILINE)
    assert first.startswith(f"==> 20s-2 ({jobs[0]}) <==\n")
    assert word_error_rate(reference("20s-2.flac"), first.partition("\n")[2]) <= 0.1
    assert word_error_rate(reference("5s.flac"), second) <= 0.1
    assert err.endswith("v2t: 1 of 3 jobs failed\n")
    # Its job may have failed before the second command, which then begins another.
    assert re.search(rf"^v2t: job \S+ failed: {re.escape(site.url)}/missing\.mp4 does not exist", err, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"$/5s.flac\n\nftp://b/c\n", r"line 3 of \S+links\.txt: 'ftp://b/c' cannot be fetched: use a URL"),
        (b"$/5s.flac\n\xff\n", r"line 2 of \S+links\.txt is not UTF-8 text: put one link on each line"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_sent(
    content: bytes, says: str, terminal: Terminal, site: Web, tmp_path: Path
) -> None:
    """Half of the links are sent before the user learns of a mistake in the others."""
    (tmp_path / "links.txt").write_bytes(content.replace(b"$", site.url.encode()))
    before = terminal.run("job", "list", "--json")[0]
    assert re.match(says, terminal.complaint("etl", "--file", tmp_path / "links.txt"))
    assert len(json.loads(terminal.run("job", "list", "--json")[0])) == len(json.loads(before))


def test_a_folder_is_not_done_twice(terminal: Terminal, tmp_path: Path) -> None:
    """Running the same command over a growing folder costs everything each time, or leaves files out."""
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in ("5s", "20s-3"):
        (folder / f"{name}.flac").write_bytes((DATA / f"{name}.flac").read_bytes())
    arguments = ("convert", "--input", folder, *DEMO, "--task", "translate", "--parallel", "1", "--distributed")
    _, err = terminal.run(*arguments)
    lines = re.findall(r"^(\S+) (\S+)\.flac \w", err, re.MULTILINE)
    jobs = [job for job, _ in itertools.groupby(lines)]
    assert len(jobs) == 2  # one after the other
    (folder / "5s.srt").unlink()
    out, err = terminal.run(*arguments)
    assert sorted(out.splitlines()) == [f"{folder}/20s-3.srt", f"{folder}/5s.srt"]
    assert sorted(err.splitlines()) == sorted(
        f"{name}.flac was already done as job {job}; --force does it again" for job, name in jobs
    )
    assert words((folder / "5s.srt").read_text())
    _, err = terminal.run(*arguments, "--force")
    assert len(re.findall(r"completed: [\d.]+ s of media", err)) == 2


def test_a_job_that_was_done_before_says_so(terminal: Terminal, site: Web) -> None:
    """A job that took no time and has no chunks looks broken."""
    one, other = (
        terminal.run("etl", "--url", f"{site.url}/5s.flac?{n}", *DEMO, "--word-timestamps", "--wait")[0] for n in (1, 2)
    )
    assert one == other
    assert one
    jobs = json.loads(terminal.run("job", "list", "--json")[0])
    skipped = next(job for job in jobs if job["source"].endswith("5s.flac?2"))
    assert re.search(
        rf"^done before as job {skipped['done_before_as']}$",
        terminal.run("job", "status", skipped["id"])[0],
        re.MULTILINE,
    )
    assert terminal.run("job", "transcript", skipped["id"])[0] == one
    out, _ = terminal.run("etl", "--url", f"{site.url}/5s.flac?3", *DEMO, "--word-timestamps", "--follow")
    assert out == one


def test_distributed_needs_a_broker(tmp_path: Path) -> None:
    """One machine spends days on work that was meant for ten machines."""
    said = Terminal(tmp_path / "home").complaint("convert", "--input", DATA, "--distributed")
    assert said == "--distributed needs a broker: set NATS_URL, for example to nats://host:4222"
