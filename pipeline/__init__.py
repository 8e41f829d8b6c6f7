"""Winnow as a library: score texts and tables in this process; read, report, filter, compare runs.

    from pipeline import Scorer, build_report, compare_runs, filter_run, read_scores

Everything else here is the inside of it. A name is imported when it is first used, so importing the
package costs nothing, and reading a run never imports an engine or torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.comparisons.compare import compare_runs
    from pipeline.errors import WinnowError
    from pipeline.filters.filter_run import filter_run
    from pipeline.library import Scorer
    from pipeline.reports.report import build_report
    from pipeline.runs.scores import read_scores

__all__ = [
    "Scorer",
    "WinnowError",
    "build_report",
    "compare_runs",
    "filter_run",
    "read_scores",
]

_HOMES = {
    "Scorer": "pipeline.library",
    "WinnowError": "pipeline.errors",
    "build_report": "pipeline.reports.report",
    "compare_runs": "pipeline.comparisons.compare",
    "filter_run": "pipeline.filters.filter_run",
    "read_scores": "pipeline.runs.scores",
}

# Type checkers would take any name for one of these.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name at its first use (PEP 562)."""
        if name == "__version__":
            from importlib.metadata import version

            return version("winnow-ppl")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name[:2] == "__")})
