"""What Whisper's models can do, whichever engine runs them."""

from collections.abc import Mapping
from typing import Final

from v2t_stream.engines.descriptor import Abilities

_ENGLISH: Final = Abilities(translates=False, languages=frozenset({"en"}))
_NO_TRANSLATION: Final = Abilities(translates=False)

# By a pattern of the names. The models in .en have a vocabulary for English alone and refuse other languages. The
# distilled and the turbo models were trained without translations: asked for one, they write down what is said
# (openai/whisper and huggingface/distil-whisper, README.md). The distilled ones were also trained on English alone, but
# they take other languages and may detect one, so none is ruled out.
EXCEPTIONS: Final[Mapping[str, Abilities]] = {
    "*.en": _ENGLISH,
    "*.en-*": _ENGLISH,  # the quantized ones
    "distil-*": _NO_TRANSLATION,
    "large-v3-turbo*": _NO_TRANSLATION,
}
