"""`imager verify`: whole images pass, and every damage is found, whatever it is in."""

from __future__ import annotations

import base64
import json
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.tools.cli import real_assets, run, tool
from tests.lib.volumes.cache_disks import disk_with_cache

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verified")


@pytest.fixture(scope="module")
def disk(cache: CacheFixture, folder: Path) -> Path:
    return disk_with_cache(folder, cache)


@pytest.fixture(scope="module")
def starts(disk: Path) -> Mapping[str, int]:
    table = json.loads(tool("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    return {each["name"]: each["start"] * 512 for each in table}


@contextmanager
def damaged(path: Path, offset: int) -> Iterator[None]:
    """Flip a bit of a file during the block."""
    with path.open("r+b", buffering=0) as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ 0x10]))
        try:
            yield
        finally:
            file.seek(offset)
            file.write(old)


def find(path: Path, data: bytes, start: int) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        offset = view.find(data, start)
    assert offset >= 0
    return offset


def second_fat(disk: Path, start: int) -> int:
    with disk.open("rb") as file:
        file.seek(start)
        boot = file.read(512)
    reserved = int.from_bytes(boot[14:16], "little")
    table = int.from_bytes(boot[22:24], "little") or int.from_bytes(boot[36:40], "little")
    return start + (reserved + table) * 512 + 9


def test_every_damage_of_a_disk_is_found(
    disk: Path, starts: Mapping[str, int], cache: CacheFixture
) -> None:
    whole = run("verify", disk, "--json")
    found = json.loads(whole.stdout)
    assert (whole.returncode, found["ok"], found["problems"]) == (0, True, [])
    assert found["blobs"] == sum(path.startswith("blob/") for path in cache.files)
    assert found["streams"] == 1
    initramfs = (real_assets() / "amd64/initramfs.xz").read_bytes()
    blob = max((d for path, d in cache.files.items() if path.startswith("blob/")), key=len)
    boot, ext4 = starts["BOOT"], starts["IMAGECACHE"]
    for what, offset in {
        "GPT": disk.stat().st_size - 512 + 60,
        "allocation table": second_fat(disk, starts["EFI"]),
        "XAGF": boot + 512 + 100,
        "inode": find(disk, b"IN\x41", boot) + 60,
        "ext4": ext4 + 1024 + 8,
        "initramfs.xz": find(disk, initramfs[1_000_000:1_000_064], boot),
        "does not match its digest": find(disk, blob[100:164], ext4),
    }.items():
        with damaged(disk, offset):
            done = run("verify", disk)
        assert (done.returncode, what in done.stderr) == (2, True), (what, done.stderr)
    assert run("verify", disk).returncode == 0


def test_layouts_caches_and_archives_are_verified(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    flat = make_flat(tmp_path / "flat", images=1, blob_size=5000).folder
    image = tmp_path / "image"
    tool("skopeo", "copy", "-q", f"oci:{layout}", f"oci:{image}:copy")
    for source in (layout, flat, image):
        done = run("verify", source)
        assert (done.returncode, done.stderr) == (0, ""), source
        assert "blob" in done.stdout
        blobs = source / ("blob" if source == flat else "blobs/sha256")
        with damaged(max(blobs.iterdir(), key=lambda path: path.stat().st_size), 1000):
            done = run("verify", source)
        assert (done.returncode, "digest" in done.stderr) == (2, True), done.stderr


def test_a_file_is_what_a_checksum_file_says(disk: Path, tmp_path: Path) -> None:
    packed = tmp_path / "disk.raw.zst"
    tool("zstd", "-q", "-1", disk, "-o", packed)
    plain = tool("sh", "-c", f"cd {tmp_path} && sha256sum disk.raw.zst")
    digest = plain.split()[0]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": packed.name, "digest": {"sha256": digest}}],
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    texts = {
        "SHA256SUMS": f"{'0' * 64}  other\n{plain}",
        "tagged": tool("sh", "-c", f"cd {tmp_path} && sha256sum --tag disk.raw.zst"),
        "statement.json": json.dumps(statement, indent=1),
        "bundle.json": json.dumps({"dsseEnvelope": {"payload": payload}}),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        done = run("verify", packed, "--against", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, ""), name
        assert digest in done.stdout
        (tmp_path / name).write_text(text.replace(digest, "1" * 64))
    done = run("verify", packed, "--against", tmp_path / "SHA256SUMS")
    assert (done.returncode, "does not match its digest" in done.stderr) == (2, True)
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  other\n")
    done = run("verify", packed, "--against", tmp_path / "SHA256SUMS")
    assert (done.returncode, "does not name disk.raw.zst" in done.stderr) == (2, True)
    with damaged(packed, packed.stat().st_size // 2):
        assert run("verify", packed).returncode == 2
