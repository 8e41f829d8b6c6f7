"""Fixtures that build data; no binary file is committed."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import save_llama

# A busy machine is no failure of a property.
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")


ENGINES = {"test_architectures", "test_cli_flow", "test_engine", "test_invariance", "test_verify"}
"""Files that run vLLM: two engines at once on two cores wait for each other's threads."""
RAYS = {"test_audit", "test_chaos", "test_faults", "test_jobs", "test_object_stores"}
RAYS |= {"test_prometheus", "test_ray_run"}
"""Files that run Ray: two heads at once take each other's port."""


HEADS = {"test_faults", "test_jobs", "test_prometheus"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """With --dist loadgroup: files go to workers whole, and these two kinds to one worker each."""
    name = item.path.stem
    group = "engine" if name in ENGINES else "ray" if name in RAYS else name
    item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, and of that the files that start a cluster of several nodes.

    Once a process has had a Ray of its own on one node, Ray cancels its actors on such a cluster.
    """
    items.sort(key=lambda item: (item.path.stem not in ENGINES | RAYS, item.path.stem not in HEADS))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    save_llama(folder)
    return folder
