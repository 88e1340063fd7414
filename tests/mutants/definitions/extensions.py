"""Breaks of system extensions: their order, checks, labels, firmware and lists of modules."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UNIT = "tests/unit/test_extensions.py"
_RANGES = "tests/unit/test_version_ranges.py"
_CPIO = "tests/unit/test_cpio.py"
_JUDGED = "tests/oracle/test_extensions.py"
_OUTPUTS = "tests/oracle/test_output_extensions.py"

MUTANTS = (
    Mutant(
        "the eleventh extension comes before the third",
        "imager/image/extensions/initramfs.py",
        'f"{number:0{digits}}"',
        'f"{number}"',
        f"{_UNIT}::test_folders_sort_in_the_order_of_the_profile",
    ),
    Mutant(
        "microcode is behind the initramfs",
        "imager/image/extensions/initramfs.py",
        """*([early] if parts.microcode.files else []),
            Content.of_file(initramfs),""",
        """Content.of_file(initramfs),
            *([early] if parts.microcode.files else []),""",
        f"{_JUDGED}::test_microcode_comes_before_everything",
    ),
    Mutant(
        "a squashfs image of an embedded configuration is kept",
        "imager/image/extensions/initramfs.py",
        "job.scratch if extension.secret else job.cache",
        "job.cache",
        f"{_OUTPUTS}::test_nothing_of_a_configuration_is_kept",
    ),
    Mutant(
        "a prerelease is not its release",
        "imager/talos/ranges.py",
        "key = (*version.numbers, True)",
        'key = (*version.numbers, "-" not in version.text)',
        f"{_RANGES}::test_a_range_contains_what_talos_says",
    ),
    Mutant(
        "one alternative of a range is enough to refuse",
        "imager/talos/ranges.py",
        "return any(",
        "return all(",
        f"{_RANGES}::test_a_range_contains_what_talos_says",
    ),
    Mutant(
        "an extension for another Talos is taken",
        "imager/image/extensions/manifest.py",
        "if not fits:",
        "if False:",
        f"{_UNIT}::test_a_bad_manifest_is_named_with_its_field",
    ),
    Mutant(
        "only the first problem of extensions is reported",
        "imager/image/extensions/extension.py",
        'problems += [f"{source}: {problem}" for problem in error.problems]',
        'problems = problems or [f"{source}: {error.problems[0]}"]',
        f"{_UNIT}::test_all_problems_of_all_extensions_are_named",
    ),
    Mutant(
        "microcode is also firmware",
        "imager/image/extensions/firmware.py",
        "if not _is_microcode(each.path)",
        "if True",
        f"{_UNIT}::test_firmware_and_microcode_leave_the_extensions",
    ),
    Mutant(
        "depmod sorts modules as the file system does",
        "imager/image/extensions/modules.py",
        "yield from sorted(set(found) - {*listed})",
        "yield from ()",
        f"{_UNIT}::test_every_module_is_listed_for_depmod",
    ),
    Mutant(
        "the machine gets the list that was made for depmod",
        "imager/image/extensions/modules.py",
        "order.write_bytes(given)",
        "pass",
        f"{_JUDGED}::test_the_lists_of_modules_are_those_of_depmod",
    ),
    Mutant(
        "SELinux labels are lost on the way to squashfs",
        "imager/content/tar.py",
        "if label is not None:",
        "if False:",
        f"{_JUDGED}::test_an_image_has_files_links_modes_and_labels",
    ),
    Mutant(
        "the root folder of an extension has no label",
        "imager/formats/squashfs.py",
        "return cls(tar, (*options, *_root_label(root)))",
        "return cls(tar, options)",
        f"{_UNIT}::test_the_root_folder_is_labelled_where_mksquashfs_can[4.6-True]",
    ),
    Mutant(
        "the blocks of a frame have no last one",
        "imager/content/stored.py",
        "last = _LAST if start + data.size == content.size else 0",
        "last = 0",
        f"{_UNIT}::test_a_frame_with_a_stored_end_is_zstd",
    ),
    Mutant(
        "an archive that is cut off is read to its end",
        "imager/formats/cpio.py",
        "if len(data) < length:",
        "if False:",
        f"{_CPIO}::test_a_cut_archive_is_damaged",
    ),
    Mutant(
        "SELinux labels are lost when an image is read",
        "imager/oci/layerfiles.py",
        "label = member.pax_headers.get(SELINUX_RECORD)",
        "label = None",
        f"{_UNIT}::test_an_image_has_labels_and_folder_modes",
    ),
    Mutant(
        "folders of an image are open to everyone",
        "imager/oci/roottree.py",
        "made.mode, made.label = what.mode, what.label",
        "made.label = what.label",
        f"{_UNIT}::test_an_image_has_labels_and_folder_modes",
    ),
    Mutant(
        "outputs have the initramfs without extensions",
        "imager/bootassets/kernelimage.py",
        "if assets.extended is not None:",
        "if False:",
        f"{_OUTPUTS}::test_an_extension_is_in_the_initramfs",
    ),
)
