"""`v2t demo`: the whole pipeline on this machine, with a clip and a model that come with the package."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from schemas.options import DEMO_MODEL
from schemas.requests import SubmitRequest
from v2t_stream import demo as assets
from v2t_stream.broker.embedded import find_running
from v2t_stream.cli.follow import Segments, follow
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.started import started
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import check, store_file
from v2t_stream.runtime.session import Session, session
from v2t_stream.settings import Settings
from v2t_stream.text import without_secrets
from v2t_stream.units import length, speed


@click.command()
@click.option("--engine", default="faster-whisper", show_default=True, help="faster-whisper or whisper-cpp.")
def demo(engine: str) -> None:
    """Transcribe a spoken clip with everything on this machine."""
    settings = Settings.from_environment()
    others = settings.nats_url or find_running(settings.home)  # the stages there refuse links to this machine
    allowed = ",".join(filter(None, (settings.allow_addresses, "127.0.0.1")))
    settings = msgspec.structs.replace(settings, allow_addresses=allowed)  # for the stages that start here

    async def run() -> None:
        click.echo("starting the broker and all stages …", err=True)
        with _served(assets.CLIP) as url:
            request = SubmitRequest(url=url, model=DEMO_MODEL, engine=engine, language="en", force=True)
            check(request)
            async with session(settings, work=True, options=request) as pipeline, started(pipeline) as mine:
                if others:
                    request = await _sent(pipeline, request)
                job, _ = await mine.submit(request)
                click.echo(f"job {job}: {without_secrets(request.url or request.title or '')}", err=True)
                state = await follow(pipeline.connection, job, Segments())
                text = (await pipeline.store.get(f"transcripts/{state.id}/transcript.txt")).decode()
        _report(state, text, settings)

    in_loop(run())


async def _sent(pipeline: Session, request: SubmitRequest) -> SubmitRequest:
    """The same request for the clip in the store, where `v2t convert` would put it."""
    media = await store_file(pipeline.store, assets.CLIP)
    return msgspec.structs.replace(request, url=None, media=media, title=assets.CLIP.name)


def _report(job: Job, text: str, settings: Settings) -> None:
    errors = word_error_rate(assets.reference(), text)
    took = (job.ended_at or 0.0) - (job.started_at or 0.0)
    click.echo(f"\n{text}")
    click.echo(f"word error rate    {errors:.1%} against the reference")
    speech = job.duration or 0.0
    click.echo(f"speed              {speed(speech / took)}: {length(speech)} of speech in {length(took)}")
    click.echo(f"data and logs      {settings.home}")
    click.echo(f"as subtitles       v2t job transcript {job.id} --format srt")


@contextlib.contextmanager
def _served(path: Path) -> Iterator[str]:
    """Serve the file's folder on loopback, as a stand-in for the web; yields the file's URL."""
    handler = functools.partial(_Quiet, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{path.name}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the terminal for the transcript."""
