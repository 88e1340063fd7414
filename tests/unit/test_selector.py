"""Selector expressions: what Talos's documentation shows, and what is wrong with its column."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.errors import InputError
from imager.machineconfig.disk import Disk
from imager.machineconfig.lexer import ExpressionError
from imager.machineconfig.selector import Selector

NVME = Disk(
    dev_path="/dev/nvme0n1",
    size=500 * 10**9,
    sector_size=512,
    model="Samsung SSD 980",
    serial="S64ANS0R",
    wwid="eui.0025385a11b2c3d4",
    bus_path="/pci0000:00/0000:00:09.0/nvme",
    transport="nvme",
    symlinks=("/dev/disk/by-id/nvme-Samsung_SSD_980", "/dev/disk/by-diskseq/11"),
)
SATA = Disk(dev_path="/dev/sda", size=2 * 2**40, transport="sata", rotational=True)
USB = Disk(dev_path="/dev/sdb", size=16 * 10**9, transport="usb", readonly=True)
DISKS = {"nvme": NVME, "sata": SATA, "usb": USB}
SYSTEM = "sata"


def selected(text: str) -> set[str]:
    selector = Selector.parse(text)
    return {
        name for name, disk in DISKS.items() if selector.matches(disk, system_disk=name == SYSTEM)
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # Of the documentation: VolumeConfig, and disk selectors.
        ("system_disk", {"sata"}),
        ('disk.transport == "nvme"', {"nvme"}),
        ("disk.transport == 'nvme' && !system_disk", {"nvme"}),
        ("disk.size > 120u * GB && disk.size < 1u * TB", {"nvme"}),
        ("disk.size > 1000u * GiB && !disk.rotational", set()),
        ('disk.transport == "sata" && !disk.rotational && !system_disk', set()),
        ("glob('/dev/sd*', disk.dev_path)", {"sata", "usb"}),
        ("1u * GiB < 2u * GiB", {"nvme", "sata", "usb"}),
        # What else people select by.
        ("disk.size >= 500u * GB || disk.readonly", {"nvme", "sata", "usb"}),
        ("disk.size == 2u * TiB", {"sata"}),
        ("disk.size / GB == 500u && disk.size % 2u == 0u", {"nvme"}),
        ("disk.serial in ['x', 'S64ANS0R']", {"nvme"}),
        ("disk.serial in []", set()),
        ("'/dev/disk/by-diskseq/11' in disk.symlinks", {"nvme"}),
        ("disk.symlinks.exists(link, link.contains('Samsung'))", {"nvme"}),
        ("disk.symlinks.all(link, link.startsWith('/dev/disk/by-id/'))", {"sata", "usb"}),
        ("size(disk.symlinks) == 2 && disk.symlinks[0].endsWith('980')", {"nvme"}),
        ("disk.model.startsWith('Samsung') || disk.wwid.contains('eui')", {"nvme"}),
        ("has(disk.model)", {"nvme"}),
        ("disk.rotational ? disk.size > 1u * TB : disk.transport == 'usb'", {"sata", "usb"}),
        ("double(disk.size) > 0.4e12 // half a terabyte\n", {"nvme", "sata"}),
        ("int(disk.sector_size) - 513 < 0", {"nvme", "sata", "usb"}),
        ("uint(1.9) == 1u && -7 / 2 == -3 && -7 % 2 == -1", {"nvme", "sata", "usb"}),
        (
            r"r'\d' == '\\d' && '\x41\u00e9\101' == 'A" + "\N{LATIN SMALL LETTER E WITH ACUTE}A'",
            set(DISKS),
        ),
        ("'''it's''' == \"it's\" && \"a\" + 'b' < 'b'", set(DISKS)),
        ("!!system_disk && --1 == 1 && -1 < 0", {"sata"}),
        ("0x10u == 16u && 1.5 == .15e1 && true != false", set(DISKS)),
        # What decides does so whether or not the other side fails, in any order.
        ("disk.size / 0u > 1u || true", set(DISKS)),
        ("false && disk.symlinks[7] == ''", set()),
        ("disk.symlinks[7] == '' && false", set()),
        ("[1, 0].exists(n, 1 / n > 0)", set(DISKS)),
    ],
)
def test_what_is_selected(text: str, names: set[str]) -> None:
    assert selected(text) == names


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("a*", "abc", True),
        ("*c", "abc", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("a", "ab", False),
        ("sd[a-z]", "sda", False),
        ("a**b", "ab", True),
        ("*a*a*a*", "aa", False),
    ],
)
def test_globs(pattern: str, text: str, matches: bool) -> None:
    assert selected(f"glob('{pattern}', '{text}')") == (set(DISKS) if matches else set())


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("disk.size > 120", 11, "a uint and an int: sizes are uint, write 10u * GiB"),
        ("disk.sise > 1u", 6, "did you mean size?"),
        ("disk.zzzzz > 1u", 6, "there are dev_path, size"),
        ("system_dsk", 1, "unknown variable system_dsk; known: disk, system_disk, GiB"),
        ("disk", 1, "is a disk, not true or false"),
        ("disk.size", 1, "is a uint, not true or false"),
        ("system_disk && disk.model", 21, "is a string, not a bool"),
        ("!disk.size", 7, "is a uint, not a bool"),
        ("-disk.size < 1u", 1, "`-` does not go with a uint"),
        ("disk.model == 1", 12, "`==` does not go with a string and an int"),
        ("disk.model < disk", 12, "does not go"),
        ("1.0 % 2.0 == 0.0", 5, "does not go"),
        ("disk.size in ['a']", 11, "does not go"),
        ("disk.size in [1u, 1]", 14, "of one type"),
        ("disk.model.size", 12, "a string has no field size"),
        ("disk.model[0] == ''", 11, "a string has no items"),
        ("disk.symlinks['a'] == ''", 15, "is a string, not an int"),
        ("disk.model.matches('^S')", 12, "use startsWith, contains or glob"),
        ("disk.model.upper() == ''", 12, "no function upper that takes a string"),
        ("disk.model.startsWith(1)", 12, "a string, an int"),
        ("now() == 1", 1, "no function now that takes nothing"),
        ("has(system_disk)", 1, "such as disk.serial"),
        ("true ? 1 : 2.0", 12, "is a double, not an int"),
        ("disk.symlinks.exists(1, true)", 22, "a name should stand here"),
        ("x.exists(x, true)", 1, "unknown variable x"),
        ("system_disk &&", 15, "ends too early"),
        ("", 1, "ends too early"),
        ("system_disk disk", 13, "should end here"),
        ("(system_disk", 13, "`)` should stand here"),
        ("disk.serial in ['a' 'b']", 21, "`,` or `]`"),
        ("system_disk ? true", 19, "`:` should stand here"),
        ("disk.model == 'abc", 15, "a string has no end"),
        ("disk.model == 'a\n'", 15, "a string has no end"),
        (r"disk.model == '\q'", 15, "unknown escape"),
        (r"disk.model == '\ud800'", 15, "unknown escape"),
        ("system_disk & true", 13, "'&' is not of CEL"),
        ("1 > 9223372036854775808", 5, "too large"),
        ("1u > 18446744073709551616u", 6, "too large"),
        ("1u > " + "9" * 5000 + "u", 6, "too large"),
        ("system_disk == `x`", 16, "not of CEL"),
        ("in", 1, "is no value"),
        ("!-1", 2, "is no value"),
    ],
)
def test_what_is_wrong_and_where(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Selector.parse(text)
    assert words in caught.value.message
    assert caught.value.column == column
    assert caught.value.message.startswith(f"column {column}: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("disk.size / 0u > 1u", "divides by zero"),
        ("disk.size - 1u * EiB > 1u", "does not fit a uint"),
        ("disk.size * EiB > 1u", "does not fit a uint"),
        ("int(18446744073709551615u) > 1", "does not fit an int"),
        ("uint(-1) > 1u", "does not fit a uint"),
        ("int(1.0 / 0.0) > 1", "does not fit an int"),
        ("disk.symlinks[-1] == ''", "no item -1"),
        ("disk.symlinks.all(x, 1 / 0 > 0)", "divides by zero"),
    ],
)
def test_what_cannot_be_told(text: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        Selector.parse(text).matches(NVME, system_disk=False)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "true" + ")" * 5000,
        "!(" * 400 + "true" + ")" * 400,
        "true ? true : " * 900 + "true",
        "[" * 900,
        "1" + "+1" * 400 + " > 0",
        "true || " * 3000 + "true",
        "disk" + ".model" * 500,
        "[[[]]]" + "[0]" * 300,
        "[1].all(a, [1].all(b, [1].all(c, true)))",
    ],
)
def test_what_is_too_deep_or_too_long(text: str) -> None:
    with pytest.raises(InputError):
        Selector.parse(text)


def test_a_long_list_of_serial_numbers() -> None:
    serials = ", ".join(f"'S{number}'" for number in range(400))
    assert selected(f"disk.serial in [{serials}]") == set()
    assert selected(" || ".join(["disk.serial == 'S64ANS0R'"] * 150)) == {"nvme"}


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_a_told_error(text: str) -> None:
    with contextlib.suppress(InputError):
        Selector.parse(text).matches(NVME, system_disk=True)


WORDS = st.sampled_from(
    [
        *("disk", "system_disk", ".", "size", "model", "symlinks", "rotational", "exists", "has"),
        *("&&", "||", "!", "==", "<", ">", "in", "+", "-", "*", "/", "%", "(", ")", "[", "]", ","),
        *("?", ":", "1", "1u", "2.5", "'a'", "GiB", "true", "size", "x", "startsWith"),
    ]
)


@given(st.lists(WORDS, max_size=15).map(" ".join))
def test_any_words_are_a_selector_or_a_told_error(text: str) -> None:
    with contextlib.suppress(InputError):
        Selector.parse(text).matches(NVME, system_disk=True)
