"""Read the dependencies of kernel modules, and determine their load order.

Debian's kernel package has no modules.dep, so a module's dependencies are read from its .modinfo
section: NUL-terminated `key=value` strings (Linux, include/linux/moduleparam.h) in an ELF file.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.content.elf import Elf
from imager.distro.errors import UnusablePackageError

_LARGEST_MODULE = 64 << 20
_COMPRESSED = ".ko.xz"


@dataclass(frozen=True, slots=True)
class KernelModule:
    """A module file, the modules that it requires, and those to load first if available."""

    name: str
    path: Path
    depends: tuple[str, ...]
    softdeps: tuple[str, ...]

    def read(self) -> bytes:
        """Return the module as an ELF file, decompressed."""
        return _read(self.path)


def module_name(text: str) -> str:
    """Return the module name for `text`, a name or path, with `-` replaced by `_`."""
    return text.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def read_module(path: Path) -> KernelModule:
    """Read the metadata of the module file `path`.

    Raises DependencyError if it is not a module.
    """
    try:
        info = modinfo(_read(path))
    except (ValueError, lzma.LZMAError) as error:
        raise UnusablePackageError(f"{path}: not a kernel module: {error}") from error
    depends = [name for value in info.get("depends", ()) for name in value.split(",") if name]
    soft = [name for value in info.get("softdep", ()) for name in _soft_before(value)]
    return KernelModule(
        module_name(path.name),
        path,
        tuple(map(module_name, depends)),
        tuple(map(module_name, soft)),
    )


def _soft_before(value: str) -> list[str]:
    """Return the `pre` modules of `pre: a b post: c`."""
    names = value.partition("pre:")[2].partition("post:")[0]
    return names.split()


def _read(path: Path) -> bytes:
    if not path.name.endswith(_COMPRESSED):
        return path.read_bytes()
    data = lzma.LZMADecompressor().decompress(path.read_bytes(), _LARGEST_MODULE)
    if len(data) >= _LARGEST_MODULE:
        raise ValueError("larger than the limit for modules")
    return data


def modinfo(elf: bytes) -> dict[str, list[str]]:
    """Return the keys of the .modinfo section of an ELF file, each with its values in order.

    Raises ValueError if `elf` is not an ELF file with that section.
    """
    info: dict[str, list[str]] = {}
    for entry in Elf.parse(elf).section(".modinfo").split(b"\0"):
        key, separator, value = entry.decode("utf-8", "replace").partition("=")
        if separator:
            info.setdefault(key, []).append(value)
    return info


def load_order(
    wanted: Iterable[str], modules: Mapping[str, KernelModule], *, builtin: frozenset[str]
) -> list[KernelModule]:
    """Return the modules to load for the `wanted` names, each after its dependencies.

    A name that ends in `?` may be missing, as may a soft dependency; built-in modules need no
    loading. Raises DependencyError for any other missing module, and for circular dependencies.
    """
    order: dict[str, KernelModule] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in order or name in builtin or name not in modules:
            return
        if name in above:
            raise UnusablePackageError(
                f"kernel module {name} depends on itself: {' -> '.join(above)}"
            )
        module = modules[name]
        for needed in module.depends:
            if needed not in modules and needed not in builtin:
                raise UnusablePackageError(f"kernel module {name} needs {needed}, which is missing")
        for needed in (*module.softdeps, *module.depends):
            add(needed, (*above, name))
        order[name] = module

    for text in wanted:
        name = module_name(text.removesuffix("?"))
        if name not in modules and name not in builtin and not text.endswith("?"):
            raise UnusablePackageError(f"the kernel has no module {name}")
        add(name, ())
    return list(order.values())
