"""What a core install lacks: the packages of the extras `cpu` and `gpu`, asked for by name.

Reports, filters, comparisons and the integrity of a run need none of them; scoring does.
"""

from importlib.util import find_spec

from pipeline.errors import MissingExtraError

EXTRA_MODULES = ("vllm", "torch", "transformers", "ray", "huggingface_hub", "tokenizers")
"""Modules that only the extras install, as Winnow imports them."""
INSTALL = "pip install 'winnow-ppl[cpu]', or 'winnow-ppl[gpu]' on a machine with a GPU"


def require_modules(what: str, *modules: str, instead: str = "") -> None:
    """Raises MissingExtraError if a module is not installed; `instead` is what works without."""
    if missing := [name for name in modules if find_spec(name) is None]:
        also = f"; {instead}" if instead else ""
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, which a core install of winnow-ppl does not have",
            hint=INSTALL + also,
        )


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The same for an import that failed; None if it is not of a module of the extras."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRA_MODULES:
        return None
    return MissingExtraError(
        f"this command needs {name}, which a core install of winnow-ppl does not have", hint=INSTALL
    )
