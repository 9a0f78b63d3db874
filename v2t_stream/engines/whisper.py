"""What Whisper's models can do, whichever engine runs them."""

from collections.abc import Mapping
from typing import Final

from v2t_stream.engines.descriptor import Abilities

_ENGLISH: Final = Abilities(translates=False, languages=frozenset({"en"}))

# By a pattern of the names. The models in .en and the distilled ones were made for English alone (openai/whisper and
# huggingface/distil-whisper, README.md). The turbo models were trained without translations: asked for one, they write
# down what is said (openai/whisper, README.md).
EXCEPTIONS: Final[Mapping[str, Abilities]] = {
    "*.en": _ENGLISH,
    "*.en-*": _ENGLISH,  # the quantized ones
    "distil-*": _ENGLISH,
    "large-v3-turbo*": Abilities(translates=False),
}
