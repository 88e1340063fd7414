"""What all tests share: none fails for being slow, nor for how the suite was started."""

import signal

from hypothesis import settings

settings.register_profile("imager", deadline=None)
settings.load_profile("imager")

# A shell ignores it for what it runs in the background, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
