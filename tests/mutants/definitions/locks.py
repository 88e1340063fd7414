"""Breaks of locks: what they pin, what they say, and what a locked build asks for."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UNIT = "tests/unit/test_build_lock.py"
_ORACLE = "tests/oracle/test_build_lock.py"

MUTANTS = (
    Mutant(
        "a locked build pulls what a tag has now",
        "imager/oci/registry.py",
        "RemoteImage(self, self.pins.pinned(reference))",
        "RemoteImage(self, reference)",
        f"{_ORACLE}::test_a_locked_build_stays_when_all_tags_have_moved",
    ),
    Mutant(
        "a pin replaces the digest of a reference",
        "imager/oci/pins.py",
        "        if reference.digest is not None:\n            return reference\n",
        "",
        f"{_UNIT}::test_only_pinned_tags_become_digests",
    ),
    Mutant(
        "a signature that is newer than its lock is cached",
        "imager/cache/signatures.py",
        "if not pins.leaves_out(signature_tag):",
        "if True:",
        f"{_ORACLE}::test_a_locked_list_of_images_stays_when_all_tags_have_moved",
    ),
    Mutant(
        "a referrer that is newer than its lock is cached",
        "imager/cache/signatures.py",
        "for entry in found if not pins.leaves_out(entry.digest)",
        "for entry in found",
        "tests/unit/test_imagecache_gather.py::test_a_lock_leaves_out_what_came_later",
    ),
    Mutant(
        "the digest of a cache is that of its first file",
        "imager/cache/digest.py",
        "for file in cache.files:",
        "for file in cache.files[:1]:",
        f"{_ORACLE}::test_inputs_on_this_machine_are_pinned_by_their_contents",
    ),
    Mutant(
        "a pinned image that is gone ends the check",
        "imager/app/lock/resolve.py",
        "            if image.reference == reference:\n",
        "            if True:\n",
        f"{_ORACLE}::test_all_that_changed_is_named_at_once",
    ),
    Mutant(
        "the place of a reference may change",
        "imager/app/lock/changes.py",
        "(each.digest, each.place if each.reference else None)",
        "each.digest",
        f"{_UNIT}::test_differences",
    ),
    Mutant(
        "a locked build has the usual time",
        "imager/app/lock/build_lock.py",
        "source_date_epoch(pinned)",
        "source_date_epoch()",
        f"{_ORACLE}::test_a_locked_build_stays_when_all_tags_have_moved",
    ),
    Mutant(
        "the variables of SecureBoot have the usual time",
        "imager/efi/secureboot.py",
        "enrollment(signer, timestamp=timestamp, extra=extra)",
        "enrollment(signer, extra=extra)",
        f"{_ORACLE}::test_a_lock_pins_certificates_and_nothing_of_a_private_key",
    ),
    Mutant(
        "a machine configuration is in the lock",
        "imager/app/lock/build_lock.py",
        '    "customization": {"embedded_machine_configuration"},\n',
        "",
        f"{_ORACLE}::test_a_locked_build_stays_when_all_tags_have_moved",
    ),
    Mutant(
        "a lock names the files of keys",
        "imager/app/lock/build_lock.py",
        '    "input": True,\n',
        "",
        f"{_ORACLE}::test_a_lock_pins_certificates_and_nothing_of_a_private_key",
    ),
    Mutant(
        "an overlay image is opened before it is pinned",
        "imager/cli/build.py",
        "options = locked_options(options, lock)",
        "pass",
        f"{_ORACLE}::test_the_profile_of_a_pinned_overlay_image_is_the_base",
    ),
    Mutant(
        "mkfs.xfs is not pinned",
        "imager/app/lock/versions.py",
        "    if is_disk and uses_grub:\n",
        "    if is_disk and not uses_grub:\n",
        f"{_ORACLE}::test_every_program_that_runs_is_pinned",
    ),
    Mutant(
        "a field that no lock has is ignored",
        "imager/app/lock/model.py",
        'ConfigDict(frozen=True, extra="forbid", strict=False)',
        "ConfigDict(frozen=True, strict=False)",
        f"{_UNIT}::test_what_is_no_lock_is_named",
    ),
)
