"""The registries that unit tests ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.sample import fill


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry without images."""
    with running_programmable() as running:
        yield running


@pytest.fixture
def server(registry: Registry) -> Registry:
    """A registry with the image team/app:v1."""
    return fill(registry)
