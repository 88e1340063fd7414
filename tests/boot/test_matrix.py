"""A choice of all combinations of output, device and firmware, each booted in QEMU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture
from tests.lib.machines.boot_matrix import (
    Combination,
    all_combinations,
    booted,
    make_cache,
    pairwise,
)

pytestmark = pytest.mark.boot

CHOICE = pairwise(all_combinations())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def cache(folder: Path) -> CacheFixture:
    return make_cache(folder / "cache")


@pytest.mark.parametrize("combination", CHOICE, ids=lambda each: "-".join(each.row))
def test_the_machine_has_the_whole_cache(
    combination: Combination,
    cache: CacheFixture,
    folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    line = booted(combination, cache, folder)
    record_property("boot", (*combination.row, line))
    assert line == combination.ready(cache)
