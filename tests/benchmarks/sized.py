"""A model of a real one's size whose words are fixed: what it costs is real, what it says is not.

The weights are random, but for the decoder's positions: each points at the token that is to come next, far more
strongly than the layers disturb it. So the engine computes all that it would, over as many tokens as speech has.
"""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from v2t_stream.demo import model_path


class Size(NamedTuple):
    """Of a Whisper model, as its paper and releases give them."""

    encoder: int  # layers
    decoder: int  # layers
    width: int
    heads: int
    bands: int  # of the spectrogram


SIZES: Final = {
    "base": Size(6, 6, 512, 8, 80),
    "large-v3-turbo": Size(32, 4, 1280, 20, 128),
    "large-v3": Size(32, 32, 1280, 20, 128),
}
_PROMPT: Final = "<|startoftranscript|><|en|><|transcribe|>"
# A hundred tokens for a window of 30 s, as English at 160 words a minute has; the demo model's vocabulary spells most
# words by their letters. Nothing is said twice, for what repeats itself is heard again.
_SAID: Final = (
    "<|0.00|> the old man took a red book home<|7.00|>"
    "<|7.00|> every year people come here in june<|14.00|>"
    "<|14.00|> she said we would never find it<|21.00|>"
    "<|21.00|> two towns lie by this water<|28.00|>"
    "<|endoftext|>"
)
_SURE: Final = 3.0  # how much more a position counts than the token at it
_NOISE: Final = 1e-4  # of what a layer adds


def make(folder: Path, name: str) -> Path:
    """Write the model into a folder of that name, in float16, where it is not there yet."""
    import ctranslate2
    from ctranslate2.specs import WhisperSpec

    made = folder / name
    if (made / "model.bin").exists():
        return made
    made.mkdir(parents=True, exist_ok=True)
    demo = model_path("faster-whisper")
    shutil.copy(demo / "tokenizer.json", made)
    size = SIZES[name]
    extractor = json.loads((demo / "preprocessor_config.json").read_text()) | {"feature_size": size.bands}
    (made / "preprocessor_config.json").write_text(json.dumps(extractor))
    spec = WhisperSpec(size.encoder, size.heads, size.decoder, size.heads)
    known = json.loads((demo / "config.json").read_text())
    for key in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        setattr(spec.config, key, known[key])
    spec.config.alignment_heads = [(size.decoder - 1, head) for head in range(size.heads)]
    vocabulary = json.loads((demo / "vocabulary.json").read_text())
    spec.register_vocabulary(vocabulary)
    _fill(spec, size, len(vocabulary), Tokenizer.from_file(str(demo / "tokenizer.json")))
    spec.validate()
    spec.optimize(quantization="float16")
    spec.save(str(made))
    assert ctranslate2.contains_model(str(made))
    return made


def _fill(spec: Any, size: Size, vocabulary: int, tokenizer: Tokenizer) -> None:
    width = size.width
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = _random(width, size.bands, 3), _zeros(width)
    encoder.conv2.weight, encoder.conv2.bias = _random(width, width, 3), _zeros(width)
    encoder.position_encodings.encodings = _random(1500, width)
    for layer in encoder.layer:
        _fill_attention(layer.self_attention, width)
        _fill_rest(layer.ffn, width)
    tokens = np.random.default_rng(2).standard_normal((vocabulary, width), np.float32)  # no two alike
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    positions = np.zeros((448, width), np.float32)
    coming = tokenizer.encode(_PROMPT + _SAID, add_special_tokens=False).ids
    positions[: len(coming) - 1] = _SURE * tokens[coming[1:]]
    positions[len(coming) - 1 :] = _SURE * tokens[coming[-1]]
    decoder.embeddings.weight = tokens
    decoder.projection.weight = tokens
    decoder.position_encodings.encodings = positions
    for layer in decoder.layer:
        _fill_attention(layer.self_attention, width)
        _fill_attention(layer.attention, width)
        _fill_rest(layer.ffn, width)
    for norm in (encoder.layer_norm, decoder.layer_norm):
        _fill_norm(norm, width)


def _fill_attention(attention: Any, width: int) -> None:
    """Queries, keys and values in one matrix where a layer looks at itself, else the last two."""
    _fill_norm(attention.layer_norm, width)
    shares = (3, 1) if len(attention.linear) == 2 else (1, 2, 1)
    for linear, share in zip(attention.linear, shares, strict=True):
        linear.weight, linear.bias = _random(share * width, width), _zeros(share * width)
    attention.linear[-1].weight = attention.linear[-1].weight * _NOISE


def _fill_rest(ffn: Any, width: int) -> None:
    _fill_norm(ffn.layer_norm, width)
    ffn.linear_0.weight, ffn.linear_0.bias = _random(4 * width, width), _zeros(4 * width)
    ffn.linear_1.weight, ffn.linear_1.bias = _random(width, 4 * width) * _NOISE, _zeros(width)


def _fill_norm(norm: Any, width: int) -> None:
    norm.gamma, norm.beta = np.ones(width, np.float32), _zeros(width)


def _zeros(width: int) -> np.ndarray:
    return np.zeros(width, np.float32)


@cache
def _block() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(1 << 22, np.float32) / 30


def _random(*shape: int) -> np.ndarray:
    """Random numbers, of which there are four million: more would take longer than all else here."""
    return np.resize(_block(), shape)
