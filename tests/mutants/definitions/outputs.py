"""Breaks of whole outputs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ISO = "tests/oracle/test_output_iso.py"

MUTANTS = (
    Mutant(
        "the volume id is not upper case",
        "imager/image/iso.py",
        'f"Talos-{version}".upper()',
        'f"Talos-{version}"',
        f"{_ISO}::test_volume_id",
    ),
    Mutant(
        "the ISO's partition is not where its boot image is",
        "imager/image/iso.py",
        "Partition(LABEL, ESP, derived_uuid(LABEL), image.offset, image.length)",
        "Partition(LABEL, ESP, derived_uuid(LABEL), image.offset + CD_SECTOR, image.length)",
        f"{_ISO}::test_partition_is_the_el_torito_image",
    ),
    Mutant(
        "the partitions stand in another order",
        "imager/image/partitioned.py",
        "for part in partitions\n    ]",
        "for part in reversed(partitions)\n    ]",
        "tests/oracle/test_output_disk.py::test_partitions_are_aligned_and_leave_no_gap",
    ),
    Mutant(
        "a disk that is too small is built",
        "imager/image/disk.py",
        "if size >= sizes.minimum:",
        "if size > 0:",
        "tests/fault/test_output_errors.py::test_bad_disk_size",
    ),
    Mutant(
        "a source that changes during a build goes unnoticed",
        "imager/content/unchanged.py",
        "if _identity(path) != identity:",
        "if not identity:",
        "tests/unit/test_output_write.py::test_a_source_that_changes_meanwhile_is_told",
    ),
    Mutant(
        "a wrong digest does not stop a build",
        "imager/app/build.py",
        "checks=planned.cache.checks if planned.cache and options.verify else (),",
        "checks=(),",
        "tests/fault/test_cache_errors.py::test_damage_is_found_in_a_disk_too",
    ),
    Mutant(
        "the instant of a build may be before 1980",
        "imager/support/repro.py",
        "min(max(int(text), _EARLIEST_EPOCH), _LATEST_EPOCH)",
        "min(int(text), _LATEST_EPOCH)",
        "tests/unit/test_repro.py::test_the_variable_is_taken",
    ),
    Mutant(
        "derived ids have no version",
        "imager/support/repro.py",
        "raw[6] = raw[6] & 0x0F | 0x80",
        "raw[6] = raw[6] & 0x0F",
        "tests/unit/test_repro.py::test_derived_ids_follow_the_rule",
    ),
)
