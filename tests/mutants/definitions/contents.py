"""Breaks of what contents are and how they are copied, checked and named when they are whole."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_COPIER = "tests/unit/test_copier.py"
_EXTENTS = "tests/unit/test_extents.py"
_COMPRESSION = "tests/unit/test_compression.py"
_CHECKS = "tests/unit/test_checks.py"
_CHECKED = "tests/unit/test_checked.py"
_WORKSPACE = "tests/unit/test_workspace.py"
_TARBALL = "tests/unit/test_tarball.py"
_TREE = "tests/unit/test_tree.py"

MUTANTS = (
    # Written and checked in one pass.
    Mutant(
        "a digest is not compared at its end",
        "imager/content/matching.py",
        "if self.left or self.hash.hexdigest() != self.check.sha256:",
        "if self.left:",
        f"{_CHECKED}::test_all_is_written_and_all_is_checked",
    ),
    Mutant(
        "checks of other bytes than those written are forgotten",
        "imager/content/checked.py",
        "yield lambda output: run_checks(found.alone, cancel=output.work.cancel)",
        "yield lambda output: run_checks([], cancel=output.work.cancel)",
        f"{_CHECKED}::test_all_is_written_and_all_is_checked",
    ),
    Mutant(
        "an extent that no check is about is not written",
        "imager/content/matching.py",
        "if extent not in hashed and not isinstance(",
        "if not hashed and not isinstance(",
        f"{_CHECKED}::test_all_is_written_and_all_is_checked",
    ),
    Mutant(
        "what several checks are about is matched twice",
        "imager/content/matching.py",
        "        del places[extent.source]\n",
        "        places.get(extent.source)\n",
        f"{_CHECKED}::test_all_is_written_and_all_is_checked",
    ),
    Mutant(
        "a blob in several extents is read twice",
        "imager/content/matching.py",
        "source, left = advanced(source, extent.length), left - extent.length",
        "source, left = advanced(source, extent.length + 1), left - extent.length",
        f"{_CHECKED}::test_each_byte_of_a_source_is_read_once",
    ),
    Mutant(
        "a stream is decompressed in the order of the output",
        "imager/content/matching.py",
        "        extents.sort(key=itemgetter(0))\n",
        "        pass\n",
        f"{_CHECKED}::test_each_byte_of_a_source_is_read_once",
    ),
    Mutant(
        "holes are not hashed",
        "imager/content/matching.py",
        "for data in zeros(piece) if isinstance(piece, int) else (piece,):\n            self.hash",
        "for data in () if isinstance(piece, int) else (piece,):\n            self.hash",
        f"{_CHECKED}::test_holes_are_hashed_as_zeros_and_stay_holes",
    ),
    Mutant(
        "an extent is taken twice for one check",
        "imager/content/matching.py",
        "if len({*found}) < len(found):",
        "if not found:",
        f"{_CHECKED}::test_a_blob_with_the_same_bytes_twice",
    ),
    Mutant(
        "pieces wait in memory behind the files",
        "imager/content/checked.py",
        "if not output.tasks and len(waiting)",
        "if len(waiting)",
        f"{_CHECKED}::test_memory_does_not_grow_with_the_number_of_files",
    ),
    Mutant(
        "threads go on after an error",
        "imager/content/checked.py",
        "as pool, work.cancel:",
        "as pool:",
        f"{_CHECKED}::test_the_first_error_ends_all",
    ),
    # Contents and the engine.
    Mutant(
        "a source may be closed twice",
        "imager/content/reading.py",
        "descriptor, self._descriptor = self._descriptor, -1",
        "descriptor = self._descriptor",
        f"{_COPIER}::test_a_source_is_closed_once_when_a_signal_ends_the_closing",
    ),
    Mutant(
        "what fails after a signal hides it",
        "imager/__main__.py",
        "if stop := _stop_behind(error):",
        "if stop := None:",
        "tests/fault/test_output_errors.py::test_what_fails_after_a_signal_does_not_hide_it",
    ),
    Mutant(
        "a clipped extent keeps its old source offset",
        "imager/content/extents.py",
        "advanced(self.source, first - self.offset)",
        "self.source",
        f"{_EXTENTS}::test_clipping_advances_every_kind_of_source",
    ),
    Mutant(
        "overlapping extents pass",
        "imager/content/extents.py",
        "if extent.length <= 0 or extent.offset < end:",
        "if extent.length <= 0:",
        f"{_EXTENTS}::test_overlapping_extents_are_refused",
    ),
    Mutant(
        "an extent is not written",
        "imager/content/copier.py",
        "for extent in content.extents:\n                _write_plain",
        "for extent in content.extents[1:]:\n                _write_plain",
        f"{_COPIER}::test_every_method_gives_the_same_bytes",
    ),
    Mutant(
        "holes are copied as data",
        "imager/content/reading.py",
        "hole = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)",
        "hole = end",
        f"{_COPIER}::test_holes_stay_holes",
    ),
    Mutant(
        "a hole is read as too many zeros",
        "imager/content/reading.py",
        "yield _ZEROS[: size - start]",
        "yield _ZEROS",
        f"{_COPIER}::test_holes_as_zeros_are_bounded",
    ),
    Mutant(
        "a short source goes unnoticed",
        "imager/content/copier.py",
        "if done < length:\n            raise shorter(self.path)",
        "if done < 0:\n            raise shorter(self.path)",
        f"{_COPIER}::test_a_source_that_shrinks_during_the_copy",
    ),
    Mutant(
        "no fallback across file systems",
        "imager/content/copier.py",
        "_NOT_HERE = {errno.EXDEV, ",
        "_NOT_HERE = {",
        f"{_COPIER}::test_what_the_kernel_cannot_do_falls_back_in_order",
    ),
    Mutant(
        "a full disk is called a failed copy",
        "imager/support/errors.py",
        "if error.errno in (errno.ENOSPC, ",
        "if error.errno in (0, ",
        f"{_COPIER}::test_a_full_disk",
    ),
    Mutant(
        "streams are not read in their order",
        "imager/content/copier.py",
        "ranges.sort(key=lambda item: (item[0].path, item[0].start, item[0].offset))",
        "ranges.sort(key=lambda item: item[0].path)",
        f"{_COPIER}::test_a_stream_is_decompressed_once_when_written",
    ),
    Mutant(
        "a truncated zstd stream goes unnoticed",
        "imager/content/compression.py",
        "if size and not part and self._codec is Codec.ZSTD:",
        "if not size:",
        f"{_COMPRESSION}::test_every_truncation_is_told",
    ),
    Mutant(
        "zstd may ask for any amount of memory",
        "imager/content/compression.py",
        "max_window_size=LARGEST_WINDOW",
        "max_window_size=1 << 42",
        f"{_COMPRESSION}::test_a_window_that_would_take_too_much_memory_is_refused",
    ),
    # Checks and atomic outputs.
    Mutant(
        "digests are not compared",
        "imager/content/digests.py",
        "if running.hash.hexdigest() != running.check.sha256:",
        "if not running.hash.hexdigest():",
        f"{_CHECKS}::test_one_flipped_bit_is_found",
    ),
    Mutant(
        "the end of a block does not wait for the checks",
        "imager/content/digests.py",
        "yield raise_failed\n        running.result()",
        "yield raise_failed",
        f"{_CHECKS}::test_the_end_of_the_block_raises",
    ),
    Mutant(
        "a file that is too short passes its check",
        "imager/content/digests.py",
        "if len(chunk) != size:",
        "if len(chunk) > size:",
        f"{_CHECKS}::test_a_truncated_file_is_told_with_the_byte",
    ),
    Mutant(
        "the rename of a finished file is skipped",
        "imager/support/atomic.py",
        "temporary.replace(path)",
        "pass",
        f"{_WORKSPACE}::test_an_existing_file_is_replaced",
    ),
    Mutant(
        "the data are not flushed before the rename",
        "imager/support/atomic.py",
        "os.fsync(descriptor)\n        put_in_place",
        "pass\n        put_in_place",
        f"{_WORKSPACE}::test_a_file_is_flushed_before_it_is_renamed",
    ),
    Mutant(
        "a failed file is left behind",
        "imager/support/atomic.py",
        "            temporary.unlink()\n        raise",
        "            pass\n        raise",
        f"{_WORKSPACE}::test_a_failed_block_leaves_nothing",
    ),
    Mutant(
        "partial files in use are swept away",
        "imager/support/partials.py",
        "with suppress(OSError), _unused(stale):",
        "with suppress(OSError):",
        f"{_WORKSPACE}::test_a_partial_that_is_held_is_kept",
    ),
    Mutant(
        "free space is not asked for",
        "imager/support/folders.py",
        "if free < needed:",
        "if free < 0:",
        f"{_WORKSPACE}::test_free_space_is_asked_for_beforehand",
    ),
    # Archives.
    Mutant(
        "a layer may end within its last file",
        "imager/content/tar_source.py",
        "if self._position < end:",
        "if False:",
        f"{_TARBALL}::test_a_blob_of_known_size_ends_as_for_go",
    ),
    Mutant(
        "an archive of unknown size may end at any file",
        "imager/content/tar_source.py",
        "return self.size is not None or length is not None",
        "return True",
        f"{_TARBALL}::test_truncation_at_every_block_is_told",
    ),
    Mutant(
        "links pass for files",
        "imager/content/tar.py",
        "if info.issparse() or not info.isreg():",
        "if info.issparse():",
        f"{_TARBALL}::test_what_is_no_file_is_named_alone",
    ),
    Mutant(
        "a header may take any amount of memory",
        "imager/content/tar_source.py",
        "if not 0 <= size <= _LARGEST_READ:",
        "if size < 0:",
        f"{_TARBALL}::test_hostile_members_are_refused",
    ),
    Mutant(
        "a program that fails is taken for one that does not",
        "imager/support/tools.py",
        "if process.returncode != 0:",
        "if process.returncode < 0:",
        "tests/unit/test_oci_credentials.py::test_asks_helpers",
    ),
    # Trees.
    Mutant(
        "a path may lead out of its tree",
        "imager/content/tree.py",
        'not {"", ".", ".."}.isdisjoint(path.split("/"))',
        'not {"", "."}.isdisjoint(path.split("/"))',
        f"{_TREE}::test_paths_that_lead_elsewhere_are_refused",
    ),
    Mutant(
        "two files may have one path",
        "imager/content/tree.py",
        "if path in leaves:",
        "if not path:",
        f"{_TREE}::test_two_entries_with_one_path_are_refused",
    ),
    Mutant(
        "a file may be a folder",
        "imager/content/tree.py",
        "if clash := leaves & entries.keys():",
        "if clash := set():",
        f"{_TREE}::test_two_entries_with_one_path_are_refused",
    ),
    Mutant(
        "folders that a tree was given count as implied",
        "imager/content/tree.py",
        "frozenset(entries).difference(given, (ROOT,))",
        "frozenset(entries).difference((ROOT,))",
        f"{_TREE}::test_folders_follow_from_paths_and_parents_come_first",
    ),
    Mutant(
        "a tree in a folder loses its empty folders",
        "imager/content/tree.py",
        '[f"{folder}/{path}" for path in self._given()]',
        "[]",
        f"{_TREE}::test_a_tree_in_a_folder_of_another_one",
    ),
    Mutant(
        "what is beside a folder is below it",
        "imager/content/tree.py",
        'start = f"{folder}/"',
        "start = folder",
        f"{_TREE}::test_a_tree_in_a_folder_of_another_one",
    ),
)
