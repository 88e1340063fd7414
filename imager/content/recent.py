"""Keep the values that were used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


def kept(
    found: OrderedDict[_K, _V],
    key: _K,
    make: Callable[[], _V],
    *,
    most: int,
    drop: Callable[[_V], object] = lambda _value: None,
) -> _V:
    """Return the value of `key`, made if it is missing; keeps the `most` last used in `found`."""
    if key in found:
        found.move_to_end(key)
        return found[key]
    value = make()
    found[key] = value
    while len(found) > most:
        drop(found.popitem(last=False)[1])
    return value
