"""A driver as its own process: `python -m tests.chaos.driver REQUEST [MOMENT]`.

It scores as `winnow score` does, with engines that take orders, and dies at MOMENT if one is named.
REQUEST is a JSON file: `config`, and `orders` and `seconds` of its engines. Knows nothing of faults
from outside.
"""

import json
import sys
from pathlib import Path

from jobs.console.ending import run_process
from jobs.console.signals import raise_signals
from jobs.run.score import run_score
from pipeline.settings.config import ScoreConfig
from tests.support.faulty import Ordered, Silent, die_at


def main(request: Path, *moment: str) -> int:
    asked = json.loads(request.read_text())
    config = ScoreConfig.model_validate_json(json.dumps(asked["config"]))
    for name in moment:
        die_at(name)
    raise_signals()
    make_engine = Ordered(Path(asked["orders"]), asked["seconds"])
    return run_score(config, Silent(), make_engine).exit_code


if __name__ == "__main__":
    run_process(lambda: main(Path(sys.argv[1]), *sys.argv[2:]))
