# /// script
# requires-python = ">=3.11"
# dependencies = ["ctranslate2>=4.5", "numpy>=1.26", "soxr>=0.5", "tokenizers>=0.20", "torch>=2.4"]
# ///
"""Write the files that both engines load: a CTranslate2 directory for faster-whisper, a ggml file for whisper.cpp.

    uv run export.py run/final.pt OUT            a checkpoint of train.py
    uv run export.py model.bin OUT               a ggml file in f16 (torch is then not needed)

OUT gets faster-whisper/ and whisper-cpp/ggml-demo.bin, the layout of v2t_stream/demo.

Made for a small download. The 50,000 token embeddings that were never trained are one and the same row, which any
compression folds; matrices have 8 bits in both formats; what has to stay float32 is rounded to 11 bits of mantissa (as
f16 has), which zeroes nearly half of its bytes; and the tokenizer knows the tokens the model can say instead of all.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import ggml
import numpy as np
import tokens
from ggml import Weights

HEAD_SIZE = 64  # of every Whisper model
SPACE = 220  # the token of a lone space
MANTISSA_BITS = 11

# What faster-whisper's `non_speech_tokens` looks up, with and without a space before it, to forbid it in transcripts.
SYMBOLS = [
    *"-'\"#()*+/:;<=>@[\\]^_`{|}~「」『』♩♪♫♬♭♮♯",
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))"),
    *("[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
]
NOTE = (b"\xe2", b"\x99")  # the first two bytes of the musical signs among them, one token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint of train.py (.pt) or a ggml file in f16 (.bin)")
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", choices=sorted(ggml.FTYPE), default="q8_0", help="of the ggml file")
    parser.add_argument(
        "--tokens", type=Path, default=tokens.DEMO_MODEL, help="a ggml file to take the vocabulary from"
    )
    arguments = parser.parse_args()

    whisper = ggml.read(arguments.model if arguments.model.suffix == ".bin" else arguments.tokens)
    if arguments.model.suffix == ".pt":
        whisper.weights = checkpoint_weights(arguments.model, tokens.Layout(whisper.tokens))
    whisper.weights = {name: rounded(values) for name, values in whisper.weights.items()}
    heads = whisper.weights["decoder.ln.weight"].size // HEAD_SIZE

    directory = arguments.out / "whisper-cpp"
    directory.mkdir(parents=True, exist_ok=True)
    ggml.write(directory / "ggml-demo.bin", whisper, heads, arguments.precision)
    write_faster_whisper(arguments.out / "faster-whisper", whisper, heads)
    for path in sorted(arguments.out.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>10,}  {path}")


def checkpoint_weights(path: Path, layout: tokens.Layout) -> Weights:
    """Take the averaged weights of a checkpoint and lay the learned embeddings out over all 51,865 tokens."""
    import torch  # noqa: PLC0415 - large, and not needed to convert a ggml file
    from model import Whisper  # noqa: PLC0415 - imports torch

    checkpoint = torch.load(path, weights_only=True)
    net = Whisper(layout, **checkpoint["sizes"])
    net.load_state_dict(checkpoint["average"])
    embedding = net.decoder.unused.detach().numpy().repeat(tokens.SIZE, 0)
    embedding[layout.learned] = net.decoder.embedding().detach().numpy()
    weights = {name: value.numpy() for name, value in net.state_dict().items() if not net.is_training_only(name)}
    return weights | {"decoder.token_embedding.weight": embedding}


def rounded(values: np.ndarray) -> np.ndarray:
    """Round float32 values to MANTISSA_BITS significant bits: what is dropped becomes zeros, which compress."""
    mantissa, exponent = np.frexp(values.astype(np.float32))
    steps = np.float32(2**MANTISSA_BITS)
    return np.ldexp(np.round(mantissa * steps) / steps, exponent).astype(np.float32)


# ---- faster-whisper


def write_faster_whisper(directory: Path, whisper: ggml.WhisperFile, heads: int) -> None:
    """Write the CTranslate2 directory in int8, with the tokenizer that faster-whisper reads."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    spec = ctranslate2_spec(whisper.weights, heads)
    spec.register_vocabulary(token_names(whisper.tokens))
    # All three lists are required: without them generation fails or detection of the language does.
    spec.config.suppress_ids = [
        *(tokens.TRANSLATE, tokens.TRANSCRIBE, tokens.START_OF_LM, tokens.PREVIOUS, tokens.NO_SPEECH, tokens.START)
    ]
    spec.config.suppress_ids_begin = [SPACE, tokens.END]
    spec.config.lang_ids = list(range(tokens.FIRST_LANGUAGE, tokens.FIRST_LANGUAGE + len(tokens.LANGUAGES)))
    # The heads whose attention gives word times. Only the first of the last layer was trained to look where the word
    # is said, but all of them do: together they err by 0.05 s, that one alone by 0.2 s.
    spec.config.alignment_heads = [[layer, head] for layer in range(len(spec.decoder.layer)) for head in range(heads)]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(directory))
    for path in directory.glob("*.json"):
        write_json(path, json.loads(path.read_text()))
    features = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    write_json(directory / "preprocessor_config.json", features)
    write_json(directory / "tokenizer.json", tokenizer(whisper.tokens))
    check_tokenizer(directory / "tokenizer.json", whisper.tokens)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def ctranslate2_spec(weights: Weights, heads: int) -> Any:
    """Fill CTranslate2's description of a Whisper model; it wants query, key and value as one matrix."""
    from ctranslate2.specs.whisper_spec import WhisperSpec  # noqa: PLC0415 - with torch in one process it comes second

    layers = {
        side: sum(name.startswith(f"{side}.blocks.") and name.endswith(".mlp_ln.weight") for name in weights)
        for side in ("encoder", "decoder")
    }
    spec = WhisperSpec(layers["encoder"], heads, layers["decoder"], heads)
    for index in (1, 2):
        convolution = getattr(spec.encoder, f"conv{index}")
        convolution.weight = weights[f"encoder.conv{index}.weight"]
        convolution.bias = weights[f"encoder.conv{index}.bias"]
    _norm(spec.encoder.layer_norm, weights, "encoder.ln_post")
    _norm(spec.decoder.layer_norm, weights, "decoder.ln")
    spec.decoder.embeddings.weight = weights["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = weights["decoder.token_embedding.weight"]
    for side in ("encoder", "decoder"):
        half = getattr(spec, side)
        half.position_encodings.encodings = weights[f"{side}.positional_embedding"]
        for index, layer in enumerate(half.layer):
            _layer(layer, weights, f"{side}.blocks.{index}")
    return spec


def _layer(layer: Any, weights: Weights, name: str) -> None:
    _fused(layer.self_attention.linear[0], weights, [f"{name}.attn.{part}" for part in ("query", "key", "value")])
    _fused(layer.self_attention.linear[1], weights, [f"{name}.attn.out"])
    _norm(layer.self_attention.layer_norm, weights, f"{name}.attn_ln")
    if hasattr(layer, "attention"):
        _fused(layer.attention.linear[0], weights, [f"{name}.cross_attn.query"])
        _fused(layer.attention.linear[1], weights, [f"{name}.cross_attn.{part}" for part in ("key", "value")])
        _fused(layer.attention.linear[2], weights, [f"{name}.cross_attn.out"])
        _norm(layer.attention.layer_norm, weights, f"{name}.cross_attn_ln")
    _fused(layer.ffn.linear_0, weights, [f"{name}.mlp.0"])
    _fused(layer.ffn.linear_1, weights, [f"{name}.mlp.2"])
    _norm(layer.ffn.layer_norm, weights, f"{name}.mlp_ln")


def _fused(linear: Any, weights: Weights, names: list[str]) -> None:
    matrices = [weights[f"{name}.weight"] for name in names]
    linear.weight = np.concatenate(matrices)
    # Whisper's keys have no bias.
    biases = [
        weights.get(f"{name}.bias", np.zeros(len(matrix), np.float32))
        for name, matrix in zip(names, matrices, strict=True)
    ]
    linear.bias = np.concatenate(biases)


def _norm(norm: Any, weights: Weights, name: str) -> None:
    norm.gamma, norm.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


# ---- the vocabulary


def byte_names() -> list[str]:
    """GPT-2's printable character for each byte: itself where it is printable, else one from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def token_names(text_tokens: list[bytes]) -> list[str]:
    """Every token's name in GPT-2's spelling, by id."""
    names = byte_names()
    return (
        ["".join(names[byte] for byte in token) for token in text_tokens]
        + tokens.SPECIAL_NAMES
        + tokens.TIMESTAMP_NAMES
    )


def tokenizer(text_tokens: list[bytes]) -> dict[str, Any]:
    """Describe a tokenizer of the words that the model knows, single bytes, symbols and all special tokens.

    The ids are Whisper's. There are only the two merges that faster-whisper's list of symbols needs: a word that is not
    one token is spelled byte by byte, which is as good to a model that does not know the word. The special tokens stand
    in the vocabulary too, because one that does not is numbered on from the vocabulary's size.
    """
    layout = tokens.Layout(text_tokens)
    names = token_names(text_tokens)
    wanted = [*(bytes([byte]) for byte in range(256)), *(f" {symbol}".encode() for symbol in SYMBOLS)]
    wanted += [*(symbol.encode() for symbol in SYMBOLS), b"".join(NOTE), b" " + b"".join(NOTE)]
    kept = {layout.ids[token] for token in wanted if token in layout.ids} | set(layout.learned)
    marks = [
        {"id": number, "content": names[number], "special": number < tokens.FIRST_TIMESTAMP}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number in range(tokens.END, tokens.SIZE)
    ]
    bytes_of_text = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": marks,
        "normalizer": None,
        "pre_tokenizer": bytes_of_text,
        "post_processor": None,
        "decoder": bytes_of_text | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {names[number]: number for number in sorted(kept)},
            "merges": [[names[layout.ids[part]] for part in pair] for pair in (NOTE, (b" ", b"".join(NOTE)))],
        },
    }


def check_tokenizer(path: Path, text_tokens: list[bytes]) -> None:
    """Fail now rather than in an engine: the ids must be Whisper's."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - only here

    layout = tokens.Layout(text_tokens)
    loaded = Tokenizer.from_file(str(path))
    said = " Turn on the red light."
    expected = [*(layout.words[word] for word in said.strip(" .").split()), layout.full_stop]
    if loaded.encode(said).ids != expected or loaded.decode(expected) != said:
        raise SystemExit("The tokenizer does not number words as Whisper does.")
    for name, number in [("<|endoftext|>", tokens.END), ("<|en|>", tokens.ENGLISH), ("<|30.00|>", tokens.SIZE - 1)]:
        if loaded.token_to_id(name) != number:
            raise SystemExit(f"The tokenizer numbers {name} as {loaded.token_to_id(name)}, Whisper as {number}.")


if __name__ == "__main__":
    main()
