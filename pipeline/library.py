"""Scoring without a run: texts and tables in, the same score columns out, in this process.

Owns what Python users see, and nothing of how a score comes about: a text goes the way of a run
(scoring/stream.py), from preparing to fold, and its score is the one that a run gives it.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self, Unpack, overload

import polars as pl
import pyarrow as pa

from pipeline.corpus.in_memory import (
    arrow_column,
    check_column,
    check_text,
    documents_given,
    names_of,
)
from pipeline.corpus.reader import batches_of, documents_of_column
from pipeline.engine.backends import backend_for, backend_of
from pipeline.engine.protocol import Engine, EngineSettings
from pipeline.engine.rules import ScoringRules
from pipeline.errors import CorpusError, EngineError, require_modules
from pipeline.planning.identity import asked_engine, engine_settings, require_model
from pipeline.runs.store import RunStore
from pipeline.schema import SCORE_FIELDS, TOKEN_FIELDS, Document
from pipeline.scoring.copies import RecentTexts
from pipeline.scoring.rows import score_columns
from pipeline.scoring.stream import score_documents
from pipeline.settings.arguments import checked
from pipeline.settings.config import ScoringSettings, make_scoring_config


class Scorer:
    """A causal language model that scores texts in this process, without Ray.

    The engine starts once, here, and ends with the `with` block, at `close`, or once nothing holds
    the scorer any more; while others are open, its memory is freed with the last. `model` is a
    Hugging Face folder or a name on the hub; settings are those of a scoring run, with the same
    names and defaults. Raises ConfigError, ModelError, and MissingExtraError where no engine is
    installed.

    >>> from pipeline import Scorer
    >>> scorer = Scorer("HuggingFaceTB/SmolLM2-135M", dtype="float32", window_tokens=512)
    >>> scorer.rules.prefix, scorer.rules.window_tokens
    ('bos', 512)

    On a GPU the engine may start processes of its own: a script needs `if __name__ == "__main__":`.
    """

    @checked
    def __init__(self, model: str | Path, **settings: Unpack[ScoringSettings]) -> None:
        config = make_scoring_config(str(model), settings)
        backend = backend_for(config.model)
        require_modules("Scorer", *backend.modules)
        found = backend.load_model(config, digest_weights=False)
        rules = backend.plan_rules(config, found)
        tokens = [name for name in TOKEN_FIELDS if getattr(config, name)]
        self._start(asked_engine(config, found, rules), rules, tokens, dedup=config.dedup)

    @classmethod
    @checked
    def of_run(cls, run: str | Path, *, trust_remote_code: bool = False) -> Self:
        """The model and the rules of a run: a text has the score that it has there, within the
        noise of the dtype, with `token_logprobs` and `token_ids`.

        Raises RunError where there is no run, ModelError if the model in its folder is another one
        now or cannot be scored with, MissingExtraError where no engine is installed.

        >>> scorer = Scorer.of_run("runs/first")
        >>> scorer.score(["The cat sat on the mat."])["token_logprobs"].list.len()[0] > 5
        True
        """
        manifest = RunStore(str(run)).require_manifest()
        require_modules("Scorer", *backend_of(manifest.rules).modules)
        require_model(manifest, to_score=True, trust_remote_code=trust_remote_code)
        scorer = cls.__new__(cls)
        scorer._start(engine_settings(manifest), manifest.rules, list(TOKEN_FIELDS))
        return scorer

    def _start(
        self,
        settings: EngineSettings,
        rules: ScoringRules,
        tokens: list[str],
        *,
        dedup: bool = True,
    ) -> None:
        backend = backend_of(rules)
        self.rules = rules
        """What the settings come to for this model, nothing left automatic."""
        trusted = settings.trust_remote_code
        self._tokenizer = backend.tokenizer(settings.folder, trust_remote_code=trusted)
        self._model = settings.folder
        self._vocab_size = settings.vocab_size
        self._dedup = dedup
        self._reading = set[int]()
        self._schema = pa.schema([*SCORE_FIELDS, *(TOKEN_FIELDS[name] for name in tokens)])
        self._engine: Engine | None = backend.engine(settings)

    def score(self, texts: Iterable[str | None]) -> pl.DataFrame:
        """Score texts: a row each, in order, with the score columns of a run.

        `nll`, `nll_std` and `max_nll` are in nats, `min_k_logprob` is a natural logarithm,
        `bits_per_token` and `bits_per_byte` are in bits; sizes are of the text: UTF-8 bytes, code
        points, white-space words. The first token is scored given the prefix token; a text longer
        than a window is scored in rolling windows, each token once, as lm-evaluation-harness does.
        A row without a score (`status` is null, empty, skipped or error) has null metrics. With
        `token_logprobs` and `token_ids` a list of shape [num_tokens] each.

        >>> scores = scorer.score(["The cat sat on the mat.", "mat the on. sat Cat The", None])
        >>> scores["status"].to_list()
        ['ok', 'ok', 'null']
        >>> scores["bits_per_byte"][0] < scores["bits_per_byte"][1]
        True

        `texts` may be whatever has texts in an order: a list, a generator, a Polars or pandas
        Series, an Arrow or NumPy array. None, and what a Series or an Arrow array has for a missing
        value, is a row of status null. Raises CorpusError for what is not text, EngineError if the
        engine fails.
        """
        return pl.DataFrame(self._score(documents_given(texts)))

    @overload
    def score_table(self, table: pl.DataFrame, text_column: str = "text") -> pl.DataFrame: ...
    @overload
    def score_table(self, table: pa.Table, text_column: str = "text") -> pa.Table: ...
    def score_table(self, table: Any, text_column: str = "text") -> Any:
        """The same table with the score columns of `score` added, rows in the same order.

        A Polars DataFrame gives a DataFrame, a pyarrow Table a Table. Shape [n, k] becomes
        [n, k + 19], and one more for each of `token_logprobs` and `token_ids`.

        >>> import polars as pl
        >>> table = pl.DataFrame({"lang": ["en", "en"], "text": ["One, two, three, four.", ""]})
        >>> scorer.score_table(table).select("lang", "text", "status", "num_tokens")["status"][1]
        'empty'

        Raises CorpusError if the column is not there or not text, or if a score column would take
        the name of one that is; EngineError if the engine fails.
        """
        names = names_of(table)
        check_column(text_column, names)
        column = arrow_column(table[text_column])
        if column is None:
            raise CorpusError(f"column '{text_column}' holds Python objects, not text")
        check_text(column.type, f"column '{text_column}'")
        if taken := [name for name in self._schema.names if name in names]:
            several = ", ".join(f"'{name}'" for name in taken)
            raise CorpusError(
                f"the table already has {'a column' if len(taken) == 1 else 'columns'} {several}, "
                "which the scores have too",
                hint="rename or drop what it has, or score a list of the texts",
            )
        scores = self._score(documents_of_column(column))
        if isinstance(table, pl.DataFrame):
            return table.hstack(pl.DataFrame(scores))
        for field, values in zip(scores.schema, scores.columns, strict=True):
            table = table.append_column(field, values)
        return table

    def close(self) -> None:
        """Stop the engine and let go of the model; closing again does nothing.

        The memory is free once no other scorer of this process is open: that of several is freed
        with the last.
        """
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        self._running()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = ", closed" if self._engine is None else ""
        return f"<Scorer of {self._model}, {self.rules.dtype}{closed}>"

    def __reduce__(self) -> str:
        raise TypeError("a Scorer holds an engine, which cannot be copied or sent: make another")

    def _running(self) -> Engine:
        if self._engine is None:
            raise EngineError(
                "the scorer is closed: its with block ended, or close was called",
                hint="make a new Scorer; one with block may hold any number of calls",
            )
        return self._engine

    def _score(self, documents: Iterable[Document]) -> pa.Table:
        if threading.get_ident() in self._reading:
            raise EngineError(
                "score was called by what gives another call of the same scorer its texts",
                hint="score those texts before, or with a Scorer of their own",
            )
        recent = RecentTexts(token_columns=len(self._schema) > len(SCORE_FIELDS))
        batches = score_documents(
            batches_of(self._read(documents)),
            self.rules,
            engine=self._running(),
            tokenizer=self._tokenizer,
            recent=recent if self._dedup else None,
            vocab_size=self._vocab_size,
        )
        with closing(batches):
            tables = [
                pa.table(score_columns(batch, scores, self._schema), self._schema)
                for batch, scores in batches
            ]
        return pa.concat_tables(tables) if tables else self._schema.empty_table()

    def _read(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents. While one is awaited, which may run a user's code, the thread is known:
        a call from there would wait for the call that waits for it."""
        remaining, thread = iter(documents), threading.get_ident()
        while True:
            self._reading.add(thread)
            try:
                document = next(remaining, None)
            finally:
                self._reading.discard(thread)
            if document is None:
                return
            yield document
