"""The language of the demo model: 103 English words in twelve kinds of sentence, written as a weighted grammar.

Every word, with a space before it, is one token of Whisper's multilingual vocabulary, in lower case and (where a
sentence can begin with it) capitalised. So a sentence has as many tokens as words, which helps so small a model.

Run it to see sentences:  python grammar.py
"""

import hashlib
import re

import numpy as np

Words = tuple[str, ...]

UNITS = "one two three four five six seven eight nine"
FROM_TEN = "ten eleven twelve"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"

# A lexicon entry is a choice among words, all equally likely.
LEXICON: dict[str, list[str]] = {
    name: words.split()
    for name, words in {
        "unit": UNITS,
        "digit": f"zero {UNITS}",
        "small": f"{UNITS} {FROM_TEN}",
        "several": f"{UNITS} {FROM_TEN}".removeprefix("one "),
        "ten": TENS,
        "minute": "twenty thirty forty fifty",
        "color": "red blue green white black yellow",
        "size": "big small old new",
        "object": "car door light table window report letter book phone box dog cat bird",
        "device": "light phone music",
        "place": "house garden river office kitchen city street",
        "event": "meeting train music",
        "verb": "open close call send read bring take find move show",
        "happens": "starts leaves ends",
        "name": "Anna John Mary Peter David Sarah",
        "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "time": "today tomorrow now",
        "period": "minutes hours",
        "to be": "was is",
        "switch": "on off",
        "inside": "in at",
        "toward": "in to from at",
    }.items()
}

# A rule is a choice among phrases by weight; {name} stands for another rule or a lexicon entry.
RULES: dict[str, list[tuple[float, str]]] = {
    "number": [(0.4, "{small}"), (0.2, "{ten}"), (0.3, "{ten} {unit}"), (0.1, "{unit} hundred")],
    "clock": [(0.5, "{small}"), (0.5, "{small} {minute}")],
    "when": [(0.4, "on {day}"), (0.3, "{time}"), (0.3, "at {clock}")],
    "where": [(1, "{toward} the {place}")],
    "the object": [(0.45, "the {color} {object}"), (0.25, "the {size} {object}"), (0.3, "the {object}")],
    "the device": [(0.45, "the {color} {device}"), (0.25, "the {size} {device}"), (0.3, "the {device}")],
    "digits": [(1, " ".join(["{digit}"] * count)) for count in range(3, 8)],
    "order": [(0.6, "{verb} {the object}"), (0.4, "{verb} {the object} {when}")],
    "request": [(0.7, "please {verb} {the object}"), (0.3, "please {verb} {the object} {where}")],
    "crowd": [(0.7, "{several} people are in the {place}"), (0.3, "{several} hundred people are in the {place}")],
    "tickets": [(0.6, "send {number} tickets to {name}"), (0.4, "send {number} tickets to {name} {when}")],
    "sentence": [
        (1, "{order}"),
        (1, "{the object} is {inside} the {place}"),
        (1, "{request}"),
        (1, "turn {switch} {the device}"),
        (1, "the {event} {happens} {when}"),
        (1, "{digits}"),
        (1, "{name} {to be} {where}"),
        (1, "{name} and {name} are in the {place}"),
        (1, "wait for {number} {period}"),
        (1, "{crowd}"),
        (1, "{tickets}"),
        (1, "call {name} {when}"),
    ],
}

_PART = re.compile(r"\{([^}]+)\}|(\S+)")


def _vocabulary() -> Words:
    """Every word the grammar can say, sorted; the order numbers the word classes of the training labels."""
    fixed = {word for rule in RULES.values() for _, phrase in rule for word in _PART.sub(r"\2", phrase).split()}
    return tuple(sorted(fixed.union(*LEXICON.values())))


VOCABULARY = _vocabulary()


def expand(name: str, rng: np.random.Generator) -> Words:
    """Draw one phrase from the rule or lexicon entry `name`."""
    if name in LEXICON:
        words = LEXICON[name]
        return (words[rng.integers(len(words))],)
    weights, phrases = zip(*RULES[name], strict=True)
    chosen = phrases[np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right")]
    parts = [expand(part[1], rng) if part[1] else (part[2],) for part in _PART.finditer(chosen)]
    return tuple(word for part in parts for word in part)


def sentence(rng: np.random.Generator) -> Words:
    """Draw one sentence as words, in lower case but for names and days."""
    return expand("sentence", rng)


def is_held_out(words: Words) -> bool:
    """Say whether a sentence is kept from training: one in ten by a hash of its text, for ever the same ones."""
    digest = hashlib.md5(" ".join(words).encode(), usedforsecurity=False).digest()
    return digest[0] < 26


def written_words(words: Words) -> Words:
    """Return the words as they are written: the first with a capital."""
    return (capitalised(words[0]), *words[1:])


def written(words: Words) -> str:
    """Return the sentence as it is written, with its capital and its full stop."""
    return " ".join(written_words(words)) + "."


def capitalised(word: str) -> str:
    return word[0].upper() + word[1:]


if __name__ == "__main__":
    generator = np.random.default_rng()
    print(len(VOCABULARY), "words:", " ".join(VOCABULARY))
    for _ in range(15):
        print(written(sentence(generator)))
