"""Whisper's architecture, with parameter names as in OpenAI's checkpoints, and the losses that teach it quickly.

Shapes: B windows, T encoder frames (2 T columns of the spectrogram), S tokens, D channels.
"""

import math
from typing import NamedTuple

import grammar
import numpy as np
import tokens
import torch
from data import BANDS, CONTEXT, IGNORE, PHRASES, PLACES, Batch
from torch import Tensor, nn
from torch.nn import functional

HEAD_SIZE = 64
TEXT_CONTEXT = 448


def sinusoids(length: int, channels: int) -> Tensor:
    """Return Whisper's position table, (length, channels): sines in the first half, cosines in the second."""
    step = math.log(10000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(nn.Module):
    """Multi-head attention; as in Whisper, keys have no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_SIZE
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor, *, causal: bool = False) -> Tensor:
        """Let x (B, S, D) look at source (B, T, D)."""
        query, key, value = self._split(self.query(x)), self._split(self.key(source)), self._split(self.value(source))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def looked(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Do as forward, and return the weights of the first head too, (B, S, T), so that they can be supervised."""
        query, key, value = self._split(self.query(x)), self._split(self.key(source)), self._split(self.value(source))
        weights = (query @ key.transpose(-1, -2) * HEAD_SIZE**-0.5).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights[:, 0]

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, D) to (B, heads, S, 64)."""
        return x.unflatten(2, (self.heads, HEAD_SIZE)).transpose(1, 2)


class Block(nn.Module):
    """One layer of the encoder, or with `cross` of the decoder."""

    def __init__(self, width: int, *, cross: bool) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(width), nn.LayerNorm(width)
        if cross:
            self.cross_attn, self.cross_attn_ln = Attention(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def encode(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        normal = self.attn_ln(x)
        x = x + self.attn(normal, normal)
        return x + self.mlp(self.mlp_ln(x))

    def decode(self, x: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) to (B, S, D), and where the first head looked, (B, S, T)."""
        normal = self.attn_ln(x)
        x = x + self.attn(normal, normal, causal=True)
        heard, where = self.cross_attn.looked(self.cross_attn_ln(x), sound)
        x = x + heard
        return x + self.mlp(self.mlp_ln(x)), where


class Encoder(nn.Module):
    """Turns a spectrogram into one vector for each 0.02 s."""

    positional_embedding: Tensor

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(CONTEXT, width))
        self.blocks = nn.ModuleList(Block(width, cross=False) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)

    def forward(self, mel: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 80, 2 T) to (B, T, D), of the last layer and the one before; offsets (B,) place short windows in 30 s."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positional_embedding[offsets[:, None] + torch.arange(x.shape[1], device=x.device)]
        earlier = x
        for block in self.blocks:
            earlier, x = x, block.encode(x)
        return self.ln_post(x), earlier


class Decoder(nn.Module):
    """Writes tokens. Of its 51,865 embeddings only those of the layout are learned, timestamps in a compressed form.

    All tokens that never occur share one vector. In the softmax it stands for all of them: its logit plus the logarithm
    of their number. Were those rows zero, or absent from training, each would take some probability in the engine.

    A timestamp's row is W @ (sinusoid of its time) + b, so that a time rare in training lies between its neighbours.
    """

    timestamp_sinusoids: Tensor

    def __init__(self, layout: tokens.Layout, width: int, layers: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(layout.base_count, width) * 0.25)
        self.unused = nn.Parameter(torch.randn(1, width) * 0.05)
        self.timestamp_weight = nn.Parameter(torch.eye(width) * 0.3)
        self.timestamp_bias = nn.Parameter(torch.randn(1, width) * 0.05)
        self.register_buffer("timestamp_sinusoids", sinusoids(tokens.TIMESTAMPS, width), persistent=False)
        self.positional_embedding = nn.Parameter(sinusoids(TEXT_CONTEXT, width) * 0.3)
        self.blocks = nn.ModuleList(Block(width, cross=True) for _ in range(layers))
        self.ln = nn.LayerNorm(width)
        self.unused_count = tokens.SIZE - len(layout.learned)

    def embedding(self) -> Tensor:
        """Return the learned rows in compact order, (base + 1501, D)."""
        return torch.cat([self.base, self.timestamp_sinusoids @ self.timestamp_weight + self.timestamp_bias])

    def forward(self, read: Tensor, sound: Tensor, wanted: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (positions wanted, learned + 1) and where the first head of each layer looked, (B, S, T).

        read (B, S) are compact ids; wanted (B, S) is true where the next token counts; the last logit is "any unused".
        """
        rows = self.embedding()
        x = functional.embedding(read, rows) + self.positional_embedding[: read.shape[1]]
        looks = []
        for block in self.blocks:
            x, where = block.decode(x, sound)
            looks.append(where)
        x = self.ln(x)[wanted]
        unused = x @ self.unused.T + math.log(self.unused_count)
        return torch.cat([x @ rows.T, unused], dim=-1), looks


class Losses(NamedTuple):
    """What one batch says: the losses to add up, and shares of right answers to print."""

    text: Tensor  # the next token
    frames: Tensor  # word, place and sentence of each frame
    looks: Tensor  # attention that misses the word being written
    words_right: float
    times_right: float  # within 0.1 s
    frames_right: float

    def total(self, teaching: float) -> Tensor:
        """Add up; `teaching` weighs the losses that only training has."""
        return self.text + teaching * (self.frames + self.looks)


class Whisper(nn.Module):
    """The model, with small classifiers on top of the encoder that only training uses."""

    TRAINING_ONLY = ("teacher_", "decoder.base", "decoder.unused", "decoder.timestamp_")

    def __init__(
        self, layout: tokens.Layout, width: int = 128, encoder_layers: int = 3, decoder_layers: int = 3
    ) -> None:
        super().__init__()
        self.sizes = {"width": width, "encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
        self.layout = layout
        self.encoder = Encoder(width, encoder_layers)
        self.decoder = Decoder(layout, width, decoder_layers)
        self.teacher_norm = nn.LayerNorm(width)
        self.teacher_early_word = nn.Linear(width, len(grammar.VOCABULARY) + 1)
        self.teacher_word = nn.Linear(width, len(grammar.VOCABULARY) + 1)
        self.teacher_place = nn.Linear(width, PLACES)
        self.teacher_phrase = nn.Linear(width, PHRASES)

    @classmethod
    def is_training_only(cls, name: str) -> bool:
        """Say whether a parameter is not Whisper's own and stays out of the exported model."""
        return name.startswith(cls.TRAINING_ONLY)

    def losses(self, batch: Batch) -> Losses:
        """Compute the losses of a batch."""
        sound, earlier = self.encoder(batch.mel, batch.offsets)
        wanted = batch.targets != IGNORE
        targets = batch.targets[wanted]
        logits, looks = self.decoder(batch.tokens, sound, wanted)
        word, place, phrase = batch.labels.unbind(1)
        word_logits = self.teacher_word(sound)
        frames = (
            0.3 * _frame_loss(self.teacher_early_word(self.teacher_norm(earlier)), word)
            + 0.3 * _frame_loss(word_logits, word)
            + 0.2 * _frame_loss(self.teacher_place(sound), place)
        )
        if (phrase != IGNORE).any():
            frames = frames + 0.1 * _frame_loss(self.teacher_phrase(sound), phrase)
        # The first head of each layer should look where the token is heard: it learns to align before it can write.
        aligned = batch.spoken.any(-1)
        missed = [-((where[aligned] * batch.spoken[aligned]).sum(-1) + 1e-5).log().mean() for where in looks]
        attention = torch.zeros(())
        if aligned.any():
            attention = 0.2 * sum(missed[:-1], torch.zeros(())) + 0.5 * missed[-1]
        guesses = logits.argmax(-1)
        text = targets < self.layout.text_count
        times = targets >= self.layout.base_count
        return Losses(
            functional.cross_entropy(logits, targets),
            frames,
            attention,
            _share(guesses[text] == targets[text]),
            _share((guesses[times] - targets[times]).abs() <= 5),
            _share((word_logits.argmax(-1) == word)[word > 0]),
        )

    def load_exported(self, weights: dict[str, np.ndarray]) -> None:
        """Take the weights of an exported model; the classifiers of training stay as they are."""
        embedding = torch.from_numpy(weights["decoder.token_embedding.weight"])
        learned = embedding[self.layout.learned]
        unused = next(token for token in range(tokens.END) if token not in self.layout.compact)
        # The rows of the timestamps give back W and b by least squares.
        sinusoid = torch.cat([self.decoder.timestamp_sinusoids, torch.ones(tokens.TIMESTAMPS, 1)], dim=1)
        solved = torch.linalg.lstsq(sinusoid.double(), learned[self.layout.base_count :].double()).solution.float()
        state = {name: torch.from_numpy(value) for name, value in weights.items() if "token_embedding" not in name}
        state |= {
            "decoder.base": learned[: self.layout.base_count],
            "decoder.unused": embedding[unused : unused + 1],
            "decoder.timestamp_weight": solved[:-1],
            "decoder.timestamp_bias": solved[-1:],
        }
        self.load_state_dict(self.state_dict() | state)


def _frame_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)


def _share(right: Tensor) -> float:
    return right.float().mean().item() if right.numel() else math.nan
