"""What one night has to do: its configuration file, date and webhook.

Owns every check of a night that needs no look at the corpus.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jobs.nights.schedule_config import load_schedule
from pipeline.audits.config import AuditConfig, figures_of, load_audit_config, load_night_config
from pipeline.audits.nights import Nights
from pipeline.errors import ConfigError
from pipeline.runs.manifest import Value
from pipeline.settings.config import ScoreConfig
from pipeline.settings.loading import has_table


@dataclass(frozen=True, slots=True)
class Night:
    """A night, checked as far as possible without reading the corpus."""

    file: Path
    name: str
    """YYYY-MM-DD."""
    audit: AuditConfig
    score: ScoreConfig
    webhook_url: str | None = field(repr=False)
    today: str
    settings: dict[str, Value]
    """What the figures depend on, as the file says."""


def load_night(
    file: Path, night: str | None, address: str | None = None, corpus: str | None = None
) -> Night:
    """Read the file; `night` is today's date in the schedule's time zone, if not given;
    `corpus`, if given, is where the corpus lies, whatever the file says.

    Raises ConfigError.
    """
    audit = load_audit_config(file)
    zone = load_schedule(file).zone if has_table(file, "schedule") else ZoneInfo("UTC")
    today = datetime.now(zone).date()
    name = night or today.isoformat()
    try:
        when = date.fromisoformat(name)
    except ValueError:
        when = None
    if when is None or when.isoformat() != name:
        raise ConfigError(f"--night {name!r} is not a date", hint="as in --night 2026-11-22")
    if when > today:
        raise ConfigError(f"the night {name} is in the future", hint=f"today is {today}, in {zone}")
    out = Nights(audit.runs).location(name)
    score = load_night_config(file, audit, out, address, corpus)
    url = audit.webhook.address() if audit.webhook else None
    settings = figures_of(audit, score)
    if corpus is not None:  # the same corpus, at another place
        del settings["corpus"]
    return Night(file, name, audit, score, url, today.isoformat(), settings)
