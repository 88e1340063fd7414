"""The breaks of the registry server; see `definitions`."""

from __future__ import annotations

from tests.mutants.definitions import Mutant

_SERVE = "tests/oracle/test_serve.py"
_HOSTILE = "tests/fault/test_serve_hostile.py"


def _mutant(what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(what, f"imager/server/{file}", old, new, (test,))


SERVING = (
    _mutant(
        "a slash after healthz is another path",
        "targets.py",
        ' | ["", "healthz", ""]',
        "",
        f"{_SERVE}::test_the_registry_says_what_it_is",
    ),
    _mutant(
        "blobs are sent unchecked",
        "blobs.py",
        "if await self._is_sound(digest, blob):",
        "if True:",
        f"{_HOSTILE}::test_a_damaged_blob_is_never_sent[flat]",
    ),
    _mutant(
        "a blob whose file has changed is not checked again",
        "blobs.py",
        "if verdict is None or verdict.identity != blob.identity:",
        "if verdict is None:",
        f"{_HOSTILE}::test_a_damaged_blob_is_never_sent[flat]",
    ),
    _mutant(
        "blobs are read through links that have come since",
        "blobs.py",
        " | os.O_NOFOLLOW",
        "",
        f"{_HOSTILE}::test_what_is_no_file_any_more_is_not_opened",
    ),
    _mutant(
        "the first cache that has a blob is the only one asked",
        "blobs.py",
        "for content in places:",
        "for content in tuple(places)[:1]:",
        f"{_HOSTILE}::test_another_root_helps_out",
    ),
    _mutant(
        "the last cache's tags win",
        "catalog.py",
        "repositories.setdefault(key, {}).setdefault(reference.target, manifest)",
        "repositories.setdefault(key, {})[reference.target] = manifest",
        f"{_SERVE}::test_roots_are_asked_in_order",
    ),
    _mutant(
        "an encoded slash joins two names",
        "targets.py",
        'any("/" in part for part in names) or ',
        "",
        f"{_SERVE}::test_what_is_not_there_is_404_with_a_reason",
    ),
    _mutant(
        "a range ends a byte early",
        "conditions.py",
        "min(int(last) + 1, size)",
        "min(int(last), size)",
        f"{_SERVE}::test_ranges_of_blobs",
    ),
    _mutant(
        "weak tags match where strong ones must",
        "conditions.py",
        "_matches(wanted, etag, weak=False)",
        "_matches(wanted, etag, weak=True)",
        f"{_SERVE}::test_conditional_requests",
    ),
    _mutant(
        "a file that was cut is sent as if it were whole",
        "transfer.py",
        "if sent != length:",
        "if sent > length:",
        f"{_HOSTILE}::test_a_file_cut_while_it_is_sent_is_seen_to_be_cut",
    ),
    _mutant(
        "a client that takes nothing is waited for",
        "transfer.py",
        "if self._taken != before:",
        "if True:",
        f"{_HOSTILE}::test_who_takes_nothing_is_sent_away",
    ),
    _mutant(
        "there may be as many connections as come",
        "listener.py",
        "if len(self.connections) > self._most:",
        "if False:",
        f"{_HOSTILE}::test_too_many_connections_are_told_so",
    ),
    _mutant(
        "a cache that has been replaced is not noticed",
        "roots.py",
        "return stamp_of(self.path) != self.stamp",
        "return False",
        f"{_HOSTILE}::test_a_replaced_cache_is_picked_up[make_tar]",
    ),
)
