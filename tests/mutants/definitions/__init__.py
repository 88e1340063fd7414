"""The mutants: each module here is a topic, and lists its own as `MUTANTS`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.mutants.mutant import Mutant


def all_mutants() -> tuple[Mutant, ...]:
    """Return the mutants of all topics."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    return tuple(each for name in names for each in importlib.import_module(name).MUTANTS)
