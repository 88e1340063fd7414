"""What all tests share: none fails for being slow, nor for how the suite was started."""

import os
import signal

from hypothesis import settings

settings.register_profile("imager", deadline=None)
settings.load_profile("imager")

# A shell ignores it for what it runs in the background, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# With these, pytest shows how values differ line by line, which for megabytes takes hours.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)
