"""`--token-logprobs` and `--token-ids`: lists beside the scores, one value per scored token."""

import numpy as np
import polars as pl
import pytest

from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows
from pipeline.runs.scores import scan_scores
from tests.support.fakes import fake_logprobs
from tests.support.runs import make_run

TEXTS = ["x", "The capital of France", "word " * 60, None, ""]
WINDOW_TOKENS = 50


def scored(tmp_path, model, **settings) -> pl.DataFrame:
    store = make_run(tmp_path, model, TEXTS, window_tokens=WINDOW_TOKENS, **settings)
    return scan_scores(store, store.require_manifest()).collect()


@pytest.mark.parametrize("prefix", ["bos", "none"])
def test_lists_hold_every_scored_token_in_order(tiny_model, tmp_path, prefix):
    rows = scored(tmp_path, tiny_model, token_logprobs=True, token_ids=True, prefix=prefix)
    tokenizer = HubTokenizer(str(tiny_model))
    token = tokenizer.prefix(prefix).token_id
    for row in rows.iter_rows(named=True):
        text = TEXTS[row["row"] + (0 if row["file"] == "0.parquet" else 3)]
        if row["nll"] is None:
            assert row["token_logprobs"] is None
            assert row["token_ids"] is None
            continue
        ids = tokenizer.encode([text])[0].ids
        windows = plan_windows(ids, prefix=token, window_tokens=WINDOW_TOKENS, context_tokens=1)
        expected = np.concatenate([fake_logprobs(w.prompt, w.num_context) for w in windows])
        assert row["token_logprobs"] == expected.tolist()
        assert row["token_ids"] == ids[row["num_skipped_tokens"] :]
        assert len(row["token_ids"]) == row["num_tokens"]
        assert row["nll"] == -sum(row["token_logprobs"])


def test_they_are_left_out_unless_asked_for(tiny_model, tmp_path):
    rows = scored(tmp_path / "none", tiny_model)
    assert not {"token_logprobs", "token_ids"} & set(rows.columns)
    rows = scored(tmp_path / "one", tiny_model, token_ids=True)
    assert "token_ids" in rows.columns
    assert "token_logprobs" not in rows.columns
