"""The kernel command line of a Talos version, and the user's changes to it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from imager.talos.kernel_arguments import (
    DEFAULT_ARGUMENTS,
    HALT_IF_INSTALLED,
    KernelArgument,
    KernelTarget,
)
from imager.talos.platforms import PLATFORMS

_OVERWRITING = ("console", "talos.platform")
# The kernel treats text in double quotes as one word (lib/cmdline.c, next_arg).
_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+', re.ASCII)


def kernel_cmdline(
    target: KernelTarget, extra: Iterable[str] = (), *, board: Iterable[str] = ()
) -> str:
    """Return the kernel command line for `target`, modified by `extra`.

    As in Talos, all values of a name are grouped at its first occurrence, and `name=` is written
    as `name`. The arguments of the `board` replace the platform's. Extra arguments `-name` and
    `-name=value` delete, `console` and `talos.platform` replace the default values, and all others
    append to the name's values.
    """
    platform = (*PLATFORMS[target.platform].arguments, HALT_IF_INSTALLED)
    parameters = _grouped([f"talos.platform={target.platform}", *_applied(platform, target)])
    parameters |= _grouped(board)
    for name, values in _grouped(_applied(DEFAULT_ARGUMENTS, target)).items():
        parameters[name] = [*parameters.get(name, ()), *values]
    for name, values in _grouped(extra).items():
        if name.startswith("-") and name != "-":
            _delete(parameters, name[1:], values)
        elif name in _OVERWRITING:
            parameters[name] = values
        else:
            parameters.setdefault(name, []).extend(values)
    return " ".join(
        f"{name}={value}" if value else name
        for name, values in parameters.items()
        for value in values
    )


def _applied(arguments: Iterable[KernelArgument], target: KernelTarget) -> list[str]:
    return [each.text for each in arguments if each.applies(target)]


def _grouped(texts: Iterable[str]) -> dict[str, list[str]]:
    """Return the values of each name, in the order of first occurrence."""
    found: dict[str, list[str]] = {}
    for word in _WORD.findall(" ".join(texts)):
        name, _, value = word.partition("=")
        found.setdefault(name, []).append(value)
    return found


def _delete(parameters: dict[str, list[str]], name: str, values: list[str]) -> None:
    if not values[0]:
        parameters.pop(name, None)
    elif name in parameters:
        parameters[name] = [value for value in parameters[name] if value not in values]
