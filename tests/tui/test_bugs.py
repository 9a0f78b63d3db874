"""What a bug in the monitor leaves on the terminal. tui/bugs.py uses private names of Textual for this."""

import pytest

from tests.tui.still import Still


def divide() -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("debug", [False, True])
async def test_a_bug_leaves_a_sentence_and_only_with_debug_a_traceback(
    *, debug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user gets two pages of the monitor's source, or the monitor just vanishes."""
    app = Still(debug=debug)

    async def run() -> None:
        async with app.run_test() as pilot:
            app.call_next(divide)
            await pilot.pause()

    with pytest.raises(ZeroDivisionError):
        await run()
    assert isinstance(app.failure, ZeroDivisionError)
    assert ("Traceback" in capsys.readouterr().err) == debug
