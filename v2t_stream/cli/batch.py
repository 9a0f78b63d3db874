"""The work of `v2t convert`: many recordings, each sent, followed, and its transcript written."""

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path

import click
import msgspec

from schemas.requests import SubmitRequest
from v2t_stream.audio.look import Kind, look
from v2t_stream.cli.afterwards import Afterwards, Ready
from v2t_stream.cli.bars import Bars
from v2t_stream.cli.caveats import Caveats
from v2t_stream.cli.files import Files, Kept
from v2t_stream.cli.follow import JobFailed, follow
from v2t_stream.cli.pipes import save
from v2t_stream.cli.recordings import Recording, Recordings
from v2t_stream.cli.started import Started
from v2t_stream.cli.subtitles import Shape
from v2t_stream.errors import Denied, SettingsError, V2TError
from v2t_stream.host.scratch import scratch
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs import previous
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.submission import store_file
from v2t_stream.runtime.session import Session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, path_text
from v2t_stream.topology.ids import job_of_file

log = logging.getLogger(__name__)


class Batch:
    """Transcribes recordings, `at_once` at a time; what is wrong with one leaves the others alone."""

    def __init__(
        self,
        pipeline: Session,
        mine: Started,
        settings: Settings,
        *,
        request: SubmitRequest,
        formats: list[str],
        shape: Shape,
        files: Files,
        bars: Bars,
        caveats: Caveats,
        afterwards: Afterwards,
        at_once: int,
    ) -> None:
        self._pipeline = pipeline
        self._mine = mine
        self._settings = settings
        self._request = request
        self._formats = formats
        self._shape = shape
        self._files = files
        self._bars = bars
        self._caveats = caveats
        self._afterwards = afterwards
        self._at_once = asyncio.Semaphore(at_once)
        self._begun = self._failures = 0
        self._kept: list[Path] = []
        self._printed = ""

    async def run(self, first: Iterable[Recording], others: AsyncIterator[Recording], of: Recordings) -> None:
        """Begin with the first while the others are being found; then say which files of all are left out, and why."""
        async with asyncio.TaskGroup() as tasks:
            for each in first:
                tasks.create_task(self._one(each))
            async for each in others:
                tasks.create_task(self._one(each))
            self._leave_out(of)

    def _leave_out(self, recordings: Recordings) -> None:
        for sentence in recordings.failures:
            self._fail(sentence)
        self._begun += len(recordings.failures)
        for line in recordings.skipped():
            self._bars.warn(line)

    def conclude(self) -> None:
        """Print what is to be printed. Raises JobFailed, Kept and CutOff."""
        click.echo(self._printed, nl=False)
        kept = Kept(self._kept) if self._kept else None
        if self._failures:
            if kept:
                self._bars.warn(f"v2t: {kept}")
            raise JobFailed(f"{self._failures} of {self._begun} files could not be transcribed")
        if kept:
            raise kept
        self._caveats.conclude()

    def _fail(self, sentence: str) -> None:
        self._failures += 1
        self._bars.warn(f"v2t: {sentence}")

    async def _one(self, recording: Recording) -> None:
        self._begun += 1
        async with self._at_once:
            try:
                async with self._here(recording) as there:
                    await self._transcribe(there)
            except Exception as error:  # whatever is wrong with one file, the others must go on
                log.debug("unexpected, from %s", recording.shown, exc_info=error)
                reason = str(error) if isinstance(error, V2TError) else f"{type(error).__name__}: {error}"
                name = one_line(recording.shown)
                self._fail(reason if reason.startswith(name) else f"{name}: {reason}")

    @contextlib.asynccontextmanager
    async def _here(self, recording: Recording) -> AsyncGenerator[Recording]:
        """The recording as a file: what comes through a pipe is saved while the block runs."""
        if not recording.is_pipe:
            yield recording
            return
        folder = scratch(self._settings.home, "pipes")
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as directory:
            path = Path(directory) / "source"
            with self._bars.step(recording.name, "reading") as tell:
                await save(recording.path, recording.name, path, self._settings, tell)
            found = await asyncio.to_thread(look, path, recording.name)
            if found.kind is not Kind.RECORDING:
                raise SettingsError(found.reason)
            yield recording._replace(path=path)

    async def _transcribe(self, recording: Recording) -> None:
        paths = recording.paths(self._formats)
        for path in paths:
            self._files.check(path.parent)
        with self._bars.step(recording.name, "reading"):
            sha256 = await in_thread(lambda: previous.sha256(recording.path))
        transcript = await self._before(recording, sha256)
        if not transcript and paths and all(map(self._files.keeps, paths)):
            self._kept += paths  # nothing of the work would be written
            return
        transcript = transcript or await self._convert(recording, sha256)
        written = []
        for path, format_ in zip(paths, self._formats, strict=False):
            text = await self._shape.written(self._pipeline.store, transcript, format_)
            if self._files.write(path, text.encode()):
                self._bars.say(path_text(path))
                written.append(path)
            else:
                self._kept.append(path)
        if not paths:
            self._printed = await self._shape.written(self._pipeline.store, transcript, self._formats[0])
        if written or not paths:
            ready = Ready(job_of_file(transcript), recording.name, written)
            await self._afterwards.run(ready, self._bars.say, self._bars.warn)
        record = await stored(self._pipeline.store, transcript)
        self._caveats.tell(recording.shown, record)
        if caveat := self._shape.caveat(record, self._formats):
            self._bars.warn(f"v2t: {one_line(recording.shown)}: {caveat}")

    async def _before(self, recording: Recording, sha256: str) -> str:
        """The prefix of the transcript if the same was done before; empty if not, or if it is to be done again."""
        if self._request.force:
            return ""
        before = None
        with contextlib.suppress(Denied):  # a submitter may not see what was done
            origin = previous.of_content(sha256)
            before = await previous.find(self._pipeline.connection, self._pipeline.store, origin, self._request)
        if not before:
            return ""
        self._bars.warn(f"{one_line(recording.name)} was already done as job {before.job}; --force does it again")
        return before.transcript

    async def _convert(self, recording: Recording, sha256: str) -> str:
        """Send one file and wait for it; returns the prefix of its transcript."""
        with self._bars.step(recording.name, "sending"):
            media = await store_file(self._pipeline.store, recording.path, sha256=sha256)
        name = path_text(recording.name)
        job, _ = await self._mine.submit(msgspec.structs.replace(self._request, media=media, title=name))
        try:
            state = await follow(self._pipeline.connection, job, self._bars)
        except Denied as error:
            raise Denied(f"sent as job {job}, but {error} to watch it") from error
        return state.completed.transcript if state.completed else ""  # always set: otherwise follow would have raised
