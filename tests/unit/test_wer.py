import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.demo.wer import split_errors, word_error_rate, word_errors, words


def naive(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for number, expected in enumerate(reference, 1):
        above, row = row, [number]
        for column, found in enumerate(hypothesis, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (expected != found)))
    return row[-1]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "rate"),
    [
        ("", "", 0.0),
        ("a b", "", 1.0),
        ("", "a b", 2.0),
        ("the cat sat", "the cat sat", 0.0),
        ("the cat sat", "The CAT, sat.", 0.0),
        ("the cat sat on", "the cat on", 0.25),
        ("the cat sat on", "the bat sat on", 0.25),
        ("the cat", "the black cat sat down", 1.5),
        ("one two three four", "four three two one", 1.0),
        ("b a", "a b", 1.0),
        ("I don\u2019t", "i don't", 0.0),
        ("caf\u00e9", "cafe\u0301", 0.0),
    ],
)
def test_known_rates(reference: str, hypothesis: str, rate: float) -> None:
    assert word_error_rate(reference, hypothesis) == rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u201cDon\u2019t!\u201d \u2014 he said\u2026", ["don't", "he", "said"]),
        ("rock 'n' roll, the dogs' bowl", ["rock", "n", "roll", "the", "dogs", "bowl"]),
        ("well-known (3.5 %)", ["well", "known", "3", "5"]),
        ("\u00bfQu\u00e9? \u00a1S\u00ed!", ["qu\u00e9", "s\u00ed"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u0939\u0948\u0964",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u0948"],
        ),
        ("co\u00adop \ufeffone", ["coop", "one"]),
        ("\u266a ' -- \n", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(WORDS, WORDS)
def test_it_is_the_true_edit_distance(one: list[str], two: list[str]) -> None:
    errors = word_errors(one, two)
    assert errors == naive(one, two) == word_errors(two, one)
    assert abs(len(one) - len(two)) <= errors <= max(len(one), len(two))
    assert (errors == 0) == (one == two)


def splits(reference: list[str], hypothesis: list[str]) -> set[tuple[int, int, int]]:
    """Every way to turn one into the other that a walk through the table can take: substituted, deleted, inserted."""
    ways = {(0, 0): {(0, 0, 0)}}
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            if i and j:
                wrong = reference[i - 1] != hypothesis[j - 1]
                ways.setdefault((i, j), set()).update((s + wrong, d, n) for s, d, n in ways[i - 1, j - 1])
            if i:
                ways.setdefault((i, j), set()).update((s, d + 1, n) for s, d, n in ways[i - 1, j])
            if j:
                ways.setdefault((i, j), set()).update((s, d, n + 1) for s, d, n in ways[i, j - 1])
    return ways[len(reference), len(hypothesis)]


SHORT = st.lists(st.sampled_from("abc"), max_size=5)


@given(SHORT, SHORT)
def test_errors_are_split_as_the_fewest_are_with_the_fewest_lost_and_invented(one: list[str], two: list[str]) -> None:
    """A report says that words were lost where they were misheard."""
    assert split_errors(one, two) == min(splits(one, two), key=lambda way: (sum(way), way[1] + way[2]))


@given(WORDS, WORDS)
def test_the_parts_make_up_the_whole(one: list[str], two: list[str]) -> None:
    """A benchmark's columns do not add up."""
    parts, back = split_errors(one, two), split_errors(two, one)
    assert parts.total == word_errors(one, two)
    assert min(parts) >= 0
    assert parts.deleted - parts.inserted == len(one) - len(two)
    assert parts == (back.substituted, back.inserted, back.deleted)


@given(WORDS, WORDS)
def test_words_cut_off_are_lost_and_words_added_are_invented(one: list[str], two: list[str]) -> None:
    """Lost words hide among invented ones."""
    assert split_errors(one + two, one) == (0, len(two), 0)
    assert split_errors(one, two + one) == (0, 0, len(two))


@given(WORDS, WORDS, WORDS)
def test_a_detour_is_never_shorter(one: list[str], two: list[str], three: list[str]) -> None:
    assert word_errors(one, three) <= word_errors(one, two) + word_errors(two, three)


@given(st.text(), st.text())
def test_no_errors_means_the_same_words(one: str, two: str) -> None:
    assert (word_error_rate(one, two) == 0) == (words(one) == words(two))
    assert word_error_rate(one, one.upper().lower()) == word_error_rate(one.lower(), one.upper().lower())


def test_an_hour_of_speech_takes_seconds() -> None:
    reference = [str(number * 7919 % 3001) for number in range(10_000)]
    hypothesis = ["wrong" if number % 10 == 0 else word for number, word in enumerate(reference)]
    started = time.process_time()
    assert word_errors(reference, hypothesis) == 1000
    assert time.process_time() - started < 10
