"""What perplexity takes for good and is not: the figures that the README shows, with -s."""

import random
from pathlib import Path

import pytest

from pipeline.library import Scorer

PROSE = (
    "The ferry left an hour late, because the captain had lost his glasses. Nobody on the quay "
    "seemed to mind. Two boys were fishing for crabs with a piece of bacon, and an old woman sold "
    "plums from a pram. When the horn finally sounded, a dog jumped aboard without its owner and "
    "sat down in the bow, as if it knew the way."
)
FINNISH = (
    "Lautta lähti tunnin myöhässä, koska kapteeni oli kadottanut silmälasinsa. Laiturilla kukaan "
    "ei näyttänyt välittävän siitä. Kaksi poikaa onki rapuja pekonin palalla, ja vanha nainen "
    "myi luumuja lastenvaunuista. Kun sumutorvi lopulta soi, koira hyppäsi laivaan ilman "
    "omistajaansa ja istuutui keulaan kuin olisi tuntenut reitin."
)
LICENCE = (
    'THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING '
    "BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND "
    "NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, "
    "DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE."
)


@pytest.mark.timeout(600)
def test_surprise_is_not_quality(smollm2: Path):
    words = PROSE.split()
    texts = {
        "one sentence, 20 times": "Click here to read more about our special offers. " * 20,
        "a licence": LICENCE,
        "good prose": PROSE,
        "the same prose in Finnish": FINNISH,
        "its words in random order": " ".join(random.Random(1).sample(words, len(words))),
    }
    with Scorer(str(smollm2), dtype="float32") as scorer:
        found = scorer.score(list(texts.values()))["perplexity"].to_list()
    for name, perplexity in zip(texts, found, strict=True):
        print(f"{name}: {perplexity:.3g}")
    repeated, licence, prose, finnish, shuffled = found
    assert repeated < licence < prose / 5
    assert finnish > 3 * prose
    assert shuffled > 10 * prose
