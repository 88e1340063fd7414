"""Breaks of what keeps caches: verified, compared, changed in place."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_VERIFY = "unit/test_cache_verify.py"
_KEEP = "unit/test_cache_keep.py"

KEEPING = (
    _mutant(
        "only the first damaged blob of a file is told",
        "checks.py",
        "check(failures.append)",
        "check(stop_at)",
        "unit/test_checks.py",
    ),
    _mutant(
        "a damaged manifest hides all others",
        "imagecache/load.py",
        "    except ImagerError as error:\n        fail(error)\n        return None",
        "    except ImagerError as error:\n        raise error",
        f"{_VERIFY}::test_a_manifest_that_is_none_does_not_hide_the_others",
    ),
    _mutant(
        "a platform that is half there goes unnoticed",
        "imagecache/verify.py",
        "if image.missing(platform)]",
        "if not platform]",
        f"{_VERIFY}::test_an_index_may_name_platforms_that_no_image_has",
    ),
    _mutant(
        "images of the same index are the same",
        "imagecache/diff.py",
        "if pair.old.root.digest != pair.new.root.digest or pair.platforms",
        "if pair.old.root.digest != pair.new.root.digest",
        "unit/test_cache_diff.py",
    ),
    _mutant(
        "what signed an image that moved stays",
        "imagecache/keep.py",
        "(image for image in images if image not in moved)",
        "(image for image in images if image)",
        "unit/test_cache_signatures.py::test_what_signed_an_image_that_moved_goes",
    ),
    _mutant(
        "files of others are linked",
        "imagecache/relink.py",
        "if path.is_relative_to(folder):",
        "if path.is_absolute():",
        f"{_KEEP}::test_unchanged_files_of_a_flat_tree_are_linked",
    ),
    _mutant(
        "files that an earlier run linked are written to",
        "imagecache/relink.py",
        "and status.st_nlink > 1:",
        "and status.st_nlink > 9:",
        f"{_KEEP}::test_what_an_earlier_run_linked_is_not_written_to",
    ),
    _mutant(
        "what the cache has is fetched again",
        "imagecache/keep.py",
        "        if digest not in cache.blobs:\n",
        "        if digest:\n",
        f"{_KEEP}::test_what_is_there_is_not_asked_for",
    ),
    _mutant(
        "a larger volume may hold less",
        "media/ext4_default.py",
        "larger = size + size // 4",
        "larger = size",
        "oracle/test_ext4_default.py",
    ),
)
