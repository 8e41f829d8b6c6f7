"""The gates that the pages show: each is run, held and not held, with the exit codes named."""

import json
import re
import shlex
from pathlib import Path

import pytest

from pipeline import compare_runs
from pipeline.errors import ConfigError
from tests.support.audits import Audits, Scorer
from tests.support.made_runs import row, unscored, write_run

ROOT = Path(__file__).parents[2]
PAGES = "".join(page.read_text() for page in (ROOT / "README.md", ROOT / "docs/scores.md"))
SHOWN = [
    shlex.split(line.split(" # ")[0])[1:]
    for line in dict.fromkeys(PAGES.splitlines())
    if re.match(r"winnow (report|compare) .*--fail-if", line)
]
(FAIL_IF,) = re.findall(r"`fail_if = '(.*?)'`", (ROOT / "docs/nights.md").read_text())
NIGHTS = ("2026-01-05", "2026-01-06")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def night(folder: Path, *, tokens: int = 10, nats: float = 20.0, **fingerprint):
    rows = [row(tokens, nats + i, 40, source=name) for i in range(6) for name in ("web", "books")]
    return write_run(folder, {"a": [*rows, unscored(source="web")]}, **fingerprint).location


def test_the_pages_show_a_gate_for_each():
    assert {arguments[0] for arguments in SHOWN} == {"report", "compare"}
    assert "any(" in FAIL_IF


@pytest.mark.parametrize("arguments", SHOWN, ids=" ".join)
def test_a_gate_of_the_pages(winnow, tmp_path, arguments):
    same = {"tokens": 2 * 10**5, "nats": 4e5}
    for name, own in (("first", same), ("monday", same), ("tuesday", same)):
        night(tmp_path / "runs" / name, **own)
    assert winnow(*arguments)[0] == 0
    for name, own in (("first", {}), ("monday", {}), ("tuesday", {"nats": 22.0})):
        night(tmp_path / "again" / "runs" / name, **own)
    moved = [one.replace("runs/", "again/runs/") for one in arguments]
    code, _, err = winnow(*moved)
    assert code == 1
    assert "FAILED: " in err
    assert arguments[arguments.index("--fail-if") + 1] in err


def test_the_gate_of_an_audit(tmp_path, tiny_model):
    audits = Audits(tmp_path, tiny_model)
    audits.write("a", [f"document {i} " + "word " * i for i in range(12)])
    audits.configure(extra=f"[[audit.require]]\nfail_if = '{FAIL_IF}'\n")
    first = audits.night(NIGHTS[0])
    assert (first.verdict, [check.state for check in first.checks]) == ("pass", ["skipped"])
    audits.write("a", [f"document {i} " + "word " * i for i in range(3)])
    second = audits.night(NIGHTS[1])
    assert (second.verdict, second.baseline.night) == ("fail", NIGHTS[0])
    [check] = second.checks
    assert (check.expression, check.outcome.failed, check.outcome.judged) == (FAIL_IF, True, True)
    assert {group.value for group in check.outcome.groups} == {"web", "books"}
    assert "decrease(documents) = 0.75" in second.reasons[0]
    written = json.loads((audits.runs / NIGHTS[1] / "audit.json").read_text())
    assert written["checks"][0]["outcome"]["groups"][0]["judged"] is True


MISTAKES = {
    "a figure": ("increase(tokns) > 5%", "at character 10: no figure 'tokns'"),
    "a column": ("mean(quality) > 5", "column 'quality'"),
    "a group": ('group(lang, "en", tokens) > 5', "names column 'lang', and"),
    "the grammar": ("tokens >", "at character 9: expected a figure or a number"),
    "a type": ("share(source == 3) > 1%", "at character 17: column 'source' is of type String"),
}


@pytest.mark.parametrize(("fail_if", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_an_audit_is_found_before_any_work(tmp_path, tiny_model, fail_if, message):
    audits = Audits(tmp_path, tiny_model)
    audits.write("a", ["one", "two"])
    audits.configure(extra=f"[[audit.require]]\nfail_if = '{fail_if}'\n")
    scorer = Scorer()
    with pytest.raises(ConfigError, match=message) as raised:
        audits.night(NIGHTS[0], scorer)
    assert str(raised.value).startswith("fail_if in [[audit.require]] 1 of ")
    assert (raised.value.exit_code, scorer.num_calls) == (2, 0)


def test_a_comparison_is_a_gate(winnow, tmp_path):
    one, two, three = (
        night(tmp_path / name, nats=nats)
        for name, nats in (("one", 20.0), ("two", 20.1), ("three", 26.0))
    )
    gate = ["--fail-if", "increase(bits_per_byte) > 5%", "--fail-if", "tokens > 1M"]
    code, out, err = winnow("compare", one, two, *gate)
    assert (code, "FAILED" in out + err) == (0, False)
    code, out, err = winnow("compare", one, two, three, *gate)
    assert code == 1
    assert "FAILED" in out
    failed = [line for line in err.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert failed[0].startswith("three: FAILED: increase(bits_per_byte) > 5%: bits_per_byte = ")
    assert winnow("compare", one, three, *gate, "--exit-zero")[0] == 0
    out = winnow("compare", one, two, three, *gate, "--json")[1]
    found = json.loads(out)["requirements"]
    assert [(one["run"], one["failed"]) for one in found].count(("three", True)) == 1
    assert len(found) == 4


def test_a_mistake_of_a_comparison(winnow, tmp_path):
    one, two = night(tmp_path / "one"), night(tmp_path / "two")
    code, out, err = winnow("compare", one, two, "--fail-if", "incrase(tokens) > 5%")
    assert (code, out) == (2, "")
    assert "no figure 'incrase'\n  incrase(tokens) > 5%\n  ^\n" in err
    assert "did you mean 'increase'?" in err
    code, _, err = winnow("compare", one, two, "--fail-if", "mean(pages) > 5%", "--exit-zero")
    assert code == 2
    assert f"{two}: cannot read the expression at character 6: no column 'pages'" in err


def test_a_comparison_across_tokenizers(tmp_path):
    one = night(tmp_path / "one")
    two = night(tmp_path / "two", tokenizer="u" * 64, weights="b" * 64, model="org/other")
    sources = [
        "increase(bits_per_byte) > 5%",
        "increase(document_bits_per_byte) > 5%",
        "increase(documents) > 5%",
        "corpus_perplexity > 100",
        "increase(corpus_perplexity) > 5%",
        "increase(p95(perplexity)) > 5%",
        "baseline(tokens) > 5",
        "psi(perplexity) > 5",
        "psi(bits_per_byte) > 5",
    ]
    found = compare_runs([one, two], fail_if=sources, resamples=100).requirements
    assert [finding.judged for finding in found] == [True] * 4 + [False] * 4 + [True]
    assert all("different tokenizers" in finding.reason for finding in found[4:8])


def test_psi_of_groups_is_the_comparisons(tmp_path):
    one, two = night(tmp_path / "one"), night(tmp_path / "two", nats=23.0)
    compared = compare_runs(
        [one, two], fail_if="any(source, psi(bits_per_byte) > 0)", resamples=100
    )
    assert compared.by == ["source"]
    groups = {group.value: group.shift for group in compared.shifts[0].groups["source"]}
    for group in compared.requirements[0].groups:
        psi = groups[group.value].distances["bits_per_byte"].psi
        assert group.values == {
            "psi(bits_per_byte)": psi.value,
            "psi(bits_per_byte) by chance": psi.by_chance,
        }
    assert len(compared.requirements[0].groups) == 2


@pytest.mark.parametrize("command", ["report", "compare"])
def test_an_expression_in_the_environment_may_have_blanks_and_several_are_lines(
    winnow, tmp_path, monkeypatch, command
):
    runs = [night(tmp_path / "one"), night(tmp_path / "two")][: 1 + (command == "compare")]
    asked = [command, *runs, "--no-text", "--json"]
    for variable, expressions in (
        ("tokens > 10k", ["tokens > 10k"]),
        (
            "\ntokens > 10k\nany(source, documents < 1)\n",
            ["tokens > 10k", "any(source, documents < 1)"],
        ),
    ):
        monkeypatch.setenv(f"WINNOW_{command.upper()}_FAIL_IF", variable)
        code, out, err = winnow(*asked)
        found = json.loads(out)["requirements"]
        assert [one["expression"] for one in found] == expressions, err
        assert code == 0
