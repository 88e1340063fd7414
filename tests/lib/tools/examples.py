"""How many examples tests try: the same each time.

IMAGER_TEST_EXAMPLES multiplies those of hypothesis; IMAGER_TEST_EDITS is the number of damaged
copies of each format.
"""

from __future__ import annotations

import os

from hypothesis import settings

TYPICAL = 50


def examples(number: int) -> int:
    """Return the number of examples for a test that needs `number` of them in a quick run."""
    return max(1, round(number * float(os.environ.get("IMAGER_TEST_EXAMPLES") or 1)))


def edit_count(number: int) -> int:
    """Return how many damaged copies a test tries, which tries `number` of them in a quick run."""
    return int(os.environ.get("IMAGER_TEST_EDITS") or number)


def set_up() -> None:
    """Make each run try the same examples, however long one takes, and leave no database behind."""
    settings.register_profile(
        "imager", deadline=None, derandomize=True, database=None, max_examples=examples(TYPICAL)
    )
    settings.load_profile("imager")
