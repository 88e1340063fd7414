"""The breaks: what is broken where, and the quick tests that must go red."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old`, which stands once in `file`, becomes `new`; one of `tests` must then fail."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_OPEN = "unit/test_imagecache_open.py"
_DAMAGE = "unit/test_imagecache_open_damage.py"
_DISK = "oracle/test_output_disk.py"
_ISO = "oracle/test_output_iso.py"

MUTANTS = (
    # Contents and the engine.
    _mutant(
        "a source may be closed twice",
        "reading.py",
        "descriptor, self._descriptor = self._descriptor, -1",
        "descriptor = self._descriptor",
        "unit/test_copier.py",
    ),
    _mutant(
        "what fails after a signal hides it",
        "__main__.py",
        "if stop := _stop_behind(error):",
        "if stop := None:",
        "fault/test_output_errors.py::test_what_fails_after_a_signal_does_not_hide_it",
    ),
    _mutant(
        "a clipped extent keeps its old source offset",
        "extents.py",
        "advanced(self.source, first - self.offset)",
        "self.source",
        "unit/test_extents.py",
    ),
    _mutant(
        "overlapping extents pass",
        "extents.py",
        "if extent.length <= 0 or extent.offset < end:",
        "if extent.length <= 0:",
        "unit/test_extents.py",
    ),
    _mutant(
        "an extent is not written",
        "copier.py",
        "for extent in content.extents:\n                _write_plain",
        "for extent in content.extents[1:]:\n                _write_plain",
        "unit/test_copier.py",
    ),
    _mutant(
        "holes are copied as data",
        "reading.py",
        "hole = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)",
        "hole = end",
        "unit/test_copier.py::test_holes_stay_holes",
    ),
    _mutant(
        "a hole is read as too many zeros",
        "reading.py",
        "yield _ZEROS[: size - start]",
        "yield _ZEROS",
        "unit/test_copier.py::test_holes_as_zeros_are_bounded",
    ),
    _mutant(
        "a short source goes unnoticed",
        "copier.py",
        "if done < length:\n            raise shorter(self.path)",
        "if done < 0:\n            raise shorter(self.path)",
        "unit/test_copier.py::test_a_source_that_shrinks_during_the_copy",
    ),
    _mutant(
        "no fallback across file systems",
        "copier.py",
        "_NOT_HERE = {errno.EXDEV, ",
        "_NOT_HERE = {",
        "unit/test_copier.py::test_what_the_kernel_cannot_do_falls_back_in_order",
    ),
    _mutant(
        "a full disk is called a failed copy",
        "copier.py",
        "if error.errno in (errno.ENOSPC, ",
        "if error.errno in (",
        "unit/test_copier.py::test_a_full_disk",
    ),
    _mutant(
        "streams are not read in their order",
        "copier.py",
        "ranges.sort(key=lambda item: (item[0].path, item[0].start, item[0].offset))",
        "ranges.sort(key=lambda item: item[0].path)",
        "unit/test_copier.py::test_a_stream_is_decompressed_once_when_written",
    ),
    _mutant(
        "a truncated zstd stream goes unnoticed",
        "compression.py",
        "if size and not part and self._codec is Codec.ZSTD:",
        "if not size:",
        "unit/test_compression.py::test_every_truncation_is_told",
    ),
    _mutant(
        "zstd may ask for any amount of memory",
        "compression.py",
        "max_window_size=_LARGEST_WINDOW",
        "max_window_size=1 << 42",
        "unit/test_compression.py",
    ),
    # Checks and atomic outputs.
    _mutant(
        "digests are not compared",
        "checks.py",
        "if running.hash.hexdigest() != running.check.sha256:",
        "if not running.hash.hexdigest():",
        "unit/test_checks.py",
    ),
    _mutant(
        "the end of a block does not wait for the checks",
        "checks.py",
        "yield raise_failed\n            running.result()",
        "yield raise_failed",
        "unit/test_checks.py::test_the_end_of_the_block_raises",
    ),
    _mutant(
        "a file that is too short passes its check",
        "checks.py",
        "if len(chunk) != size:",
        "if len(chunk) > size:",
        "unit/test_checks.py::test_a_truncated_file_is_told_with_the_byte",
    ),
    _mutant(
        "the rename of a finished file is skipped",
        "workspace.py",
        "temporary.replace(path)",
        "pass",
        "unit/test_workspace.py",
    ),
    _mutant(
        "the data are not flushed before the rename",
        "workspace.py",
        "os.fsync(descriptor)\n        if clobber:",
        "if clobber:",
        "unit/test_workspace.py::test_a_file_is_flushed_before_it_is_renamed",
    ),
    _mutant(
        "a failed file is left behind",
        "workspace.py",
        "            temporary.unlink()\n        raise",
        "            pass\n        raise",
        "unit/test_workspace.py::test_a_failed_block_leaves_nothing",
    ),
    _mutant(
        "partial files in use are swept away",
        "workspace.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n                _remove(stale)",
        "_remove(stale)",
        "unit/test_workspace.py::test_a_partial_that_is_held_is_kept",
    ),
    _mutant(
        "free space is not asked for",
        "workspace.py",
        "if free < needed:",
        "if free < 0:",
        "unit/test_workspace.py::test_free_space_is_asked_for_beforehand",
    ),
    # Archives.
    _mutant(
        "names may lead out of an archive",
        "tarball.py",
        'any(part in ("", ".", "..") for part in parts)',
        'any(part in ("", ".") for part in parts)',
        "unit/test_tarball.py::test_hostile_members_are_refused",
    ),
    _mutant(
        "links pass for files",
        "tarball.py",
        "if info.issparse() or not info.isreg():",
        "if info.issparse():",
        "unit/test_tarball.py::test_what_is_no_file_is_named_alone",
    ),
    _mutant(
        "a name may come twice",
        "tarball.py",
        "if name in files:",
        "if not name:",
        "unit/test_tarball.py::test_hostile_members_are_refused",
    ),
    _mutant(
        "a header may take any amount of memory",
        "tarball.py",
        "if not 0 <= size <= _LARGEST_READ:",
        "if size < 0:",
        "unit/test_tarball.py::test_hostile_members_are_refused",
    ),
    # The image cache.
    _mutant(
        "a tag is not compared with its digest copy",
        "imagecache/load.py",
        "if copy not in manifests:",
        "if not manifests:",
        f"{_DAMAGE}::test_a_tag_that_is_damaged",
    ),
    _mutant(
        "a manifest may differ from its digest",
        "imagecache/load.py",
        "if reference.digest not in (None, manifest.digest):",
        "if False:",
        f"{_DAMAGE}::test_a_digest_copy_that_is_damaged",
    ),
    _mutant(
        "the size of a blob is not compared",
        "imagecache/cache.py",
        "elif file.content.size != blob.size:",
        "elif file.content.size < 0:",
        "unit/test_imagecache_cache.py",
    ),
    _mutant(
        "a blob that is missing goes unnoticed",
        "imagecache/cache.py",
        "if file is None:",
        "if file is None and blob is None:",
        f"{_DAMAGE}::test_a_blob_that_is_missing",
    ),
    _mutant(
        "blobs of a compressed cache are not compared",
        "imagecache/load.py",
        "if file.sha256 is not None and file.sha256 != digest.hex:",
        "if file.sha256 is not None and not digest.hex:",
        f"{_DAMAGE}::test_a_blob_that_is_damaged",
    ),
    _mutant(
        "an image of another platform goes unnoticed",
        "imagecache/cache.py",
        "and (own.os, own.architecture) != wanted",
        "and own.os != wanted[0]",
        "unit/test_imagecache_cache.py",
    ),
    _mutant(
        "blobs come to the place of another one",
        "imagecache/transfer.py",
        "FileSink(descriptor, place.offset + known, progress)",
        "FileSink(descriptor, known, progress)",
        "unit/test_imagecache_transfer.py",
    ),
    _mutant(
        "blobs are fetched one after another",
        "imagecache/transfer.py",
        'with worker_pool(jobs, "fetch") as pool:',
        'with worker_pool(1, "fetch") as pool:',
        "unit/test_imagecache_transfer.py::test_as_many_at_a_time_as_jobs",
    ),
    _mutant(
        "two images may have one name",
        "imagecache/contents.py",
        "if self.manifests.setdefault(manifest_path(name), raw) != raw:",
        "if not self.manifests.setdefault(manifest_path(name), raw):",
        "unit/test_imagecache_gather.py",
    ),
    _mutant(
        "required images may be missing",
        "imagecache/cache.py",
        "if missing:\n            raise InputError(",
        "if not missing and missing:\n            raise InputError(",
        "unit/test_imagecache_cache.py",
    ),
    _mutant(
        "the layer's own digest is not checked",
        "imagecache/open.py",
        "cache=replace(opened.cache, containers=(check,)),",
        "cache=replace(opened.cache, containers=()),",
        f"{_DAMAGE}::test_padding_of_a_layer_is_checked_too",
    ),
    _mutant(
        "any entry of a layout's index will do",
        "imagecache/opened.py",
        'if platform and (platform.os, platform.architecture) == ("linux", arch.name):',
        "if platform:",
        f"{_OPEN}::test_no_image_for_the_arch",
    ),
    _mutant(
        "links in a tree are followed",
        "imagecache/open.py",
        "if entry.is_symlink():",
        "if not entry:",
        f"{_DAMAGE}::test_links_in_a_tree_are_refused",
    ),
    _mutant(
        "a port is not written for vfat",
        "imagecache/tree.py",
        'registry = re.sub(r":([0-9]+)$", r"_\\1_", reference.registry)',
        "registry = reference.registry",
        "unit/test_imagecache_tree.py",
    ),
    # Registries and layouts.
    _mutant(
        "the digest of a fetched manifest is not checked",
        "oci/remote.py",
        'if expected.startswith("sha256:") and expected != str(digest):',
        'if expected.startswith("sha512:") and expected != str(digest):',
        "unit/test_oci_registry_faults.py",
    ),
    _mutant(
        "the digest of a fetched blob is not checked",
        "oci/source.py",
        "if digest != self.blob.digest.hex:",
        "if not digest:",
        "unit/test_oci_registry_faults.py::test_bad_blobs",
    ),
    _mutant(
        "paths may lead out of a layout",
        "oci/folder.py",
        "if not path.is_relative_to(self.folder):",
        "if not path.name:",
        f"{_DAMAGE}::test_a_layer_that_is_a_link_out_of_the_layout",
    ),
    # Profiles and versions.
    _mutant(
        "lists of a profile replace instead of append",
        "profile/load.py",
        "merged[key] = [*below, *value]",
        "merged[key] = [*value]",
        "unit/test_profile_load.py",
    ),
    _mutant(
        "a key may come twice in YAML",
        "yamldocs.py",
        "if key.value in seen:",
        "if not key.value:",
        "unit/test_profile_load.py::test_what_is_no_profile",
    ),
    _mutant(
        "META keys have no upper bound",
        "profile/validators.py",
        "not 1 <= key <= 255",
        "not 1 <= key",
        "unit/test_profile_model.py",
    ),
    _mutant(
        "the kernel line of 1.11 has what 1.10 was the last to have",
        "profile/quirks.py",
        'KernelArgument("ima_appraise=fix", before=(1, 11))',
        'KernelArgument("ima_appraise=fix", before=(1, 12))',
        "unit/test_cmdline.py",
    ),
    _mutant(
        "disks have the argument of ISOs",
        "bootassets/cmdline.py",
        "and (iso or not item.iso_only)",
        "and True",
        "unit/test_cmdline.py",
    ),
    # Media and boot files.
    _mutant(
        "a partition ends a sector late",
        "media/gpt.py",
        "entry.last_lba = part.end // sector_size - 1",
        "entry.last_lba = part.end // sector_size",
        "unit/test_gpt.py",
    ),
    _mutant(
        "the checksum of a GPT header is not compared",
        "media/gpt_read.py",
        "if binascii.crc32(header[:16] + bytes(4) + header[20:]) != crc:",
        "if crc < 0:",
        "unit/test_gpt.py::test_damage_is_found",
    ),
    _mutant(
        "the backup array stands a sector off",
        "media/gpt.py",
        "geometry.alternate_array_lba = (disk_size - backup_size(sector_size)) // sector_size",
        "geometry.alternate_array_lba = (disk_size - backup_size(sector_size)) // sector_size - 1",
        "unit/test_gpt.py",
    ),
    _mutant(
        "files on FAT are not aligned for their ISO names",
        "media/fat.py",
        "_FILE_ALIGNMENT = 2048",
        "_FILE_ALIGNMENT = 512",
        "unit/test_fat.py::test_files_are_aligned_and_data_starts_at_4096",
        f"{_ISO}::test_boot_files_are_in_the_tree_and_in_the_esp",
    ),
    _mutant(
        "FAT data start at any sector",
        "media/fat_tables.py",
        "unit = max(sector_size, ALIGNMENT // 2)",
        "unit = sector_size",
        "unit/test_fat.py::test_files_are_aligned_and_data_starts_at_4096",
    ),
    _mutant(
        "FAT data start a cluster late",
        "media/fat_tables.py",
        "(cluster - FIRST_CLUSTER) * self.cluster_size",
        "(cluster - 1) * self.cluster_size",
        "unit/test_fat.py",
    ),
    _mutant(
        "the second allocation table is missing",
        "media/fat.py",
        "for offset in geometry.fat_offsets:",
        "for offset in geometry.fat_offsets[:1]:",
        "unit/test_fat.py::test_both_tables_are_the_same_clean_and_chained",
    ),
    _mutant(
        "ext4 data are a block off",
        "media/blocks.py",
        "yield run.physical * BLOCK, content.slice(start, length)",
        "yield (run.physical + 1) * BLOCK, content.slice(start, length)",
        "unit/test_ext4.py::test_contents_reach_their_place",
        "unit/test_ext4.py::test_data_extents_point_at_the_sources_and_tails_are_holes",
    ),
    _mutant(
        "ext4 paths are not checked",
        "media/ext4_tree.py",
        '{"", ".", ".."}.intersection(parts)',
        '{""}.intersection(parts)',
        "unit/test_ext4.py::test_unusable_paths_are_refused",
    ),
    _mutant(
        "an ISO's names for bytes in its ESP may be unaligned",
        "media/iso9660.py",
        "if alias.offset % SECTOR or min(",
        "if min(",
        "unit/test_iso9660.py::test_alias_outside_of_its_target_is_refused",
    ),
    _mutant(
        "the boot info table names another sector",
        "media/iso9660.py",
        '"<4I40x", SYSTEM_AREA // SECTOR, offset // SECTOR,',
        '"<4I40x", SYSTEM_AREA // SECTOR, offset // SECTOR + 1,',
        "unit/test_iso9660.py::test_boot_info_table_is_mkisofs_one",
    ),
    _mutant(
        "META has no checksum",
        "bootassets/meta.py",
        "return hashlib.sha256(zeroed).digest() + _END_MAGIC",
        "return bytes(32) + _END_MAGIC",
        "unit/test_meta.py::test_a_copy_is_laid_out_as_talos_does",
    ),
    _mutant(
        "a section of the UKI stands at another address",
        "bootassets/uki.py",
        "address = align_up(address + section.content.size, headers.section_alignment)",
        "address = align_up(address + raw_size, headers.file_alignment)",
        "unit/test_uki.py",
    ),
    _mutant(
        "a kernel of another machine passes",
        "bootassets/kernelimage.py",
        "check_pe(path, machine=assets.arch.pe_machine, what=_WHAT[asset])",
        "pass",
        "fault/test_input_errors.py::test_asset_of_the_wrong_machine_names_both",
    ),
    # Whole outputs.
    _mutant(
        "the volume id is not upper case",
        "output/iso.py",
        'f"Talos-{version}".upper()',
        'f"Talos-{version}"',
        f"{_ISO}::test_volume_id",
    ),
    _mutant(
        "the ISO's partition is not where its boot image is",
        "output/iso.py",
        "Partition(LABEL, ESP, derived_uuid(LABEL), image.offset, image.length)",
        "Partition(LABEL, ESP, derived_uuid(LABEL), image.offset + _SECTOR, image.length)",
        f"{_ISO}::test_partition_is_the_el_torito_image",
    ),
    _mutant(
        "the partitions stand in another order",
        "output/disk.py",
        "for part in partitions\n    ]",
        "for part in reversed(partitions)\n    ]",
        f"{_DISK}::test_partitions_are_aligned_and_leave_no_gap",
    ),
    _mutant(
        "a disk that is too small is built",
        "output/disk.py",
        "if size >= sizes.minimum:",
        "if size > 0:",
        "fault/test_output_errors.py::test_bad_disk_size",
    ),
    _mutant(
        "a source that changes during a build goes unnoticed",
        "output/write.py",
        "if _identity(path) != identity:",
        "if not identity:",
        "unit/test_output_write.py",
    ),
    _mutant(
        "a wrong digest does not stop a build",
        "build.py",
        "checks = planned.cache.checks if planned.cache and options.verify else ()",
        "checks = ()",
        "fault/test_cache_errors.py::test_damage_is_found_in_a_disk_too",
    ),
)
