"""Our half of choices.tsv, which `make check-gpu` made with vLLM's CUDA build."""

import pytest

from tests.gpu.choices import OURS, cases, our_choice, read_table, settings_of

HELD = read_table()


def test_every_engine_is_held():
    assert set(HELD) == set(cases())


@pytest.mark.parametrize("case", HELD, ids=lambda case: "-".join(map(str, case)))
def test_what_is_chosen_is_what_is_held(tmp_path, case):
    settings = settings_of(case, tmp_path)
    assert settings is not None
    assert our_choice(case, settings) == {key: HELD[case][key] for key in OURS}


def test_fused_scoring_runs_as_it_is_checked_on_a_cpu():
    """Of all that vLLM chose: no other runner, and nothing that reorders a step."""
    chosen = {(case.path, row["runner"], row["v2"]) for case, row in HELD.items() if row["runner"]}
    assert chosen == {("fused", "pooling", "V2"), ("prompt_logprobs", "generate", "V2")}
