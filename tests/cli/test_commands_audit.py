"""`winnow audit`: exit codes, what goes where, and every mistake in one line."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from jobs.nights import audit as module
from jobs.nights.night import load_night
from tests.support.audits import Audits, Scorer, Silent

NIGHT = "2026-01-05"
BOUND = '[[audit.require]]\nmetric = "corpus_perplexity"\nmax = '


def stopped(config, listener):
    """Begin to score, and stop."""
    Scorer(give_up=1)(config, listener)
    raise AssertionError("stopped")


@pytest.fixture
def audits(tmp_path: Path, tiny_model: Path, monkeypatch) -> Audits:
    monkeypatch.setattr(module, "run_night", partial(module.run_night, score=Scorer()))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = Audits(tmp_path, tiny_model)
    found.write("a", [f"document {i} " + "word " * i for i in range(9)])
    return found


@pytest.fixture
def winnow(winnow):
    """arguments of `winnow audit` -> (exit code, stdout, stderr)."""
    return partial(winnow, "audit")


def test_a_night_that_passes(audits, winnow):
    audits.configure('by = "source"', extra=BOUND + "1000")
    code, out, err = winnow(audits.file, "--night", NIGHT)
    assert code == 0
    assert "books" in out
    assert "pass  corpus_perplexity, max 1000" in out
    assert f"Night {NIGHT}: pass" in out
    assert f"Wrote {audits.runs / NIGHT}/audit.json" in err
    assert "Failed" not in err


def test_groups_are_shown_from_the_least_to_the_most_surprising(audits, winnow):
    sources = ["large"] * 20 + ["middle"] * 10 + ["small"] * 5
    audits.write("a", [f"{'~z'[i % 2] * 40} {name}" for i, name in enumerate(sources)], sources)
    audits.configure('by = "source"')
    _, out, _ = winnow(audits.file, "--night", NIGHT)
    groups = json.loads((audits.runs / NIGHT / "audit.json").read_text())["groups"]["source"]
    found = {name: part["figures"]["document_perplexity"] for name, part in groups.items()}
    shown = [
        line.split()[0]
        for line in out.splitlines()
        if line.split()[:1] and line.split()[0] in found
    ]
    assert shown == sorted(found, key=found.__getitem__)
    assert shown != list(found), "which are the largest first"


def test_a_night_that_fails_says_so_again(audits, winnow):
    audits.configure(extra=BOUND + "1")
    for said in ("Wrote ", "This night is already decided; delete "):
        code, out, err = winnow(audits.file, "--night", NIGHT)
        assert code == 1
        assert f"Night {NIGHT}: fail" in out
        assert "Failed: corpus_perplexity is " in err
        assert said in err


def test_a_decided_night_says_what_is_required_since(audits, winnow):
    """Its verdict stays: the next nights were compared by it."""
    expression = "[[audit.require]]\nfail_if = 'any(source, documents < 1)'\n"
    audits.configure(extra=f"{BOUND}1000\n{expression}")
    winnow(audits.file, "--night", NIGHT)
    changed = f"Warning: {audits.file} has changed since this night was decided: "
    code, _, err = winnow(audits.file, "--night", NIGHT)
    assert (code, changed in err, "is already decided" in err) == (0, False, True)

    audits.configure(extra=f"{expression}{BOUND}1000")
    assert changed not in winnow(audits.file, "--night", NIGHT)[2], "in another order"

    audits.configure(extra=BOUND + "1")
    code, out, err = winnow(audits.file, "--night", NIGHT)
    assert (code, f"Night {NIGHT}: pass" in out) == (0, True)
    assert (
        f"{changed}new: corpus_perplexity, max 1; gone: corpus_perplexity, max 1000; "
        "gone: fail if any(source, documents < 1)\n"
    ) in err
    verdict = audits.runs / NIGHT / "audit.json"
    assert f"delete {verdict}, then winnow audit {audits.file} --night {NIGHT}" in err
    verdict.unlink()
    code, out, err = winnow(audits.file, "--night", NIGHT)
    assert (code, f"Night {NIGHT}: fail" in out, changed in err) == (1, True, False)
    assert "Failed: corpus_perplexity is " in err

    winnow(audits.file, "--night", "2026-01-06")
    audits.configure(f'baseline = "{audits.runs / NIGHT}"', extra=BOUND + "1")
    said = f"{changed}baseline last -> {audits.runs / NIGHT}\n"
    assert said in winnow(audits.file, "--night", "2026-01-06")[2]
    assert changed not in winnow(audits.file, "--night", NIGHT)[2], "it is the baseline itself"
    verdict.unlink()
    _, out, _ = winnow(audits.file, "--night", NIGHT)
    assert "The baseline in [audit] is this night itself: nothing can differ from it." in out


def test_a_decided_night_says_which_settings_changed_since(audits, winnow):
    """Groups are decided anew from the scores that are there; other rows and other scores are not,
    and are never judged as if they were what the file asks for."""
    changed = f"Warning: {audits.file} has changed since this night was decided: "
    anew = f"winnow audit {audits.file} --night {NIGHT}"
    folder = audits.runs / NIGHT
    winnow(audits.file, "--night", NIGHT)

    audits.configure('by = "source"')
    err = winnow(audits.file, "--night", NIGHT)[2]
    assert f"{changed}by (none) -> source\n" in err
    assert f"to decide it again without scoring: delete {folder}/audit.json, then {anew}" in err

    audits.configure("sample_rows = 5", score="context_tokens = 2", extra=BOUND + "1000")
    err = winnow(audits.file, "--night", NIGHT)[2]
    said = "new: corpus_perplexity, max 1000; context_tokens 1 -> 2; sample_rows all -> 5\n"
    assert changed + said in err
    assert f"Hint: to score and decide it again: delete {folder}, then {anew}\n" in err
    (folder / "audit.json").unlink()
    code, out, err = winnow(audits.file, "--night", NIGHT)
    assert (code, out) == (2, "")
    other = f"{folder} was scored with other settings: context_tokens 1 -> 2; sample_rows all -> 5"
    assert other in err
    assert f"or delete {folder}, to score this night again" in err
    assert not (folder / "audit.json").exists()

    shutil.rmtree(folder)
    winnow(audits.file, "--night", NIGHT)
    moved = audits.corpus.rename(audits.folder / "moved")
    err = winnow(audits.file, "--night", NIGHT, "--corpus", moved)[2]
    assert changed not in err, "the same corpus, at another place"
    for audit, said in [
        ("sample_rows = 6", "sample_rows 5 -> 6"),
        ("sample_rows = 5\nseed = 1", "seed 0 -> 1"),
        ("", "sample_rows 5 -> all"),
    ]:
        (folder / "audit.json").unlink(missing_ok=True)
        audits.configure(audit, score="context_tokens = 2")
        code, _, err = winnow(audits.file, "--night", NIGHT)
        assert (code, f"was scored with other settings: {said}\n" in err) == (2, True)


def test_a_night_that_was_stopped(audits, winnow, monkeypatch):
    """The next night says that it has no verdict; what has changed since is no reason for an --out
    that there is not."""
    audits.write("b", [f"other document {i} " + "word " * i for i in range(9)])
    with pytest.raises(AssertionError):
        module.run_night.func(load_night(audits.file, NIGHT), Silent(), score=stopped)
    _, out, _ = winnow(audits.file, "--night", "2026-01-06")
    assert (
        f"Stopped before a verdict: {NIGHT}; "
        f"winnow audit {audits.file} --night {NIGHT} goes on there."
    ) in " ".join(out.split())
    _, out, _ = winnow(audits.file, "--night", "2026-01-07")
    assert "Stopped before" not in out, "it was said"

    audits.configure('by = "source"', score='id_column = ""')
    code, _, err = winnow(audits.file, "--night", NIGHT)
    assert (code, "holds another run: id_column" in err) == (2, True)
    hint = f"Hint: delete {audits.runs / NIGHT} to begin this night anew; or leave it: the next"
    assert hint in err
    audits.configure('by = "source"')
    audits.write("a", ["another text"])
    code, _, err = winnow(audits.file, "--night", NIGHT)
    assert (code, "the corpus has changed since" in err, hint in err) == (2, True, True)


@pytest.mark.parametrize("give_up", [0, 1])
def test_an_unreadable_file_comes_with_one_instruction(audits, winnow, monkeypatch, give_up):
    """Whatever else is missing, and however often the night is asked for."""
    (audits.corpus / "torn.parquet").write_bytes(b"PAR1 torn")
    given = partial(module.run_night.func, score=Scorer(give_up=give_up))
    monkeypatch.setattr(module, "run_night", given)
    for said in ("Wrote ", "Wrote " if give_up else "This night is already decided.\n"):
        code, out, err = winnow(audits.file, "--night", NIGHT)
        assert (code, said in err) == (1, True)
        assert f"delete {audits.runs / NIGHT} and audit this night again" in " ".join(out.split())
        assert "run the same command again" not in out + err
        assert f"delete {audits.runs / NIGHT}/audit.json" not in out + err
        assert ("shards were given up\n" in err) == bool(give_up)


def test_a_night_that_only_tells(audits, winnow):
    audits.configure(extra=BOUND + "1")
    code, out, err = winnow(audits.file, "--night", NIGHT, "--exit-zero")
    assert code == 0
    assert f"Night {NIGHT}: fail" in out
    assert "Failed: corpus_perplexity is " in err


def test_json_is_the_record(audits, winnow):
    code, out, err = winnow(audits.file, "--night", NIGHT, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((audits.runs / NIGHT / "audit.json").read_text())
    assert "Reporting" in err


def test_a_webhook_that_is_not_there_is_a_warning(audits, winnow, monkeypatch):
    monkeypatch.setenv("HOOK", "http://127.0.0.1:1/T0s3cr3t")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("jobs.nights.webhook.FIRST_WAIT_SECONDS", 0.0)
    audits.configure(extra='[audit.webhook]\nurl_env = "HOOK"')
    code, out, err = winnow(audits.file, "--night", NIGHT, "--json")
    assert code == 0
    assert "Warning: the webhook call failed: it cannot be reached: Connection refused" in err
    assert json.loads(out)["webhook"] == {
        "delivered": False,
        "attempts": 3,
        "error": "it cannot be reached: Connection refused",
    }
    assert "T0s3cr3t" not in out + err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (BOUND + "1\nby = 'lang'", "by in [[audit.require]] 1 of"),
        ('[audit.webhook]\nurl_env = "WINNOW_NOT_SET"', "WINNOW_NOT_SET, which is not set"),
        ("[schedule]\ncron = '0 3 * * *'\ntime_zone = 'Mars'", "no such time zone"),
        ("[audi]\n", "unknown table 'audi'"),
    ],
)
def test_mistakes(audits, winnow, extra, message):
    audits.configure(extra=extra)
    code, out, err = winnow(audits.file)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert message in err
    assert "Traceback" not in err
    assert not audits.runs.exists()


def test_no_such_file(winnow, tmp_path):
    code, _, err = winnow(tmp_path / "none.toml")
    assert code == 2
    said, hint = err.splitlines()
    assert said.startswith(f"Error: cannot read the configuration {tmp_path}/none.toml: No such")
    assert hint.startswith("Hint: write one: ")


@pytest.mark.parametrize("key", ["runs", "baseline"])
def test_offline_no_run_is_on_the_hub(audits, winnow, key, monkeypatch):
    monkeypatch.setattr("jobs.nights.night.Nights", None)  # which looks at the folder
    audits.configure(score="offline = true")
    text = audits.file.read_text().replace(f'runs = "{audits.runs}"\n', "")
    rest = "" if key == "runs" else f'runs = "{audits.runs}"\n'
    audits.file.write_text(f'{text}{rest}{key} = "hf://datasets/org/runs"\n')
    code, out, err = winnow(audits.file, "--night", NIGHT)
    assert (code, out) == (2, "")
    assert err.startswith("Error: hf://datasets/org/runs is on the hub, which is not contacted")
