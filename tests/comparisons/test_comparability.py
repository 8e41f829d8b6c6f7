"""pipeline/comparisons/comparability.py: what is asked, and what is refused with a reason."""

import pytest

from pipeline.comparisons.comparability import (
    TOKENIZERS_DIFFER,
    files_changed,
    recognise,
    short_names,
)
from pipeline.errors import RunError
from tests.support.made_runs import row, write_run

ONE = {"a.parquet": [row(5, 5.0, 9)] * 3}
OTHER = {"b.parquet": [row(5, 5.0, 9)] * 4}
BASE: dict = {}
SECOND = {"weights": "b" * 64}
TOKENIZER = {"tokenizer": "u" * 64, "model_config": "d" * 64, "weights": "b" * 64}


@pytest.fixture
def ask(tmp_path):
    """(files, settings) a run -> the question."""

    def do(*runs, partial=False):
        stores = [
            write_run(tmp_path / str(i), files, **settings)
            for i, (files, settings) in enumerate(runs)
        ]
        return recognise(stores, partial=partial)

    return do


KINDS = {
    "the same again": ("repeats", [(ONE, BASE), (ONE, BASE)]),
    "a copy elsewhere": (
        "repeats",
        [(ONE, BASE), (ONE, {"corpus": "/b", "versions": {"a.parquet": 9}})],
    ),
    "other dtype": ("repeats", [(ONE, BASE), (ONE, {"dtype": "bfloat16"})]),
    "other corpora": ("datasets", [(ONE, BASE), (OTHER, {"corpus": "/b"})]),
    "other columns of one corpus": ("datasets", [(ONE, BASE), (ONE, {"text_column": "title"})]),
    "other weights": ("checkpoints", [(ONE, BASE), (ONE, SECOND)]),
    "other weights, a copy": ("checkpoints", [(ONE, BASE), (ONE, SECOND | {"corpus": "/b"})]),
    "other tokenizer": ("models", [(ONE, BASE), (ONE, TOKENIZER)]),
    "a file more": ("nightly", [(ONE, BASE), (ONE | OTHER, BASE)]),
    "a file rewritten": ("nightly", [(ONE, BASE), (ONE, {"versions": {"a.parquet": 2}})]),
    "three nights": ("nightly", [(ONE, BASE), (ONE | OTHER, BASE), (OTHER, BASE)]),
    "both": ("matrix", [(ONE, BASE), (OTHER, TOKENIZER | {"corpus": "/b"})]),
    "two by two": (
        "matrix",
        [(ONE, BASE), (ONE, SECOND), (OTHER, {"corpus": "/b"}), (OTHER, SECOND | {"corpus": "/b"})],
    ),
}


@pytest.mark.parametrize(("kind", "runs"), KINDS.values(), ids=KINDS)
def test_what_is_asked(ask, kind, runs):
    assert ask(*runs).kind == kind


REFUSED = {
    "window": {"window_tokens": 128},
    "context": {"context_tokens": 8},
    "prefix": {"prefix": "eos", "prefix_token_id": 1},
    "long documents": {"long_documents": "truncate"},
}


@pytest.mark.parametrize("rules", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("files", [ONE, OTHER], ids=["one dataset", "two"])
def test_one_model_by_other_rules_is_refused_by_name(ask, files, rules):
    with pytest.raises(RunError) as refused:
        ask((ONE, BASE), (files, rules))
    assert "(one model)" in str(refused.value)
    for key, value in rules.items():
        assert key in str(refused.value)
        assert f"-> {value}" in str(refused.value)
    assert "score one of the two again" in refused.value.hint


def test_every_pair_of_one_model_is_checked(ask):
    with pytest.raises(RunError, match=r"1 and 2 \(one model\) were scored with different"):
        ask((ONE, BASE), (ONE, SECOND), (ONE, SECOND | {"window_tokens": 9}))


def test_models_may_differ_in_windows_but_not_in_what_is_scored(ask):
    question = ask((ONE, BASE), (ONE, TOKENIZER | {"window_tokens": 128, "prefix": "eos"}))
    notes = "\n".join(question.notes)
    assert "window_tokens differs (0 64, 1 128)" in notes
    assert "prefix differs (0 bos, 1 eos)" in notes
    with pytest.raises(RunError, match=r"two models.*long_documents window -> skip"):
        ask((ONE, BASE), (ONE, TOKENIZER | {"long_documents": "skip"}))


def test_dtype_is_a_note(ask):
    (note,) = ask((ONE, BASE), (ONE, {"dtype": "bfloat16"})).notes
    assert note.startswith("dtype differs (0 float32, 1 bfloat16)")


def test_what_does_not_change_a_compared_figure_is_no_matter(ask):
    assert ask((ONE, BASE), (ONE, {"min_k_percent": 5.0})).notes == []


def test_limits_are_a_note(ask):
    (note,) = ask((ONE, BASE), (ONE, {"limit": 2})).notes
    assert "(0 all, 1 2)" in note


def test_tokenizers_are_a_note(ask):
    assert TOKENIZERS_DIFFER in ask((ONE, BASE), (ONE, TOKENIZER)).notes
    assert ask((ONE, BASE), (ONE, SECOND)).notes == []


def test_an_unfinished_run_is_refused_or_named(ask):
    runs = [(ONE, BASE), (ONE, {"finished": False})]
    with pytest.raises(RunError, match="/1 is not finished") as refused:
        ask(*runs)
    assert "partial" in refused.value.settings
    question = ask(*runs, partial=True)
    assert [subject.complete for subject in question.subjects] == [True, False]
    assert any("is not complete" in note for note in question.notes)


def test_one_run_is_no_comparison(ask):
    with pytest.raises(RunError, match="one run alone"):
        ask((ONE, BASE))


def test_files_are_counted_by_what_became_of_them(ask):
    before = {name: [row(5, 5.0, 9)] * 2 for name in ("kept", "gone", "longer", "edited")}
    after = {"kept": before["kept"], "longer": ONE["a.parquet"], "edited": before["edited"]}
    after |= {"new": before["kept"], "newer": before["kept"]}
    question = ask((before, BASE), (after, {"versions": {"edited": 5}}))
    found = files_changed(*question.subjects)
    assert (found.added, found.removed, found.changed, found.unchanged) == (2, 1, 2, 1)
    question = ask((ONE, BASE), (ONE, {"corpus": "/elsewhere"}))
    assert files_changed(*question.subjects) is None


def test_copies_and_changed_files_are_of_one_place(ask):
    question = ask(
        (ONE, BASE),
        (ONE, {"corpus": "/copy"}),
        (OTHER, BASE),
        (OTHER, {"corpus": "/copy"}),
        ({"c": ONE["a.parquet"]}, {"corpus": "/other"}),
    )
    assert [subject.place for subject in question.subjects] == [0, 0, 0, 0, 4]
    assert [subject.dataset for subject in question.subjects] == [0, 0, 2, 2, 4]


NAMES = {
    "last part": (["/runs/a", "/runs/b"], ["a", "b"]),
    "as many as needed": (["/x/run", "/y/run", "/y/c"], ["x/run", "y/run", "c"]),
    "one inside the other": (["/run", "/a/run"], ["/run", "a/run"]),
    "stores": (["s3://one/run", "s3://two/run"], ["one/run", "two/run"]),
    "a slash at the end": (["/runs/a/"], ["a"]),
    "root": (["/"], ["/"]),
}


@pytest.mark.parametrize(("locations", "names"), NAMES.values(), ids=NAMES)
def test_names_tell_apart(locations, names):
    assert list(short_names(locations).values()) == names


def test_a_run_twice_has_two_names(tmp_path):
    store = write_run(tmp_path / "run", ONE)
    question = recognise([store, store, store])
    assert [subject.name for subject in question.subjects] == ["run", "run (2)", "run (3)"]
    assert {subject.model_name for subject in question.subjects} == {"tiny"}


def test_models_of_one_name_are_told_apart(ask):
    question = ask((ONE, BASE), (ONE, SECOND), (ONE, TOKENIZER | {"model": "org/big"}))
    assert [one.model_name for one in question.subjects] == [
        "tiny@aaaaaaaa",
        "tiny@bbbbbbbb",
        "big",
    ]
