from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.support.errors import InputError
from imager.support.units import align_up, format_size, parse_bytes, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("4GiB", 4 * 2**30),
        ("4GB", 4 * 10**9),
        ("4 GB", 4 * 10**9),
        ("1246MiB ", 1246 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("8kB", 8000),
        ("8KB", 8000),
        ("8KiB", 8192),
        ("1TiB", 2**40),
        ("1PB", 10**15),
        ("4gib", 4 * 2**30),
        ("10B", 10),
        ("4Gi", 4 * 2**30),
        ("1,5GiB", 15 * 2**30),
        ("1,024", 1024),
        ("1.", 1),
        (".5kb", 500),
        ("1.5B", 1),
        ("0.1KiB", 102),
        ("7 eib", 7 * 2**60),
    ],
)
def test_sizes_people_write(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "size", "sectors"),
    [
        ("1.8TiB", 1979120929996, 483183820),
        ("1.1MB", 1_100_000, 268),
        ("2.5GiB", 5 * 2**29, 5 * 2**17),
        ("4097", 4097, 0),
    ],
)
def test_fractions_of_disks_are_whole_sectors(text: str, size: int, sectors: int) -> None:
    assert parse_bytes(text) == size
    assert parse_size(text) == (sectors * 4096 or size)


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * 10**9), ("4 k", 4000), ("2.5t", 25 * 10**11), ("15EiB", 15 << 60)]
)
def test_sizes_that_machine_configurations_alone_may_have(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    with pytest.raises(InputError):
        parse_size(text)


def test_a_letter_alone_is_two_sizes() -> None:
    with pytest.raises(InputError) as caught:
        parse_size("1.5g")
    words = "'1.5g' is ambiguous: 1.5GB to Talos, 1.5GiB to qemu-img: write one of these"
    assert caught.value.message == words
    with pytest.raises(InputError, match="'8k' is ambiguous: 8kB to Talos, 8KiB to qemu-img"):
        parse_size("8k")


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "-1", "+1", "4 G B", "4XiB", "1e3", "0x10", " 4GiB", "1.2.3", ".", "٤GiB", "4GiB;"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["16EiB", "99999999999999GiB", "9" * 400, "18446744073709551615"])
def test_sizes_that_are_too_large(text: str) -> None:
    with pytest.raises(InputError, match="larger than 16 EiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (4 * 2**30, "4 GiB"),
        (434110464, "414 MiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 2**60), st.integers(1, 2**30))
def test_align_up_is_the_smallest_multiple(value: int, alignment: int) -> None:
    aligned = align_up(value, alignment)
    assert aligned % alignment == 0
    assert 0 <= aligned - value < alignment
