"""The names of an ISO 9660 tree, checked, and their identifiers.

A name has two forms on the disc. Rock Ridge (RRIP 1.12, section 4.1.4) carries it byte for byte,
for Linux, xorriso and GRUB. The file identifier is what all others read, for example Windows
when the disc is copied to a FAT stick, so it is the name itself where that is plain and short
(ISO 9660:1999, section 7.5, allows its letters), and otherwise a digest of the name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from imager.content.tree import Tree, name_of
from imager.formats.errors import ImpossibleNameError

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


def plan_tree(tree: Tree) -> IsoTree:
    """Return the identifiers of everything in `tree`.

    Identifiers differ between siblings, also for readers that ignore case; of two names that
    differ in case only, the first keeps its own. Raises InputError for a name that cannot be
    written and for more than 65,535 directories.
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
        # No plain name has a tilde, so a digest only ever meets digests.
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
            f"{path!r} cannot be in an ISO",
            hint=f"use names with 1 to {LONGEST_NAME} bytes of UTF-8",
        )
