"""The page as people use it, in a real browser."""

import contextlib
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import check_usable, show, until
from tests.browser.conftest import PHONE, WIDE, Opens
from tests.conftest import Pipeline
from tests.harness import DATA, Node, node, reference, shared_broker
from tests.serving import Serving, serving
from v2t_stream.demo.wer import word_error_rate

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLIP = DATA / "20s-1.flac"
ALL_WORDS = "[...document.querySelectorAll('.segment p')].map(each => each.textContent).join(' ')"
PLAYED = "[...CSS.highlights.get('played')].map(String).join()"


def fetched(asked: str | urllib.request.Request) -> str:
    with urllib.request.urlopen(asked) as answer:  # noqa: S310  # our own server
        return str(answer.read().decode())


def send(page: "Page", *files: Path) -> str:
    """Send files by the page; returns the address at which it shows the job."""
    page.get_by_text("Options").click()
    page.get_by_label("Language").fill("en")
    page.get_by_label("Model").fill("demo")
    page.get_by_label("Choose files").set_input_files(files)
    page.wait_for_url("**/#/job/*")
    return page.url


@pytest.fixture(scope="module")
def job(browser: object, server: Serving) -> str:
    """A finished job with the time of every word."""
    boundary, fields = "b0undary", {"model": "demo", "language": "en", "word_timestamps": "true", "force": "true"}
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="talk.flac"\r\n\r\n'
    body = "".join(lines).encode() + head.encode() + CLIP.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    told = json.loads(fetched(urllib.request.Request(f"{server.url}/v1/jobs", body, headers)))  # noqa: S310  # as above
    assert '"completed"' in fetched(f"{server.url}/v1/jobs/{told['id']}/events")
    return str(told["id"])


def text_of(server: Serving, job: str, form: str = "txt") -> str:
    return fetched(f"{server.url}/v1/jobs/{job}/transcript.{form}")


def test_a_dropped_file_becomes_words_that_can_be_heard(page: "Page") -> None:
    """Whoever has no terminal has no transcript."""
    send(page, DATA / "3min.ogg")
    page.locator(".segment").first.wait_for()
    page.locator("#player audio").wait_for()
    assert word_error_rate(reference("3min.ogg"), page.evaluate(ALL_WORDS)) <= 0.1
    assert page.locator("#jobs a[aria-current=true]").inner_text().startswith("3min.ogg")
    page.locator(".segment p").nth(5).click(position={"x": 2, "y": 10})
    until(page, "document.querySelector('audio').currentTime > 0")
    until(page, f"{PLAYED} !== ''")
    played, current = page.evaluate(PLAYED), page.locator(".segment.current p").inner_text()
    assert played.strip(".") in current
    at = page.evaluate("document.querySelector('audio').currentTime")
    begins = page.evaluate("document.querySelector('.segment.current').item.start")
    assert begins <= at + 0.01


def test_a_click_on_a_word_plays_that_word(page: "Page", job: str) -> None:
    """The player begins at another word, or another sentence."""
    show(page, job)
    wanted = page.evaluate(
        """() => {
            const segment = document.querySelectorAll('.segment')[1];
            const body = segment.querySelector('p').firstChild;
            const word = segment.item.words.at(-1);
            const at = body.data.lastIndexOf(word.text.trim());
            const range = document.createRange();
            range.setStart(body, at);
            range.setEnd(body, at + 2);
            const box = range.getBoundingClientRect();
            return [word.start, box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    page.mouse.click(wanted[1], wanted[2])
    until(page, "!document.querySelector('audio').seeking && document.querySelector('audio').currentTime > 0")
    page.keyboard.press("k")
    assert wanted[0] <= page.evaluate("document.querySelector('audio').currentTime") + 0.01
    assert page.evaluate("document.querySelector('.segment.current') === document.querySelectorAll('.segment')[1]")


def test_reading_on_stops_the_scrolling(page: "Page", job: str) -> None:
    """Whoever reads ahead is pulled back to what is played."""
    show(page, job)
    follow = page.get_by_role("button", name="Follow")
    assert follow.get_attribute("aria-pressed") == "true"
    page.locator(".transcript").hover()
    page.mouse.wheel(0, 200)
    page.wait_for_selector("button[aria-pressed=false]")
    page.keyboard.press("f")
    page.wait_for_selector("button[aria-pressed=true]")


def test_a_correction_is_stored_and_exported(page: "Page", job: str, server: Serving, tmp_path: Path) -> None:
    """A mistake that everybody sees stays in the subtitles."""
    show(page, job)
    segment = page.locator(".segment p").first
    segment.dblclick(position={"x": 2, "y": 10})
    page.get_by_role("textbox", name="Correct the segment").fill("Call me Ishmael.")
    page.keyboard.press("Enter")
    page.get_by_text("Corrected by").wait_for()
    assert text_of(server, job).startswith("Call me Ishmael.")
    page.get_by_label("Format").select_option("srt")
    page.get_by_label("Style of subtitles").select_option("broadcast")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    download.value.save_as(tmp_path / "talk.srt")
    assert (tmp_path / "talk.srt").read_text() == text_of(server, job, "srt?style=broadcast")
    segment.dblclick(position={"x": 2, "y": 10})
    page.keyboard.type("nothing")
    page.keyboard.press("Escape")
    assert segment.inner_text() == "Call me Ishmael."


def test_words_are_found_in_a_transcript(page: "Page", job: str) -> None:
    """A word in a long talk is found only by reading all of it."""
    show(page, job)
    page.keyboard.press("/")
    last = page.locator(".segment p").last.inner_text()
    page.keyboard.type(last[:12].lower())
    page.get_by_text(re.compile("^1 of ")).wait_for()
    assert page.evaluate("[...CSS.highlights.get('chosen')].map(String).join().toLowerCase()") == last[:12].lower()
    found = page.evaluate("CSS.highlights.get('found').size")
    page.keyboard.press("Shift+Enter")
    page.get_by_text(f"{found} of {found}").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("CSS.highlights.get('found').size") == 0


def test_a_link_to_a_moment_opens_there(page: "Page", job: str, server: Serving) -> None:
    """A place in a talk cannot be shown to anybody else."""
    page.goto(f"{server.url}/#/job/{job}?t=10")
    until(page, "document.querySelector('audio')?.currentTime > 9")


def test_what_strangers_wrote_is_text(page: "Page") -> None:
    """A file's name runs a script in everybody's browser."""
    page.evaluate(
        """() => {
            const files = new DataTransfer();
            files.items.add(new File(['no media'], "<img src=x onerror=document.title='taken'>.wav"));
            document.dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true }));
        }"""
    )
    page.locator("h1", has_text="<img src=x").wait_for()
    page.get_by_role("alert").filter(has_text="<img src=x").wait_for()
    assert "taken" not in page.title() or page.title().startswith("<img")
    assert page.locator("main img, #side img").count() == 0


def test_what_was_said_is_found_and_opened(page: "Page", job: str, server: Serving) -> None:
    """Whoever knows what was said, but not in which recording, listens to all of them."""
    last = json.loads(text_of(server, job, "json"))["segments"][-1]  # other tests correct the first
    phrase = " ".join(last["text"].split()[:4])
    words = f'"{phrase}"'
    asked = json.dumps(f"{server.url}/v1/search?q={urllib.parse.quote(words)}&job={job}")
    until(page, f"(async () => (await (await fetch({asked})).json()).data.length)()")
    page.locator("#query").fill(words)
    page.locator("#query").press("Enter")
    place = page.locator(f".results li a[href*='{job}']").first
    assert place.locator("mark").inner_text().split()[0] == phrase.split()[0]
    place.click()
    page.locator("#player audio").wait_for()
    assert f"#/job/{job}?t=" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_everybody_can_use_it(page: "Page", job: str, scheme: str, viewport: dict[str, int], server: Serving) -> None:
    """People with a screen reader, with a phone, or in the dark cannot use the page."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page.set_viewport_size(viewport)  # type: ignore[arg-type]  # as above
    for view, shown in (("", "#side"), (f"#/job/{job}", "#player audio"), ("#/search?q=the", "main h1")):
        page.goto(f"{server.url}/{view}")
        page.locator(shown).first.wait_for()
        check_usable(page)


def test_the_keyboard_is_enough(page: "Page", job: str) -> None:
    """Whoever has no mouse cannot play, move or correct."""
    show(page, job)
    page.locator(".segment").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.closest('.segment') === document.querySelectorAll('.segment')[1]"
    until(page, focused)
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('audio').paused")
    page.keyboard.press("k")
    until(page, "document.querySelector('audio').paused")
    page.keyboard.press(">")
    assert page.evaluate("document.querySelector('audio').playbackRate") == 1.25
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    page.keyboard.press("Escape")
    until(page, focused)
    page.keyboard.press("e")
    page.get_by_role("textbox", name="Correct the segment").wait_for()
    page.keyboard.press("Escape")
    until(page, focused)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[Node, Serving]]:
    """A pipeline and a server that the test may break."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as elsewhere:
        # Playwright's event loop runs in this thread, and shared_broker needs one of its own.
        broker = elsewhere.submit(stack.enter_context, shared_broker(tmp_path / "nats")).result()
        running = stack.enter_context(node(broker.url, tmp_path / "home"))
        yield running, stack.enter_context(serving(broker.url, tmp_path / "serve"))


def test_killed_stages_are_waited_for_and_a_job_can_be_cancelled(opened: Opens, machine: tuple[Node, Serving]) -> None:
    """The page stands still for ever after a crash, or shows what is not so."""
    running, server = machine
    page = opened(server)
    page.on("dialog", lambda dialog: dialog.accept())
    running.kill("transcribe")
    send(page, CLIP)
    page.locator("#jobs .state").filter(has_text=re.compile("parts|transcribing")).wait_for()
    running.revive()
    page.locator("#player audio").wait_for()
    assert word_error_rate(reference(CLIP.name), page.evaluate(ALL_WORDS)) <= 0.1

    running.kill("transcribe")
    page.get_by_label("Choose files").set_input_files(DATA / "20s-2.flac")
    page.get_by_role("button", name="Cancel").click()
    page.locator("#jobs .state.cancelled").wait_for()
    page.get_by_role("button", name="Remove").click()
    until(page, "document.querySelectorAll('#jobs li').length === 1")


def test_a_page_that_nobody_sees_leaves_its_connections_to_others(page: "Page", job: str, server: Serving) -> None:
    """With a few tabs open, the browser's six connections to a server are taken, and no page loads any more."""
    page.locator("#jobs a").first.wait_for()
    page.evaluate(
        """() => {
            globalThis.hear = (isHidden) => {
                Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true });
                document.dispatchEvent(new Event('visibilitychange'));
            };
            const of = EventSource.prototype;
            const close = of.close;
            of.close = function () { close.call(this); globalThis.letGo = this.url; };
        }"""
    )
    page.evaluate("hear(true)")
    assert page.evaluate("letGo").endswith("/v1/events")
    wanted = urllib.request.Request(  # noqa: S310  # as above
        f"{server.url}/v1/jobs", b'{"url": "http://127.0.0.1:9/unseen.mp3"}', {"Content-Type": "application/json"}
    )
    fetched(wanted)
    assert not page.get_by_text("unseen.mp3").count()
    page.evaluate("hear(false)")
    page.get_by_text("unseen.mp3").first.wait_for()


def test_an_upload_goes_on_where_a_lost_connection_left_it(opened: Opens, pipeline: Pipeline, tmp_path: Path) -> None:
    """On a train, or while the server is updated, a long recording never arrives."""
    clip, offsets = DATA / "3min.ogg", list[str]()
    with serving(pipeline.url, tmp_path / "one") as first:
        page = opened(first)
        page.on(
            "request", lambda sent: offsets.append(sent.headers["upload-offset"]) if sent.method == "PATCH" else None
        )
        line = page.context.new_cdp_session(page)
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
        line.send("Network.emulateNetworkConditions", slow)
        page.get_by_label("Choose files").set_input_files(clip)
        until(page, "document.querySelector('#uploads progress')?.value > 0.5")
        first.process.kill()
        page.get_by_text("Trying again").wait_for()
    line.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    with serving(pipeline.url, tmp_path / "two", "--port", first.url.rpartition(":")[2]) as second:
        page.locator("#uploads li").wait_for(state="detached")
        page.locator("#player audio").wait_for()
        assert len(offsets) > 1
        assert offsets[0] == "0" != offsets[-1]
        with urllib.request.urlopen(f"{second.url}/v1/jobs/{page.url.rpartition('/')[2]}/media") as answer:  # noqa: S310  # as above
            assert answer.read() == clip.read_bytes()
        page.close()


def test_a_mistake_in_the_options_shows_before_the_file_is_sent(page: "Page") -> None:
    """A long upload ends in a sentence about a typing error."""
    patched = list[str]()
    page.on("request", lambda sent: patched.append(sent.url) if sent.method == "PATCH" else None)
    page.get_by_text("Options").click()
    page.get_by_label("Language").fill("klingon")
    page.get_by_label("Choose files").set_input_files(CLIP)
    page.locator("#uploads").get_by_role("alert").filter(has_text="klingon").wait_for()
    assert patched == []
