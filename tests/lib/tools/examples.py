"""How many examples hypothesis tries: the same each time, IMAGER_TEST_EXAMPLES times as many."""

from __future__ import annotations

import os

from hypothesis import settings

TYPICAL = 50


def examples(number: int) -> int:
    """Return the number of examples for a test that needs `number` of them in a quick run."""
    return max(1, round(number * float(os.environ.get("IMAGER_TEST_EXAMPLES") or 1)))


def set_up() -> None:
    """Make each run try the same examples, however long one takes, and leave no database behind."""
    settings.register_profile(
        "imager", deadline=None, derandomize=True, database=None, max_examples=examples(TYPICAL)
    )
    settings.load_profile("imager")
