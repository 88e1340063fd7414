"""Breaks of what keeps caches: verified, compared, changed in place."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_VERIFY = "tests/unit/test_cache_verify.py"
_KEEP = "tests/unit/test_cache_keep.py"

MUTANTS = (
    Mutant(
        "only the first damaged blob of a file is told",
        "imager/content/digests.py",
        "check(failures.append)",
        "check(stop_at)",
        "tests/unit/test_checks.py::test_all_that_fail_are_told_in_order",
    ),
    Mutant(
        "a damaged manifest hides all others",
        "imager/cache/load.py",
        "    except ImagerError as error:\n        fail(error)\n        return None",
        "    except ImagerError as error:\n        raise error",
        f"{_VERIFY}::test_a_manifest_that_is_none_does_not_hide_the_others",
    ),
    Mutant(
        "a platform that is half there goes unnoticed",
        "imager/cache/verify.py",
        "if image.missing(platform)]",
        "if not platform]",
        f"{_VERIFY}::test_an_index_may_name_platforms_that_no_image_has",
    ),
    Mutant(
        "images of the same index are the same",
        "imager/cache/diff.py",
        "if pair.old.root.digest != pair.new.root.digest or pair.platforms",
        "if pair.old.root.digest != pair.new.root.digest",
        "tests/unit/test_cache_diff.py::test_an_index_of_which_less_is_there",
    ),
    Mutant(
        "what signed an image that moved stays",
        "imager/cache/edit.py",
        "(image for image in images if image not in moved)",
        "(image for image in images if image)",
        "tests/unit/test_cache_signatures.py::test_what_signed_an_image_that_moved_goes",
    ),
    Mutant(
        "files of others are linked",
        "imager/cache/hardlinks.py",
        "if path.is_relative_to(folder):",
        "if path.is_absolute():",
        f"{_KEEP}::test_unchanged_files_of_a_flat_tree_are_linked",
    ),
    Mutant(
        "files that an earlier run linked are written to",
        "imager/cache/hardlinks.py",
        "and status.st_nlink > 1:",
        "and status.st_nlink > 9:",
        f"{_KEEP}::test_what_an_earlier_run_linked_is_not_written_to",
    ),
    Mutant(
        "what the cache has is fetched again",
        "imager/cache/edit.py",
        "        if digest not in cache.blobs:\n",
        "        if digest:\n",
        f"{_KEEP}::test_what_is_there_is_not_asked_for",
    ),
    Mutant(
        "a larger volume may hold less",
        "imager/formats/ext4/default.py",
        "larger = size + size // 4",
        "larger = size",
        "tests/oracle/test_ext4_default.py::test_every_volume_from_there_on_has_room[980]",
    ),
    Mutant(
        "what is there of a blob is written twice",
        "imager/oci/source.py",
        "content.slice(check.size, content.size - check.size)",
        "content",
        f"{_KEEP}::test_a_cache_is_a_source_of_images",
    ),
)
