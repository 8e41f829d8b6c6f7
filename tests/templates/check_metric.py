"""Run by test_templates.py, in a copy with the metric of docs/templates: it is everywhere."""

import json

from pipeline import read_scores
from tests.support.fakes import FakeEngine
from tests.support.reference import columns_page
from tests.support.runs import make_run

TEXTS = ["abcdefghijklmnopqrstuvwxyz"[: 3 + 2 * i] for i in range(12)]


class SurprisedEngine(FakeEngine):
    """Every token costs eight times as much: up to 17 nats."""

    def score(self, windows):
        for answer in super().score(windows):
            yield answer._replace(logprobs=8 * answer.logprobs)


def test_scores_report_filter_and_reference_have_it(winnow, tiny_model, tmp_path):
    run = make_run(tmp_path, tiny_model, TEXTS, engine=SurprisedEngine()).location
    values = read_scores(run).collect()["surprising_share"]
    assert values.n_unique() > 5
    expression = f"mean(surprising_share) > {values.mean() / 2}"
    code, out, _ = winnow("report", run, "--no-text", "--fail-if", expression, "--json")
    (found,) = json.loads(out)["requirements"]
    assert (code, found["judged"], found["failed"]) == (1, True, True)
    median = values.sort()[6]
    bound = f"surprising_share={median}"
    code, out, _ = winnow("filter", run, "--max", bound, "--dry-run", "--json")
    assert json.loads(out)["after"]["documents"] == (values <= median).sum() < len(TEXTS)
    assert code == 0
    assert "| `surprising_share` | double |" in columns_page()
