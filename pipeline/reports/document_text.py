"""The text of a scored document and its tokens, or why they are not to be had.

Owns reading them back: a text from the corpus, which is shown only if it is the one that was
scored, and its tokens by the tokenizer that the run used, if it is still the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.identity import check_texts
from pipeline.corpus.reader import documents_of_column, open_file
from pipeline.engine.backends import backend_of
from pipeline.errors import UnreadableFileError, WinnowError, first_line, require_modules
from pipeline.planning.identity import require_model
from pipeline.runs.manifest import Manifest
from pipeline.schema import SCORED
from pipeline.scoring.token_spans import TokenSpan, merge_tokens
from pipeline.storage.filesystem import Root

NO_LOGPROBS = "the run has no log-probabilities of tokens"
ScoreText = Callable[[str], dict[str, Any]]
"""A text to its score row, with TOKEN_FIELDS: `Scorer.of_run` has it."""


def read_text(
    root: Root, manifest: Manifest, file: str, row: int, text_hash: int | None
) -> tuple[str | None, str | None]:
    """The text that was scored, or why it is not to be had."""
    name = manifest.text_column
    try:
        with open_file(root, file, [name]) as source:
            columns = [batch.column(0) for _, batch in source.rows_at(np.array([row]), [name])]
        if not columns:
            return None, f"{file} no longer has row {row}"
        check_texts(file, row, columns[0], pa.array([text_hash], pa.int64()))
    except UnreadableFileError as error:
        cause = error.__cause__ or error
        if isinstance(cause, FileNotFoundError):
            return None, f"{file} is no longer in {root.location}"
        return None, f"{file} cannot be read: {first_line(cause)}"
    except WinnowError as error:
        return None, str(error)
    (document,) = documents_of_column(pa.chunked_array(columns))
    if document.text is None:
        return None, "the row has no text" if document.error is None else document.error
    return document.text, None


def read_tokens(
    manifest: Manifest,
    text: str | None,
    found: dict[str, Any],
    score_text: ScoreText | None = None,
) -> tuple[list[TokenSpan] | None, str | None]:
    """The text in its tokens, or why they are not to be had.

    `score_text` is asked where the run did not store log-probabilities of tokens.
    """
    if found["status"] not in SCORED:
        return None, "the document has no score"
    if text is None:
        return None, "there is no text"
    try:
        if "token_logprobs" not in found:
            if score_text is None:
                return None, NO_LOGPROBS
            found = score_text(text)
        ids, offsets = _encode(manifest, text)
    except WinnowError as error:
        return None, str(error)
    # What stands in for a prefix is not scored; a document that was cut lacks its last tokens.
    logprobs = found["token_logprobs"]
    first = manifest.rules.first_scored(ids)
    end = first + len(logprobs)
    if end > len(ids) or found.get("token_ids") not in (None, ids[first:end]):
        return None, f"the tokenizer in {manifest.model.folder} splits the text in another way"
    aligned = [*[None] * first, *logprobs, *[None] * (len(ids) - end)]
    return merge_tokens(text, offsets, aligned), None


def _encode(manifest: Manifest, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and offsets by the run's own tokenizer. Raises ModelError, MissingExtraError."""
    require_modules("splitting a text into tokens", "transformers")
    folder = require_model(manifest, to_score=False).folder
    (encoded,) = backend_of(manifest.rules).tokenizer(folder).encode([text], offsets=True)
    assert encoded.offsets is not None
    return encoded.ids, encoded.offsets
