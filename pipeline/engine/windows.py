"""Token ids to windows. Pure.

Owns which tokens are sent together and which of them are scored: every token of a document is
scored exactly once, and no window is longer than the limit. Knows nothing of text or engines.

With `window_tokens = 5`, `context_tokens = 1`, prefix P and ten tokens 0..9 (scored ones in
brackets):

    window 1    P [0 1 2 3]
    window 2            3 [4 5 6 7]
    window 3                5 6 7 [8 9]      the last window looks back as far as it may

These are the rolling windows of lm-evaluation-harness (`lm_eval.utils.get_rolling_token_windows`)
at `max_length = window_tokens - 1`, which fills the last window with context too.
"""

from collections.abc import Sequence

from pipeline.schema import Window


def plan_windows(
    token_ids: Sequence[int],
    *,
    prefix: int | None,
    window_tokens: int,
    context_tokens: int,
    only_first: bool = False,
) -> list[Window]:
    """The windows of one document, in order; empty if there is nothing to score.

    A token is scored given `prefix` (or, with None, left unscored as the first one's context). A
    document that already begins with the prefix gets no second one: its own first token serves.
    `window_tokens` counts every token of a prompt, prefix and context included; later windows
    repeat at least `context_tokens` tokens of what came before, the last one as many as fit.
    """
    assert 1 <= context_tokens < window_tokens
    if prefix is None or (token_ids and token_ids[0] == prefix):
        sequence = list(token_ids)
    else:
        sequence = [prefix, *token_ids]

    windows: list[Window] = []
    # The first token of the sequence is never scored: it is the prefix, or stands in for it.
    scored = 1
    while scored < len(sequence):
        context = context_tokens if windows else 1
        end = min(scored - context + window_tokens, len(sequence))
        start = max(0, end - window_tokens)
        # Most documents are one window: not copied once more.
        prompt = sequence if end - start == len(sequence) else sequence[start:end]
        windows.append(Window(prompt, scored - start))
        if only_first:
            break
        scored = end
    return windows
