"""Breaks of what inspects images, and of the readers under it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UNIT = "tests/unit/test_inspect.py"
_REMOTE = "tests/unit/test_inspect_remote.py"
_ORACLE = "tests/oracle/test_inspect_oracle.py"
_MAKERS = "tests/oracle/test_other_makers.py"
_AGAINST = "tests/oracle/test_verify_against.py"
_XFS = "tests/oracle/test_xfs_read.py"

MUTANTS = (
    Mutant(
        "a GPT without a protective MBR is damaged",
        "imager/image/inspect/layout.py",
        "if sector is not None and read_mbr(head):",
        "if ():",
        f"{_MAKERS}::test_a_netinst_image_as_debian_cd_makes_it",
    ),
    Mutant(
        "an option is the title of an entry of GRUB",
        "imager/image/inspect/menus.py",
        'elif not word.startswith("--"):',
        "else:",
        f"{_MAKERS}::test_a_netinst_image_as_debian_cd_makes_it",
    ),
    Mutant(
        "a hole in a content is left out when a part is read",
        "imager/content/random_access.py",
        "parts.append(bytes(start - position))",
        "pass",
        "tests/unit/test_random_access.py::test_every_part_is_what_it_is",
    ),
    Mutant(
        "compressed clusters of qcow2 are placed by their sectors",
        "imager/formats/qcow2_read.py",
        "length = (sectors + 1) * 512 - place % 512",
        "length = sectors * 512 - place % 512",
        f"{_ORACLE}::test_formats_of_qemu_contain_the_same[qcow2--c]",
    ),
    Mutant(
        "the bitmap before a block of a VHD is data",
        "imager/formats/vhd_read.py",
        "yield Run(number * block, sector * SECTOR + bitmap, block)",
        "yield Run(number * block, sector * SECTOR, block)",
        f"{_ORACLE}::test_formats_of_qemu_contain_the_same[vpc--o-subformat=dynamic]",
    ),
    Mutant(
        "an archive of an initramfs ends at the first letters YZ",
        "imager/formats/xz.py",
        "if _is_end(reader, start, end, flags):",
        "if end:",
        f"{_UNIT}::test_the_end_of_an_xz_stream",
    ),
    Mutant(
        "the extensions of an initramfs are looked for in its first archive",
        "imager/image/inspect/initramfs.py",
        "for archive in reversed(archives):",
        "for archive in archives[:1]:",
        f"{_UNIT}::test_a_disk",
    ),
    Mutant(
        "a damaged volume is an error",
        "imager/image/inspect/notes.py",
        "            self.damaged(place, _without(place, error.message))",
        "            raise",
        f"{_UNIT}::test_what_is_damaged_is_said",
    ),
    Mutant(
        "parts of a remote file are fetched again",
        "imager/oci/remote_file.py",
        "self._blocks |= set(whole)",
        "self._blocks = set(whole)",
        f"{_REMOTE}::test_of_2_gib_little_is_fetched",
    ),
    Mutant(
        "a remote file may change while it is read",
        "imager/oci/remote_file.py",
        "elif (total, validators) != (self.size, self._validators):",
        "elif total != self.size:",
        f"{_REMOTE}::test_servers_that_cannot_be_used",
    ),
    Mutant(
        "signatures of a remote image are checked",
        "imager/image/inspect/efi.py",
        "report = inspect_volumes(volumes, hashed=not depth.is_remote)",
        "report = inspect_volumes(volumes)",
        f"{_REMOTE}::test_signatures_at_a_url_are_not_checked",
    ),
    Mutant(
        "what an image says is HTML",
        "imager/cli/inspect_svg.py",
        'return escape(printable(value).replace("\\n", " "))',
        'return printable(value).replace("\\n", " ")',
        f"{_UNIT}::test_text_and_pages_escape_what_images_say",
    ),
    Mutant(
        "file types are in all folders of XFS",
        "imager/formats/xfs/read.py",
        "length = align_up(11 + block[at + 8] + self._geometry.has_types, 8)",
        "length = align_up(12 + block[at + 8], 8)",
        f"{_XFS}::test_what_mkfs_made[-mcrc=0-nftype=0-isize=256]",
    ),
    Mutant(
        "shared blobs count as an image's own",
        "imager/image/inspect/caches.py",
        "if uses[digest] == 1)",
        "if uses[digest])",
        f"{_UNIT}::test_what_images_of_a_cache_share",
    ),
    Mutant(
        "any key may have signed a statement",
        "imager/image/inspect/against.py",
        "            reasons.append(error.message)",
        "            return",
        f"{_AGAINST}::test_the_verdicts_are_those_of_cosign[ecdsa]",
    ),
    Mutant(
        "an image without an initramfs of the lock passes",
        "imager/app/verify_lock.py",
        'case InputKind.BOOT_ASSET, "initramfs.xz":',
        'case InputKind.BOOT_ASSET, "initramfs":',
        f"{_AGAINST}::test_an_image_is_what_its_lock_pins",
    ),
    Mutant(
        "images that a lock does not have are left out",
        "imager/app/verify_lock.py",
        "for name in sorted(pinned.keys() | there.keys()):",
        "for name in sorted(pinned.keys()):",
        f"{_AGAINST}::test_a_cache_is_what_a_lock_of_images_pins",
    ),
    Mutant(
        "the manifest of an OVA is not compared",
        "imager/formats/ova_manifest.py",
        "elif hash_content(files[file], kind.lower()).hex() != digest.lower():",
        "elif not hash_content(files[file], kind.lower()):",
        "tests/unit/test_ova_manifest.py::test_a_changed_disk_of_an_ova_is_a_problem",
    ),
    Mutant(
        "long names run out of the picture",
        "imager/cli/inspect_svg.py",
        "    if len(value) <= most:",
        "    if value:",
        f"{_UNIT}::test_long_names_are_cut_in_pictures_and_words_are_not_broken",
    ),
)
