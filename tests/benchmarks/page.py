"""How soon the page shows a transcript of 100,000 words, and answers a click and a key in it."""

import asyncio
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.report import Row, load, say, spread
from tests.browser import made
from tests.browser.conftest import ARGUMENTS, PROGRAMS, WIDE
from tests.harness import Server, program
from tests.serving import serving
from v2t_stream.broker.connect import connect
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore

if TYPE_CHECKING:
    from playwright.async_api import Page

WORDS: Final = 100_000
OPENED: Final = 10
CLICKS: Final = 100
# From an event of the user's until the browser has painted what follows from it.
_WATCH: Final = """
addEventListener('click', (event) => painted(() => {
    const isMarked = event.target.closest('.segment') === document.querySelector('.segment.current');
    took.push(isMarked && CSS.highlights.get('played').size ? performance.now() - event.timeStamp : Infinity);
}), true);
addEventListener('input', (event) => painted(() => took.push(performance.now() - event.timeStamp)), true);
globalThis.took = [];
globalThis.painted = (call) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = call;
    port2.postMessage(0);
});
"""
_OPEN: Final = """(address) => new Promise((resolve) => {
    const [begun, told] = [performance.now(), {}];
    new MutationObserver((_, observer) => {
        for (const [name, what] of [['head', 'main h1'], ['words', '.segment']]) {
            if (told[name] !== undefined || !document.querySelector(what)) continue;
            told[name] = null;
            painted(() => {
                told[name] = performance.now() - begun;
                if (!told.words) return;
                observer.disconnect();
                resolve(told);
            });
        }
    }).observe(document.querySelector('main'), { childList: true, subtree: true });
    location.hash = address;
})"""
_SPOT: Final = """(share) => {
    const rows = document.querySelectorAll('.segment');
    const row = rows[Math.floor(share * (rows.length - 1))];
    row.scrollIntoView({ block: 'center', behavior: 'instant' });
    const range = document.createRange();
    range.setStart(row.querySelector('p').firstChild, 4);
    range.setEnd(row.querySelector('p').firstChild, 6);
    const box = range.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


async def run(folder: Path) -> list[Row]:
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        return [Row("the page", "", "not measured: playwright is in the group dev")]
    browser_path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if browser_path is None:
        return [Row("the page", "", "not measured: no Chromium on PATH")]
    broker = Server(folder / "page-nats")
    broker.start()
    try:
        job = await _long(broker.url, folder / "long.flac")
        with serving(broker.url, folder / "page") as server:
            async with async_playwright() as driver:
                browser = await driver.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
                page = await browser.new_page(viewport=WIDE)  # type: ignore[arg-type]  # as in tests.browser
                await page.add_init_script(_WATCH)
                await page.goto(server.url)
                await page.locator("#jobs a").first.wait_for()
                rows = await _measure(page, job)
                await browser.close()
                return rows
    finally:
        broker.stop()


async def _long(url: str, path: Path) -> str:
    """A job of so many words, and its ten hours of sound."""
    record = made.long("long-1", WORDS)
    silence = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", f"{record.duration:g}"]
    await asyncio.to_thread(subprocess.run, [program("ffmpeg"), "-loglevel", "error", *silence, path], check=True)
    async with await connect(url, name="benchmark") as connection:
        await set_up(connection, Settings())
        return await made.make(connection, JetStreamStore(connection), record, path)


async def _measure(page: "Page", job: str) -> list[Row]:
    heads, words = [], []
    for _ in range(OPENED):
        await page.evaluate("location.hash = ''")
        await page.wait_for_timeout(300)
        told = await page.evaluate(_OPEN, f"#/job/{job}")
        heads.append(told["head"])
        words.append(told["words"])
    await page.locator("audio").wait_for()
    await page.wait_for_timeout(2000)  # until all is there
    clicks = []
    for n in range(CLICKS):
        share = n * 37 % CLICKS / CLICKS
        await page.evaluate(_SPOT, share)
        await page.wait_for_timeout(50)  # until it is laid out
        spot = await page.evaluate(_SPOT, share)
        await page.evaluate("took.length = 0")
        await page.mouse.click(*spot)
        await page.wait_for_timeout(150)
        clicks += await page.evaluate("took")
    await page.keyboard.press("k")
    await page.evaluate("took.length = 0")
    await page.get_by_role("searchbox", name="Search in this transcript").press_sequentially("breakfast", delay=200)
    await page.wait_for_timeout(500)
    keys = await page.evaluate("took")
    heap = await page.evaluate("performance.memory.usedJSHeapSize / 1e6")
    say(f"  {spread(clicks, '.0f', ' ms')} [{load()}]")
    return [
        Row(
            f"page, {WORDS:,} words: from the click on the job until its title is painted",
            "",
            spread(heads, ".0f", " ms"),
        ),
        Row("… until the first words are", "", spread(words, ".0f", " ms")),
        Row(
            "… from the click on a word until it is marked, all over the ten hours",
            "99th percentile within 100 ms",
            _told(clicks),
            statistics.quantiles(clicks, n=100)[98] <= 100,
        ),
        Row(
            "… from a letter in the search until all its places are marked",
            "at most 100 ms",
            _told(keys),
            max(keys) <= 100,
        ),
        Row("… memory of its script", "", f"{heap:.0f} MB"),
    ]


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ms in the median, at most {max(values):.0f} ms of {len(values)}"
