"""Everything that a transcript can have, as people see it."""

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.browser import made, pictures
from tests.browser.acts import check_usable, show, until
from tests.browser.conftest import PHONE, WIDE, Opens
from tests.conftest import Pipeline
from tests.harness import DATA, program
from tests.serving import Serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORDS = 30_000  # of the long one, three hours: thirty times what the page makes at once
_AT_WORD = """([place, offset]) => {
    const row = document.querySelectorAll('.segment')[place];
    row.scrollIntoView({ block: 'center', behavior: 'instant' });
    const range = document.createRange();
    range.setStart(row.querySelector('p').firstChild, offset);
    range.setEnd(row.querySelector('p').firstChild, offset + 2);
    const box = range.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


@pytest.fixture(scope="module")
def interview(browser: object, pipeline: Pipeline) -> str:
    return made.on(pipeline.url, made.interview("mill-1"), DATA / "3min.ogg")


@pytest.fixture(scope="module")
def expired(browser: object, pipeline: Pipeline) -> str:
    """Its recording is no longer stored."""
    return made.on(pipeline.url, made.interview("mill-2"))


@pytest.fixture(scope="module")
def long(browser: object, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> str:
    record, path = made.long("long-1", WORDS), tmp_path_factory.mktemp("long") / "long.flac"
    silence = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", f"{record.duration:g}"]
    subprocess.run([program("ffmpeg"), "-loglevel", "error", *silence, path], check=True)
    return made.on(pipeline.url, record, path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_it_looks_as_it_should(
    page: "Page", interview: str, scheme: str, viewport: dict[str, int], request: pytest.FixtureRequest
) -> None:
    """A change of style hides half of the page, and no other test notices."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page.set_viewport_size(viewport)  # type: ignore[arg-type]  # as above
    show(page, interview)
    until(page, "document.querySelector('audio').readyState > 0")
    # What other tests left there.
    page.evaluate("for (const row of document.querySelectorAll('#jobs li')) row.style.visibility = 'hidden'")
    name = f"{'wide' if viewport is WIDE else 'phone'}-{scheme}"
    pictures.check(page.screenshot(), name, anew=request.config.getoption("--snapshots"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_and_correct_it(page: "Page", interview: str, expired: str, scheme: str) -> None:
    """People with a screen reader, with a phone, or in the dark cannot tell who speaks, or what is missing."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # as above
    show(page, interview)
    page.locator(".segment p").nth(2).dblclick()
    page.get_by_role("textbox", name="Correct the segment").wait_for()
    check_usable(page)
    page.keyboard.press("Escape")
    page.get_by_label("Search in this transcript").fill("breakfast")
    page.get_by_text("1 of ", exact=False).wait_for()
    check_usable(page)
    page.get_by_role("button", name="Keys").click()
    page.get_by_role("heading", name="Keys").wait_for()
    check_usable(page)
    page.keyboard.press("Escape")
    page.evaluate(f"location.hash = '#/job/{expired}'")
    page.get_by_text("The recording is no longer stored").wait_for()
    check_usable(page)


def test_missing_and_doubtful_words_are_shown_as_what_they_are(page: "Page", interview: str) -> None:
    """A reader takes a transcript with holes for the whole talk, or invented words for said ones."""
    show(page, interview)
    page.get_by_text("[missing: no engine could do it in 5 tries]").wait_for()
    page.get_by_text("[missing: speech in which no words were heard]").wait_for()
    page.get_by_text("may never have been said: no speech detected here").wait_for()
    page.get_by_text("1 chunk could not be transcribed").wait_for()
    assert page.get_by_role("button", name="Retry").is_visible()


def test_a_speaker_gets_a_name(page: "Page", pipeline: Pipeline) -> None:
    """Everybody who reads an interview has to remember who Speaker B is."""
    show(page, made.on(pipeline.url, made.interview("mill-3"), DATA / "5s.flac"))
    colours = page.evaluate(
        "['.voice-0 .who', '.voice-1 .who'].map(each => getComputedStyle(document.querySelector(each)).color)"
    )
    assert len(set(colours)) == 2
    page.locator(".who", has_text="Speaker B").first.wait_for()
    page.get_by_label("Name of speaker B").fill("Ben <b>Carter</b>")
    page.keyboard.press("Enter")
    page.locator(".who", has_text="Ben <b>Carter</b>").first.wait_for()
    assert page.locator(".who", has_text="Speaker B").count() == 0
    assert page.locator(".who", has_text="Ann Miller").count() > 0


def test_words_that_nobody_said_can_be_taken_out(page: "Page", pipeline: Pipeline) -> None:
    """The next correction changes another sentence, because the sentences behind the one that is gone moved up."""
    job = made.on(pipeline.url, made.interview("mill-4"), DATA / "5s.flac")
    show(page, job)
    texts = page.locator(".segment:visible p:not(.missing)")
    before = texts.all_inner_texts()
    for place, text in ((1, ""), (1, "Nobody knows."), (0, "Yes?")):
        texts.nth(place).dblclick(position={"x": 2, "y": 10})
        page.get_by_role("textbox", name="Correct the segment").fill(text)
        page.keyboard.press("Enter")
        until(
            page,
            "!document.querySelector('[contenteditable]') || document.querySelector('.segment .error').textContent",
        )
        assert page.locator(".segment .error").all_inner_texts() == []
    wanted = ["Yes?", "Nobody knows.", *before[3:]]
    assert texts.all_inner_texts() == wanted
    page.reload()
    page.locator("#player audio").wait_for()
    assert texts.all_inner_texts() == wanted


def test_of_two_people_who_correct_at_once_the_second_keeps_the_words(
    opened: Opens, server: Serving, pipeline: Pipeline
) -> None:
    """One overwrites what the other has just corrected, or loses what was typed."""
    job = made.on(pipeline.url, made.interview("mill-5"), DATA / "5s.flac")
    page, other = opened(server), opened(server)
    for each in (page, other):
        each.bring_to_front()  # the browser paints no other
        show(each, job)
        each.locator(".segment p").first.dblclick(position={"x": 2, "y": 10})
        each.get_by_role("textbox", name="Correct the segment").wait_for()
    for each, text in ((page, "First."), (other, "Second.")):
        each.bring_to_front()
        each.get_by_role("textbox", name="Correct the segment").fill(text)
        each.get_by_role("textbox", name="Correct the segment").press("Enter")
        if each is page:
            page.get_by_text("Corrected by").wait_for()
    other.get_by_role("alert").filter(has_text="has changed since you read it").wait_for()
    assert other.get_by_role("textbox", name="Correct the segment").inner_text() == "Second."


def test_what_was_said_anywhere_is_found_and_opens_at_its_time(page: "Page", interview: str, long: str) -> None:
    """Somebody said it in one of a hundred talks, and nobody knows in which."""
    places = f"(await (await fetch('/v1/search?q=weathercock&job={interview}')).json()).data.length"
    until(page, f"(async () => {places})()")  # the index follows the jobs
    page.get_by_label("Search all transcripts").fill("weathercock")
    page.keyboard.press("Enter")
    page.locator(".results mark", has_text="weathercock").first.wait_for()
    assert page.locator(".results h2", has_text="The old mill: an interview").count()
    place = page.locator(f".results li a[href^='#/job/{interview}?t=']").first
    wanted = place.locator(".hint").first.inner_text()
    place.click()
    until(page, "document.activeElement.matches('.time')")
    assert page.evaluate("document.activeElement.textContent") == wanted
    until(page, "document.querySelector('audio')?.currentTime > 1")
    assert "weathercock" in page.locator(".segment.current p").inner_text()


def test_a_recording_that_has_expired_can_still_be_read_and_corrected(page: "Page", expired: str) -> None:
    """The page waits for ever for what is no longer there."""
    page.evaluate(f"location.hash = '#/job/{expired}'")
    page.get_by_text("The recording is no longer stored").wait_for()
    assert not page.locator("audio, video").count()
    page.locator(".segment p").nth(3).click()
    page.keyboard.press("e")
    page.get_by_role("textbox", name="Correct the segment at 0:13").wait_for()


def test_the_end_of_a_long_transcript_is_as_near_as_its_beginning(page: "Page", long: str) -> None:
    """The last hours of a day cannot be reached, heard or found."""
    page.evaluate(f"location.hash = '#/job/{long}?t=1e9'")
    until(page, "document.activeElement.closest('.segment') === [...document.querySelectorAll('.segment')].at(-1)")
    until(page, "document.querySelector('audio')?.readyState > 0")
    last = page.locator(".segment").count() - 1
    assert page.locator(".segment").nth(last).is_visible()
    spot = page.evaluate(_AT_WORD, [last - 1, 8])
    page.mouse.click(*spot)
    until(page, f"document.querySelectorAll('.segment')[{last - 1}].classList.contains('current')")
    word = page.evaluate("[...CSS.highlights.get('played')].map(String).join()")
    assert word in page.locator(".segment p").nth(last - 1).inner_text()
    page.keyboard.press("k")
    page.keyboard.press("/")
    page.keyboard.type("breakfast")
    page.get_by_text(" of ", exact=False).first.wait_for()
    found = page.evaluate("CSS.highlights.get('found').size")
    assert found == page.evaluate("document.querySelector('#transcript').textContent.split('breakfast').length") - 1
