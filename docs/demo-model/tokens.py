"""The token ids of Whisper's multilingual vocabulary (51,865 of them), and the 1,790 that this model really learns.

The bytes of the text tokens and the mel filters come from a ggml file of any multilingual Whisper model: the demo model
in this repository is one, so nothing has to be downloaded.

Ids, in order: 50,257 text tokens (the last is "end of text"), start of transcript, 99 languages, tasks and other marks,
1,501 timestamps of 0.02 s. `Layout` numbers the learned ones densely: text, specials, timestamps ("compact ids").
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ggml
import grammar

DEMO_MODEL = Path(__file__).parents[2] / "v2t_stream/demo/whisper-cpp/ggml-demo.bin"

END, START, FIRST_LANGUAGE = 50257, 50258, 50259
LANGUAGES = [
    # In the order of their ids.
    *("en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr", "pl"),
    *("ca", "nl", "ar", "sv", "it", "id", "hi", "fi", "vi", "he", "uk"),
    *("el", "ms", "cs", "ro", "da", "hu", "ta", "no", "th", "ur", "hr"),
    *("bg", "lt", "la", "mi", "ml", "cy", "sk", "te", "fa", "lv", "bn"),
    *("sr", "az", "sl", "kn", "et", "mk", "br", "eu", "is", "hy", "ne"),
    *("mn", "bs", "kk", "sq", "sw", "gl", "mr", "pa", "si", "km", "sn"),
    *("yo", "so", "af", "oc", "ka", "be", "tg", "sd", "gu", "am", "yi"),
    *("lo", "uz", "fo", "ht", "ps", "tk", "nn", "mt", "sa", "lb", "my"),
    *("bo", "tl", "mg", "as", "tt", "haw", "ln", "ha", "ba", "jw", "su"),
]
ENGLISH = FIRST_LANGUAGE
TRANSLATE, TRANSCRIBE, START_OF_LM, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(50358, 50364)
FIRST_TIMESTAMP, TIMESTAMPS = 50364, 1501
SIZE = FIRST_TIMESTAMP + TIMESTAMPS
SECONDS_PER_TIMESTAMP = 0.02

SPECIAL_NAMES = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
]
TIMESTAMP_NAMES = [f"<|{step * SECONDS_PER_TIMESTAMP:.2f}|>" for step in range(TIMESTAMPS)]


@dataclass(frozen=True)
class Layout:
    """Which token says which word, and the compact ids of all that is learned."""

    text_tokens: list[bytes]  # the bytes of each text token, by id

    @classmethod
    def load(cls, whisper_model: Path = DEMO_MODEL) -> "Layout":
        """Take the tokens from a ggml file of a multilingual Whisper model."""
        return cls(ggml.read(whisper_model).tokens)

    @cached_property
    def ids(self) -> dict[bytes, int]:
        return {token: number for number, token in enumerate(self.text_tokens)}

    @cached_property
    def full_stop(self) -> int:
        return self.ids[b"."]

    @cached_property
    def words(self) -> dict[str, int]:
        """Each word, and each capitalised word that is one token, with its token."""
        spellings = [*grammar.VOCABULARY, *map(grammar.capitalised, grammar.VOCABULARY)]
        found = {word: self.ids[f" {word}".encode()] for word in spellings if f" {word}".encode() in self.ids}
        if missing := set(grammar.VOCABULARY) - set(found):
            raise SystemExit(f"These words are not one token each and cannot be in the grammar: {sorted(missing)}.")
        return found

    @cached_property
    def learned(self) -> list[int]:
        """The tokens with an embedding of their own in compact order: text, specials, timestamps."""
        return [*sorted({self.full_stop, *self.words.values()}), *range(END, SIZE)]

    @cached_property
    def compact(self) -> dict[int, int]:
        return {token: number for number, token in enumerate(self.learned)}

    @cached_property
    def text_count(self) -> int:
        return len(self.learned) - (SIZE - END)

    @cached_property
    def base_count(self) -> int:
        """Text and specials: the compact ids before the timestamps."""
        return len(self.learned) - TIMESTAMPS
