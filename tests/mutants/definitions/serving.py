"""Breaks of the registry server."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SERVE = "tests/oracle/test_serve.py"
_HOSTILE = "tests/fault/test_serve_hostile.py"

MUTANTS = (
    Mutant(
        "a slash after healthz is another path",
        "imager/registry/routes.py",
        ' | ["", "healthz", ""]',
        "",
        f"{_SERVE}::test_the_registry_says_what_it_is",
    ),
    Mutant(
        "blobs are sent unchecked",
        "imager/registry/blobs.py",
        "if await self._is_sound(digest, blob):",
        "if True:",
        f"{_HOSTILE}::test_a_damaged_blob_is_never_sent[flat]",
    ),
    Mutant(
        "a blob whose file has changed is not checked again",
        "imager/registry/blobs.py",
        "if verdict is None or verdict.identity != blob.identity:",
        "if verdict is None:",
        f"{_HOSTILE}::test_a_damaged_blob_is_never_sent[flat]",
    ),
    Mutant(
        "blobs are read through links that have come since",
        "imager/registry/blobs.py",
        " | os.O_NOFOLLOW",
        "",
        f"{_HOSTILE}::test_what_is_no_file_any_more_is_not_opened",
    ),
    Mutant(
        "the first cache that has a blob is the only one asked",
        "imager/registry/blobs.py",
        "for content in places:",
        "for content in tuple(places)[:1]:",
        f"{_HOSTILE}::test_another_root_helps_out",
    ),
    Mutant(
        "the last cache's tags win",
        "imager/registry/catalog.py",
        "repositories.setdefault(key, {}).setdefault(reference.target, manifest)",
        "repositories.setdefault(key, {})[reference.target] = manifest",
        f"{_SERVE}::test_roots_are_asked_in_order",
    ),
    Mutant(
        "an encoded slash joins two names",
        "imager/registry/routes.py",
        'any("/" in part for part in names) or ',
        "",
        f"{_SERVE}::test_what_is_not_there_is_404_with_a_reason",
    ),
    Mutant(
        "a range ends a byte early",
        "imager/registry/ranges.py",
        "min(int(last) + 1, size)",
        "min(int(last), size)",
        f"{_SERVE}::test_ranges_of_blobs",
    ),
    Mutant(
        "weak tags match where strong ones must",
        "imager/registry/ranges.py",
        "_matches(wanted, etag, weak=False)",
        "_matches(wanted, etag, weak=True)",
        f"{_SERVE}::test_conditional_requests",
    ),
    Mutant(
        "a file that was cut is sent as if it were whole",
        "imager/registry/transfer.py",
        "if sent != length:",
        "if sent > length:",
        f"{_HOSTILE}::test_a_file_cut_while_it_is_sent_is_seen_to_be_cut",
    ),
    Mutant(
        "a client that takes nothing is waited for",
        "imager/registry/transfer.py",
        "if taken != before:",
        "if True:",
        f"{_HOSTILE}::test_who_takes_nothing_is_sent_away",
    ),
    Mutant(
        "there may be as many connections as come",
        "imager/registry/listener.py",
        "if len(self.connections) > self._most:",
        "if False:",
        f"{_HOSTILE}::test_too_many_connections_are_told_so",
    ),
    Mutant(
        "a cache that was opened again is taken for the one before",
        "imager/registry/roots.py",
        "opened: int = field(default_factory=time.monotonic_ns)",
        "opened: int = 0",
        f"{_HOSTILE}::test_a_replaced_cache_is_picked_up[make_tar]",
    ),
    Mutant(
        "a cache that has been replaced is not noticed",
        "imager/registry/roots.py",
        "return stamp_of(self.path) != self.stamp",
        "return False",
        f"{_HOSTILE}::test_a_replaced_cache_is_picked_up[make_tar]",
    ),
    Mutant(
        "a page of tags has no next one",
        "imager/registry/responses.py",
        "if not shown or start + count >= len(entries):",
        "if not shown or start + count > 0:",
        f"{_SERVE}::test_tags_come_in_pages",
    ),
    Mutant(
        "the last byte of a range is told as the next one",
        "imager/registry/app.py",
        "last = part.start + part.length - 1",
        "last = part.start + part.length",
        f"{_SERVE}::test_ranges_of_blobs",
    ),
    Mutant(
        "a registry may be written to",
        "imager/registry/app.py",
        "if request.method not in METHODS:",
        "if not request.method:",
        f"{_SERVE}::test_nothing_can_be_changed",
    ),
)
