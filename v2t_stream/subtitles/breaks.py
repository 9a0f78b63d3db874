"""How good a place between two words is for a break, by the rules that the published guides share.

Netflix's guide: after punctuation, before conjunctions and prepositions, and never between an article and its noun, a
first and a last name, or a verb and its pronoun. Which words are names or verbs is not known here.
"""

import re
from typing import Final

from v2t_stream.transcription.segments import CLAUSE, ends_sentence

SENTENCE_END: Final = 0.0
_CLAUSE_END: Final = 0.3
_BEFORE_CONJUNCTION: Final = 0.6
_BEFORE_PREPOSITION: Final = 0.9
_ANYWHERE: Final = 1.6
_AFTER_LINK: Final = 3.0  # a preposition, a conjunction or a number, which belongs to what follows
NEVER: Final = 8.0  # inside what belongs together

_CONJUNCTIONS: Final = {
    "en": "and but or nor so yet because although though while when where which who that if unless until since than as",
    "de": "und oder aber denn sondern weil dass ob wenn als obwohl während bevor nachdem damit wie wo der die das",
    "fr": "et ou mais donc or ni car que qui quand si comme lorsque puisque quoique où dont",
    "es": "y e o u pero sino porque que cuando si como aunque mientras donde quien cual",
    "it": "e ed o ma perché che quando se come anche mentre dove chi cui",
    "pt": "e ou mas porque que quando se como embora enquanto onde quem qual",
    "nl": "en of maar want omdat dat als toen terwijl voordat nadat hoewel waar die wie",
}
_PREPOSITIONS: Final = {
    "en": "of in on at to for from with by about into over under after before between through during without within "
    "against among around behind beyond near off onto out up down upon toward towards across along",
    "de": "in im an am auf aus bei beim mit nach von vom zu zum zur für durch über unter vor hinter neben zwischen "
    "gegen ohne um bis seit wegen trotz",
    "fr": "à de en dans sur sous avec sans pour par chez vers entre depuis pendant contre après avant",
    "es": "a de en con sin por para sobre bajo entre hacia hasta desde contra tras según durante",
    "it": "a di da in con su per tra fra senza sopra sotto verso contro dopo prima durante",
    "pt": "a de em com sem por para sobre sob entre até desde contra após durante",
    "nl": "in op aan van voor met bij uit naar over onder tussen door zonder tegen om tot sinds na",
}
_ARTICLES: Final = {
    "en": "a an the my your his her its our their this these those no every each some any mr mrs ms dr prof st",
    "de": "der die das den dem des ein eine einen einem einer eines mein dein sein ihr unser kein keine dieser diese "
    "dieses herr frau dr",
    "fr": "le la les un une des du au aux l' d' mon ma mes ton ta tes son sa ses notre votre leur leurs ce cet cette "
    "ces m. mme",
    "es": "el la los las un una unos unas del al mi tu su sus este esta estos estas ese esa sr sra dr",
    "it": "il lo la i gli le un uno una del della dei delle al alla nel nella sul sulla mio tuo suo questo questa",
    "pt": "o a os as um uma uns umas do da dos das no na nos nas ao à meu teu seu sua este esta sr sra",
    "nl": "de het een mijn jouw zijn haar ons onze hun deze dit geen elke dhr mevr",
}
_EDGE: Final = re.compile(r"^[\W_]+|[^\w']+$")
_NUMBER: Final = re.compile(r"^[\W_]*\d[\d.,:/]*$")


class Grammar:
    """The words of a language that bind what follows them; nothing is known of a language without a list."""

    def __init__(self, language: str | None) -> None:
        def words(lists: dict[str, str]) -> frozenset[str]:
            return frozenset(lists.get(language or "", "").split())

        self._conjunctions = words(_CONJUNCTIONS)
        self._prepositions = words(_PREPOSITIONS)
        self._articles = words(_ARTICLES)

    def cost(self, before: str, after: str) -> float:
        """What a break between these two words costs, from SENTENCE_END to NEVER."""
        if ends_sentence(before, after):
            return SENTENCE_END
        if CLAUSE.search(before):
            return _CLAUSE_END
        last, first = _bare(before), _bare(after)
        if self.binds(before):
            return NEVER
        if last in self._prepositions or last in self._conjunctions or _NUMBER.match(before):
            return _AFTER_LINK
        if first in self._conjunctions:
            return _BEFORE_CONJUNCTION
        return _BEFORE_PREPOSITION if first in self._prepositions else _ANYWHERE

    def binds(self, word: str) -> bool:
        """Whether it is an article, or as close to the word after it as one."""
        return _bare(word) in self._articles and not CLAUSE.search(word) and not ends_sentence(word, "")


def _bare(word: str) -> str:
    return _EDGE.sub("", word).lower()
