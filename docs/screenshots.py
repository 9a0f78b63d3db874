"""Pictures of the monitor for the README, from a real run: `uv run python -m docs.screenshots`.

It starts a broker, the stages of one machine and the transcribe stage of another, has them work on the clips of the
tests and on a link that leads nowhere, and takes docs/images/jobs.svg and docs/images/detail.svg in the middle of it.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop
from textual.pilot import Pilot

from docs.recording import without_fonts
from schemas.options import DEMO_MODEL
from tui.actions import Wish, requests_of
from tui.app import Monitor
from tui.screens.detail import DetailScreen
from v2t_stream.jobs.state import Job
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "tests" / "data"
IMAGES = ROOT / "docs" / "images"
SIZE = (112, 26)
TITLES = (
    ("20s-1.flac", "Weekly call"),
    ("20s-2.flac", "Field notes, Tuesday"),
    ("3min.ogg", "The old mill: an interview"),
    ("5s.flac", "Voice memo"),
    ("3min.ogg", "Town meeting, first part"),
    ("3min.ogg", "Town meeting, second part"),
    ("3min.ogg", "Town meeting, third part"),
    ("3min.ogg", "Town meeting, fourth part"),
)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"V2T_MODEL": DEMO_MODEL, "V2T_THREADS": "1", "V2T_BATCH": "1", "V2T_NODE": "studio"}
        settings = Settings.from_environment({**os.environ, "V2T_DATA_DIR": str(Path(folder) / "studio")})
        async with session(settings, work=True) as pipeline:
            environment = {
                **os.environ,
                "NATS_URL": pipeline.url,
                "V2T_NODE": "laptop",
                "V2T_DATA_DIR": f"{folder}/laptop",
            }
            laptop = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "v2t_stream", "stage", "transcribe", env=environment
            )
            try:
                app = Monitor(Settings(nats_url=pipeline.url, data_dir=folder))
                async with app.run_test(size=SIZE) as pilot:
                    await take(app, pilot, Path(folder))
            finally:
                laptop.terminate()
                await laptop.wait()


async def take(app: Monitor, pilot: Pilot[None], folder: Path) -> None:
    async def until(what: Callable[[], object]) -> None:
        while not what():
            await pilot.pause(0.05)

    def running() -> list[Job]:
        """Jobs of which both machines have done something, and something is left."""
        chosen = (job for job in app.known.picture.running() if len({chunk.node for chunk in job.chunks.values()}) > 1)
        return [job for job in chosen if 0 < len(job.chunks) < job.chunks_cut]

    await until(lambda: len({info.node for info in app.known.around.nodes if info.stage == "transcribe"}) > 1)
    for place, (clip, title) in enumerate(TITLES):
        copy = folder / str(place) / f"{title}{Path(clip).suffix}"
        copy.parent.mkdir()
        copy.write_bytes((CLIPS / clip).read_bytes())
        await submit(app, str(copy))
        if place == 1:
            await submit(app, "http://127.0.0.1:9/talk.mp3")
    await until(lambda: running() and app.known.picture.counts()["failed"])
    await pilot.pause(0.2)
    save(app, "jobs")
    await until(running)
    screen = DetailScreen(app.desk, running()[-1].id)
    app.push_screen(screen)
    await until(lambda: len({chunk.node for chunk in screen.job.chunks.values()}) > 1)
    await pilot.pause(0.2)
    save(app, "detail")


async def submit(app: Monitor, line: str) -> None:
    wish = Wish(line, {"language": "en", "model": DEMO_MODEL, "force": True}, files=True)
    if app.desk.actions:
        await app.desk.actions.submit(requests_of(wish))


def save(app: Monitor, name: str) -> None:
    path = IMAGES / f"{name}.svg"
    path.write_text(without_fonts(app.export_screenshot(title="v2t tui")))
    print(path.relative_to(ROOT))


uvloop.run(main())
