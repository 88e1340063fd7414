"""What all tests share: none fails for being slow, nor for how the suite was started.

A run refuses to start without the disk space that it needs, and gives it back as it goes.
"""

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import tree_files
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.keys.signing_keys import Keys, self_signed
from tests.lib.tools import examples
from tests.lib.tools.cli import synthetic_assets
from tests.lib.tools.disk import FixtureFolders, check_room

examples.set_up()

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


_FOLDERS = pytest.StashKey[FixtureFolders]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the free space once, not in each worker."""
    config = session.config
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        check_room()
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
    config.stash[_FOLDERS] = FixtureFolders(factory.getbasetemp)


def pytest_collection_finish() -> None:
    """Keep the thousands of tests out of each collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Note the folders of fixtures that outlive a test; pytest itself removes a test's own."""
    if fixturedef.scope == "function":
        return (yield)
    with request.config.stash[_FOLDERS].made_by(fixturedef):
        return (yield)


def pytest_fixture_post_finalizer(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> None:
    """Remove them as soon as the fixture has ended."""
    request.config.stash[_FOLDERS].remove(fixturedef)
