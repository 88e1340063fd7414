"""The names of an ISO 9660 tree: each path checked, and its identifiers made.

A name has two forms on the disc. Rock Ridge (RRIP 1.12, section 4.1.4) carries it byte for byte,
for Linux, xorriso and GRUB. The file identifier is what all others read, for example Windows
when the disc is copied to a FAT stick, so it is the name itself where that is plain and short
(ISO 9660:1999, section 7.5, allows its letters), and otherwise a digest of the name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from imager.support.errors import InputError

# Linux cuts longer names off in silence (fs/isofs/rock.c, get_rock_ridge_filename).
LONGEST_NAME = 253
# Path tables number directories with 16 bits (ECMA-119, section 9.4.4).
MOST_DIRECTORIES = 0xFFFF
# With up to 77 bytes a record of 254 bytes holds name, identifier, modes and times; a longer
# name needs a continuation area anyway.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,76}", re.ASCII)


@dataclass(frozen=True, slots=True)
class IsoTree:
    """The entries, path to path of identifiers: `directories`, parents first, and `files`.

    The root is not among them. Either path ends with the entry's own name or identifier.
    """

    directories: dict[str, str]
    files: dict[str, str]


def plan_tree(paths: Iterable[str], folders: Iterable[str] = ()) -> IsoTree:
    """Return the tree of the files `paths` (relative, with forward slashes) and of `folders`.

    Identifiers differ between siblings, also for readers that ignore case; of two names that
    differ in case only, the first keeps its own. Raises InputError for a path that is absolute,
    has an empty, `.`, `..` or unwritable component, stands there twice, or is file and
    directory, and when there are more than 65,535 directories.
    """
    tree = IsoTree({}, {})
    taken: set[str] = set()
    for path in paths:
        names = _checked_names(path)
        parent = _add_directories(tree, names[:-1], taken)
        if path in tree.files or path in tree.directories:
            raise InputError(f"{path!r} stands twice in the ISO")
        tree.files[path] = _identifier(parent, names[-1], taken)
    for folder in folders:
        _add_directories(tree, _checked_names(folder), taken)
    if len(tree.directories) >= MOST_DIRECTORIES:
        raise InputError(f"the ISO has more than {MOST_DIRECTORIES} directories")
    return tree


def _add_directories(tree: IsoTree, names: list[str], taken: set[str]) -> str:
    """Add a directory and those above it; return the identifier path of the last of `names`."""
    identifier = ""
    for depth in range(1, len(names) + 1):
        path = "/".join(names[:depth])
        if path in tree.files:
            raise InputError(f"{path!r} is a file and a directory of the ISO")
        known = tree.directories.get(path)
        if known is None:
            known = tree.directories[path] = _identifier(identifier, names[depth - 1], taken)
        identifier = known
    return identifier


def _identifier(parent: str, name: str, taken: set[str]) -> str:
    identifier = f"{parent}/{name}"
    if not _PLAIN.fullmatch(name) or identifier.lower() in taken:
        # No plain name has a tilde, so a digest only ever meets digests.
        identifier = f"{parent}/~{hashlib.sha256(name.encode()).hexdigest()[:40]}"
    taken.add(identifier.lower())
    return identifier


def _checked_names(path: str) -> list[str]:
    names = path.split("/")
    if not all(_is_writable(name) for name in names):
        raise InputError(
            f"{path!r} cannot stand in an ISO",
            hint=f"use relative paths of names with 1 to {LONGEST_NAME} bytes of UTF-8",
        )
    return names


def _is_writable(name: str) -> bool:
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return False
    return name not in {"", ".", ".."} and "\0" not in name and length <= LONGEST_NAME
