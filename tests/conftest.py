"""What all tests share: none fails for being slow, nor for how the suite was started."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.lib.caches.caches import tree_files
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.keys.signing_keys import Keys, self_signed
from tests.lib.tools.cli import synthetic_assets

settings.register_profile("imager", deadline=None)
settings.load_profile("imager")

# A shell ignores the one for what it runs in the background, nohup the other: both are inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# With these, pytest shows how values differ line by line, which for megabytes takes hours.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _log_of_its_own() -> Iterator[None]:
    """Set the program's log back after a test: a command sends it to that test's streams."""
    log = logging.getLogger("imager")
    handlers, propagate, level = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Small boot assets, made up, that no test may change."""
    folder = synthetic_assets(tmp_path_factory.mktemp("assets"))
    before = tree_files(folder)
    yield folder
    assert tree_files(folder) == before


@pytest.fixture(scope="session")
def pcr_key(tmp_path_factory: pytest.TempPathFactory) -> PcrKey:
    """A key that signs measurements."""
    return PcrKey.make(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """A key with a certificate of its own that signs binaries."""
    return self_signed(tmp_path_factory.mktemp("keys"))
