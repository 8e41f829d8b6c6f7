"""A document in preparation: text to token ids to windows, and back to its score.

Owns what of a document is scored. Copies (copies.py) have no windows: they share an answer.
"""

from dataclasses import dataclass, field

import numpy as np

from pipeline.corpus.reader import Batch
from pipeline.engine.protocol import Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.schema import Document, DocumentScore, Logprobs, Status, Window
from pipeline.scoring.copies import Answer, RecentTexts, TokenList
from pipeline.scoring.fold import fold_document, unscored


@dataclass(slots=True)
class PreparedDocument:
    """A document in progress: its windows for the engine, and their log-probabilities."""

    document: Document
    score: DocumentScore | None = None
    """Set at once if there is nothing to score."""
    status: Status = "ok"
    scored_text: str = ""
    num_scored_bytes: int | None = None
    """Bytes of the scored text, if not all of them are scored."""
    num_skipped_tokens: int = 0
    scored_ids: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    logprobs: list[Logprobs | None] = field(default_factory=list)
    answer: Answer | None = None
    """The answer shared by documents with the same text, if copies are scored once."""
    is_copy: bool = False
    """Whether the answer is an earlier document's."""

    def token_logprobs(self) -> Logprobs:
        """Log-probabilities of all scored tokens, in document order; every window must be back."""
        parts = [part for part in self.logprobs if part is not None]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def token_list(self, name: str) -> TokenList:
        """The value of a token column, in its type; a copy's is that of the first."""
        if self.is_copy:
            assert self.answer is not None
            assert self.answer.token_lists is not None
            return self.answer.token_lists[name]
        made: TokenList = (
            np.array(self.scored_ids, dtype=np.int32)
            if name == "token_ids"
            else self.token_logprobs().astype(np.float32)
        )
        if self.answer is not None:
            self.answer.token_lists = (self.answer.token_lists or {}) | {name: made}
        return made


@dataclass(slots=True)
class PreparedBatch:
    """A batch in progress; complete when no window of it is missing."""

    batch: Batch
    documents: list[PreparedDocument]
    num_missing: int


def prepare(
    batch: Batch,
    tokenizer: Tokenizer,
    rules: ScoringRules,
    recent: RecentTexts | None = None,
    vocab_size: int | None = None,
) -> PreparedBatch:
    """Tokenize a batch and cut its documents into windows; copies of `recent` texts have none.

    A document with a token that a model of `vocab_size` does not have is not scored.
    """
    known = [recent.look_up(d) if recent is not None else (None, False) for d in batch.documents]
    texts = [
        "" if is_copy or d.error else d.text or ""
        for d, (_, is_copy) in zip(batch.documents, known, strict=True)
    ]
    documents = []
    for document, one, (answer, is_copy) in zip(
        batch.documents, tokenizer.encode(texts), known, strict=True
    ):
        if is_copy:
            prepared = PreparedDocument(document, is_copy=True)
        else:
            prepared = prepare_document(document, one.ids, tokenizer, rules, vocab_size)
        prepared.answer = answer
        documents.append(prepared)
    return PreparedBatch(batch, documents, sum(len(d.windows) for d in documents))


def prepare_document(
    document: Document,
    ids: list[int],
    tokenizer: Tokenizer,
    rules: ScoringRules,
    vocab_size: int | None = None,
) -> PreparedDocument:
    """Decide what of a document is scored; a row that has nothing to score is finished here."""
    text = document.text
    if document.error is not None:
        return PreparedDocument(document, unscored("error", text, error=document.error))
    if text is None:
        return PreparedDocument(document, unscored("null", text))
    if not ids:
        return PreparedDocument(document, unscored("empty", text))
    windows = rules.plan_windows(ids)
    if not windows:
        score = unscored("skipped", text, error="too_short", num_tokens=len(ids))
        return PreparedDocument(document, score)
    if rules.long_documents == "skip" and len(windows) > 1:
        score = unscored("skipped", text, error="too_long", num_tokens=len(ids))
        return PreparedDocument(document, score)
    # An engine crashes on a token id that its embedding does not have.
    if vocab_size is not None and any(max(w.prompt) >= vocab_size for w in windows):
        score = unscored("error", text, error="token_out_of_vocabulary", num_tokens=len(ids))
        return PreparedDocument(document, score)
    # What stands in for a prefix is not scored, nor what truncation cuts off.
    first = rules.first_scored(ids)
    num_scored = sum(len(window.prompt) - window.num_context for window in windows)
    scored_text, num_scored_bytes = text, None
    if num_scored < len(ids):
        part = slice(first, first + num_scored)
        scored_text, num_scored_bytes = _scored_part(text, ids, part, tokenizer, rules)
    return PreparedDocument(
        document,
        status="truncated" if first + num_scored < len(ids) else "ok",
        scored_text=scored_text,
        num_scored_bytes=num_scored_bytes,
        num_skipped_tokens=len(ids) - num_scored,
        scored_ids=ids if num_scored == len(ids) else ids[first : first + num_scored],
        windows=windows,
        logprobs=[None] * len(windows),
    )


def _scored_part(
    text: str, ids: list[int], part: slice, tokenizer: Tokenizer, rules: ScoringRules
) -> tuple[str, int | None]:
    """The characters that some of a text's tokens stand for, and how many of their bytes.

    A character may be several tokens: it is one of these as soon as one of them is. Where it is not
    known which bytes are whose, the number is None, and characters count as wholes.
    """
    first, last = part.start, part.stop
    cuts: list[int | None] = [None, None]
    if not rules.counts_whole_characters:
        cuts = tokenizer.byte_ends(text, ids, (first, last))
    start, end = cuts
    if start is None or end is None:
        offsets = tokenizer.encode([text], offsets=True)[0].offsets
        assert offsets is not None
        # With the white space between the tokens.
        begin = min(offsets[first - 1][1], offsets[first][0]) if first else 0
        return text[begin : offsets[last - 1][1]], None
    num_bytes, content = end - start, text.encode()
    while _is_within(content, start):
        start -= 1
    while _is_within(content, end):
        end += 1
    return content[start:end].decode(), num_bytes


def _is_within(content: bytes, place: int) -> bool:
    """Whether a cut at this place of some UTF-8 goes through a character."""
    return 0 < place < len(content) and content[place] & 0xC0 == 0x80


def fold(prepared: PreparedDocument, rules: ScoringRules) -> DocumentScore:
    """The score row of a document whose windows are all back."""
    if prepared.is_copy:
        # Documents leave in order: the first copy has been scored.
        assert prepared.answer is not None
        assert prepared.answer.score is not None
        return prepared.answer.score
    score = prepared.score or fold_document(
        prepared.document.text or "",
        prepared.scored_text,
        prepared.token_logprobs(),
        num_scored_bytes=prepared.num_scored_bytes,
        status=prepared.status,
        num_windows=len(prepared.logprobs),
        num_skipped_tokens=prepared.num_skipped_tokens,
        min_k_percent=rules.min_k_percent,
        text_hash=None if prepared.answer is None else prepared.answer.text_hash,
    )
    if prepared.answer is not None:
        prepared.answer.score = score
    return score
