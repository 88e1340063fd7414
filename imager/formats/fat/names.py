"""Names in a FAT directory: what is allowed, 8.3 aliases and long-name records.

Follows Microsoft's "FAT32 File System Specification" (fatgen103), sections "FAT Directory
Structure", "FAT Long Directory Entries" and "Name Limits and Character Sets":
https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc
"""

from __future__ import annotations

import itertools
import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from imager.formats.errors import ImpossibleNameError
from imager.support.errors import InputError

_SHORT_CHARACTERS = r"A-Z0-9!#$%&'()@^_`{}~\-"
_SHORT_NAME = re.compile(rf"[{_SHORT_CHARACTERS}]{{1,8}}(?:\.[{_SHORT_CHARACTERS}]{{1,3}})?")
_NOT_SHORT = re.compile(rf"[^{_SHORT_CHARACTERS}.]")
_LABEL = re.compile(rf"[{_SHORT_CHARACTERS}][{_SHORT_CHARACTERS} ]{{0,10}}")
# U+FFFF is excluded because it is the padding of long-name records.
_FORBIDDEN = re.compile('[\x00-\x1f\x7f"*/:<>?\\\\|\ud800-\udfff\uffff]')
_LONGEST = 255
_RECORD_UNITS = 13
_LONG_NAME_ATTRIBUTES = 0x0F
_LAST_RECORD = 0x40


def check_name(name: str, *, path: str) -> None:
    """Raise InputError if `name`, a component of the file's `path`, is invalid in FAT."""
    bad = _FORBIDDEN.search(name)
    if not name:
        problem = "an empty name"
    elif bad:
        problem = f"the character {bad[0]!a} in a name"
    elif name[-1] in ". ":
        problem = "a name that ends with a dot or a space"
    elif len(name.encode("utf-16-le")) // 2 > _LONGEST:
        problem = f"a name of more than {_LONGEST} characters"
    else:
        return
    raise ImpossibleNameError(f"{path!a}: FAT does not allow {problem}", hint="rename the file")


def folded(path: str) -> str:
    """Return a key that is equal for paths which FAT treats as equal.

    Readers differ in their case folding tables; this folds the most, so that no reader sees one
    file where another sees two.
    """
    return path.upper().casefold()


def pack_label(label: str) -> bytes:
    """Return the volume label as the 11 bytes on disk; raises InputError for an invalid one."""
    if not _LABEL.fullmatch(label):
        raise InputError(
            f"{label!a} is not a FAT volume label",
            hint="use 1 to 11 of the characters A-Z, 0-9, _ and -",
        )
    return label.ljust(11).encode("ascii")


def aliases(names: Collection[str]) -> dict[str, bytes]:
    """Return a unique 8.3 name, as 11 bytes on disk, for each name in one directory.

    A name that is a valid 8.3 name except for its case keeps it; others get a numeric tail ("~1").
    The names must differ after `folded`.
    """
    result = {
        name: _pack(*name.upper().partition(".")[::2])
        for name in names
        if _SHORT_NAME.fullmatch(name.upper())
    }
    taken = set(result.values())
    # Names with the same start share a counter, so that they do not retry every tail.
    counts: defaultdict[tuple[str, str], Iterator[int]] = defaultdict(lambda: itertools.count(1))
    for name in names:
        if name not in result:
            stem, extension = _basis(name)
            tails = (f"~{number}" for number in counts[stem[:6], extension])
            tried = (_pack(stem[: 8 - len(tail)] + tail, extension) for tail in tails)
            result[name] = next(alias for alias in tried if alias not in taken)
            taken.add(result[name])
    return result


def long_records(name: str, alias: bytes) -> bytes:
    """Return the long-name records (32 bytes each) that precede the record of `alias`.

    Empty for a name that equals its own upper-case 8.3 name.
    """
    if _SHORT_NAME.fullmatch(name):
        return b""
    units = name.encode("utf-16-le")
    if len(units) % (2 * _RECORD_UNITS):
        units += b"\0\0"
    parts = [units[at : at + 26].ljust(26, b"\xff") for at in range(0, len(units), 26)]
    check = _checksum(alias)
    records = [_long_record(number, part, check) for number, part in enumerate(parts, start=1)]
    last = bytes([records[-1][0] | _LAST_RECORD]) + records[-1][1:]
    return b"".join([last, *reversed(records[:-1])])


def long_name(records: Sequence[bytes], alias: bytes) -> str:
    """Return the name in the long-name `records` (32 bytes each) that precede `alias`.

    Empty if there are none, or if they are damaged or belong to another record.
    """
    count = len(records)
    numbers = [count | _LAST_RECORD, *range(count - 1, 0, -1)]
    check = _checksum(alias)
    if [each[0] for each in records] != numbers or any(each[13] != check for each in records):
        return ""
    units = b"".join(each[1:11] + each[14:26] + each[28:] for each in reversed(records))
    return units.decode("utf-16-le", "replace").split("\0", 1)[0]


def record_count(name: str) -> int:
    """Return the number of 32-byte records of `name`, including its 8.3 alias."""
    units = 0 if _SHORT_NAME.fullmatch(name) else len(name.encode("utf-16-le")) // 2
    return 1 - (-units // _RECORD_UNITS)


def _long_record(number: int, part: bytes, check: int) -> bytes:
    return struct.pack(
        "<B10sBBB12sH4s",
        number,
        part[:10],
        _LONG_NAME_ATTRIBUTES,
        0,
        check,
        part[10:22],
        0,
        part[22:],
    )


def _checksum(alias: bytes) -> int:
    value = 0
    for byte in alias:
        value = ((value & 1) << 7) + (value >> 1) + byte & 0xFF
    return value


def _pack(stem: str, extension: str) -> bytes:
    return f"{stem:<8}{extension:<3}".encode("ascii")


def _basis(name: str) -> tuple[str, str]:
    """Return the stem and the extension for the alias."""
    text = _NOT_SHORT.sub("_", name.replace(" ", "").lstrip(".").upper())
    stem, dot, extension = text.rpartition(".")
    return (stem.replace(".", ""), extension[:3]) if dot else (extension, "")
