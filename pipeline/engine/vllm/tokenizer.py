"""Text to token ids, exactly as written.

Owns encoding without special tokens, which bytes a token stands for, and choosing the prefix token.
What is scored given what is windows.py's.
"""

import re
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.protocol import Encoded, Tokenizer
from pipeline.engine.vllm.quiet import quieten
from pipeline.errors import ModelError, first_line, named
from pipeline.settings.config import Prefix

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
BYTE_OF = {chr(byte): byte for byte in PRINTABLE} | {
    chr(256 + place): byte for place, byte in enumerate(OTHERS)
}
"""The alphabet of byte-level vocabularies, as GPT-2 has it: a symbol for each byte."""
SPACE = "\u2581"
"""The space in SentencePiece's vocabularies."""
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
"""Byte tokens that SentencePiece uses for a character without a piece."""


class PrefixToken(NamedTuple):
    """What the first token of a document is scored against."""

    kind: str
    """bos, eos or none: what `auto` resolved to."""
    token_id: int | None


class HubTokenizer(Tokenizer):
    """A model's own tokenizer, with document text never taken for control tokens."""

    def __init__(self, folder: str, *, trust_remote_code: bool = False) -> None:
        quieten()
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # transformers raises many unrelated kinds
            _refuse_damaged(folder)
            reason = first_line(error)
            raise ModelError(f"cannot load the tokenizer of {folder}: {reason}") from error
        # A fast tokenizer refuses to be used by two threads at once ("Already borrowed"), and two
        # shards are prepared side by side.
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], *, offsets: bool = False) -> list[Encoded]:
        """Token ids of each text, with no special token added and none read into the text."""
        if not texts:
            return []
        if offsets and not self._tokenizer.is_fast:
            raise ModelError(
                "this tokenizer does not report which characters a token covers",
                hint=f"only {named('prefix')} none and {named('long_documents')} truncate need "
                "that: score with other values of both",
            )
        with self._lock:
            out = self._tokenizer(
                list(texts),
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                return_offsets_mapping=offsets,
                verbose=False,
            )
        spans = out["offset_mapping"] if offsets else [None] * len(texts)
        return [Encoded(ids, span) for ids, span in zip(out["input_ids"], spans, strict=True)]

    def byte_ends(
        self, text: str, token_ids: Sequence[int], counts: Sequence[int]
    ) -> list[int | None]:
        """Where in the text's UTF-8 its first so many tokens end, by the tokens' own bytes.

        None where a cut goes through a character that is not spelt by its bytes: a normalizer made
        the tokens of another one.
        """
        pieces = [self._bytes_of.get(number, b"") for number in token_ids]
        whole, content = b"".join(pieces), text.encode()
        # Before the first word some put a space of their own.
        for own in (b"", b" "):
            if whole == own + content:
                ends = [sum(map(len, pieces[:count])) for count in counts]
                return [max(0, end - len(own)) for end in ends]
        # Bytes without a token, white space among them: the others are where the offsets say.
        (one,) = self.encode([text], offsets=True)
        assert one.offsets is not None
        return [_end_of(count, text, one.offsets, pieces) for count in counts]

    @cached_property
    def _bytes_of(self) -> dict[int, bytes]:
        """What each token stands for, by id."""
        with self._lock:
            pieces = {number: piece for piece, number in self._tokenizer.get_vocab().items()}
            added = self._tokenizer.added_tokens_decoder
        (probe,) = self.encode(["\u00e9"])
        spelt = b"".join(_byte_level(pieces[number]) for number in probe.ids)
        read = _byte_level if spelt.strip() == "\u00e9".encode() else _sentence_piece
        literal = {number: token.content.encode() for number, token in added.items()}
        return {number: read(piece) for number, piece in pieces.items()} | literal

    def tokens_beyond(self, vocab_size: int) -> dict[str, int]:
        """Tokens that a text may have and a model of this vocabulary has not, with their ids."""
        # Special tokens are not read into a text: one that is only for padding does no harm.
        special = {
            number
            for number, token in self._tokenizer.added_tokens_decoder.items()
            if token.special
        }
        return {
            token: number
            for token, number in self._tokenizer.get_vocab().items()
            if number >= vocab_size and number not in special
        }

    def prefix(self, asked: Prefix) -> PrefixToken:
        """The prefix that `asked` means for this tokenizer. Raises ModelError if it has none."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if asked == "none":
            return PrefixToken("none", None)
        if asked in ("auto", "bos") and bos is not None:
            return PrefixToken("bos", bos)
        if asked in ("auto", "eos") and eos is not None:
            return PrefixToken("eos", eos)
        wanted = "neither a BOS nor an EOS" if asked == "auto" else f"no {asked.upper()}"
        raise ModelError(
            f"the tokenizer has {wanted} token to put before each document",
            hint=f"with {named('prefix')} none, nothing is put before a document, and its first "
            "token is not scored",
        )


def _refuse_damaged(folder: str) -> None:
    """Raises ModelError in the words of the library that reads the file: transformers' own are of
    what it tried afterwards."""
    from transformers import PreTrainedTokenizerFast

    file = Path(folder) / "tokenizer.json"
    if file.is_file():
        try:
            PreTrainedTokenizerFast(tokenizer_file=str(file))
        except Exception as error:  # tokenizers has no class of its own
            raise ModelError(
                f"{file} cannot be read: {first_line(error)}",
                hint="fetch the model again, or update tokenizers",
            ) from error


def _byte_level(piece: str) -> bytes:
    """Of a byte-level vocabulary; nothing where it is not of its alphabet."""
    return bytes(BYTE_OF[symbol] for symbol in piece) if BYTE_OF.keys() >= set(piece) else b""


def _sentence_piece(piece: str) -> bytes:
    byte = BYTE_PIECE.fullmatch(piece)
    return bytes.fromhex(byte[1]) if byte else piece.replace(SPACE, " ").encode()


def _end_of(
    count: int, text: str, offsets: list[tuple[int, int]], pieces: list[bytes]
) -> int | None:
    """Where the first so many tokens end, in bytes of the text."""
    if count in (0, len(offsets)):
        return len(text.encode()) if count else 0
    first, last = count - 1, count
    if offsets[first][1] <= offsets[last][0]:
        return len(text[: offsets[first][1]].encode())
    # The tokens about the cut that share characters with each other, and all of those.
    while first and offsets[first - 1][1] > offsets[first][0]:
        first -= 1
    while last + 1 < len(offsets) and offsets[last][1] > offsets[last + 1][0]:
        last += 1
    begin, end = offsets[first][0], offsets[last][1]
    spelt, real = b"".join(pieces[first : last + 1]), text[begin:end].encode()
    before = spelt.removesuffix(real)
    if before == spelt or before.strip():
        return None
    # White space in front is in the token, and not in its offsets.
    inside = sum(map(len, pieces[first:count])) - len(before)
    return len(text[:begin].encode()) + max(0, inside)
