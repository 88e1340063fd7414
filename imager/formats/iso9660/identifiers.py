"""Validate the names of an ISO 9660 tree, and derive their identifiers.

A name has two forms on the disc. Rock Ridge (RRIP 1.12, section 4.1.4) stores it byte for byte,
for Linux, xorriso and GRUB. All other readers use the file identifier, for example Windows when it
copies the disc to a FAT stick. It is the name itself if that is plain and short (ISO 9660:1999,
section 7.5, allows its letters), and otherwise a digest of the name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from imager.content.tree import Tree, name_of
from imager.formats.errors import ImpossibleNameError

# Linux silently truncates longer names (fs/isofs/rock.c, get_rock_ridge_filename).
LONGEST_NAME = 253
# Path tables use 16-bit directory numbers (ECMA-119, section 9.4.4).
MOST_DIRECTORIES = 0xFFFF
# Up to 77 bytes, a record of 254 bytes holds name, identifier, modes and times. A longer name
# needs a continuation area anyway.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,76}", re.ASCII)


@dataclass(frozen=True, slots=True)
class IsoTree:
    """Maps from paths to identifier paths: `directories`, parents first, and `files`.

    The root is not included. The last part of each path is the entry's own name or identifier.
    """

    directories: dict[str, str]
    files: dict[str, str]


def plan_tree(tree: Tree) -> IsoTree:
    """Return the identifiers of everything in `tree`.

    Identifiers of siblings differ even if case is ignored; of two names that differ only in case,
    the first keeps its own. Raises InputError for an invalid name and for more than 65,535
    directories.
    """
    found = IsoTree({}, {})
    taken: set[str] = set()
    for folder, paths in tree.entries.items():
        for path in paths:
            _check_name(path)
            identifier = _identifier(found.directories.get(folder, ""), name_of(path), taken)
            (found.directories if path in tree.entries else found.files)[path] = identifier
    if len(found.directories) >= MOST_DIRECTORIES:
        raise ImpossibleNameError(f"the ISO has more than {MOST_DIRECTORIES} directories")
    return found


def _identifier(parent: str, name: str, taken: set[str]) -> str:
    identifier = f"{parent}/{name}"
    if not _PLAIN.fullmatch(name) or identifier.lower() in taken:
        # A plain name has no tilde, so a digest can only collide with another digest.
        identifier = f"{parent}/~{hashlib.sha256(name.encode()).hexdigest()[:40]}"
    taken.add(identifier.lower())
    return identifier


def _check_name(path: str) -> None:
    try:
        fits = len(name_of(path).encode()) <= LONGEST_NAME
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise ImpossibleNameError(
            f"{path!r} cannot be stored in an ISO",
            hint=f"use names with 1 to {LONGEST_NAME} bytes of UTF-8",
        )
