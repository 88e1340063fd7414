"""A choice of all combinations of output, device and firmware, each booted in QEMU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.matrix import Combination, all_combinations, booted, choice, make_cache
from tests.lib.caches.caches import CacheFixture
from tests.lib.machines.hardware import Firmware
from tests.lib.machines.witness import firmware_line, witness_line

pytestmark = pytest.mark.boot

CHOICE = choice(all_combinations())
# Each output once, and UEFI and BIOS.
SMOKE = [("iso", Firmware.BIOS), ("disk", Firmware.UEFI), ("usb", Firmware.UEFI)]
SAYS = {
    Firmware.UEFI: "firmware: uefi secureboot=0 pcr11=-",
    Firmware.BIOS: "firmware: bios secureboot=- pcr11=-",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def cache(folder: Path) -> CacheFixture:
    return make_cache(folder / "cache")


def smoke() -> list[Combination]:
    """Return the first one of each kind in `SMOKE`, of a PC."""
    kinds = [(each, (each.output, each.firmware)) for each in CHOICE if each.arch == "amd64"]
    return [next(each for each, its in kinds if its == kind) for kind in SMOKE]


def params() -> list[object]:
    quick = smoke()
    return [
        pytest.param(
            each, id="-".join(each.row), marks=[pytest.mark.smoke] if each in quick else []
        )
        for each in CHOICE
    ]


@pytest.mark.parametrize("combination", params())
def test_the_machine_has_the_whole_cache(
    combination: Combination,
    cache: CacheFixture,
    folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    console = booted(combination, cache, folder)
    line = witness_line(console)
    record_property("boot", (*combination.row, line))
    assert line == combination.ready(cache)
    assert firmware_line(console) == SAYS[combination.firmware]
    assert "ommand line: " in console
    assert "wipe" not in console
