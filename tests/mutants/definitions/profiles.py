"""Breaks of profiles and of what a version of Talos has."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PROFILE_LOAD = "tests/unit/test_profile_load.py"
_CMDLINE = "tests/unit/test_cmdline.py"

MUTANTS = (
    Mutant(
        "lists of a profile replace instead of append",
        "imager/profile/load.py",
        "merged[key] = [*below, *value]",
        "merged[key] = [*value]",
        f"{_PROFILE_LOAD}::test_mappings_merge_lists_append_other_values_replace",
    ),
    Mutant(
        "a key may come twice in YAML",
        "imager/support/yamldocs.py",
        "if key.value in seen:",
        "if not key.value:",
        f"{_PROFILE_LOAD}::test_what_is_no_profile",
    ),
    Mutant(
        "META keys have no upper bound",
        "imager/profile/validators.py",
        "not 1 <= key <= 255",
        "not 1 <= key",
        "tests/unit/test_profile_model.py::test_what_is_no_meta_key",
    ),
    Mutant(
        "the kernel line of 1.11 has what 1.10 was the last to have",
        "imager/talos/kernel_arguments.py",
        'KernelArgument("ima_appraise=fix", before=(1, 11))',
        'KernelArgument("ima_appraise=fix", before=(1, 12))',
        f"{_CMDLINE}::test_the_line_of_every_version",
    ),
    Mutant(
        "disks have the argument of ISOs",
        "imager/talos/kernel_arguments.py",
        "and (target.iso or not self.iso_only)",
        "and True",
        f"{_CMDLINE}::test_console_takes_the_place_of_the_defaults",
    ),
    Mutant(
        "the disks of all platforms have the size of metal",
        "imager/image/disk.py",
        "usual = _usual_size(target.build.platform, boot_end)",
        "usual = _usual_size(METAL, boot_end)",
        "tests/unit/test_profiles.py::test_the_size_of_the_disk",
    ),
    Mutant(
        "every platform has the arguments of metal",
        "imager/talos/cmdline.py",
        "PLATFORMS[target.platform].arguments",
        'PLATFORMS["metal"].arguments',
        "tests/unit/test_profiles.py::test_the_arguments_of_the_platform",
    ),
    Mutant(
        "options of another disk format are taken",
        "imager/profile/disk_options.py",
        "if name not in known]",
        "if not name]",
        "tests/unit/test_profile_model.py::test_wrong_options_of_disk_formats",
    ),
)
