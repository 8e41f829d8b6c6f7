"""Windows: every token scored exactly once, as lm-evaluation-harness cuts its rolling windows."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.engine.windows import plan_windows
from pipeline.schema import Window

PREFIX = 99


class Case(NamedTuple):
    """One call of plan_windows."""

    token_ids: list[int]
    prefix: int | None
    window_tokens: int
    context_tokens: int

    def plan(self, *, only_first: bool = False) -> list[Window]:
        return plan_windows(
            self.token_ids,
            prefix=self.prefix,
            window_tokens=self.window_tokens,
            context_tokens=self.context_tokens,
            only_first=only_first,
        )

    @property
    def sequence(self) -> list[int]:
        """What is laid out in windows; all of it is scored except the first token."""
        if self.prefix is None or self.token_ids[:1] == [self.prefix]:
            return self.token_ids
        return [self.prefix, *self.token_ids]


@st.composite
def cases(draw: st.DrawFn, *, context_tokens: int | None = None) -> Case:
    """Few different tokens and the prefix among them, so that documents begin with it often."""
    window_tokens = draw(st.integers(2, 17))
    if context_tokens is None:
        context_tokens = draw(st.integers(1, window_tokens - 1))
    token_ids = draw(st.lists(st.sampled_from([0, 1, 2, PREFIX]), max_size=70))
    prefix = draw(st.sampled_from([PREFIX, None]))
    return Case(token_ids, prefix, window_tokens, context_tokens)


def scored(window: Window) -> list[int]:
    return window.prompt[window.num_context :]


def harness_windows(
    token_list: list[int], prefix_token: int, max_seq_len: int, context_len: int
) -> Iterator[tuple[list[int], list[int]]]:
    """The rolling windows of lm-evaluation-harness as (input, predicted): input[i] -> predicted[i].

    Written from its description, not copied: the input of a window is shifted by one token, so it
    ends before the last token that is predicted.
    """
    if not token_list:
        return
    first = token_list[: min(max_seq_len, len(token_list))]
    yield [prefix_token, *first[:-1]], first
    done = len(first)
    while done < len(token_list):
        end = min(done + max_seq_len - context_len + 1, len(token_list))
        yield token_list[end - 1 - max_seq_len : end - 1], token_list[done:end]
        done = end


def as_harness(window: Window) -> tuple[list[int], list[int]]:
    return window.prompt[:-1], scored(window)


@given(cases())
@example(Case([], PREFIX, 2, 1))
@example(Case([], None, 2, 1))
@example(Case([1], None, 2, 1))
def test_every_token_is_scored_exactly_once_in_order(case):
    assert [token for window in case.plan() for token in scored(window)] == case.sequence[1:]


@given(cases())
def test_a_prompt_is_the_text_that_leads_to_its_scored_tokens(case):
    end = 1
    for window in case.plan():
        end += len(scored(window))
        assert window.prompt == case.sequence[end - len(window.prompt) : end]


@given(cases())
def test_no_window_is_longer_than_the_limit_or_without_scored_tokens(case):
    for window in case.plan():
        assert len(window.prompt) <= case.window_tokens
        assert 1 <= window.num_context < len(window.prompt)


@given(cases())
def test_context_is_exact_except_in_the_last_window_which_is_filled(case):
    windows = case.plan()
    assert [window.num_context for window in windows[:1]] in ([], [1])
    assert [window.num_context for window in windows[1:-1]] == [
        case.context_tokens for _ in windows[1:-1]
    ]
    if len(windows) > 1:
        assert windows[-1].num_context >= case.context_tokens
    # Whatever was cut is full: no engine step is spent on a short window with more text at hand.
    if len(case.sequence) >= case.window_tokens:
        assert {len(window.prompt) for window in windows} == {case.window_tokens}


@given(cases(context_tokens=1))
@example(Case(list(range(10)), PREFIX, 5, 1))
def test_equals_lm_evaluation_harness(case):
    prefix, *tokens = case.sequence or [PREFIX]
    reference = harness_windows(tokens, prefix, case.window_tokens - 1, 1)
    assert [as_harness(window) for window in case.plan()] == list(reference)


@given(cases())
def test_equals_lm_evaluation_harness_with_more_context(case):
    prefix, *tokens = case.sequence or [PREFIX]
    reference = harness_windows(tokens, prefix, case.window_tokens - 1, case.context_tokens)
    assert [as_harness(window) for window in case.plan()] == list(reference)


@given(cases())
def test_only_first_is_the_first_of_all(case):
    assert case.plan(only_first=True) == case.plan()[:1]


@given(cases())
def test_the_tokens_handed_in_stay_as_they_were(case):
    before = list(case.token_ids)
    case.plan()
    assert case.token_ids == before


def test_the_example_of_the_module():
    windows = Case(list(range(10)), PREFIX, 5, 1).plan()
    assert windows == [
        Window([PREFIX, 0, 1, 2, 3], 1),
        Window([3, 4, 5, 6, 7], 1),
        Window([5, 6, 7, 8, 9], 3),
    ]


@pytest.mark.parametrize(
    ("num_tokens", "num_windows"),
    [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)],
    ids=["empty", "one token", "just fits", "one over", "two full", "two full and one"],
)
def test_number_of_windows_at_the_borders(num_tokens, num_windows):
    assert len(Case(list(range(num_tokens)), PREFIX, 5, 1).plan()) == num_windows


@pytest.mark.parametrize("token_ids", [[], [7]], ids=["empty", "one token"])
def test_without_a_prefix_the_first_token_is_context_only(token_ids):
    assert Case(token_ids, None, 5, 1).plan() == []
    assert Case([*token_ids, 8, 9], None, 5, 1).plan()[0].num_context == 1


def test_a_text_that_begins_with_the_prefix_gets_no_second_one():
    assert Case([PREFIX, 1, 2], PREFIX, 5, 1).plan() == [Window([PREFIX, 1, 2], 1)]
    # Only the first token serves as prefix: a second one is text, and scored.
    assert Case([PREFIX, PREFIX, 2], PREFIX, 5, 1).plan() == [Window([PREFIX, PREFIX, 2], 1)]


def test_a_text_of_the_prefix_alone_has_nothing_to_score():
    assert Case([PREFIX], PREFIX, 5, 1).plan() == []


def test_prefix_zero_is_a_prefix():
    # Token 0 is the BOS of many tokenizers; `if prefix` would lose it.
    assert Case([1, 2], 0, 5, 1).plan() == [Window([0, 1, 2], 1)]


@pytest.mark.parametrize("context_tokens", [0, 5, 6], ids=["none", "all", "more than all"])
def test_a_context_that_leaves_no_room_is_refused(context_tokens):
    with pytest.raises(AssertionError):
        Case([1, 2], PREFIX, 5, context_tokens).plan()
