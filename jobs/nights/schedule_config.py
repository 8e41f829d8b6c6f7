"""The [schedule] table: when a night starts, how long it may take, where it runs.

Owns the settings and their bounds. It is in the same file as the [audit] table, which says what a
night does:

    [schedule]
    name = "nightly-web"
    cron = "0 3 * * *"
    time_zone = "Europe/Berlin"
    deadline_hours = 8

    [schedule.cluster]          # only for --to kubernetes and --to kuberay
    image = "registry.example.com/winnow:1.4.0"
    workers = 8
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.nights.cron_times import check_cron
from pipeline.audits.config import LAST, load_audit_config, load_night_config
from pipeline.errors import ConfigError
from pipeline.settings.loading import load_settings
from pipeline.settings.names import near_name

LONGEST_NAME = 30
"""KubeRay takes 47 characters, and a CronJob adds eleven."""
DATA_FOLDER = "/data"
"""Mount point of volume_claim in pods; templates/pod.yaml.j2 has it, too."""
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _label(text: str) -> str:
    if not LABEL.fullmatch(text):
        raise ValueError("must be lower-case letters, digits and dashes, a letter first")
    return text


def _time_zone(name: str) -> str:
    if name not in (zones := available_timezones()):
        near = near_name(name, sorted(zones))
        raise ValueError(f"no such time zone{f'; did you mean {near}?' if near else ''}")
    return name


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one printable line")
    return text


Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_label)]
Label = Annotated[str, Field(max_length=63), AfterValidator(_label)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[KMGT]i?)?$")]


class ClusterConfig(BaseModel):
    """The Ray cluster that each night gets for itself on Kubernetes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    image: Text
    """Container image with Winnow, Ray and vLLM."""
    namespace: Label = "default"
    """Kubernetes namespace that the night runs in."""
    workers: int = Field(default=1, ge=1)
    """Number of worker pods."""
    gpus_per_worker: int = Field(default=1, ge=0)
    """GPUs per worker pod."""
    cpus_per_worker: Quantity = "8"
    """CPUs per worker pod."""
    memory_per_worker: Quantity = "32Gi"
    """Memory per worker pod."""
    volume_claim: Label | None = None
    """A PersistentVolumeClaim, mounted at /data in every pod."""
    credentials_secret: Label | None = None
    """A Secret whose keys become environment variables of every pod."""
    service_account: Label | None = None
    """Service account of the pods, for workload identity; by default the namespace's default."""
    kubectl_image: Text = "registry.k8s.io/kubectl:v1.35.0"
    """Image of the container that creates the RayJob of a night."""


class ScheduleConfig(BaseModel):
    """When a night starts and what it may use."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    cron: Annotated[str, AfterValidator(check_cron)]
    """Five fields, as cron, Kubernetes and systemd all read them."""
    time_zone: Annotated[str, AfterValidator(_time_zone)]
    """Time zone of the cron fields and of a night's date."""
    name: Name = "winnow-nightly"
    """Name of the nightly jobs."""
    deadline_hours: float = Field(default=12.0, gt=0, le=168)
    """A night that takes longer is stopped; the next one reuses what it scored."""
    history_success: int = Field(default=3, ge=0)
    """Number of finished nights that Kubernetes keeps."""
    history_failure: int = Field(default=7, ge=0)
    """Number of failed nights that Kubernetes keeps."""
    cluster: ClusterConfig | None = None
    """The Ray cluster of a night on Kubernetes."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return ZoneInfo(self.time_zone)

    @property
    def deadline_seconds(self) -> int:
        """How long a night may take."""
        return max(1, round(self.deadline_hours * 3600))


def load_schedule(file: Path) -> ScheduleConfig:
    """The [schedule] table, and a check of the tables that say what a night does.

    Raises ConfigError, naming the key, the table and the file.
    """
    config = load_settings(ScheduleConfig, "schedule", file)
    load_night_config(file, load_audit_config(file), out="runs")
    return config


def require_cluster(config: ScheduleConfig, file: Path) -> ClusterConfig:
    """The [schedule.cluster] table. Raises ConfigError if there is none, or if its pods would not
    find what the night reads and writes.
    """
    if config.cluster is None:
        raise ConfigError(
            f"{file} has no [schedule.cluster] table",
            hint='add one, with at least image = "REGISTRY/winnow:TAG"',
        )
    audit = load_audit_config(file)
    score = load_night_config(file, audit, out="runs")
    places = {"runs in [audit]": audit.runs}
    if audit.baseline != LAST:
        places["baseline in [audit]"] = audit.baseline
    # An absolute path may be one of the image: see `only_in_image`.
    if _is_path(score.model) and (not _is_absolute(score.model) or _is_on_volume(score.model)):
        places["model in [score]"] = score.model
    for key, location in [*(("corpus in [score]", one) for one in score.corpus), *places.items()]:
        _check_in_pods(location, f"{key} of {file} = {location!r}", config.cluster.volume_claim)
    if score.trace is not None:
        where = f"trace in [score] of {file} = {score.trace!r}"
        _check_in_pods(score.trace, where, config.cluster.volume_claim, stores=False)
    url_env = audit.webhook.url_env if audit.webhook else None
    if url_env is not None and config.cluster.credentials_secret is None:
        raise ConfigError(
            f"url_env in [audit.webhook] of {file} names the environment variable {url_env}, which "
            "pods do not have",
            hint='add credentials_secret = "NAME" to [schedule.cluster], a Secret with a key '
            f"{url_env} that holds the URL",
        )
    return config.cluster


def only_in_image(file: Path) -> str | None:
    """What is said of a model that pods have only if their image holds it."""
    model = load_night_config(file, load_audit_config(file), out="runs").model
    if not _is_absolute(model) or _is_on_volume(model):
        return None
    return (
        f"model in [score] of {file} = {model!r} is a path that pods have only if their image "
        f"holds it; else name a model on the hub, or put it on volume_claim, below {DATA_FOLDER}"
    )


def _is_path(model: str) -> bool:
    """Whether a model is a folder, not a name on the hub."""
    return _is_absolute(model) or model.startswith((".", "~")) or Path(model).is_dir()


def _is_absolute(location: str) -> bool:
    return PurePosixPath(location).is_absolute()


def _is_on_volume(location: str) -> bool:
    """Whether it is where volume_claim is mounted."""
    return PurePosixPath(normpath(location)).is_relative_to(DATA_FOLDER)


def _check_in_pods(
    location: str, where: str, volume_claim: str | None, *, stores: bool = True
) -> None:
    """Raises ConfigError of a location that pods do not have, or that ends with the pod; `stores`
    says whether it may be an object store's."""
    in_store = "://" in location and not location.startswith("file://")
    if in_store and stores:
        return
    on_volume = _is_on_volume(location)
    if volume_claim is not None and on_volume:
        return
    problem = (
        "is not on a mounted volume"
        if on_volume
        else "is in a store, and this is written to a disk"
        if in_store
        else "is a path of this machine, which pods do not have"
        if stores
        else "is on the disk of a pod, which is gone after the night"
    )
    store = "a store (s3://...) or " if stores else ""
    first = "name a store (s3://...); or add" if stores else "remove it; or add"
    raise ConfigError(
        f"{where}: {problem}",
        hint=f"name {store}a path below {DATA_FOLDER}, where volume_claim is mounted"
        if volume_claim is not None
        else f'{first} volume_claim = "NAME" to [schedule.cluster], which '
        f"mounts that PersistentVolumeClaim at {DATA_FOLDER}, and name a path below it",
    )
