"""The node's root file system: parts of Debian packages and wheels, and this package itself.

`node/files` selects the parts. Shared libraries are directly in /usr/lib, which the dynamic linker
of every architecture searches, under the names that programs request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from imager.content.elf import Elf, elf_bits
from imager.content.extents import Content
from imager.content.tree import File, Link, Tree
from imager.distro.bytecode import compiled
from imager.distro.deb import deb_files
from imager.distro.errors import UnusablePackageError
from imager.distro.wheels import wheel_files
from imager.profile.names import builtin_folder

SCRIPTS = "usr/lib/node"
_PYTHON_PACKAGES = "usr/lib/python3/dist-packages"
_LIBRARY = re.compile(r"(?:usr/)?lib/[^/]+-linux-gnu[^/]*/([^/]+?\.so\.[0-9]+)[0-9.]*")
_FOLDERS = ("dev", "etc/containerd/certs.d", "proc", "run", "sys", "system", "tmp", "var")
_LINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib",
    "sbin": "usr/sbin",
    "usr/bin/python3": "python3.11",
    "usr/bin/sh": "busybox",
    "usr/sbin/mkfs.ext4": "mke2fs",
}
_SCRIPTS = ("start", "command", "inline.py", "notified.py")
_TEXTS = {
    "etc/containerd/config.toml": "containerd.toml",
    "etc/group": "group",
    "etc/hosts": "hosts",
    "etc/passwd": "passwd",
    "usr/bin/imager": "imager",
}


@dataclass(frozen=True, slots=True)
class FileList:
    """The files to keep, by package, and the files to exclude: fnmatch patterns."""

    kept: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]

    def keeps(self, package: str, path: str) -> bool:
        """Whether to keep the file `path` of a Debian `package`."""
        return any(fnmatchcase(path, pattern) for pattern in self.kept[package])

    def leaves_out(self, path: str) -> bool:
        """Whether to exclude `path` from the root file system."""
        return any(fnmatchcase(path, pattern) for pattern in self.left_out)


def read_file_list() -> FileList:
    """Parse `node/files`."""
    text = (files(__package__) / "node/files").read_text()
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    kept = {words[0]: tuple(words[1:]) for words in lines if words[0] != "-"}
    return FileList(kept, tuple(word for words in lines if words[0] == "-" for word in words[1:]))


def base_root(debs: Mapping[str, Path], wheels: Sequence[Path], busybox: bytes) -> Tree:
    """Return the third-party part of the root file system: Debian packages, by name, and wheels.

    Raises DependencyError for a package that cannot be read, or lacks a requested file.
    """
    listed = read_file_list()
    contents = {
        **_debian_files(debs, listed),
        **_python_files(wheels),
        "usr/bin/busybox": busybox,
    }
    kept = {name: data for name, data in contents.items() if not listed.leaves_out(name)}
    links = (Link(path, target) for path, target in _LINKS.items())
    return Tree.of(_files(kept), _FOLDERS, nodes=links)


def own_root() -> Tree:
    """Return the layer above: this package, and the scripts that start the node."""
    return Tree.of(_files(_own_files()))


def _debian_files(debs: Mapping[str, Path], listed: FileList) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for package, patterns in listed.kept.items():
        wanted = {
            path: data
            for path, data in deb_files(debs[package], folders=("",))
            if listed.keeps(package, path)
        }
        for pattern in patterns:
            if not any(fnmatchcase(path, pattern) for path in wanted):
                raise UnusablePackageError(f"Debian's package {package} has no {pattern}")
        found.update({_place(path): data for path, data in wanted.items()})
    return found


def _place(path: str) -> str:
    """Return the destination path for a file of a Debian package."""
    if library := _LIBRARY.fullmatch(path):
        return f"usr/lib/{library[1]}"
    return f"usr/{path}" if path.startswith(("bin/", "sbin/")) else path


def _python_files(wheels: Iterable[Path]) -> dict[str, bytes]:
    return {
        # In many wheels, debug information makes up nine tenths of a library.
        f"{_PYTHON_PACKAGES}/{name}": Elf.parse(data).loaded_part() if elf_bits(data) else data
        for path in wheels
        for name, data in wheel_files(path)
    }


def _own_files() -> dict[str, bytes]:
    package = f"{_PYTHON_PACKAGES}/imager"
    here = files(__package__)
    return {
        **{f"{package}/{name}": data for name, data in _tree(files("imager"))},
        **{
            f"{package}/profile/builtin/{path.name}": path.read_bytes()
            for path in builtin_folder().glob("*.yaml")
        },
        **{f"{SCRIPTS}/{name}": (here / "node" / name).read_bytes() for name in _SCRIPTS},
        f"{SCRIPTS}/volume": (here / "witness/volume").read_bytes(),
        **{path: (here / "node" / name).read_bytes() for path, name in _TEXTS.items()},
    }


def _tree(folder: Traversable) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_file():
            yield entry.name, entry.read_bytes()
        elif entry.name != "__pycache__":
            yield from ((f"{entry.name}/{name}", data) for name, data in _tree(entry))


def _files(contents: Mapping[str, bytes]) -> Iterator[File]:
    """Yield the files of the root file system, with Python modules compiled."""
    for path, data in sorted(contents.items()):
        yield _file(*(compiled(path, data) if path.startswith("usr/lib/python") else (path, data)))


def _file(path: str, data: bytes) -> File:
    # The dynamic linker is a library, but also a program.
    executable = bool(elf_bits(data)) or data.startswith(b"#!")
    return File(path, Content.of_bytes(data), mode=0o755 if executable else 0o644)
