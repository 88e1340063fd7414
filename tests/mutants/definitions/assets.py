"""Breaks of how boot assets are fetched and put together."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FETCH = "tests/oracle/test_bootassets_fetch.py"
_CPIO = "tests/unit/test_cpio.py"

MUTANTS = (
    Mutant(
        "a package may have other bytes of the same size",
        "imager/distro/apt.py",
        "return hash_content(Content.of_file(path)).hex() == package.sha256",
        "return bool(package.sha256)",
        f"{_FETCH}::test_a_damaged_package_in_the_cache_is_not_used",
    ),
    Mutant(
        "a mirror may be any text",
        "imager/distro/apt.py",
        "if not _URI.fullmatch(mirror):",
        "if not mirror:",
        "tests/unit/test_debian_mirror.py::test_a_mirror_cannot_change_how_it_is_trusted",
    ),
    Mutant(
        "a cpio header is not padded with its name",
        "imager/formats/cpio.py",
        'return header.ljust(align_up(len(header), _ALIGNMENT), b"\\0")',
        'return header.ljust(align_up(len(header) + 2, _ALIGNMENT), b"\\0")',
        f"{_CPIO}::test_a_record_has_the_fields_of_the_format",
    ),
    Mutant(
        "a lock of another architecture passes",
        "imager/bootassets/sources.py",
        'if record["arch"] != arch.name:',
        'if not record["arch"]:',
        f"{_FETCH}::test_a_bad_lock_is_refused",
    ),
    Mutant(
        "a lock may lack the kernel",
        "imager/distro/packages.py",
        "if len(kernels) != 1 or",
        "if len(kernels) > 1 or",
        f"{_FETCH}::test_a_lock_without_a_kernel_is_refused",
    ),
    Mutant(
        "a module comes before what it needs",
        "imager/distro/kmodules.py",
        "    for needed in (*module.softdeps, *module.depends):",
        "    for needed in module.softdeps:",
        "tests/unit/test_kmodules.py::test_what_a_module_needs_is_loaded_before_it",
    ),
)
