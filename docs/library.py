"""From a list of texts to scores, a run, a report, a picture and a cut.

    python docs/library.py MODEL FOLDER      (a Hugging Face model; where to write)

docs/library.md is made from this file by `make schemas`; a test runs it.
"""

import random
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import altair as alt
import polars as pl

from pipeline import Scorer, build_report, compare_runs, filter_run, read_scores


def main(model: str, folder: Path) -> None:
    # ## Texts
    #
    # `Scorer` scores in this process, without Ray: a row per text, in order. Its settings are
    # those of `winnow score`, with the same names and defaults; a text that has no score has a
    # status that says why, and null metrics.
    texts = ["The cat sat on the mat.", "mat the on. sat Cat The", "", None]
    with Scorer(model, dtype="float32") as scorer:
        scores = scorer.score(texts)
    print(scores.select("status", "num_tokens", "nll", "perplexity", "bits_per_byte"))

    # Polars and pandas Series and Arrow arrays are scored as lists are; a value that is missing has
    # the status `null`. A table goes in and comes out with the score columns added, Polars or
    # Arrow: `scorer.score_table(table, "text")`. A pandas frame takes the columns that you want:
    # `frame["bits_per_byte"] = scorer.score(frame["text"])["bits_per_byte"].to_numpy()`.
    #
    # `score` prints no progress. Where it would take minutes, score a hundred texts at a time,
    # `for at in tqdm(range(0, len(texts), 100)): parts.append(scorer.score(texts[at : at + 100]))`,
    # and take `pl.concat(parts)`: when you interrupt it, `parts` has what is done. One text has no
    # parts: a book takes its tokens at the speed that `winnow plan` measures, and an interrupt
    # leaves nothing of it, but the scorer as it was. To see it advance, score its chapters.
    #
    # A model's memory is freed when its scorer is closed, or once nothing holds it any more; where
    # several are open in one process, that of all with the last. So close a scorer before you make
    # the next, and before you run its cell again.

    # ## A corpus
    #
    # Anything larger becomes a run: resumable, on every GPU, one row of scores per document.
    # Here the corpus is Python's own help on its topics beside seeded noise, as Parquet.
    prose = [text[:400] for text in topics.values()]
    draw = random.Random(0)
    noise = ["".join(draw.choices("abcdefghij \n0123", k=200)) for _ in range(20)]
    corpus = pl.DataFrame(
        {
            "text": prose + noise,
            "source": ["prose"] * len(prose) + ["noise"] * len(noise),
        }
    )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    corpus.write_parquet(folder / "data" / "corpus.parquet")
    run = folder / "runs" / "first"
    winnow = Path(sys.executable).with_name("winnow")
    command = [winnow, "score", folder / "data", "--out", run, "--model", model]
    subprocess.run([*command, "--carry", "source"], check=True)

    # ## Scores and figures
    #
    # `read_scores` gives a Polars LazyFrame over the run's parts, checked against their
    # checksums as they are read. `build_report` has what the report page shows, typed: a notebook
    # shows the page itself, `print` its tables, and `out=` writes it. So does `compare_runs`.
    by_surprise = read_scores(run).sort("bits_per_byte", descending=True, nulls_last=True)
    surprising = by_surprise.head(5).collect()
    print(surprising.select("file", "row", "source", "bits_per_byte"))
    report = build_report(run, by="source")
    for group in report.groups["source"]:
        print(group.value, group.figures.num_documents, group.figures.corpus_perplexity)

    # ## A picture
    #
    # The scores are a table like any other, so any plotting library will do.
    chart = (
        alt.Chart(read_scores(run).select("source", "bits_per_byte").collect())
        .mark_bar()
        .encode(
            alt.X("bits_per_byte", bin=alt.Bin(maxbins=40), title="bits per byte"),
            alt.Y("count()", title="documents"),
            color="source",
        )
        .properties(width=520, height=200)
        .configure_axis(labelFlush=False)
    )
    chart.save(folder / "library.png", scale_factor=2)

    # ![Bits per byte of prose and noise: the noise lies apart](library.png)

    # ## A cut
    #
    # Without `out`, `filter_run` only counts; with it, it writes the corpus that is left. The
    # settings are those of `winnow filter`.
    cut = filter_run(run, percentile=(5, 80))
    print(cut.after.documents, "of", cut.before.documents, "documents would stay")
    filter_run(run, percentile=(5, 80), out=folder / "kept")

    # ## Two runs
    #
    # `compare_runs` takes the baseline first; here a run beside itself, so nothing moved.
    comparison = compare_runs([run, run], by="source")
    for shift in comparison.shifts:
        print(shift.run, shift.overall.changes["bits_per_byte"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
