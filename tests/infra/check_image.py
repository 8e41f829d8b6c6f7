"""Build infra/images/cpu.Dockerfile as it stands, and use the image as a pod would.

    make check-image        (--where-possible: where a tool is missing, say so and end with 0)

Needs no Docker: buildah builds, runc runs, as user 1000 on a read-only root, with no capability and
no network but loopback. pip's configuration is this machine's. Where the base image cannot be
pulled, debootstrap makes one in its place. Everything is kept in one temporary folder (about 11 GB
under TMPDIR by overlay, more by vfs, which copies every layer) and removed at the end.
"""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.console.version import version_line
from jobs.demo.corpus import build_demo_corpus
from jobs.demo.model import demo_model
from pipeline.runs.scores import read_scores

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "infra/images/cpu.Dockerfile"
LOCK = ROOT / "infra/requirements/cpu.lock"
INSTALL = "apt-get install --no-install-recommends buildah debootstrap runc"
DEBIAN = "http://deb.debian.org/debian"
DOCUMENTS = 20
WRITABLE = {"/tmp": "tmp", "/home/winnow": "home", "/cache": "cache", "/data": "data"}
"""As the pods of infra/kubernetes have them, and a volume for a corpus and its scores."""
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")

NOT_SHOWN = re.compile(
    r"^(\|\d+ (\w+=\S* )*)?/bin/sh( -c)? ?(#\(nop\) )?|(?<=dir):\w+|(?<=file):\w+"
)
"""Of what made a layer: build arguments, the shell, digests."""

COMMANDS = (
    "winnow doctor --model /model",
    "winnow score /data/corpus --out /data/run --model /model --carry source",
    "winnow report /data/run --by source",
    "winnow verify /data/run",
)
CONFINED = r"""
test "$(id -u)" = 1000 || { echo "not user 1000"; exit 1; }
grep -qE '^[^ ]+ / [^ ]+ ro[, ]' /proc/mounts || { echo "the root can be written"; exit 1; }
for compiler in cc gcc g++ clang; do
    if command -v $compiler; then echo "nothing needs it"; exit 1; fi
done
"""
VERSION = """
found=$(winnow --version) && echo "$found"
test "$found" = "$1" || { echo "this checkout is $1"; exit 1; }
"""


class CheckError(Exception):
    """The image is not as it should be, or cannot be built here."""


class Buildah:
    """buildah, with all it stores in one folder."""

    def __init__(self, folder: Path) -> None:
        self._command = ["buildah", "--root", str(folder / "root")]
        self._command += ["--runroot", str(folder / "runroot")]
        # Layers on their way are large too, and left in TMPDIR where buildah is killed.
        (folder / "tmp-buildah").mkdir()
        self._environment = {**os.environ, "TMPDIR": str(folder / "tmp-buildah")}
        self._driver_mount = folder / "root/overlay"

    def start(self) -> str:
        """Returns the storage driver. Raises CheckError if this process may not use buildah."""
        command = self._command
        for driver in ("overlay", "vfs"):
            self._command = [*command, "--storage-driver", driver]
            tried = self._run("from", "scratch")
            if tried.returncode == 0:
                return driver
        reason = (tried.stderr.strip().splitlines() or ["no output"])[-1]
        raise CheckError(f"buildah cannot be used here: {reason}; run as root, outside a container")

    def __call__(self, *arguments: str | Path) -> str:
        """Its output. Raises CheckError, with the end of what it said."""
        done = self._run(*arguments)
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise CheckError(f"buildah {arguments[0]} ended with {done.returncode}:\n{said}")
        return done.stdout.strip()

    def can_pull(self, image: str) -> bool:
        try:
            return self._run("pull", "--quiet", image, timeout=300).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def close(self) -> None:
        for arguments in (["umount", "--all"], ["rm", "--all"], ["rmi", "--all", "--force"]):
            self._run(*arguments)
        if self._driver_mount.is_mount():
            subprocess.run(["umount", self._driver_mount], check=False)

    def _run(self, *arguments: str | Path, timeout: int = 3600) -> subprocess.CompletedProcess[str]:
        command, environment = [*self._command, *map(str, arguments)], self._environment
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=timeout, check=False
        )


def missing() -> str | None:
    """What keeps the image from being built here, and how to get it."""
    lacking = [tool for tool in ("buildah", "debootstrap", "runc") if not shutil.which(tool)]
    if lacking:
        return f"no {', '.join(lacking)} on PATH; {INSTALL}"
    return (
        None if os.geteuid() == 0 else "only root may mount what it builds; sudo make check-image"
    )


def make_base(buildah: Buildah, image: str, folder: Path) -> None:
    """A Debian with its own Python, under the name of the image that cannot be pulled."""
    release = image.rsplit("-", 1)[-1]
    packages = "python3,python3-venv,python3-pip,ca-certificates"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", release, folder, DEBIAN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckError(f"debootstrap ended with {done.returncode}: {done.stdout[-300:]}")
    (folder / "usr/bin/python").symlink_to("python3")
    made = buildah("from", "scratch")
    buildah("add", "--quiet", made, folder, "/")
    buildah("commit", "--quiet", "--rm", made, image)
    shutil.rmtree(folder)


def pip_configuration(folder: Path) -> list[str]:
    """pip's configuration of this machine as options of `buildah bud`: nothing of it is ours."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    settings: dict[str, str] = {}
    # The environment's come first in the list, and count more than a file's.
    for line in reversed(listed.splitlines()):
        name, _, value = line.partition("=")
        settings[name.rsplit(".", 1)[-1]] = str(ast.literal_eval(value))
    settings.setdefault("cert", os.environ.get("SSL_CERT_FILE", ""))
    settings = {name: " ".join(value.split()) for name, value in settings.items() if value}
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{n} = {v}\n" for n, v in settings.items()))
    words = [word for value in settings.values() for word in value.split()]
    # The pages of a local index link to files beside its folder.
    named = {str(Path(w.removeprefix("file://")).parent) for w in words if w.startswith("file:///")}
    named |= {word for word in words if word.startswith("/")}
    paths = sorted(path for path in named if Path(path).exists())
    options = [f"--volume={path}:{path}:ro" for path in paths]
    options.append(f"--volume={file}:/etc/pip.conf:ro")
    [torch] = re.findall(r"^torch==(.+)$", LOCK.read_text(), re.MULTILINE)
    wheels = settings.get("find-links", "").split()
    if any(Path(wheel).is_dir() and [*Path(wheel).glob(f"torch-{torch}-*")] for wheel in wheels):
        # As infra/setup.sh does: an index that cannot be reached costs seconds for every package.
        options.append("--build-arg=TORCH_INDEX=file:///none")
    return options


def print_layers(buildah: Buildah, image: str, root: Path) -> None:
    """The sizes of the layers, as they are unpacked, and what made each."""
    described = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]
    [file] = root.glob("*-layers/layers.json")
    stored = {layer.get("diff-digest"): layer for layer in json.loads(file.read_text())}
    sizes = [stored[digest]["diff-size"] for digest in described["rootfs"]["diff_ids"]]
    history = [made for made in described["history"] if not made.get("empty_layer")]
    for size, made in zip(sizes, history, strict=True):
        by = NOT_SHOWN.sub("", made["created_by"])
        print(f"{size / 1e6:9,.1f} MB  {by[:70].strip() or 'base image'}")
    print(f"{sum(sizes) / 1e6:9,.1f} MB  in all", flush=True)


def write_corpus(folder: Path) -> None:
    """Twenty short documents of the demo's corpus."""
    demo = build_demo_corpus(folder / "demo")
    table = pa.concat_tables(pq.read_table(file) for file in sorted(demo.glob("*.parquet")))
    short = pa.array([len(text) < 1000 for text in table["text"].to_pylist()])
    (folder / "corpus").mkdir()
    pq.write_table(table.filter(short).slice(0, DOCUMENTS), folder / "corpus/short.parquet")
    shutil.rmtree(demo)


class Container:
    """What a pod has: its user, a read-only root, few writable folders, no capability."""

    def __init__(self, buildah: Buildah, image: str, folder: Path, model: Path) -> None:
        self._bundle = folder / "bundle"
        self._bundle.mkdir()
        self._settings = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
        self._root = buildah("mount", buildah("from", "--pull-never", image))
        self._mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/model", "source": f"{folder}/model", "options": ["bind", "ro"]},
        ]
        # A copy, which user 1000 may read whoever fetched the model.
        shutil.copytree(model, folder / "model", copy_function=shutil.copyfile)
        hosts = folder / "hosts"
        hosts.write_text("127.0.0.1 localhost winnow\n")
        bound = {"source": str(hosts), "options": ["bind", "ro"]}
        self._mounts.append({"destination": "/etc/hosts", **bound})
        for target, name in WRITABLE.items():
            (folder / name).mkdir(exist_ok=True)
            for path in (folder / name, *(folder / name).rglob("*")):
                os.chown(path, 1000, 1000)
            mount = {"destination": target, "source": str(folder / name)}
            self._mounts.append({**mount, "options": ["bind", "rw"]})

    def run(self, *command: str) -> None:
        """Raises CheckError unless it ends with 0."""
        settings = self._settings
        user, group = map(int, settings["User"].split(":"))
        specification = {
            "ociVersion": "1.0.0",
            "root": {"path": self._root, "readonly": True},
            "hostname": "winnow",
            "mounts": self._mounts,
            "process": {
                "user": {"uid": user, "gid": group},
                "args": command,
                "env": settings["Env"],
                "cwd": settings["WorkingDir"],
                "noNewPrivileges": True,
            },
            "linux": {"namespaces": [{"type": one} for one in NAMESPACES]},
        }
        (self._bundle / "config.json").write_text(json.dumps(specification))
        runc = ["runc", f"--root={self._bundle / 'state'}", "run"]
        name = f"winnow-check-{os.getpid()}"
        done = subprocess.run([*runc, f"--bundle={self._bundle}", name], check=False)
        if done.returncode:
            raise CheckError(f"in the image, {command[0]} ended with {done.returncode}")


@contextmanager
def step(what: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"\n== {what}", flush=True)
    yield
    print(f"== {time.monotonic() - started:.0f} s", flush=True)


def check(folder: Path, buildah: Buildah) -> None:
    print(f"== buildah stores layers by {buildah.start()}")
    [base] = set(re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), re.MULTILINE))
    hub = f"docker.io/library/{base}"
    with step(f"The base image, {base}"):
        if buildah.can_pull(hub):
            print("pulled")
        else:
            print("cannot be pulled: Debian's own Python, by debootstrap, in its place", flush=True)
            make_base(buildah, hub, folder / "debian")
    image = "localhost/winnow:check"
    with step(f"Build {DOCKERFILE.relative_to(ROOT)}"):
        options = ["--quiet", "--layers", "--pull-never", "--isolation=chroot"]
        options += pip_configuration(folder)
        options += [f"--build-arg=COMMIT={it}" for it in re.findall(r"\((.+)\)", version_line())]
        buildah("bud", *options, "--file", DOCKERFILE, "--tag", image, ROOT)
    with step("Layers"):
        print_layers(buildah, image, folder / "root")
    (folder / "data").mkdir()
    write_corpus(folder / "data")
    container = Container(buildah, image, folder, demo_model())
    with step("User 1000, a root that is read-only, no compiler"):
        container.run("sh", "-c", CONFINED)
    with step("winnow --version"):
        container.run("sh", "-c", VERSION, "sh", version_line())
    for command in COMMANDS:
        with step(command):
            container.run(*command.split())
    statuses = read_scores(folder / "data/run").collect()["status"].to_list()
    if statuses != ["ok"] * DOCUMENTS:
        raise CheckError(f"{DOCUMENTS} documents should be scored: {statuses}")


def main() -> None:
    lacking = missing()
    if lacking:
        print(f"The image was not built: {lacking}", file=sys.stderr)
        sys.exit(0 if "--where-possible" in sys.argv else 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="winnow-image-", ignore_cleanup_errors=True) as scratch:
        buildah = Buildah(Path(scratch))
        try:
            check(Path(scratch), buildah)
        except CheckError as error:
            print(f"make check-image: {error}", file=sys.stderr)
            sys.exit(1)
        finally:
            buildah.close()
    print("\nThe image is as it should be.")


if __name__ == "__main__":
    main()
