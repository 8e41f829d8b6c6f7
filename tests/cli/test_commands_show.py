"""`winnow show`: the one document that was asked for, its place, its text, and what is missing."""

import io
import json
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs.cli import show
from jobs.console import screen
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.runs.scores import read_scores
from pipeline.statistics.quantile import rank_of
from tests.support.edits import edit_unseen, move, write_plain
from tests.support.fakes import FakeEngine
from tests.support.runs import make_run, score_corpus

TEXTS = ["The capital 👩 of France", "a b c", None, "", "word " * 30, "x y", "same", "same", "tail"]
LANGS = ["en", "en", "en", None, "en", "de", "de", "de", None]
IDS = ["i0", "i1", "i2", "i3", "i4", "i5", "twice", "twice", "i8"]
FILE = "web/0001.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model):
    """A folder with a corpus, a run with log-probabilities of tokens, and one without."""
    folder = tmp_path_factory.mktemp("show")
    (folder / "corpus/web").mkdir(parents=True)
    table = pa.table({"text": TEXTS, "lang": LANGS, "id": IDS})
    pq.write_table(table, folder / "corpus" / FILE, row_group_size=2)
    pq.write_table(table.slice(0, 2).drop(["id"]), folder / "corpus/b.parquet")
    settings = {"carry": ("lang",), "id_column": "id"}
    score_corpus(folder / "corpus", folder / "run", tiny_model, token_logprobs=True, **settings)
    score_corpus(folder / "corpus", folder / "plain", tiny_model, **settings)
    return folder


def told(winnow, *arguments) -> dict:
    code, out, err = winnow("show", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_document_is_its_row(winnow, made):
    rows = read_scores(made / "run").collect()
    for file, row, text in [(FILE, 0, TEXTS[0]), (FILE, 4, TEXTS[4]), ("b.parquet", 1, "a b c")]:
        found = told(winnow, made / "run", file, row)
        stored = rows.filter(pl.col("file") == file, pl.col("row") == row).row(0, named=True)
        assert found["text"] == text
        assert {name: stored[name] for name in found["metrics"]} == found["metrics"]
        assert found["carried"] == {"lang": stored["lang"]}
        spans = found["tokens"]
        assert "".join(span["text"] for span in spans) == text
        assert [x for span in spans for x in span["logprobs"]] == stored["token_logprobs"]


def test_its_place_is_that_of_quantiles(winnow, made):
    """Against a count by hand, and NumPy: its value is the quantile of its rank."""
    rows = read_scores(made / "run").collect()
    for row in (0, 1, 4, 5, 6, 8):
        found = told(winnow, made / "run", FILE, row, "--by", "lang")
        assert [(p["metric"], p["by"], p["group"]) for p in found["places"]] == [
            ("perplexity", None, None),
            ("bits_per_byte", None, None),
            ("perplexity", "lang", LANGS[row] or "(null)"),
            ("bits_per_byte", "lang", LANGS[row] or "(null)"),
        ]
        for place in found["places"]:
            inside = rows
            if place["by"]:
                inside = rows.filter(pl.col("lang").eq_missing(pl.lit(LANGS[row])))
            values = inside[place["metric"]].drop_nulls().to_numpy()
            own = found["metrics"][place["metric"]]
            assert place["num_documents"] == len(values)
            assert place["num_below"] == (values < own).sum()
            assert place["num_equal"] == (values == own).sum()
            if place["rank"] is None:
                assert len(set(values)) == 1
            else:
                assert np.quantile(values, place["rank"]) == pytest.approx(own, rel=1e-12)


def test_a_rank_is_in_the_middle_of_its_equals():
    assert rank_of(0, 1, 5) == 0.0
    assert rank_of(4, 1, 5) == 1.0
    assert rank_of(1, 3, 5) == 0.5
    assert rank_of(0, 5, 5) is None
    assert rank_of(0, 1, 1) is None


def test_an_id_is_as_good_as_a_row(winnow, made):
    assert told(winnow, made / "run", "--id", "i4") == told(winnow, made / "run", FILE, 4)


def test_a_run_without_ids_names_the_setting_that_makes_them(winnow, tmp_path, tiny_model):
    run = make_run(tmp_path, tiny_model, ["one two"])
    code, _, err = winnow("show", run.location, "--id", "i4")
    assert code == 2, err
    assert "a run has ids if it was made by winnow score --id-column COLUMN" in err


REFUSED = {
    "a file that is not there": (["web/001.parquet", 0], f"did you mean '{FILE}'?"),
    "the path to a file": (["corpus/" + FILE, 0], f"did you mean '{FILE}'?"),
    "a file like none": (["???", 0], f"its files: b.parquet, {FILE}"),
    "a row beyond the end": (["b.parquet", 2], "b.parquet has no row 2"),
    "an id that is not there": (["--id", "none"], "no document of this run has the id 'none'"),
    "an id of two": (["--id", "twice"], f"{FILE} 6, {FILE} 7"),
    "nothing": ([], "give FILE and ROW, or --id"),
    "a file without a row": (["b.parquet"], "give FILE and ROW, or --id"),
    "both": (["b.parquet", 0, "--id", "i1"], "give FILE and ROW, or --id"),
    "a group of nothing": (["b.parquet", 0, "--by", "lnag"], "did you mean 'lang'?"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shown(winnow, made, arguments, said):
    code, out, err = winnow("show", made / "run", *arguments)
    assert code == 2
    assert out == ""
    assert said in err


def test_documents_without_a_score_have_no_place(winnow, made):
    for row, status in ((2, "null"), (3, "empty")):
        found = told(winnow, made / "run", FILE, row)
        assert found["status"] == status
        assert found["places"] == []
    code, out, err = winnow("show", made / "run", FILE, 2)
    assert (code, "status" in out) == (0, True)
    assert "No text: the row has no text" in err


def test_a_run_without_log_probabilities_says_how_to_get_them(winnow, made):
    code, out, err = winnow("show", made / "plain", FILE, 0)
    assert code == 0
    assert out.endswith(f"\n\n{TEXTS[0]}\n")
    assert "the run has no log-probabilities of tokens: --score-tokens scores them now" in err
    assert "winnow score --token-logprobs stores them" in err
    assert told(winnow, made / "plain", FILE, 0)["tokens"] is None


def test_tokens_are_scored_on_request(winnow, made, monkeypatch):
    class Engine(FakeEngine):
        def close(self) -> None:
            """Nothing to let go of."""

    started = []
    engine = lambda self, settings: started.append(settings) or Engine()  # noqa: E731
    monkeypatch.setattr(VllmBackend, "engine", engine)
    for row in (0, 4):
        stored = told(winnow, made / "run", FILE, row, "--score-tokens")
        assert not started, "the run has them"
        scored = told(winnow, made / "plain", FILE, row, "--score-tokens")
        assert scored["tokens"] == stored["tokens"]
        started.pop()
    for row in (2, 3):  # no text, and none to score
        assert told(winnow, made / "plain", FILE, row, "--score-tokens")["tokens"] is None
    assert not started


@pytest.fixture
def own(tmp_path, tiny_model):
    (tmp_path / "corpus").mkdir()
    write_plain(tmp_path / "corpus/a.parquet", ["one text", "other one"])
    score_corpus(tmp_path / "corpus", tmp_path / "run", tiny_model, token_logprobs=True)
    return tmp_path


def test_another_text_is_not_shown(winnow, own):
    edit_unseen(own / "corpus/a.parquet", "one text", "two text")
    code, out, err = winnow("show", own / "run", "a.parquet", 0)
    assert code == 1
    assert "two text" not in out
    assert "perplexity" in out
    assert "a.parquet, row 0: the text is not the one that was scored" in err


def test_a_corpus_that_moved_is_named(winnow, own):
    move(own / "corpus", own / "elsewhere")
    code, _, err = winnow("show", own / "run", "a.parquet", 0)
    assert code == 1
    assert "a.parquet is no longer in" in err
    assert "--corpus" in err
    assert told(winnow, own / "run", "a.parquet", 0, "--corpus", own / "elsewhere")["text"]


def test_another_tokenizer_is_not_taken(winnow, own, tiny_model):
    manifest = json.loads((own / "run/manifest.json").read_text())
    manifest["model"]["folder"] = str(own / "model")
    (own / "run/manifest.json").write_text(json.dumps(manifest))
    code, _, err = winnow("show", own / "run", "a.parquet", 0)
    assert code == 0
    assert f"the model's folder, with its tokenizer, is not here: {own}/model" in err
    shutil.copytree(tiny_model, own / "model")
    assert told(winnow, own / "run", "a.parquet", 0)["tokens"]
    (own / "model/tokenizer_config.json").write_text("{}")
    _, _, err = winnow("show", own / "run", "a.parquet", 0)
    assert f"the tokenizer in {own}/model is no longer the one of this run" in err


def test_shades_on_a_terminal(winnow, made, monkeypatch):
    out = io.StringIO()
    settings = {"force_terminal": True, "color_system": "truecolor", "width": 80}
    monkeypatch.setattr(screen, "data", lambda: Console(file=out, **settings))
    code, _, err = winnow("show", made / "run", FILE, 0)
    assert (code, err) == (0, "")
    assert "-ln p of a token:" in out.getvalue()
    assert "\x1b[30;48;2;255;" in out.getvalue()
    monkeypatch.setattr(show, "MOST_CHARACTERS", 5)
    winnow("show", made / "run", FILE, 0)
    assert "more characters: pipe the output to see all of it" in out.getvalue()
