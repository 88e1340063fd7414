"""The journal of a run: what it tells after the run has ended, however it did."""

from __future__ import annotations

from pathlib import Path

from imager.cache.journal import open_journal, recorded
from imager.oci.digest import Digest

DIGESTS = [Digest.of(bytes([number])) for number in range(5)]


def test_counters_are_found_whatever_the_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, DIGESTS) as journal:
        for number, digest in enumerate(DIGESTS):
            journal.record(digest, 1000 + number)
    with open_journal(path, reversed(DIGESTS)) as journal:
        assert [journal.known(digest) for digest in DIGESTS] == [1000, 1001, 1002, 1003, 1004]
    assert recorded(path) == 5010


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert recorded(path) == 0
    with open_journal(path, DIGESTS) as journal:
        assert [journal.known(digest) for digest in DIGESTS] == [0] * 5
        journal.record(max(DIGESTS), 7)
        assert [journal.known(digest) for digest in sorted(DIGESTS)] == [0, 0, 0, 0, 7]
    # A counter that was cut off in the middle.
    path.write_bytes(path.read_bytes()[:-3])
    assert recorded(path) == 0
    with open_journal(path, DIGESTS) as journal:
        assert journal.known(max(DIGESTS)) == 0


def test_counters_are_64_bits_little_endian(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, DIGESTS[:1]) as journal:
        journal.record(DIGESTS[0], 5 << 32)
    assert path.read_bytes() == bytes([0, 0, 0, 0, 5, 0, 0, 0])
