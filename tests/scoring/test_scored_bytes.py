"""How many bytes of a text were scored, where not all of it was: those of the tokens, exactly.

Every kind of vocabulary, against a count that knows nothing of texts: how long a token is, by the
way in which this vocabulary spells it.
"""

from collections.abc import Callable, Set
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from jobs.demo.model import demo_model
from pipeline.engine.vllm.rules import CausalRules
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.schema import Document
from pipeline.scoring.fold import fold_document
from pipeline.scoring.preparing import prepare_document
from tests.support.fakes import fake_logprobs
from tests.support.tiny import save_tokenizer

WINDOW = 6
SEEN = [
    "the cat sat on the mat",
    "日本語 日本 語",
    "naïve café",
    "\ufeffbom",
    "😀😁 😂",
    "aà aá bà",
]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXT = st.text(st.sampled_from("abet  \n\ufeffàéï日本語😀😁e\u0301ﬁ")) | st.text(max_size=30)


def saved(tokenizer: Tokenizer, folder: Path) -> HubTokenizer:
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return HubTokenizer(str(folder))


def byte_level(
    folder: Path,
    *,
    add_prefix_space: bool = False,
    normalizer: normalizers.Normalizer | None = None,
) -> HubTokenizer:
    """Merges within characters, of whole ones, and across them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SEEN * 3, trainer)
    return saved(tokenizer, folder)


def sentence_piece(folder: Path) -> HubTokenizer:
    """As Llama 2 has it: a space before everything, and bytes for what has no piece."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *LETTERS, "日", "é"]
    pieces += ["th", "the", "▁the"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return saved(tokenizer, folder)


def words(folder: Path) -> HubTokenizer:
    """Pieces of words, and no token for the white space between them."""
    pieces = ["[UNK]", *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "日"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return saved(tokenizer, folder)


def rules(**changes: object) -> CausalRules:
    facts = {
        "dtype": "float32",
        "prefix": "none",
        "prefix_token_id": None,
        "window_tokens": WINDOW,
        "context_tokens": 1,
        "long_documents": "window",
        "min_k_percent": 20.0,
        "scored_bytes": "exact",
    }
    return CausalRules(**(facts | changes))


class Scored(NamedTuple):
    first: int
    end: int
    num_bytes: int
    num_words: int
    ids: list[int]


def scored(text: str, tokenizer: HubTokenizer, how: CausalRules) -> Scored | None:
    """Of a text, which tokens were scored and how many bytes; None if nothing was."""
    (one,) = tokenizer.encode([text])
    prepared = prepare_document(Document(0, text), one.ids, tokenizer, how)
    if prepared.score is not None:
        return None
    row = fold_document(
        text,
        prepared.scored_text,
        fake_logprobs([0, *prepared.scored_ids], 1),
        status=prepared.status,
        num_windows=1,
        num_skipped_tokens=prepared.num_skipped_tokens,
        num_scored_bytes=prepared.num_scored_bytes,
        min_k_percent=20.0,
    )
    first = how.first_scored(one.ids)
    end = first + row.num_tokens
    return Scored(first, end, row.num_scored_bytes, row.num_scored_words, one.ids)


TRUNCATED = {"prefix": "bos", "prefix_token_id": 10**6, "long_documents": "truncate"}
HOW = {
    "no prefix": rules(),
    "truncated": rules(**TRUNCATED),
    "both": rules(long_documents="truncate"),
}


def symbols(spelt: list[str], text: str) -> list[int]:
    """Byte-level: a symbol per byte."""
    return [len(piece) for piece in spelt]


def pieces(spelt: list[str], text: str) -> list[int]:
    """SentencePiece: a byte, or the characters. A "▁" is the space before everything, a space of
    the text, or the very character, which is three bytes.
    """
    meant = iter(" " + "".join(one for one in text if one in " ▁"))
    return [
        1
        if piece.startswith("<0x")
        else len("".join(next(meant) if one == "▁" else one for one in piece).encode())
        for piece in spelt
    ]


class Vocabulary(NamedTuple):
    tokenizer: HubTokenizer
    sizes_of: Callable[[list[str], str], list[int]]
    puts_space: Callable[[str], bool]
    """Whether a space that the text has not stands before it."""
    lacks: Set[int] = frozenset()
    """Bytes without a token, which are left out."""


def spell(piece: str) -> bytes:
    """Byte-level."""
    return bytes(SYMBOLS.index(symbol) for symbol in piece)


PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHERS = iter(range(256, 512))
SYMBOLS = [chr(byte if byte in PRINTABLE else next(OTHERS)) for byte in range(256)]


def lacking(tokenizer: HubTokenizer) -> set[int]:
    """SmolLM2 has no token for some control characters, and for planes without characters."""
    vocab = tokenizer._tokenizer.get_vocab()
    return {byte for byte, symbol in enumerate(SYMBOLS) if symbol not in vocab}


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Vocabulary]:
    folder = tmp_path_factory.mktemp("vocabularies")
    save_tokenizer(folder / "bytes")
    spaced = byte_level(folder / "spaced", add_prefix_space=True)
    smollm2 = HubTokenizer(str(demo_model()))
    never, always = (lambda text: False), (lambda text: True)
    return {
        "one byte per token": Vocabulary(HubTokenizer(str(folder / "bytes")), symbols, never),
        "merged bytes": Vocabulary(byte_level(folder / "merged"), symbols, never),
        "a space first": Vocabulary(spaced, symbols, lambda text: text[0] != " "),
        "SentencePiece": Vocabulary(sentence_piece(folder / "pieces"), pieces, always),
        "SmolLM2": Vocabulary(smollm2, symbols, never, lacking(smollm2)),
    }


KINDS = ("one byte per token", "merged bytes", "a space first", "SentencePiece", "SmolLM2")


def expected(vocabulary: Vocabulary, text: str, found: Scored) -> int:
    """Of the tokens that were scored, how long they are."""
    spelt = vocabulary.tokenizer._tokenizer.convert_ids_to_tokens(found.ids)
    sizes = vocabulary.sizes_of(spelt, text)
    if vocabulary.puts_space(text):
        sizes[0] -= 1
    if vocabulary.lacks & set(text.encode()):
        # What has no token goes with the token behind it.
        begins = text.encode().startswith(spell(spelt[0])) and found.end == len(sizes)
        return len(text.encode()) - sizes[0] if begins and found.first else found.num_bytes
    assert sum(sizes) == len(text.encode()), "the count itself is right"
    return sum(sizes[found.first : found.end])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=TEXT)
@example(text="▁")
@example(text="the▁ cat ▁▁")
def test_the_bytes_are_those_of_the_tokens(vocabularies, kind, how, text):
    vocabulary = vocabularies[kind]
    found = scored(text, vocabulary.tokenizer, HOW[how])
    if found is not None:
        assert found.num_bytes == expected(vocabulary, text, found)


@pytest.mark.parametrize("kind", KINDS)
def test_characters_are_cut(vocabularies, kind):
    """Else the property above would be about nothing."""
    vocabulary = vocabularies[kind]
    cut = []
    for window in range(2, 6):
        how = rules(window_tokens=window, **TRUNCATED)
        for text in ("\ufeffbom", "😀", "ïx", "語語語", "ab鬱"):
            exact = scored(text, vocabulary.tokenizer, how)
            whole = scored(
                text, vocabulary.tokenizer, how.model_copy(update={"scored_bytes": None})
            )
            cut.append(exact.num_bytes < whole.num_bytes)
    assert any(cut)


def test_by_hand(vocabularies):
    """The byte order mark is three bytes, and its first is the first token."""
    tokenizer = vocabularies["one byte per token"].tokenizer
    assert scored("\ufeffbom", tokenizer, rules()).num_bytes == 5
    assert scored("\ufeffbom", tokenizer, rules(scored_bytes=None)).num_bytes == 6, "as in 0.1.0"
    for window, num_bytes in ((6, 5), (5, 4), (4, 3)):
        cut = scored("ab é", tokenizer, rules(window_tokens=window, **TRUNCATED))
        assert cut.num_bytes == num_bytes
        assert cut.num_words == (2 if num_bytes > 3 else 1)


def test_a_word_counts_if_any_of_it_was_scored(vocabularies):
    for text in ("é", "é b", " é"):
        tokenizer = vocabularies["one byte per token"].tokenizer
        assert scored(text, tokenizer, rules()).num_words == len(text.split())


@pytest.mark.parametrize("how", HOW)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=TEXT)
def test_where_a_normalizer_was_characters_count_as_wholes(folders, how, text):
    """As in 0.1.0: only the offsets are left to go by. Nothing else is further from them."""
    for tokenizer in folders:
        exact = scored(text, tokenizer, HOW[how])
        whole = scored(text, tokenizer, HOW[how].model_copy(update={"scored_bytes": None}))
        if exact is None:
            assert whole is None
        else:
            cuts = tokenizer.byte_ends(text, exact.ids, (exact.first, exact.end))
            assert None not in cuts or exact == whole
            assert 0 <= exact.num_bytes <= len(text.encode())


def test_what_a_normalizer_makes_is_not_the_texts_bytes(folders):
    text = "\u2460\u2461"  # NFKC has digits for them, each a token
    tokenizer = folders[0]
    assert scored(text, tokenizer, rules()).num_bytes == 3
    text = "\ufb03"  # a ligature of three letters
    assert scored(text, tokenizer, rules()).num_bytes == 3, "one character, scored in part"


def test_bytes_without_a_token_elsewhere_change_nothing(vocabularies):
    tokenizer = vocabularies["SmolLM2"].tokenizer
    for text in ("\ufeffbom", "\U0001d400", "日本語"):
        alone = scored(text + "x", tokenizer, rules()).num_bytes
        assert scored(text + "x\x1d y\x1dz", tokenizer, rules()).num_bytes == alone + 5
        assert alone < len(text.encode()) + 1


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[HubTokenizer]:
    folder = tmp_path_factory.mktemp("others")
    normalizing = byte_level(folder / "nfkc", normalizer=normalizers.NFKC())
    return [normalizing, words(folder / "words")]


def test_words_without_white_space(folders):
    """What is between the tokens goes with the one behind it."""
    assert scored("the cat", folders[1], rules()).num_bytes == len(" cat")
