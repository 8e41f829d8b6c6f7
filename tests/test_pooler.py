"""The arithmetic of the fused path that needs no engine; tests/test_engine.py has the rest."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.pooler import join_shards, shard_logprobs

NUM_ROWS, VOCAB_SIZE = 7, 60


@pytest.mark.parametrize("cuts", [(0, 60), (0, 20, 40, 60), (0, 1, 59, 60)], ids=str)
def test_shards_of_the_vocabulary_join_to_the_whole(cuts: tuple[int, ...]):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(NUM_ROWS, VOCAB_SIZE, generator=generator) * 30
    targets = torch.randint(0, VOCAB_SIZE, (NUM_ROWS,), generator=generator)
    padding = torch.full((NUM_ROWS, 3), 1e4)  # what pads a shard must never count
    pairs = []
    for start, end in pairwise(cuts):
        shard = torch.cat([logits[:, start:end], padding], 1)
        pairs.append(torch.stack(shard_logprobs(shard, targets, start, end), -1))

    found = join_shards(torch.stack(pairs, 1))

    table = logits.double().numpy()
    table -= np.logaddexp.reduce(table, axis=1, keepdims=True)
    np.testing.assert_allclose(found, table[np.arange(NUM_ROWS), targets], rtol=1e-5, atol=1e-5)
