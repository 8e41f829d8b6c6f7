"""The table of GPUs: found by what people type and by what the driver says, never by likeness."""

import pytest

from pipeline.engine.devices import DEVICES, device_named, find_device
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("driver_name", "name"),
    [
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_a_device_is_found_by_the_drivers_name(driver_name, name):
    assert find_device(driver_name) is DEVICES[name] is device_named(name.upper())


@pytest.mark.parametrize(
    "driver_name",
    [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",  # a seventh of the peak
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA L40",
        "NVIDIA GB200",
        "",
    ],
)
def test_a_relative_of_a_known_device_has_no_peak(driver_name):
    assert find_device(driver_name) is None


def test_an_unknown_device_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match="gpu h1000 is not among") as caught:
        device_named("h1000")
    assert "h100," in str(caught.value.hint)


def test_rows_are_plausible():
    for device in DEVICES.values():
        assert device.source.startswith("https://")
        # Dense peaks: a figure with sparsity would be twice any ridge that is known.
        assert 100 < device.bf16_tflops * 1e3 / device.bandwidth_gbs < 500, device.name
    names = [name for device in DEVICES.values() for name in device.driver_names]
    assert len(names) == len(set(names))
