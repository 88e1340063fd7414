"""Breaks of what finds the volumes of an image that firmware boots from."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_TABLES = "oracle/test_gpt_foreign.py"
_VERIFIED = "oracle/test_verify_foreign.py"
_CATALOGS = "unit/test_eltorito.py"

VERIFYING = (
    _mutant(
        "a table has 128 entries",
        "media/gpt_read.py",
        "entries = _read_at(file, array * sector_size, count * each)",
        "entries = _read_at(file, array * sector_size, 128 * each)",
        f"{_TABLES}::test_xorrisos_table_is_read",
    ),
    _mutant(
        "the number of entries has no limit",
        "media/gpt_read.py",
        "if not 1 <= count <= _LARGEST_ARRAY // each:",
        "if not count:",
        "unit/test_gpt.py::test_shapes_are_bounded",
    ),
    _mutant(
        "the primary array is written behind its header",
        "media/gpt_edit.py",
        "if self._copy.array == _ARRAY:",
        "if self._copy:",
        f"{_TABLES}::test_a_larger_disk_is_used_and_an_entry_added[a primary array that was moved]",
    ),
    _mutant(
        "longer headers are cut off",
        "media/gpt_edit.py",
        "rest = header[HEADER.size :]",
        'rest = b""',
        "unit/test_gpt.py::test_larger_entries_and_headers_are_read",
    ),
    _mutant(
        "an MBR has no EFI system partition",
        "media/mbr.py",
        "kind == _ESP",
        "kind == 0",
        f"{_VERIFIED}::test_sticks_with_an_mbr",
    ),
    _mutant(
        "El Torito is not looked at",
        "output/bootvolumes.py",
        "        yield from _boot_images(path)",
        "        yield from ()",
        f"{_VERIFIED}::test_isos[from genisoimage]",
    ),
    _mutant(
        "an entry that does not boot is taken",
        "media/eltorito.py",
        "if indicator == _BOOTABLE:",
        "if indicator >= 0:",
        f"{_CATALOGS}::test_catalogs",
    ),
    _mutant(
        "the checksum of a boot catalog does not count",
        "media/eltorito.py",
        "and sum(words) & 0xFFFF == 0",
        "and sum(words) >= 0",
        f"{_CATALOGS}::test_damaged_catalogs",
    ),
    _mutant(
        "what only the tree of an ISO has is passed over",
        "output/bootvolumes.py",
        "        if files:",
        "        if not files:",
        f"{_VERIFIED}::test_isos[as Talos makes it]",
    ),
    _mutant(
        "allocation tables may differ",
        "output/bootvolumes.py",
        "if fat_tables_agree(",
        "if place or fat_tables_agree(",
        f"{_VERIFIED}::test_tables_that_differ[16]",
    ),
    _mutant(
        "a loader of zeros is passed over",
        "output/secureboot.py",
        "name.lower().endswith(_EFI) or",
        "not name or",
        f"{_VERIFIED}::test_a_loader_of_zeros_is_not_passed_over",
    ),
)
