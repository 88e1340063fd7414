"""The Joliet names of an ISO judged by isoinfo, libarchive, 7-Zip, xorriso and libblkid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.iso9660.plan import BootEntry, BootPlatform, IsoAlias, plan_iso
from tests.lib.caches.caches import flip, tree_files
from tests.lib.tools.cli import tool
from tests.lib.tools.support import write_content
from tests.oracle.test_iso9660_oracle import noise, sparse

pytestmark = pytest.mark.oracle

TIMESTAMP = 1_700_000_000
ESP = "efi.img"
UKI = IsoAlias("EFI/Linux/Talos-v1.9.0.efi", ESP, 6144, 10_001)
UTF8 = ("env", "LC_ALL=C.UTF-8")
LONG = "imagecache/manifests/ghcr.io/a/b/reference/" + "t" * 103


def sample() -> dict[str, bytes]:
    names = [ESP, "loader/loader.conf", "z-first", ".hidden", LONG, "d/" * 12 + "deep", "ünï/ж"]
    names += [f"imagecache/blob/sha256-{hashlib.sha256(bytes([n])).hexdigest()}" for n in range(60)]
    names += [f"imagecache/manifests/host_5000_/img{n}/reference/v{n}" for n in range(60)]
    return {name: noise(20_000 + n, n) for n, name in enumerate(names)} | {"empty": b""}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = plan_iso(
        Tree.of([File(path, Content.of_bytes(data)) for path, data in sample().items()]),
        volume_id="TALOS_V1_9_0",
        timestamp=TIMESTAMP,
        boot=[BootEntry(ESP, BootPlatform.EFI, 0)],
        aliases=[UKI],
    )
    assert plan.renamed == ()
    return write_content(plan.content, tmp_path_factory.mktemp("iso") / "image.iso")


def expected() -> dict[str, bytes]:
    files = sample()
    return files | {UKI.path: files[ESP][UKI.offset : UKI.offset + UKI.length]}


def by_bsdtar(iso: Path, folder: Path) -> None:
    folder.mkdir()
    tool(*UTF8, "bsdtar", "--options", "iso9660:!rockridge", "-xf", iso, "-C", folder, status=None)


def by_7z(iso: Path, folder: Path) -> None:
    # [BOOT] is what 7-Zip calls the boot images, which have no name.
    tool(*UTF8, "7z", "x", "-y", "-x![BOOT]", f"-o{folder}", iso, status=None)


def by_xorriso(iso: Path, folder: Path) -> None:
    read = ("-read_fs", "norock", "-osirrox", "on")
    tool(*UTF8, "xorriso", "-no_rc", *read, "-indev", iso, "-extract", "/", folder, status=None)


READERS: dict[str, Callable[[Path, Path], None]] = {
    "bsdtar": by_bsdtar,
    "7z": by_7z,
    "xorriso": by_xorriso,
}


def extracted(reader: str, iso: Path, folder: Path) -> dict[str, bytes]:
    """Return the files as a reader gives them back by their Joliet names, as far as it gets."""
    READERS[reader](iso, folder)
    return tree_files(folder)


@pytest.mark.parametrize("reader", READERS)
def test_every_file_comes_back(image: Path, tmp_path: Path, reader: str) -> None:
    assert extracted(reader, image, tmp_path / "tree") == expected()


def test_isoinfo_lists_every_name(image: Path) -> None:
    listed = {line.rstrip() for line in tool("isoinfo", "-J", "-f", "-i", image).splitlines()}
    assert listed >= {f"/{path}" for path in expected() if path.isascii()}
    path = next(path for path in expected() if "sha256-" in path)
    assert tool("isoinfo", "-J", "-x", f"/{path}", "-i", image) == expected()[path].decode(
        errors="replace"
    )


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_record_is_seen(image: Path, tmp_path: Path, reader: str) -> None:
    """Where the file lies, and how it is called."""
    identifier = "z-first".encode("utf-16-be")
    at = image.read_bytes().index(bytes([len(identifier)]) + identifier) - 32
    for field in (2, 10, 33 + 3):
        copy = tmp_path / f"{field}.iso"
        copy.write_bytes(image.read_bytes())
        flip(copy, at + field)
        assert extracted(reader, copy, tmp_path / str(field)) != expected()


def test_volume_is_still_an_iso9660_one(image: Path) -> None:
    said = tool("blkid", "-p", "-o", "export", image).splitlines()
    assert {"TYPE=iso9660", "LABEL=TALOS_V1_9_0", "VERSION=Joliet\\ Extension"} <= set(said)


def test_another_type_would_be_seen(tmp_path: Path) -> None:
    """A bridge to UDF, the other way to long names on Windows, would hide the cache from a node."""
    (tmp_path / "tree").mkdir()
    bridge = tmp_path / "udf.iso"
    tool(
        "genisoimage", "-quiet", "-udf", "-R", "-V", "TALOS_V1_9_0", "-o", bridge, tmp_path / "tree"
    )
    assert "TYPE=udf" in tool("blkid", "-p", "-o", "export", bridge).splitlines()


@pytest.mark.parametrize("reader", ["bsdtar", "7z"])
def test_files_above_4_gib_have_their_size(tmp_path: Path, reader: str) -> None:
    size = (5 << 30) + 12_345
    content = sparse(size, [0, 0xFFFFF800 - 8, 0xFFFFF800 + 8, size - 8])
    plan = plan_iso(Tree.of([File("big", content)]), volume_id="BIG", timestamp=TIMESTAMP)
    iso = write_content(plan.content, tmp_path / "big.iso")
    arguments = {
        "bsdtar": ("bsdtar", "--options", "iso9660:!rockridge", "-tvf", iso),
        "7z": ("7z", "l", iso),
    }
    assert str(size) in tool(*arguments[reader])
