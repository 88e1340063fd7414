"""Breaks of measured boot: what is measured, what is signed, and what is read back."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PCR = "tests/unit/test_pcr.py"
_MEASURED = "tests/unit/test_measured.py"

MUTANTS = (
    Mutant(
        "old stubs measure .sbat too",
        "imager/efi/pcr.py",
        '(".sbat", 254)',
        '(".sbat", 252)',
        f"{_PCR}::test_each_release_measures_more_sections",
    ),
    Mutant(
        "the name of a section is measured without its NUL",
        "imager/efi/pcr.py",
        'name.encode("ascii") + b"\\0"',
        'name.encode("ascii")',
        f"{_PCR}::test_the_value_and_the_policy_are_those_of_systemd_and_of_a_tpm",
    ),
    Mutant(
        "a policy asks for another register",
        "imager/efi/pcr.py",
        'b"\\x00\\x08\\x00"',
        'b"\\x00\\x10\\x00"',
        f"{_PCR}::test_the_value_and_the_policy_are_those_of_systemd_and_of_a_tpm",
    ),
    Mutant(
        "the signature of a policy is not checked",
        "imager/efi/pcr.py",
        "elif not verifies(key, each.signature, _sha256(each.policy)):",
        "elif False:",
        f"{_PCR}::test_each_wrong_entry_is_told",
    ),
    Mutant(
        "a profile's own command line is not what it boots",
        "imager/efi/measured.py",
        "(*reversed(base), *reversed(profile))",
        "(*reversed(profile), *reversed(base))",
        f"{_MEASURED}::test_profiles_boot_their_own_sections",
    ),
    Mutant(
        "the stub's own sections are not measured",
        "imager/efi/measured.py",
        "booted_sections((*own, *base), profile)",
        "booted_sections(base, profile)",
        f"{_MEASURED}::test_the_policy_is_that_of_what_the_stub_measures",
    ),
    Mutant(
        "a banner on both sides of a megabyte is missed",
        "imager/bootassets/kernelversion.py",
        "window[-_LONGEST_BANNER:] + piece",
        "piece",
        "tests/unit/test_kernel_version.py::test_kernel_version_of_a_compressed_efi_image",
    ),
)
