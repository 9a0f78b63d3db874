"""Filling in the form of a submission."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Checkbox, Input, Select, Static, TextArea

from schemas.requests import SubmitRequest
from tests.tui.pictures import picture
from tests.tui.still import Still, shown
from tui.actions import Wish, requests_of
from tui.screens.export import Export
from tui.screens.submit import ORDERED, Submit
from v2t_stream.errors import Reject
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.options import OPTIONS, Option
from v2t_stream.jobs.state import Job

URL = "https://example.com/talk.mp3"
TYPED = {
    "language": " DE ",
    "model": "demo",
    "engine": "openai",
    "audio_track": "2",
    "beam_size": "3",
    "speakers": "2-3",
}


class Sent:
    """Receives what the form submits."""

    def __init__(self) -> None:
        self.requests: list[SubmitRequest] = []

    async def submit(self, requests: Sequence[SubmitRequest]) -> str:
        self.requests += requests
        return ""


BLANK = "[ ]"


def shape(box: Checkbox) -> str:
    """A box without its label."""
    return str(box.render())[: len(BLANK)]


def fill_in(form: Submit, option: Option) -> str | bool:
    """Something else than the default, and what that is."""
    match form.query_one(f"#{option.name}"):
        case Checkbox() as box:
            assert shape(box) == BLANK
            box.value = True
            assert shape(box) != BLANK
            return True
        case Select() as select:
            other = next(choice for choice in reversed(option.choices) if choice != option.default)
            select.value = other
            return other
        case Input() as line:
            line.value = TYPED.get(option.name, "0.5" if option.kind is float else "Ishmael, Queequeg")
            return line.value
    raise AssertionError(option)


async def test_every_option_is_sent_as_it_was_put_in() -> None:
    """An option in the form does nothing, or one of the command line is missing there."""
    app = Still()
    app.desk.actions = sent = Sent()  # type: ignore[assignment]  # all that the form asks of them
    async with app.run_test() as pilot:
        form = Submit(app.desk, files=False)
        await app.push_screen(form)
        form.query_one(TextArea).text = URL
        filled = {name: fill_in(form, option) for name, option in OPTIONS.items()}
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert app.screen is not form
    (request,) = sent.requests
    assert request == msgspec.convert({"url": URL, **filled, "language": "de"}, SubmitRequest, strict=False)
    assert (request.language, request.beam_size, request.temperature, request.force) == ("de", 3, 0.5, True)
    assert msgspec.to_builtins(request).keys() == {*OPTIONS, "url"}


async def test_a_form_that_is_left_as_it_is_asks_for_nothing() -> None:
    """Entering only a link gives another transcript than the command line, and nothing counts as done before."""
    app = Still()
    app.desk.actions = sent = Sent()  # type: ignore[assignment]  # as above
    async with app.run_test() as pilot:
        form = Submit(app.desk, files=False)
        await app.push_screen(form)
        form.query_one(TextArea).text = URL
        await pilot.press("ctrl+s")
        await pilot.pause()
    assert sent.requests == [SubmitRequest(url=URL)]


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("beam_size", "many", "the submission's beam_size is not valid: .*; it must be a whole number from 1 to 20"),
        ("vad_threshold", "1", "it must be a number from 0 to less than 1"),
        ("prompt", "x" * 1001, "it must be text of at most 1000 characters"),
    ],
)
async def test_an_option_that_does_not_fit_is_named_in_the_form(name: str, typed: str, says: str) -> None:
    """The form closes, and the wrong number shows only when the job fails."""
    with pytest.raises(Reject, match=says):
        requests_of(Wish(URL, {name: typed}, files=False))
    app = Still()
    app.desk.actions = sent = Sent()  # type: ignore[assignment]  # as above
    async with app.run_test() as pilot:
        form = Submit(app.desk, files=False)
        await app.push_screen(form)
        form.query_one(TextArea).text = URL
        form.query_one(f"#{name}", Input).value = typed
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert app.screen is form
        assert name in str(form.query_one("#wrong", Static).render())
        form.query_one(f"#{name}", Input).value = ""
        await pilot.pause()
        assert "not valid" not in str(form.query_one("#wrong", Static).render())
        assert "must be" not in str(form.query_one("#wrong", Static).render())
    assert not sent.requests


def test_choosing_remote_allows_it() -> None:
    """The form asks for the same thing twice."""
    (request,) = requests_of(Wish(URL, {"accelerator": "remote", "remote": False}, files=False))
    assert request.remote


async def test_a_form_says_what_an_option_means_and_allows() -> None:
    """What a beam size is, and that it goes to 20, is known only to who has read the documentation."""
    app = Still()
    async with app.run_test() as pilot:
        form = Submit(app.desk, files=False)
        await app.push_screen(form)
        for name, option in OPTIONS.items():
            form.query_one(f"#{name}").focus()
            await pilot.pause()
            said = str(form.query_one("#wrong", Static).render())
            assert option.meaning in said, name
            assert option.kind is bool or option.limits == "text" or option.limits in said, name


def test_the_common_options_come_first_and_none_is_left_out() -> None:
    """On a small terminal everybody scrolls past the temperature to say which language it is."""
    assert [option.name for option in ORDERED][:3] == ["language", "model", "task"]
    assert sorted(ORDERED) == sorted(OPTIONS.values())


async def test_an_existing_file_is_overwritten_only_if_the_same_name_is_given_twice(tmp_path: Path) -> None:
    """A transcript that somebody corrected is gone, because another name was refused before."""
    old = tmp_path / "old.srt"
    old.write_text("corrected")
    app = Still()
    app.desk.actions = Written()  # type: ignore[assignment]  # all that the dialog asks of them
    async with app.run_test() as pilot:
        dialog = Export(app.desk, Job("talk-1"))
        await app.push_screen(dialog)
        field, wrong = dialog.query_one("#file", Input), dialog.query_one("#wrong", Static)
        field.value = str(old)
        await pilot.press("enter")
        await pilot.pause()
        assert "press enter again" in str(wrong.render())
        field.value = str(tmp_path / "o")
        await pilot.pause()
        assert not str(wrong.render())
        field.value = str(old)
        await pilot.press("enter")
        await pilot.pause()
        assert old.read_text() == "corrected"
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        assert old.read_text() == "words"


@pytest.mark.parametrize("width", [60, 80, 160])
async def test_every_format_of_an_export_can_be_read(width: int) -> None:
    """With each new format the others lose letters, until the user chooses between j…, t… and t…."""
    async with shown((width, 24)) as (app, _, pilot):
        await app.push_screen(Export(app.desk, Job("talk-1")))
        await pilot.pause()
        drawn = picture(app)
        assert [name for name in FORMATS if not re.search(rf"\(.\) {name}\b", drawn)] == []


class Written:
    async def transcript(self, job_id: str, format_: str) -> str:
        return "words"
