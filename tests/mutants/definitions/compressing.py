"""Breaks of compressed outputs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CHUNKS = "imager/content/packing/chunks.py"
_GZIP = "imager/content/packing/gzipmember.py"
_XZ = "imager/content/packing/xzstream.py"
_ZSTD = "imager/content/packing/zstdframe.py"
_TAR = "imager/content/sparse_tar.py"
_TESTS = "tests/unit/test_packing.py"
_TAR_TESTS = "tests/unit/test_sparse_tar.py"
_ROUND = f"{_TESTS}::test_the_content_comes_out_again_for_any_number_of_threads"

MUTANTS = (
    Mutant(
        "every hole is compressed again",
        _CHUNKS,
        "pack_zeros = cache(lambda size: pack(bytes(size)))",
        "pack_zeros = lambda size: pack(bytes(size))",
        f"{_TESTS}::test_zeros_are_compressed_once_and_few_chunks_wait",
    ),
    Mutant(
        "a hole of several chunks is packed as one",
        _CHUNKS,
        "for hole in _cut(chunk):",
        "for hole in (chunk,):",
        f"{_TESTS}::test_zeros_are_compressed_once_and_few_chunks_wait",
    ),
    Mutant(
        "a whole content waits in memory",
        _CHUNKS,
        "if len(waiting) >= 2 * threads:",
        "if False:",
        f"{_TESTS}::test_zeros_are_compressed_once_and_few_chunks_wait",
    ),
    Mutant(
        "what is compressed already is compressed again",
        _CHUNKS,
        "return len(packed) < len(data) - len(data) // _LEAST_GAIN",
        "return True",
        f"{_TESTS}::test_what_is_compressed_already_is_stored[xz]",
    ),
    Mutant(
        "text is stored",
        _CHUNKS,
        "return len(packed) < len(data) - len(data) // _LEAST_GAIN",
        "return False",
        f"{_TESTS}::test_text_becomes_small",
    ),
    Mutant(
        "the checksum of gzip is that of the last chunk",
        _GZIP,
        "crc = zlib_ng.crc32_combine(crc, chunk_crc, chunk.size)",
        "crc = chunk_crc",
        f"{_ROUND}[gzip]",
    ),
    Mutant(
        "blocks of xz do not tell their sizes",
        _XZ,
        "_BLOCK_FLAGS = 0xC0",
        "_BLOCK_FLAGS = 0x80",
        f"{_TESTS}::test_every_block_of_xz_tells_its_sizes",
    ),
    Mutant(
        "the index of xz counts the padding",
        _XZ,
        "len(header) + len(packed) + _CHECK_SIZE",
        "len(header) + len(_padded(packed)) + _CHECK_SIZE",
        f"{_ROUND}[xz]",
    ),
    Mutant(
        "a hole of Zstandard leaves the repeat offsets as they were",
        _ZSTD,
        "if size < _RESTORING_SIZE:",
        "if True:",
        f"{_TESTS}::test_what_repeats_after_a_hole_is_not_taken_from_before_it",
    ),
    Mutant(
        "a run of data ends the frame of Zstandard",
        _ZSTD,
        "self._packed[end] &= ~1",
        "self._packed[end] |= 0",
        f"{_ROUND}[zstd]",
    ),
    Mutant(
        "the checksum of Zstandard leaves out holes",
        _ZSTD,
        "checksum.update(_ZEROS[: chunk.size] if chunk.data is None else chunk.data)",
        'checksum.update(chunk.data or b"")',
        f"{_TESTS}::test_holes_alone[1-zstd]",
    ),
    Mutant(
        "a sparse tar with many holes has one extension",
        _TAR,
        'yield (fields + bytes([count > 0])).ljust(BLOCK, b"\\0")',
        'yield (fields + bytes([False])).ljust(BLOCK, b"\\0")',
        f"{_TAR_TESTS}::test_the_file_comes_out_again_with_its_holes",
    ),
    Mutant(
        "the hole at the end of a sparse tar is left out",
        _TAR,
        "if end < content.size or not content.size:",
        "if False:",
        f"{_TAR_TESTS}::test_numbers_from_8_gib_on",
    ),
    Mutant(
        "numbers in a sparse tar are octal up to 64 GiB",
        _TAR,
        "if value < 8**11:",
        "if value < 8**12:",
        f"{_TAR_TESTS}::test_numbers_from_8_gib_on",
    ),
    Mutant(
        "a tar has the time of its build",
        "imager/app/build.py",
        "timestamp=planned.build.timestamp,",
        "timestamp=0,",
        "tests/oracle/test_output_compressed.py::test_a_tar_is_that_of_gnu_tar",
    ),
)
