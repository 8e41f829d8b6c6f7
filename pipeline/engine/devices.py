"""The GPUs that are known: memory, peak and bandwidth of each, from their makers' data sheets.

Owns the one table of them. A share of a peak, a plan for a GPU that is not here and a price all
begin with a row of it; a GPU that has no row has no peak, and no share of one is claimed.
"""

import contextlib
import platform
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import ConfigError, named

_A100 = (
    "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/"
    "nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
)
_H100 = "https://www.nvidia.com/en-us/data-center/h100/"
_H200 = "https://www.nvidia.com/en-us/data-center/h200/"
_ADA = "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"

PROCESSOR_KEYS = ("model name", "cpu family", "model", "stepping")


class Device(NamedTuple):
    """A GPU, as one process sees it."""

    name: str
    """As people type it."""
    driver_names: tuple[str, ...]
    """As the driver calls it. Exact: a share of a GPU and a laptop's have names of their own."""
    capability: tuple[int, int]
    """CUDA's compute capability, which decides about kernels."""
    memory_gib: float
    """What CUDA reports, rounded down: some per cent less than the data sheet's gigabytes."""
    bf16_tflops: float
    """Dense peak in bfloat16 with float32 sums; a data sheet's figure with sparsity, halved."""
    bandwidth_gbs: float
    """Of memory, in 1e9 bytes per second."""
    source: str
    """Where the peak and the bandwidth are given."""


DEVICES: dict[str, Device] = {
    one.name: one
    for one in (
        Device(
            "a100-40gb",
            ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"),
            (8, 0), 39.3, 312, 1555, _A100,
        ),
        Device("a100-80gb", ("NVIDIA A100-SXM4-80GB",), (8, 0), 79.1, 312, 2039, _A100),
        Device("a100-80gb-pcie", ("NVIDIA A100 80GB PCIe",), (8, 0), 79.1, 312, 1935, _A100),
        Device("h100", ("NVIDIA H100 80GB HBM3",), (9, 0), 79.1, 989.4, 3350, _H100),
        Device("h100-pcie", ("NVIDIA H100 PCIe",), (9, 0), 79.1, 756, 2000, _H100),
        Device("h100-nvl", ("NVIDIA H100 NVL",), (9, 0), 93.0, 835.5, 3900, _H100),
        Device("h200", ("NVIDIA H200",), (9, 0), 139.7, 989.4, 4800, _H200),
        Device("h200-nvl", ("NVIDIA H200 NVL",), (9, 0), 139.7, 835.5, 4800, _H200),
        Device(
            "b200", ("NVIDIA B200",), (10, 0), 178.3, 2250, 8000,
            "https://resources.nvidia.com/en-us-dgx-systems/dgx-b200-datasheet",
        ),
        Device(
            "l4", ("NVIDIA L4",), (8, 9), 22.0, 121, 300,
            "https://www.nvidia.com/en-us/data-center/l4/",
        ),
        Device(
            "l40s", ("NVIDIA L40S",), (8, 9), 44.3, 362, 864,
            "https://www.nvidia.com/en-us/data-center/l40s/",
        ),
        Device("rtx4090", ("NVIDIA GeForce RTX 4090",), (8, 9), 23.5, 165.2, 1008, _ADA),
    )
}  # fmt: skip


def find_device(driver_name: str) -> Device | None:
    """The GPU that the driver calls so; None if it is not in the table."""
    return next((one for one in DEVICES.values() if driver_name in one.driver_names), None)


def device_named(name: str) -> Device:
    """The GPU that a user names. Raises ConfigError if it is not in the table."""
    found = DEVICES.get(name.lower()) or find_device(name)
    if found is None:
        raise ConfigError(
            f"{named('gpu')} {name} is not among those that are known",
            hint=f"choose one of {', '.join(DEVICES)}",
        )
    return found


def processor_name() -> str:
    """As the kernel names it: of two machines that share a cache folder, each has its own peak."""
    found = list[str]()
    with contextlib.suppress(OSError):
        one = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        pairs = [line.partition(":") for line in one.splitlines()]
        named = {key.strip(): value.strip() for key, _, value in pairs}
        found = [named[key] for key in PROCESSOR_KEYS if key in named]
    return " ".join(found) or platform.machine()
