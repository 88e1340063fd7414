"""Breaks of what a machine does with its cache and its disk."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_GROWN = "tests/oracle/test_gpt_grow.py"
_COPIED = "tests/unit/test_node_copying.py"

MUTANTS = (
    Mutant(
        "what a disk has gained stays out of use",
        "imager/formats/gpt/read.py",
        "end if gained else min(",
        "min(",
        f"{_GROWN}::test_the_rest_of_the_disk_becomes_usable",
    ),
    Mutant(
        "the backup table is not moved",
        "imager/formats/gpt/edit.py",
        "_write(file, table.backup_offset, table.padded_entries + table.backup_header)",
        "pass",
        f"{_GROWN}::test_the_rest_of_the_disk_becomes_usable",
    ),
    Mutant(
        "images have names before all of their manifests are there",
        "imager/node/sync.py",
        "(_TAGS in path, path)",
        "(_TAGS not in path, path)",
        f"{_COPIED}::test_every_blob_is_there_before_a_name",
    ),
    Mutant(
        "images have names though blobs are damaged",
        "imager/node/sync.py",
        "    work.run(copy,",
        "    with suppress(*_OF_ONE_BLOB):\n        work.run(copy,",
        f"{_COPIED}::test_a_damaged_blob_is_told_and_nothing_is_named",
    ),
    Mutant(
        "what an earlier copy left is counted twice",
        "imager/cache/blobstore.py",
        "return max(blob.size - (status.st_size if status else 0), 0)",
        "return blob.size",
        f"{_COPIED}::test_a_copy_is_taken_up",
    ),
    Mutant(
        "an older cache moves tags back",
        "imager/node/sync.py",
        "if _TAGS in path and (target / path).is_file()}",
        "if False}",
        f"{_COPIED}::test_a_newer_cache_moves_a_tag_and_an_older_one_does_not_move_it_back",
    ),
    Mutant(
        "a cache that was copied once is taken to be there",
        "imager/node/sync.py",
        "in _copied(self.target) and not self.missing",
        "in _copied(self.target)",
        f"{_COPIED}::test_what_a_volume_has_lost_is_copied_again",
    ),
)
