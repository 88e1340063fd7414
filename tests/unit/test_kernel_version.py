from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from imager.bootassets import kernelversion
from imager.bootassets.kernelversion import kernel_version
from imager.support.errors import InputError
from tests.lib.keys.pe_stub import patched

BANNER = b"Linux version 6.18.2-talos (root@build) #1 SMP"
# The first banner is a format, and the second lies on both sides of a megabyte.
IMAGE = b"Linux version %s (x)".ljust((1 << 20) - 20, b"\x90") + BANNER + bytes(3 << 20)


def bzimage(version: bytes, *, pointer: int = 0x3000) -> bytes:
    header = patched(bytes(0x4000), 0x202, b"HdrS")
    return patched(patched(header, 0x20E, struct.pack("<H", pointer)), 0x3200, version)


def test_kernel_version_of_a_bzimage(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(b"6.12.5-talos (root@build) #1 SMP\0"))
    assert kernel_version(path) == "6.12.5-talos"
    for broken in (bzimage(b"\xff\xff"), bzimage(b"6.1 ", pointer=0xFFFF), bzimage(b"6" * 99)):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="does not point to its version"):
            kernel_version(path)


def test_kernel_version_of_an_arm64_image(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    head = patched(bytes(0x1000), 0x38, b"ARM\x64")
    path.write_bytes(head + b"Linux version %s (x)" + b"Linux version 6.1.0-9-arm64 (x) #1")
    assert kernel_version(path) == "6.1.0-9-arm64"
    path.write_bytes(head)
    assert kernel_version(path) == ""


def zboot(payload: bytes, compression: bytes, *, size: int | None = None) -> bytes:
    """Return an image as Linux's drivers/firmware/efi/libstub/zboot-header.S lays it out."""
    size = len(payload) if size is None else size
    header = b"MZ\0\0zimg" + struct.pack("<IIII", 0x1000, size, 0, 0) + compression
    return header.ljust(0x1000, b"\0") + payload + b"what follows is no payload"


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xzkern": lambda image: lzma.compress(image, check=lzma.CHECK_CRC32),
    "lzma": lambda image: lzma.compress(image, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("name", PACK)
def test_kernel_version_of_a_compressed_efi_image(tmp_path: Path, name: str) -> None:
    payload, compression = PACK[name](IMAGE), name.encode()
    path = tmp_path / "vmlinuz.efi"
    path.write_bytes(zboot(payload, compression))
    assert kernel_version(path) == "6.18.2-talos"
    for broken in (
        zboot(payload, compression, size=len(payload) + 1000),
        zboot(b"\xff" * 1000, compression),
    ):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="cannot be decompressed") as caught:
            kernel_version(path)
        assert caught.value.hint


@pytest.mark.parametrize("name", PACK)
def test_kernels_without_a_banner_are_read_up_to_a_limit(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind the limit is not decompressed: it is damaged, and nobody notices."""
    monkeypatch.setattr(kernelversion, "_LARGEST_IMAGE", 2 << 20)
    payload, compression = PACK[name](bytes(16 << 20)), name.encode()
    path = tmp_path / "vmlinuz.efi"
    path.write_bytes(zboot(payload[:-1], compression))
    assert kernel_version(path) == ""
    monkeypatch.setattr(kernelversion, "_LARGEST_PAYLOAD", 10)
    path.write_bytes(zboot(payload[:-1], compression, size=11))
    assert kernel_version(path) == ""


def test_a_zstd_window_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    # RFC 8878, 3.1.1.1: the magic, a descriptor without size, a window of 2 GiB; a raw block.
    frame = bytes.fromhex("28b52ffd 00 a8") + bytes.fromhex("010000")
    path = tmp_path / "vmlinuz.efi"
    path.write_bytes(zboot(frame, b"zstd"))
    with pytest.raises(InputError, match="cannot be decompressed"):
        kernel_version(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MZ\0\0zimg",
        b"MZ\0\0zing" + bytes(2000),
        zboot(zlib.compress(IMAGE), b"lz4"),
        zboot(zlib.compress(IMAGE), b""),
        zboot(gzip.compress(b"no banner", mtime=0), b"gzip"),
    ],
)
def test_kernel_version_of_other_images_is_not_known(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "vmlinuz.efi"
    path.write_bytes(data)
    assert kernel_version(path) == ""


def test_a_missing_kernel_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        kernel_version(tmp_path / "none")
