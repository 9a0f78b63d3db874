"""A transcript as text that people edit: a line for each segment, with its times; and the record that their text means.

A line that was not changed keeps its words and their times. In a changed line, words that are still there keep theirs,
and the others share the time between their neighbours, by their letters.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Final, NamedTuple

from msgspec.structs import replace

from schemas.transcript import Doubt, Gap, Segment, Transcript, Unheard, Word
from v2t_stream.errors import V2TError
from v2t_stream.jobs.formats import UNHEARD, missing
from v2t_stream.text import one_line, quoted

_LONGEST: Final = 100_000  # characters of a line
_TIME: Final = r"(?:(\d+):)?(\d+):(\d\d(?:[.,]\d{1,3})?)"
_HEAD: Final = re.compile(rf"\[ *{_TIME} *- *{_TIME} *\](.*)")
_EXPLANATION: Final = """\
# {title}: the transcript of job {job}
#
# Change the words as you like, and save the file. Each line begins with its
# times: leave them as they are. Press Enter within a line to make two of it.
# Delete a line if nothing was said. Add a line with times for words that are
# missing. Write what was said in place of [missing: …], or leave it.
# Lines that begin with # and a blank are ignored.

"""

Missing = Gap | Unheard


class _Typed(NamedTuple):
    """A line with times, and the lines below it that have none."""

    start: float
    end: float
    texts: list[str]

    @property
    def head(self) -> str:
        return _head(self.start, self.end)


def form(record: Transcript) -> str:
    """The text to edit."""
    lines = sorted(_items(record), key=_times)
    about = _EXPLANATION.format(title=one_line(record.title) or "Untitled", job=record.job)
    return about + "".join(f"{_head(each.start, each.end)} {_text(each)}\n" for each in lines)


def corrected(record: Transcript, text: str) -> Transcript:
    """What an edited `form` of the record means; the record itself if nothing was changed.

    Raises V2TError, which names the line, if it has no meaning.
    """
    changes = _Changes(record)
    for typed in _typed(text):
        changes.take(typed)
    return changes.applied()


def rewritten(record: Transcript, texts: Mapping[int, str]) -> Transcript:
    """The record with other words in segments, by their place in it, from 0; an empty text removes a segment.

    The record itself if nothing was changed.
    """
    segments: list[Segment] = []
    changed: list[Segment] = []
    for n, segment in enumerate(record.segments):
        text = one_line(texts.get(n, segment.text), _LONGEST)
        if text == _text(segment):
            segments.append(segment)
            continue
        changed.append(segment)
        segments += _aligned(segment, [text]) if text else []
    if not changed:
        return record
    return replace(record, segments=tuple(segments), doubtful=_still_doubtful(record.doubtful, changed))


class _Changes:
    """What an edited form changes in a record."""

    def __init__(self, record: Transcript) -> None:
        self._record = record
        self._known: defaultdict[str, list[Segment | Missing]] = defaultdict(list)
        for item in _items(record):
            self._known[_head(item.start, item.end)].append(item)
        self._kept: list[Segment | Missing] = []
        self._written: list[Segment] = []
        self._filled: list[Missing] = []

    def take(self, typed: _Typed) -> None:
        said = [each for each in typed.texts if each]
        found = _taken(self._known[typed.head], said)
        if found is not None and said == [_text(found)]:
            self._kept.append(found)
        elif said and isinstance(found, Segment):
            self._written += _aligned(found, said)
        elif said:
            self._filled += [found] if isinstance(found, Missing) else []
            self._written += _aligned(Segment(start=typed.start, end=typed.end, text=""), said)

    def applied(self) -> Transcript:
        """The record with the changes; itself if there are none."""
        record = self._record
        changed = [each for each in record.segments if _text(each) and not any(each is other for other in self._kept)]
        if not changed and not self._written:
            return record
        silent = [each for each in record.segments if not _text(each)]  # they have no line
        segments = [*silent, *(each for each in self._kept if isinstance(each, Segment)), *self._written]
        return replace(
            record,
            segments=tuple(sorted(segments, key=_times)),
            gaps=tuple(each for each in record.gaps if each not in self._filled),
            unheard=tuple(each for each in record.unheard if each not in self._filled),
            doubtful=_still_doubtful(record.doubtful, changed),
        )


def _taken(items: list[Segment | Missing], said: list[str]) -> Segment | Missing | None:
    """Take what has these times: the one with this text, otherwise the first."""
    if not items:
        return None
    same = (n for n, item in enumerate(items) if said == [_text(item)])
    return items.pop(next(same, 0))


def carried(original: Transcript, correction: Transcript, later: Transcript) -> Transcript:
    """`later`, which a retry made, with what the correction changed in the original."""
    before, after = original.segments, correction.segments
    matcher = SequenceMatcher(None, [_key(each) for each in before], [_key(each) for each in after], autojunk=False)
    segments = list(later.segments)
    touched: list[Segment] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            continue
        both = [*before[i1:i2], *after[j1:j2]]
        start, end = min(each.start for each in both), max(each.end for each in both)
        segments = [each for each in segments if not start <= (each.start + each.end) / 2 <= end]
        segments += after[j1:j2]
        touched += both
    filled = set(map(_times, _missing(original))) - set(map(_times, _missing(correction)))
    return replace(
        later,
        segments=tuple(sorted(segments, key=_times)),
        gaps=tuple(each for each in later.gaps if _times(each) not in filled),
        unheard=tuple(each for each in later.unheard if _times(each) not in filled),
        doubtful=_still_doubtful(later.doubtful, touched),
    )


def _items(record: Transcript) -> Iterator[Segment | Missing]:
    """Everything that has a line of its own."""
    yield from (each for each in record.segments if _text(each))
    yield from _missing(record)


def _missing(record: Transcript) -> Iterator[Missing]:
    yield from record.gaps
    yield from record.unheard


def _text(item: Segment | Missing) -> str:
    if isinstance(item, Segment):
        return one_line(item.text, _LONGEST)
    return missing(one_line(item.reason) if isinstance(item, Gap) else UNHEARD)


def _times(item: Segment | Missing) -> tuple[float, float]:
    return item.start, item.end


def _key(segment: Segment) -> Segment:
    """All that a person may have corrected in it."""
    return replace(segment, words=())


def _head(start: float, end: float) -> str:
    return f"[{_stamp(start)} - {_stamp(end)}]"


def _stamp(seconds: float) -> str:
    """Seconds as 1:02:03.456 or 02:03.456."""
    whole, thousandths = divmod(max(0, round(seconds * 1000)), 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}:' if hours else ''}{minutes:02}:{rest:02}.{thousandths:03}"


def _typed(text: str) -> Iterator[_Typed]:
    """The lines of the edited text. Raises V2TError."""
    last: _Typed | None = None
    for number, line in enumerate(text.splitlines(), 1):
        plain = one_line(line, _LONGEST)
        if not plain or f"{plain} ".startswith("# "):  # but not #1, where somebody has split a line
            continue
        found = _HEAD.fullmatch(plain)
        if not found:
            if last is None:
                raise V2TError(
                    f"line {number}, {quoted(plain)}, comes before the first line with times: put times before it"
                )
            last.texts.append(plain)
            continue
        if last:
            yield last
        start, end = _seconds(*found.groups()[:3]), _seconds(*found.groups()[3:6])
        if end < start:
            raise V2TError(f"line {number}, {quoted(plain)}, ends before it starts: correct its times")
        last = _Typed(start, end, [found[7].strip()])
    if last:
        yield last


def _seconds(hours: str | None, minutes: str, rest: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def _still_doubtful(doubts: Iterable[Doubt], changed: Sequence[Segment]) -> tuple[Doubt, ...]:
    """The doubts about words that nobody has looked at."""
    return tuple(
        doubt for doubt in doubts if not any(each.start < doubt.end and doubt.start < each.end for each in changed)
    )


def _aligned(segment: Segment, texts: Sequence[str]) -> list[Segment]:
    """The segment with other words, in as many segments as there are texts."""
    by_letter = " " not in segment.text and not any(" " in text for text in texts)  # such as Chinese
    tokens = [(n, token) for n, text in enumerate(texts) for token in (text if by_letter else text.split())]
    words = _timed(segment, [token for _, token in tokens], by_letter=by_letter)
    parts = [
        [word for (_, _), word in part]
        for _, part in groupby(zip(tokens, words, strict=True), key=lambda pair: pair[0][0])
    ]
    made = []
    for n, (part, text) in enumerate(zip(parts, texts, strict=True)):
        start = part[0].start if n else segment.start
        end = segment.end if n == len(parts) - 1 else part[-1].end
        words_of = tuple(part) if segment.words else ()
        made.append(replace(segment, start=start, end=max(start, end), text=text, words=words_of))
    return made


def _timed(segment: Segment, tokens: Sequence[str], *, by_letter: bool) -> list[Word]:
    """The tokens with the times of the segment's words, where they are the same words."""
    old = list(segment.words) or _shared(segment.text.split(), segment.start, segment.end)
    if by_letter:
        old = [letter for word in old for letter in _shared(list(word.text), word.start, word.end)]
    found: list[Word] = []
    matcher = SequenceMatcher(
        None, [_bare(word.text) for word in old], [_bare(token) for token in tokens], autojunk=False
    )
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            pairs = zip(old[i1:i2], tokens[j1:j2], strict=True)
            found += [word if word.text == token else replace(word, text=token) for word, token in pairs]
            continue
        before = old[i1 - 1].end if i1 else segment.start
        after = old[i2].start if i2 < len(old) else segment.end
        start = old[i1].start if i2 > i1 else before
        end = old[i2 - 1].end if i2 > i1 else after
        found += _shared(tokens[j1:j2], start, max(start, end))
    return found


def _shared(tokens: Sequence[str], start: float, end: float) -> list[Word]:
    """Words that share a stretch of time by their letters."""
    letters = sum(map(len, tokens)) or 1
    words, at = [], start
    for token in tokens:
        until = at + (end - start) * len(token) / letters
        words.append(Word(start=round(at, 3), end=round(until, 3), text=token))
        at = until
    return words


def _bare(word: str) -> str:
    """A word without what a change of punctuation or capitals changes."""
    return re.sub(r"\W+", "", word).casefold() or word
