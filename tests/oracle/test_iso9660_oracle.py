"""ISO images judged by xorriso and by pycdlib's reader, whole and damaged."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycdlib import PyCdlib
from pycdlib.pycdlibexception import PyCdlibException

from imager.content.extents import Content, Data, Extent
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.iso9660.plan import BootEntry, BootPlatform, IsoAlias, plan_iso
from imager.support.errors import InputError
from imager.support.units import align_up
from tests.lib.tools.examples import examples
from tests.lib.tools.support import write_content

pytestmark = pytest.mark.oracle

TIMESTAMP = 1_700_000_000
RECORD_LIMIT = 0xFFFFF800
ESP = "images/efi.img"
UKI = IsoAlias("EFI/Linux/Talos-v1.9.0.efi", ESP, 6144, 10_001)


def noise(length: int, seed: int) -> bytes:
    return hashlib.shake_128(bytes([seed & 0xFF, seed >> 8])).digest(length)


def sample() -> dict[str, bytes]:
    """Return the files of an image: the cache's names, and the hardest ones."""
    names = ["z-first", "EFI/BOOT/BOOTX64.EFI", "loader/loader.conf", ".hidden", "-dash", "end."]
    names += [f"imagecache/blob/sha256-{hashlib.sha256(bytes([n])).hexdigest()}" for n in range(40)]
    names += [f"imagecache/manifests/ghcr.io/a/b/c/d/e/f/g/h/i/reference/v{n}" for n in range(3)]
    names += ["Case/a", "case/a", "case/A", "ünï/cödé €;1", 'sp ace/we;ird:*?"<>|\\x', "rr_moved/x"]
    names += [f"long/{'n' * n}" for n in (76, 77, 78, 150, 200, 248, 249, 250, 251, 252, 253)]
    names += [f"long/{'p' * 252}{n}" for n in range(5)]
    names += [f"long/{'d' * 251}{n}/inner" for n in range(3)]
    names += [f"many/file-{n:04d}" for n in range(300)]
    files = {name: noise(1 + 997 * n % 9000, n) for n, name in enumerate(names)}
    return {**files, ESP: noise(65536, 999), "empty": b""}


def sample_plan() -> VolumePlan:
    return plan_iso(
        Tree.of([File(path, Content.of_bytes(data)) for path, data in sample().items()]),
        volume_id="TALOS_V1_9_0",
        timestamp=TIMESTAMP,
        boot=[BootEntry(ESP, BootPlatform.EFI, 128)],
        aliases=[UKI],
    )


def xorriso(*arguments: str | Path, check: bool = True) -> str:
    """Run xorriso without its start-up files; any trouble fails, and return what it reported."""
    command = ["xorriso", "-no_rc", "-abort_on", "WARNING", "-return_with", "WARNING", "32"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout if done.returncode == 0 else ""


def extracted(image: Path, target: Path) -> dict[str, bytes]:
    """Return all files of an image as xorriso restores them, as far as it gets."""
    xorriso("-osirrox", "on", "-indev", image, "-extract", "/", target, check=False)
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_content(sample_plan().content, tmp_path_factory.mktemp("iso") / "image.iso")


def test_xorriso_gives_every_file_back(image: Path, tmp_path: Path) -> None:
    found = extracted(image, tmp_path / "tree")
    files = sample()
    files[UKI.path] = files[ESP][UKI.offset : UKI.offset + UKI.length]
    assert found.pop("boot.cat")
    assert found == files


def test_xorriso_sees_owner_modes_and_times(image: Path) -> None:
    listing = xorriso("-indev", image, "-find", "/", "-exec", "lsdl").splitlines()
    assert len(listing) > 400
    for line in listing:
        mode, _, owner, group = line.split()[:4]
        # xorriso marks boot images with an e.
        assert mode in {"dr-xr-xr-x", "-r--r--r--", "er--r--r--"}
        assert (owner, group) == ("0", "0")
        assert "Nov 14  2023" in line


def test_xorriso_sees_the_data_where_the_plan_has_them(image: Path) -> None:
    seen = sections(image)
    for place in sample_plan().files:
        if place.length:
            assert seen[f"/{place.path}"] == [(place.offset, align_up(place.length, 2048))]


def test_xorriso_sees_the_uefi_entry(image: Path) -> None:
    esp = next(place for place in sample_plan().files if place.path == ESP)
    report = xorriso("-indev", image, "-report_el_torito", "plain").splitlines()
    entries = [line.split() for line in report if line.startswith("El Torito boot img")]
    assert [entry[5:] for entry in entries] == [
        ["1", "UEFI", "y", "none", "0x0000", "0x00", "128", str(esp.offset // 2048)]
    ]
    assert f"El Torito img path :   1  /{ESP}" in report


def test_xorriso_sees_bios_and_uefi_entries(tmp_path: Path) -> None:
    plan = plan_iso(
        Tree.of(
            [
                File("esp", Content.of_bytes(noise(9000, 1))),
                File("a", Content.of_bytes(noise(3000, 2))),
            ]
        ),
        volume_id="BOTH",
        timestamp=TIMESTAMP,
        boot=[
            BootEntry("a", BootPlatform.BIOS, 4, boot_info_table=True),
            BootEntry("esp", BootPlatform.EFI, 18),
        ],
    )
    path = write_content(plan.content, tmp_path / "both.iso")
    report = xorriso("-indev", path, "-report_el_torito", "plain").splitlines()
    entries = [line.split()[5:8] for line in report if line.startswith("El Torito boot img")]
    assert entries == [["1", "BIOS", "y"], ["2", "UEFI", "y"]]
    assert any(line.startswith("El Torito img opts") and "boot-info" in line for line in report)


def test_xorriso_sees_the_volume(image: Path) -> None:
    info = xorriso("-indev", image, "-pvd_info").splitlines()
    assert "Volume Id    : TALOS_V1_9_0" in info
    assert "App Id       : IMAGER" in info
    assert "Creation Time: 2023111422132000" in info


def test_pycdlib_opens_it_again(image: Path) -> None:
    iso = PyCdlib()
    iso.open(str(image))
    assert iso.has_rock_ridge()
    tops = {child.rock_ridge.name() for child in iso.list_children(rr_path="/")}
    assert b"imagecache" in tops
    iso.close()


def sparse(size: int, marks: list[int]) -> Content:
    return Content(size, tuple(Extent(at, 8, Data(b"%08x" % (at >> 4))) for at in marks))


def sections(image: Path) -> dict[str, list[tuple[int, int]]]:
    """Return (offset, length in whole sectors) of each file's sections, as xorriso reads them."""
    found: dict[str, list[tuple[int, int]]] = {}
    report = xorriso("-indev", image, "-find", "/", "-type", "f", "-exec", "report_lba")
    for line in report.splitlines():
        if line.startswith("File data lba:"):
            fields = line.removeprefix("File data lba:").split(",", 4)
            place = (int(fields[1]) * 2048, int(fields[2]) * 2048)
            found.setdefault(fields[4].strip().strip("'"), []).append(place)
    return found


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an image with sparse files of 5 and 9 GiB, marked where their records meet."""
    files = []
    for size in (5 << 30, (9 << 30) + 5):
        edges = range(RECORD_LIMIT, size, RECORD_LIMIT)
        marks = [0, *(edge + step for edge in edges for step in (-8, 8)), size - 8]
        files.append(File(str(size), sparse(size, marks)))
    plan = plan_iso(
        Tree.of([*files, File("after", Content.of_bytes(b"after"))]),
        volume_id="BIG",
        timestamp=TIMESTAMP,
        aliases=[IsoAlias("tail", str(5 << 30), 2048, (5 << 30) - 4096)],
    )
    return write_content(plan.content, tmp_path_factory.mktemp("big") / "big.iso")


@pytest.mark.parametrize(("size", "records"), [(5 << 30, 2), ((9 << 30) + 5, 3)])
def test_sections_of_files_above_4_gib_join(big: Path, size: int, records: int) -> None:
    assert str(size) in xorriso("-indev", big, "-lsl", f"/{size}")
    parts = sections(big)[f"/{size}"]
    start, end = parts[0][0], sum(parts[-1])
    assert len(parts) == records
    assert all(sum(one) == two[0] for one, two in pairwise(parts))
    assert end - start == align_up(size, 2048)
    with big.open("rb") as file:
        for at in [0, size - 8, *(n * RECORD_LIMIT + 8 for n in range(1, records))]:
            file.seek(start + at)
            assert file.read(8) == b"%08x" % (at >> 4)


def test_an_alias_above_4_gib_joins_too(big: Path) -> None:
    found = sections(big)
    start, _ = found[f"/{5 << 30}"][0]
    (first, length), (second, rest) = found["/tail"]
    assert (first, first + length) == (start + 2048, second)
    assert length + rest == (5 << 30) - 4096


def test_xorriso_reads_across_records(big: Path, tmp_path: Path) -> None:
    cut, after = tmp_path / "cut", tmp_path / "after"
    arguments = ["-extract_cut", f"/{5 << 30}", str(RECORD_LIMIT - 8), "24", str(cut)]
    xorriso("-osirrox", "on", "-indev", big, *arguments, "-extract", "/after", after)
    low, high = RECORD_LIMIT - 8, RECORD_LIMIT + 8
    assert cut.read_bytes() == b"%08x" % (low >> 4) + bytes(8) + b"%08x" % (high >> 4)
    assert after.read_bytes() == b"after"


def test_a_file_of_exactly_one_record_is_not_split(tmp_path: Path) -> None:
    plan = plan_iso(
        Tree.of([File("big", sparse(RECORD_LIMIT, [RECORD_LIMIT - 8]))]),
        volume_id="BIG",
        timestamp=TIMESTAMP,
    )
    image = write_content(plan.content, tmp_path / "big.iso")
    assert [length for _, length in sections(image)["/big"]] == [RECORD_LIMIT]


PROGRAM = """
import hashlib, sys, time
time.time = lambda: float(sys.argv[1])
from tests.oracle.test_iso9660_oracle import sample_plan
extents = sample_plan().content.extents
print(hashlib.sha256(extents[0].source.data).hexdigest(), [e.offset for e in extents])
"""


def test_clock_zone_and_hash_seed_do_not_show() -> None:
    root = Path(__file__).parents[2]
    said = set()
    for clock, zone, seed in (("1e9", "UTC", "1"), ("1.8e9", "<+1130>-11:30", "2")):
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        said.add(
            subprocess.check_output(
                [sys.executable, "-c", PROGRAM, clock], env=environment, cwd=root
            )
        )
    assert len(said) == 1


def record_of(data: bytes, identifier: bytes) -> int:
    """Return where the directory record of a file starts."""
    return data.index(bytes([len(identifier)]) + identifier) - 32


def damaged(image: Path, target: Path, offset: int) -> Path:
    data = bytearray(image.read_bytes())
    data[offset] ^= 0x11
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("field", [2, 10, 33])
def test_a_damaged_record_is_seen(image: Path, tmp_path: Path, field: int) -> None:
    offset = record_of(image.read_bytes(), b"z-first") + field
    bad = damaged(image, tmp_path / "bad.iso", offset)
    if field == 33:
        iso = PyCdlib()
        iso.open(str(bad))
        with pytest.raises(PyCdlibException):
            iso.get_record(iso_path="/z-first")
        iso.close()
    else:
        assert extracted(bad, tmp_path / "bad") != extracted(image, tmp_path / "good")


def test_a_damaged_rock_ridge_name_is_seen(image: Path, tmp_path: Path) -> None:
    offset = image.read_bytes().index(b"NM\x0c\x01\x00z-first") + 5
    bad = damaged(image, tmp_path / "bad.iso", offset)
    assert "z-first" not in extracted(bad, tmp_path / "bad")


def test_a_damaged_descriptor_is_seen(image: Path, tmp_path: Path) -> None:
    bad = damaged(image, tmp_path / "bad.iso", 32769)
    assert xorriso("-indev", bad, "-ls", "/", check=False) == ""


def test_a_damaged_path_table_is_seen(image: Path, tmp_path: Path) -> None:
    sector = int.from_bytes(image.read_bytes()[32768 + 140 : 32768 + 144], "little")
    bad = damaged(image, tmp_path / "bad.iso", sector * 2048 + 2)
    with pytest.raises(PyCdlibException):
        PyCdlib().open(str(bad))


def test_a_damaged_boot_catalog_is_seen(image: Path, tmp_path: Path) -> None:
    sector = int.from_bytes(image.read_bytes()[17 * 2048 + 71 : 17 * 2048 + 75], "little")
    bad = damaged(image, tmp_path / "bad.iso", sector * 2048 + 1)
    report = xorriso("-indev", bad, "-report_el_torito", "plain", check=False)
    assert "UEFI" not in report


def test_a_truncated_image_is_seen(image: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.iso"
    bad.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    assert extracted(bad, tmp_path / "bad") != extracted(image, tmp_path / "good")


NAMES = st.text("aAbB.-_~; ä€*\\\n'", min_size=1, max_size=90)
PATHS = st.lists(NAMES, min_size=1, max_size=10).map("/".join)


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow])
@given(files=st.dictionaries(PATHS, st.binary(max_size=5000), max_size=12))
def test_any_accepted_tree_reads_back(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    entries = [File(path, Content.of_bytes(data)) for path, data in files.items()]
    try:
        plan = plan_iso(Tree.of(entries), volume_id="ANY", timestamp=TIMESTAMP)
    except InputError:
        return
    folder = tmp_path_factory.mktemp("any")
    image = write_content(plan.content, folder / "any.iso")
    assert extracted(image, folder / "tree") == files
