"""Run by test_templates.py, in a copy with the rule of docs/templates: whatever filters has it."""

import json

from pipeline import filter_run, read_scores
from tests.support.reference import commands_page, settings_page
from tests.support.runs import make_run

TEXTS = ["abcdefghijklmnopqrstuvwxyz" * (1 + i) for i in range(8)]


def test_command_library_and_reference_have_it(winnow, tiny_model, tmp_path):
    limited = {"window_tokens": 100, "long_documents": "truncate"}
    run = make_run(tmp_path, tiny_model, TEXTS, **limited).location
    scores = read_scores(run).collect()
    share = scores["num_tokens"] / (scores["num_tokens"] + scores["num_skipped_tokens"])
    expected = (share >= 0.6).sum()
    assert 1 < expected < len(TEXTS)
    code, out, err = winnow("filter", run, "--min-scored-share", "0.6", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["after"]["documents"] == expected
    assert filter_run(run, min_scored_share=0.6).after.documents == expected
    assert "--min-scored-share SHARE" in commands_page()
    assert "| `min_scored_share` |" in settings_page()
    code, _, err = winnow("filter", run, "--min-scored-share", "6", "--dry-run")
    assert code == 2
    assert "--min-scored-share = 6.0: must be less than or equal to 1" in err
