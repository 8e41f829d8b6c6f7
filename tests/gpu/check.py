"""vLLM's CUDA build without a GPU: what it imports, and what it makes of our arguments.

    make check-gpu        (or, with --write: hold what is found as the new table)

Runs with a stand-in for the driver's library (infra/gpu/stub.sh): nothing is computed. A GPU of
another kind is pretended for each row. Exit code 1 if anything differs from choices.tsv.
"""

import ast
import importlib
import inspect
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pipeline.engine.devices import DEVICES
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm import fused, sizing
from pipeline.engine.vllm.engine import SAMPLING
from tests.gpu.choices import (
    OURS,
    THEIRS,
    Case,
    cases,
    machine_with,
    our_choice,
    read_table,
    settings_of,
    write_table,
)
from tests.support.gpu_models import CONFIGS

VLLM = Path(fused.__file__).parent
EXTENSIONS = ("vllm._C_stable_libtorch", "vllm._moe_C_stable_libtorch", "vllm.cumem_allocator")
WITH_IMAGES = ("Gemma3ForConditionalGeneration", "Qwen3_5ForConditionalGeneration")
"""Models that read images too: their classes import torchvision, also to score text."""
V2_POOLING = "vllm.v1.worker.gpu.pool.pooling_runner"


def check_symbols() -> int:
    """Every name that we import of vLLM is there. Returns how many."""
    found = 0
    for module in sorted(VLLM.glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
                if module.stem == "norms":  # for CPUs
                    continue
                there = importlib.import_module(str(node.module))
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    assert hasattr(there, alias.name) or importlib.import_module(name), name
                    found += 1
    return found


def check_signatures() -> int:
    """What we call takes what we give it, and has what we read. Returns how many were bound."""
    from vllm import LLM, PoolingParams, RequestOutput, SamplingParams
    from vllm.distributed import tensor_model_parallel_all_gather
    from vllm.inputs import tokens_input
    from vllm.model_executor.layers.logits_processor import LogitsProcessor
    from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate
    from vllm.model_executor.layers.vocab_parallel_embedding import (
        VocabParallelEmbeddingShardIndices as Shards,
    )
    from vllm.outputs import PoolingRequestOutput
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.pool.metadata import PoolingCursor, PoolingMetadata

    parameters = SamplingParams(**SAMPLING)
    assert parameters.skip_reading_prefix_cache, "or cached prefixes would be read"
    pooling = PoolingParams(task="token_classify", extra_kwargs={"num_context": 1})
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
        (LLM.__init__, (None,), {"model": "m", "runner": "pooling"}),
        (tokens_input, ([1, 2],), {}),
        (LLMEngine.add_request, (None, "0", [1, 2], pooling), {}),
        (LLMEngine.step, (None,), {}),
        (LogitsProcessor.forward, (None, None, None), {"skip_gather": True}),
        (tensor_model_parallel_all_gather, (None,), {"dim": -1}),
        (Pooler.forward, (None,), {"hidden_states": None, "pooling_metadata": None}),
        (PoolingParamsUpdate, (), {"requires_token_ids": True}),
        (PoolingMetadata.get_pooling_cursor, (None,), {}),
    ]
    for called, positional, named in calls:
        inspect.signature(called).bind(*positional, **named)
    read = {
        PoolingMetadata: ("prompt_token_ids_cpu", "pooling_params", "pooling_states"),
        PoolingCursor: (
            *("num_scheduled_tokens_cpu", "seq_lens_cpu", "prompt_lens_cpu"),
            *("first_token_indices_gpu", "last_token_indices_gpu"),
        ),
        Shards: ("org_vocab_start_index", "org_vocab_end_index"),
    }
    for owner, names in read.items():
        there = {one.name for one in fields(owner)} if is_dataclass(owner) else set()
        missing = [one for one in names if one not in there and not hasattr(owner, one)]
        assert not missing, f"{owner.__name__} has no {missing}"
    assert "prompt_logprobs" in inspect.signature(RequestOutput).parameters
    assert "outputs" in inspect.signature(PoolingRequestOutput).parameters
    abstract = Pooler.__abstractmethods__
    assert abstract <= {"forward", "get_supported_tasks"}, f"a pooler must also have {abstract}"
    runner = importlib.import_module(V2_POOLING)
    assert "token_classify" in runner._SUPPORTED_TASKS
    return len(calls) + len(read)


def pretend() -> Any:
    """A GPU of any kind, for whatever vLLM asks its platform before an engine is started."""
    import vllm.platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    class Pretended(NonNvmlCudaPlatform):  # type: ignore[misc]
        device = DEVICES["h100"]

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return DeviceCapability(*cls.device.capability)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return cls.device.driver_names[0]

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return int(cls.device.memory_gib * 2**30)

        @classmethod
        def device_count(cls) -> int:
            return 8

        @classmethod
        def is_fully_connected(cls, ids: list[int]) -> bool:
            return True

    vllm.platforms._current_platform = Pretended()
    return Pretended


def their_choice(case: Case, settings: EngineSettings) -> dict[str, str]:
    """The configuration that vLLM makes of our arguments."""
    from vllm.engine.arg_utils import EngineArgs

    machine = machine_with(DEVICES[case.device])
    sizing.this_machine = lambda: machine  # type: ignore[assignment]
    arguments = sizing.engine_arguments(settings)
    arguments.pop("use_tqdm_on_load")  # LLM's own
    config = EngineArgs(**arguments).create_engine_config()
    assert config.scheduler_config.max_num_batched_tokens == arguments["max_num_batched_tokens"]
    assert config.scheduler_config.enable_chunked_prefill
    assert not config.cache_config.enable_prefix_caching
    return {
        "runner": config.model_config.runner_type,
        "v2": "V2" if config.use_v2_model_runner else "V1",
        "graphs": config.compilation_config.cudagraph_mode.name,
        "compiled": config.compilation_config.mode.name,
        "async": "yes" if config.scheduler_config.async_scheduling else "no",
    }


def main(*, write: bool) -> int:
    pretended = pretend()
    import vllm

    for name in EXTENSIONS:
        importlib.import_module(name)
    print(f"vLLM {vllm.__version__}: {len(EXTENSIONS)} extensions import")
    fused.register()
    registered = set(vllm.ModelRegistry.get_supported_archs())
    wanted = {fused.PREFIX + one["architectures"][0] for one in CONFIGS.values()}
    assert wanted <= registered, f"not registered: {wanted - registered}"
    print(f"our plugin registers {sum(n.startswith(fused.PREFIX) for n in registered)} classes")
    for name in WITH_IMAGES:
        vllm.ModelRegistry.models[name].load_model_cls()
    print(f"{len(WITH_IMAGES)} classes that read images too import")
    print(f"{check_symbols()} names and {check_signatures()} signatures are as we use them\n")

    held = {} if write else read_table()
    rows: list[dict[str, str]] = []
    different, gone = 0, set(held)
    print("\t".join((*Case._fields, *OURS, *THEIRS)))
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            settings = settings_of(case, Path(folder))
            if settings is None:
                continue
            pretended.device = DEVICES[case.device]
            row = {key: str(value) for key, value in case._asdict().items()}
            row |= our_choice(case, settings) | dict.fromkeys(THEIRS, "")
            if not row["verdict"].startswith("refused"):
                row |= their_choice(case, settings)
            rows.append(row)
            was = held.get(case)
            wrong = [k for k in row if was is not None and was[k] != row[k]]
            different += bool(wrong) or (was is None and not write)
            gone.discard(case)
            note = f"   was {', '.join(f'{k} {was[k]}' for k in wrong)}" if was and wrong else ""
            new = "" if was is not None or write else "   new"
            print("\t".join(row.values()) + note + new, flush=True)
    if write:
        write_table(rows)
    print(f"\n{len(rows)} engines, {different} differ from what is held", end="")
    print(f"; {len(gone)} are held and were not tried" if gone else "")
    return 1 if different or gone else 0


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv[1:]))
