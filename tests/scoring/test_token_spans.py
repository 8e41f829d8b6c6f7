"""pipeline/scoring/token_spans.py: a text is what its spans spell, and no token is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.scoring.token_spans import merge_tokens


def merged(text, offsets, logprobs=None):
    logprobs = logprobs or [-float(i) for i in range(1, len(offsets) + 1)]
    return [(span.text, span.logprobs) for span in merge_tokens(text, offsets, logprobs)]


CASES = {
    "one token each": ("ab", [(0, 1), (1, 2)], [("a", [-1.0]), ("b", [-2.0])]),
    "a character of three tokens": (
        "a 👩",
        [(0, 1), (1, 3), (2, 3), (2, 3)],
        [("a", [-1.0]), (" 👩", [-2.0, -3.0, -4.0])],
    ),
    "what no token covers": ("a  b", [(0, 1), (3, 4)], [("a", [-1.0]), ("  ", []), ("b", [-2.0])]),
    "a token of nothing": ("ab", [(0, 1), (1, 1), (1, 2)], [("a", [-1.0, -2.0]), ("b", [-3.0])]),
    "of nothing, first": ("ab", [(0, 0), (0, 2)], [("ab", [-1.0, -2.0])]),
    "of nothing, before a gap": (" a", [(0, 0), (1, 2)], [(" ", [-1.0]), ("a", [-2.0])]),
    "no token": ("ab", [], [("ab", [])]),
    "nothing": ("", [], []),
}


@pytest.mark.parametrize(("text", "offsets", "spans"), CASES.values(), ids=CASES)
def test_spans(text, offsets, spans):
    assert merged(text, offsets) == spans


def test_tokens_that_are_not_scored():
    found = merge_tokens("abc", [(0, 1), (1, 2), (2, 3)], [None, -0.5, None])
    assert [span.nll for span in found] == [None, 0.5, None]


@given(st.text(max_size=30), st.data())
def test_whatever_the_offsets_the_text_is_whole_and_no_value_lost(text, data):
    place = st.integers(0, len(text))
    offsets, start = [], 0
    for _ in range(data.draw(st.integers(0, 12))):
        start = max(start, data.draw(place))
        offsets.append((start, data.draw(st.integers(start, len(text)))))
    values = [-float(i) for i in range(len(offsets))]
    spans = merge_tokens(text, offsets, values)
    if text:
        assert "".join(span.text for span in spans) == text
        assert all(span.text for span in spans)
    assert [value for span in spans for value in span.logprobs] == values


HARD = st.text("aé👩‍🔬हिन्दी\u0000\r\n\t 日本", max_size=30)


@given(HARD)
def test_a_byte_level_tokenizer_splits_no_character(tiny_model, text):
    """A token a byte: every span is a character, and has as many tokens as the character bytes."""
    global _tokenizer
    _tokenizer = _tokenizer or HubTokenizer(str(tiny_model))
    (encoded,) = _tokenizer.encode([text], offsets=True)
    spans = merge_tokens(text, encoded.offsets, [-1.0] * len(encoded.ids))
    assert [span.text for span in spans] == list(text)
    assert [len(span.logprobs) for span in spans] == [len(one.encode()) for one in text]


_tokenizer: HubTokenizer | None = None
