"""Whether a run may be resumed over the corpus as it is today.

Owns the refusal: what is committed must be of these very texts, and what is left to score must
still be cut into the row groups that were planned.
"""

import logging

from pipeline.errors import CorpusError, counted, named
from pipeline.planning.sharding import has_span
from pipeline.runs.corpus import Survey, compare_documents, open_corpus, survey_corpus
from pipeline.runs.manifest import Manifest, PlannedFile
from pipeline.runs.store import RunStore

log = logging.getLogger(__name__)
HINT = f"choose a new {named('out')} to score the corpus as it is now"


def check_resumable(store: RunStore, manifest: Manifest) -> None:
    """Raises CorpusError if a file is gone, is cut otherwise, or has another text in a scored row.

    Files whose size, footer and time agree with the plan are not read. Of the others the documents
    that were scored are; those still to be scored have no earlier text to differ from.
    """
    root = open_corpus(manifest)
    survey = survey_corpus(root, manifest)
    faults = survey.faults | _cut_otherwise(survey, manifest)
    if faults:
        name, what = next(iter(faults.items()))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise CorpusError(
            f"the corpus has changed since this run was planned: {name} {what}{more}", hint=HINT
        )
    if not survey.doubtful:
        return
    say_compared(survey.doubtful, store)
    footers = [survey.footers[file.path] for file in survey.doubtful]
    changed = compare_documents(store, manifest, root, footers, store.done())
    for error in changed.values():
        if isinstance(error, CorpusError):
            said = f"the corpus has changed since this run was planned: {error}"
            raise CorpusError(said, hint=HINT) from error
        raise error


def say_compared(files: tuple[PlannedFile, ...], store: RunStore) -> None:
    """Reading a corpus takes a while: log why before it is read."""
    size = sum(file.size_bytes for file in files) / 1e9
    log.warning(
        "reading %s%s to check that the texts are those scored in %s: size, footer or modification "
        "time has changed or was not recorded",
        counted(len(files), "file"),
        f" ({size:.1f} GB)" if size >= 0.1 else "",  # less is read in a moment
        store.location,
    )


def _cut_otherwise(survey: Survey, manifest: Manifest) -> dict[str, str]:
    doubtful = {file.path for file in survey.doubtful}
    limited = manifest.request.get("limit") is not None
    found = {}
    for shard in manifest.shards:
        for span in shard.spans:
            name = manifest.files[span.file].path
            if name in doubtful and not has_span(
                survey.footers[name].row_groups, span, limited=limited
            ):
                found[name] = "has other row groups"
    return found
