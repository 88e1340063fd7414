"""Selector expressions: what Talos's documentation shows, and what is wrong with its column."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.support.errors import InputError
from imager.talos.config.cel import ExpressionError, evaluate
from imager.talos.config.disk import Disk
from imager.talos.config.selector import Selector
from imager.talos.version import TalosVersion

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


def selected(text: str) -> set[str]:
    matches = evaluate(text, list(DISKS.values()), system_disk="/dev/sda")
    return {name for name, is_selected in zip(DISKS, matches, strict=True) if is_selected}


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
        # The rest of the language.
        ("disk.symlinks.filter(link, link.startsWith('/dev/disk/by-id')).size() == 1", {"nvme"}),
        ("'SAMSUNG' in disk.symlinks.map(link, 'SAMSUNG')", {"nvme"}),
        ("disk.symlinks.exists_one(link, link.endsWith('980'))", {"nvme"}),
        ("string(disk.size) == '16000000000'", {"usb"}),
        ("disk.model.matches('^Samsung SSD [0-9]+$')", {"nvme"}),
        ("uint('5') == 5u && double('1.5') == 1.5", set(DISKS)),
        ("[disk].exists(each, each.rotational)", {"sata"}),
        ("{'nvme': 1, 'usb': 2}[disk.transport] == 2 || true", set(DISKS)),
        ("disk.transport in {'nvme': 1, 'usb': 2}", {"nvme", "usb"}),
        ("dyn(disk.size) > 1 && type(disk.size) == uint", set(DISKS)),
        ("duration('90s') < duration('2m') && b'ab' != b'a'", set(DISKS)),
        ("[1, 2.0, 'a'].size() == 3 && null == null", set(DISKS)),
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
        ("disk.size > 120", 11, "`>` does not take (uint, int): sizes are uint, write 10u * GiB"),
        ("disk.sise > 1u", 6, "no field 'sise' (did you mean size?)"),
        ("disk.zzzzz > 1u", 6, "(known: dev_path, size, "),
        ("system_dsk", 1, "unknown name 'system_dsk' (known: disk, system_disk, GiB"),
        ("disk", 1, "is of type DiskSpec, not bool"),
        ("disk.size", 1, "is of type uint, not bool"),
        # Talos takes no expression whose type is known at its evaluation alone.
        ("dyn(true)", 1, "is of type dyn, not bool"),
        ("system_disk && disk.model", 13, "`&&` does not take (bool, string)"),
        ("disk.model == 1", 12, "`==` does not take (string, int)"),
        ("disk.size in ['a']", 11, "`in` does not take (uint, list(string))"),
        ("disk.model[0] == ''", 11, "`[]` does not take (string, int)"),
        ("disk.model.upperAscii() == ''", 22, "unknown name 'upperAscii'"),
        ("now() == 1", 4, "unknown name 'now'"),
        ("has(system_disk)", 5, "has() argument must be a field selection"),
        ("disk.symlinks.exists(1, true)", 22, "must be a simple identifier"),
        ("system_disk &&", 15, "mismatched input '<EOF>'"),
        ("system_disk disk", 13, "extraneous input 'disk'"),
        ("disk.model == 'abc", 15, "token recognition error"),
        ("system_disk & true", 13, "token recognition error at: '& '"),
        ("1u > 18446744073709551616u", 6, "invalid uint literal"),
    ],
)
def test_invalid_expressions_and_where(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Selector.parse(text)
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (1, column)


def test_the_place_in_an_expression_of_several_lines() -> None:
    text = "system_disk &&\n  disk.sise > 1u"
    with pytest.raises(ExpressionError) as caught:
        Selector.parse(text)
    assert (caught.value.line, caught.value.column) == (2, 8)
    assert text[caught.value.offset_in(text) :].startswith("sise")


@pytest.mark.parametrize(
    ("version", "text", "words"),
    [
        ("v1.9.5", "'a' in disk.symlinks", "Talos v1.9.5 has no disk.symlinks, which v1.10 added"),
        ("v1.13.0", "has(disk.firmware_version)", "which v1.14 added"),
        ("v1.9.0", "disk.siz > 1u", "did you mean size?"),
    ],
)
def test_fields_that_a_release_lacks(version: str, text: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Selector.parse(text, TalosVersion.parse(version))
    assert words in caught.value.message


def test_fields_that_a_release_has() -> None:
    Selector.parse("'a' in disk.symlinks && has(disk.uuid)", TalosVersion.parse("v1.10.0"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("disk.size / 0u > 1u", "divide by zero"),
        ("disk.size - 1u * EiB > 1u", "overflow"),
        ("int(18446744073709551615u) > 1", "out of int64 range"),
        ("disk.symlinks[-1] == ''", "index"),
        ("disk.model.matches('[')", "invalid regular expression"),
    ],
)
def test_failed_evaluations(text: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        evaluate(text, [NVME], system_disk="")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "true" + ")" * 5000,
        "[" * 900,
        "disk" + ".model" * 500,
        "1" + "+1" * 400 + " > 0",
        "'" + "a" * 100_000 + "' == ''",
    ],
)
def test_what_is_too_deep_or_too_long(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"nests deeper than 32 levels|longer than"):
        Selector.parse(text)


def test_too_many_iterations() -> None:
    hundred = f"[{', '.join(['1'] * 100)}]"
    with pytest.raises(ExpressionError, match="budget"):
        evaluate(
            f"{hundred}.all(a, {hundred}.all(b, {hundred}.all(c, true)))", [NVME], system_disk=""
        )


def test_a_selector_is_evaluated_in_a_process_with_limits() -> None:
    disks = [NVME, SATA, USB]
    selector = Selector.parse("!system_disk && disk.size > 100u * GB && 'a' in ['a']")
    assert selector.matches(disks, system_disk="/dev/sda") == [True, False, False]
    with pytest.raises(ExpressionError, match="divide by zero"):
        Selector.parse("1 / 0 == 1").matches(disks, system_disk="")
    # Each step makes the text eight times as long.
    grows = f"['aaaaaaaa']{'.map(x, x+x+x+x+x+x+x+x)' * 20}[0] == ''"
    with pytest.raises(ExpressionError, match="more than 5 s of CPU time or 1 GiB"):
        Selector.parse(grows).matches(disks, system_disk="")


def test_a_long_list_of_serial_numbers() -> None:
    serials = ", ".join(f"'S{number}'" for number in range(400))
    assert selected(f"disk.serial in [{serials}]") == set()
    assert selected(" || ".join(["disk.serial == 'S64ANS0R'"] * 150)) == {"nvme"}


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_a_told_error(text: str) -> None:
    with contextlib.suppress(InputError):
        evaluate(text, [NVME], system_disk="")


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
        evaluate(text, [NVME], system_disk="")
