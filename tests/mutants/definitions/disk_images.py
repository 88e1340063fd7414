"""Breaks of qcow2, VHD and OVA."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_IMAGES = "tests/unit/test_disk_images.py"
_OVA = "tests/unit/test_ova.py"
_CLOUDS = "tests/oracle/test_output_clouds.py"
_ORACLE = "tests/oracle/test_disk_images_oracle.py"

MUTANTS = (
    Mutant(
        "entries of a qcow2 do not say that their cluster is used once",
        "imager/formats/qcow2.py",
        "first = _COPIED | start",
        "first = start",
        f"{_IMAGES}::test_tables_of_8k_clusters",
    ),
    Mutant(
        "the last cluster of a qcow2 has no reference",
        "imager/formats/qcow2.py",
        "_REFCOUNT * self.clusters",
        "_REFCOUNT * (self.clusters - 1)",
        f"{_ORACLE}::test_qemu_reads_a_qcow2",
    ),
    Mutant(
        "zeros in memory take clusters of a qcow2",
        "imager/formats/qcow2.py",
        "if not isinstance(extent.source, Data):",
        "if not isinstance(extent.source, str):",
        f"{_IMAGES}::test_zeros_in_memory_are_not_allocated",
    ),
    Mutant(
        "an L2 table that was skipped has room in the file",
        "imager/formats/qcow2.py",
        "before += len(span)",
        "before = span.stop",
        f"{_IMAGES}::test_tables_are_skipped",
    ),
    Mutant(
        "a VHD's checksum is the sum itself",
        "imager/formats/vhd.py",
        "~sum(footer) & 0xFFFFFFFF",
        "sum(footer) & 0xFFFFFFFF",
        f"{_IMAGES}::test_the_footer_is_qemus",
    ),
    Mutant(
        "a VHD with 16 heads and short tracks does not exist",
        "imager/formats/vhd.py",
        "if heads <= 16 and",
        "if heads < 16 and",
        f"{_ORACLE}::test_sizes_without_force_size_where_tracks_change",
    ),
    Mutant(
        "the stream of a VMDK has no end",
        "imager/formats/vmdk.py",
        "    file.write(_END_OF_STREAM)\n",
        "",
        f"{_OVA}::test_every_disk_comes_back",
    ),
    Mutant(
        "grains are written as they are finished",
        "imager/content/packing/chunks.py",
        "if len(waiting) >= 2 * threads:\n                yield waiting.popleft()",
        "if len(waiting) >= 2 * threads:\n                yield waiting.pop()",
        f"{_OVA}::test_many_batches_keep_their_order",
    ),
    Mutant(
        "a hole of a VMDK moves nothing",
        "imager/formats/vmdk.py",
        "first += chunk.size // GRAIN",
        "first += len(chunk.part or [])",
        f"{_OVA}::test_many_batches_keep_their_order",
    ),
    Mutant(
        "grains that are compressed already are compressed again",
        "imager/formats/grains.py",
        "if judge.compresses(grain):",
        "if True:",
        f"{_OVA}::test_noise_is_stored_and_text_is_compressed",
    ),
    Mutant(
        "zero grains are kept",
        "imager/formats/grains.py",
        "if not padded.startswith(_ZEROS, start)",
        "if padded",
        f"{_OVA}::test_every_disk_comes_back",
    ),
    Mutant(
        "the OVF has room for the size of no disk",
        "imager/formats/ova.py",
        "room = align_up(len(_ovf(machine, disk, size)), BLOCK)",
        "room = align_up(len(_ovf(machine, disk, 0)), BLOCK)",
        f"{_OVA}::test_the_ovf_has_room_for_every_size",
    ),
    Mutant(
        "the disk's digest leaves out its last byte",
        "imager/formats/ova.py",
        "digest = _sha256(file, start, size)",
        "digest = _sha256(file, start, size - 1)",
        f"{_ORACLE}::test_tar_and_sha256sum_read_an_ova",
    ),
    Mutant(
        "the tar for Google Cloud is not of GNU's old format",
        "imager/content/sparse_tar.py",
        "info.tobuf(tarfile.GNU_FORMAT,",
        "info.tobuf(tarfile.USTAR_FORMAT,",
        f"{_CLOUDS}::test_google",
    ),
    Mutant(
        "a VHD is of another kind than fixed",
        "imager/formats/vhd.py",
        "_FIXED = 2",
        "_FIXED = 3",
        f"{_CLOUDS}::test_azure",
    ),
)
