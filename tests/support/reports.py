"""Made-up reports, and strings that a hostile corpus may bring into one."""

import re
from typing import Any

from pipeline.reports.best_cut import Cut, Removed
from pipeline.reports.coverage import Coverage
from pipeline.reports.distributions import Ecdf, Histogram, LengthBand
from pipeline.reports.duplicates import Cluster, Duplicates
from pipeline.reports.excerpts import Example
from pipeline.reports.figures import Figures
from pipeline.reports.groups import Group
from pipeline.reports.provenance import Provenance
from pipeline.reports.report import Report
from pipeline.reports.requirements import Finding
from pipeline.reports.separation import SeparatedLabel, Separation
from pipeline.reports.sorting import Factor, SortedGroup, SortsBy, rank_factors
from pipeline.reports.thresholds import Threshold
from pipeline.statistics.bootstrap import Interval
from tests.support.plans import make_manifest

HOSTILE = [
    "</script><script>document.title='PWNED'</script>",
    "<img src=x onerror=\"document.title='PWNED'\">",
    "<svg onload=\"document.title='PWNED'\">",
    '"><b onmouseover="document.title=\'PWNED\'">x</b>',
    "javascript:document.title='PWNED'",
    "{{7*7}}",
    "{% for x in [1] %}x{% endfor %}",
    "${7*7}",
    "<!--",
    "]]>",
    "&lt;already escaped&gt;",
    "| cell | break |",
    "`code`\n# heading",
    "[link](javascript:document.title='PWNED')",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "@SUM(1)",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\u202ereversed",
    "\x00nul",
    "a\tb\nc\rd",
    "../../etc/passwd",
    "%2e%2e%2f",
    "C:\\\\nul",
    "😀" * 50,
    "x" * 5000,
    "[bold red]markup[/bold red]",
    "[/bold red]",
    "back\\",
    "\x85\x0b\x0clines",
    "\u2028line\u2029paragraph",
    "",
    " ",
    "noncharacters \ufffe\uffff",
]
# Not allowed in XML, so neither in a chart's text; a drawing library may well give up on them.
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
XML_SAFE = [text for text in HOSTILE if not NOT_XML.search(text)]
NOT_XML_SAFE = [text for text in HOSTILE if NOT_XML.search(text)]


QUANTILES = {"p1": 1.0, "p5": 2.0, "p25": 3.0, "p50": 4.0, "p75": 5.0, "p95": 60.0, "p99": 700.0}


BANDS = [
    LengthBand(low=8, high=12, num_documents=3, p5=2.0, p25=3.0, p50=4.0, p75=5.0, p95=60.0),
    LengthBand(low=13, high=20, num_documents=1, p5=9.0, p25=9.0, p50=9.0, p75=9.0, p95=9.0),
]
CURVE = [
    Threshold(
        perplexity=2.0**i,
        documents_kept=i,
        tokens_kept=10 * i,
        bytes_kept=50 * i,
        documents_above=12 - i,
        tokens_above=120 - 10 * i,
        bytes_above=600 - 50 * i,
    )
    for i in range(1, 13)
]


def figures(**changes: Any) -> Figures:
    values: dict[str, Any] = {
        "num_documents": 1234,
        "num_scored": 1200,
        "num_tokens": 56789,
        "num_bytes": 234567,
        "nll": 100.0,
        "corpus_perplexity": 12.345,
        "document_perplexity": 23.456,
        "bits_per_token": 3.6,
        "bits_per_byte": 0.987,
        "quantiles": {"perplexity": QUANTILES, "bits_per_byte": QUANTILES},
    }
    return Figures(**values | changes)


def nothing_scored() -> Figures:
    ratios = ("corpus_perplexity", "document_perplexity", "bits_per_token", "bits_per_byte")
    return figures(
        num_scored=0,
        num_tokens=0,
        nll=0.0,
        quantiles={"perplexity": {}, "bits_per_byte": {}},
        **dict.fromkeys(ratios),
    )


def histogram(documents: dict[str, list[int]], by: str | None = "source") -> Histogram:
    bins = max(map(len, documents.values()))
    edges = [2.0**i for i in range(bins + 1)]
    return Histogram(metric="perplexity", by=by, edges=edges, documents=documents, tokens=documents)


def ecdf(names: list[str], by: str) -> Ecdf:
    at, below = [2.0, 20.0, 200.0], [0.0, 0.5, 1.0]
    return Ecdf(metric="perplexity", by=by, at=at, below=dict.fromkeys(names, below))


def separation(text: str) -> Separation:
    auc = {"perplexity": 0.9876, "bits_per_byte": None}
    labels = [SeparatedLabel(value=text, num_scored=7, auc=auc) for _ in range(2)]
    removed = [
        Removed(value=text, num_scored=9, documents_removed=3, num_tokens=90, tokens_removed=33)
    ]
    cut = Cut(perplexity=55.0853, high=55.0853, youden_j=0.75, removed=removed)
    return Separation(column=text, labels=labels, together=labels[0], cut=cut)


def sorts_by(text: str) -> SortsBy:
    ends = [
        SortedGroup(value=text, num_scored=600, perplexity=ppl, spread=0.5) for ppl in (5.6, 87.0)
    ]
    one = Factor(
        name=text,
        kind="column",
        num_scored=1200,
        num_groups=2,
        share=0.62,
        interval=Interval(low=0.59, high=0.65),
        eta_squared=0.621,
        groups=ends,
        num_constant=1,
        constant=[text],
    )
    return rank_factors([one], text)


def examples(text: str) -> list[Example]:
    scores = {"num_tokens": 12, "perplexity": 34.5, "bits_per_byte": 1.25}
    shown = Example(place="lowest", file=text, row=3, doc_id=text, excerpt=text, **scores)
    gone = Example(place="p50", file=text, row=4, doc_id=None, excerpt=None, missing=text, **scores)
    return [shown, gone]


def make_report(
    names: list[str] | None = None, *, by: str = "source", text: str = "plain", **changes: Any
) -> Report:
    """A report with groups `names` of the column `by`, and `text` wherever a run has free text."""
    manifest = make_manifest()
    names = ["web", "books"] if names is None else names
    values: dict[str, Any] = {
        "generated_at": "2026-01-02T03:04:05+00:00",
        "complete": True,
        "sample": None,
        "overall": figures(),
        "groups": {by: [Group(value=name, figures=figures()) for name in names]},
        "histograms": [histogram({name: [1, 2, 3] for name in names}, by)] if names else [],
        "ecdfs": [ecdf(names, by)] if names else [],
        "sorts_by": sorts_by(text),
        "lengths": BANDS,
        "thresholds": CURVE,
        "duplicates": Duplicates(
            num_documents=1200,
            num_distinct=1100,
            num_copies=100,
            copied_tokens=5000,
            copied_bytes=20000,
            largest=[Cluster(num_documents=9, num_tokens=8, num_bytes=77, file=text, row=5)],
        ),
        "examples": examples(text),
        "separation": separation(text),
        "requirements": [
            Finding(expression=text, failed=True, judged=True, values={text: 748.25}),
            Finding(expression="mean(nll) > 1", failed=True, judged=False, values={"mean": None}),
        ],
        "coverage": Coverage(
            num_rows_planned=1234,
            num_shards=3,
            num_shards_done=3,
            statuses={"ok": 1200, "null": 30, "error": 4},
            errors={text: 4},
            unreadable_files={text: text},
            given_up=[{"shard": 1, "reason": text}],
        ),
        "provenance": Provenance(
            run=text,
            run_id=manifest.run_id,
            corpus=text,
            created_at=manifest.created_at,
            finished_at=None,
            model=manifest.model.model_copy(update={"name": text, "revision": text}),
            rules=manifest.rules,
            fingerprint={"weights": "a" * 64, "tokenizer": "b" * 64},
            versions={"vllm": text},
            estimated_tokens=50_000,
            scored_tokens=56_789,
            wall_seconds=3.0,
            tokens_per_second=1234.5,
            documents_per_second=12.5,
            engine_idle_share=0.0625,
            mfu=0.375,
            num_rows_copied=3,
            verification=None,
        ),
    }
    return Report(**values | changes)


def hostile_report(text: str) -> Report:
    """The string wherever a string of the corpus or the run can be."""
    return make_report([text, "web"], by=text, text=text)
