"""Breaks of `imager config`, and of what a node reads of a machine configuration."""

from __future__ import annotations

from tests.mutants.definitions import Mutant

_SELECTOR = ("tests/unit/test_selector.py",)
_READ = ("tests/unit/test_machineconfig.py",)
_CHECK = ("tests/unit/test_machineconfig_check.py",)

MACHINE_CONFIG = (
    Mutant(
        "what fails hides what decides",
        "imager/machineconfig/terms.py",
        "failure = failure or error",
        "raise error",
        _SELECTOR,
    ),
    Mutant(
        "numbers have no bounds",
        "imager/machineconfig/terms.py",
        "if value not in _RANGES[type_]:",
        "if False:",
        _SELECTOR,
    ),
    Mutant(
        "a glob's ends may overlap",
        "imager/machineconfig/functions.py",
        "0 <= position <= len(text) - len(last) and",
        "0 <= position and",
        _SELECTOR,
    ),
    Mutant(
        "a merged key is taken for the mapping's own",
        "imager/yamldocs.py",
        "for key, value in reversed(node.value)",
        "for key, value in node.value",
        _READ,
    ),
    Mutant(
        "both ways to turn the cache on are right",
        "imager/machineconfig/settings.py",
        "if len(places) > 1:",
        "if len(places) > 2:",
        _READ,
    ),
    Mutant(
        "a negative limit is what is used, not what is left",
        "imager/machineconfig/sizes.py",
        "SizeLimit(-size, 100) if is_negative",
        "SizeLimit(size) if is_negative",
        _READ,
    ),
    Mutant(
        "a mount of the cache's volume is right",
        "imager/machineconfig/volumes.py",
        'IMAGE_CACHE: ("mount", "filesystem")',
        'IMAGE_CACHE: ("filesystem",)',
        _READ,
    ),
    Mutant(
        "a volume just too small is large enough",
        "imager/machineconfig/check.py",
        "volume.max_size.size < sized.volume_size",
        "volume.max_size.size < sized.volume_size - 1048576",
        _CHECK,
    ),
    Mutant(
        "a worker needs a control plane",
        "imager/machineconfig/needs.py",
        '_CONTROL_PLANES = ("controlplane", "init")',
        '_CONTROL_PLANES = ("controlplane", "init", "worker")',
        _CHECK,
    ),
    Mutant(
        "the volume has no room",
        "imager/machineconfig/patch.py",
        "size + size // 5",
        "size",
        _CHECK,
    ),
)
