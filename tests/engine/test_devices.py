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


@pytest.mark.parametrize(
    ("name", "multiprocessors", "per_clock", "ghz", "bus_bits", "gbits"),
    [
        # Dense operations in bfloat16 per clock and multiprocessor: 2,048 of Ampere's data center
        # chips, 4,096 of Hopper's, 1,024 of Ada's, of which a GeForce does half with float32 sums.
        ("a100-40gb", 108, 2048, 1.41, 5120, 2.43),
        ("a100-80gb", 108, 2048, 1.41, 5120, 3.186),
        ("a100-80gb-pcie", 108, 2048, 1.41, 5120, 3.024),
        ("h100", 132, 4096, 1.83, 5120, 5.23),
        ("h100-pcie", 114, 4096, 1.62, 5120, 3.125),
        ("h200", 132, 4096, 1.83, 6144, 6.25),
        ("l4", 58, 1024, 2.04, 192, 12.5),
        ("l40s", 142, 1024, 2.49, 384, 18),
        ("rtx4090", 128, 512, 2.52, 384, 21),
    ],
)
def test_a_peak_is_that_of_its_multiprocessors_and_a_bandwidth_that_of_its_bus(
    name, multiprocessors, per_clock, ghz, bus_bits, gbits
):
    device = DEVICES[name]
    assert device.bf16_tflops == pytest.approx(multiprocessors * per_clock * ghz / 1e3, rel=5e-3)
    assert device.bandwidth_gbs == pytest.approx(bus_bits / 8 * gbits, rel=5e-3)


def test_rows_are_plausible():
    for device in DEVICES.values():
        assert device.source.startswith("https://")
        # Dense peaks: a figure with sparsity would be twice any ridge that is known.
        assert 100 < device.bf16_tflops * 1e3 / device.bandwidth_gbs < 500, device.name
    names = [name for device in DEVICES.values() for name in device.driver_names]
    assert len(names) == len(set(names))
