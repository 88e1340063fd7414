"""What all tests share: none fails for being slow, nor for how the suite was started."""

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

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
