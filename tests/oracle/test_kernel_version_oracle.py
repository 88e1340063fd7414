"""The release of a real kernel, packed as Linux's Makefile.zboot does it, by foreign programs."""

from __future__ import annotations

import json
import lzma
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from imager.bootassets.kernelversion import kernel_version
from tests.lib.tools.cli import real_assets

pytestmark = pytest.mark.oracle

# Debian's bzImage has the kernel itself inside, as xz packed it.
XZ_MAGIC = b"\xfd7zXZ\0"


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("gzip", ("gzip", "-9n")),
        ("zstd", ("zstd", "-q", "-3")),
        ("xzkern", ("xz", "--check=crc32", "--arm64", "--lzma2=preset=0")),
        ("lzma", ("xz", "-0", "--format=lzma")),
    ],
)
def test_the_release_of_a_real_kernel_that_others_compressed(
    name: str, program: Sequence[str], tmp_path: Path
) -> None:
    folder = real_assets() / "amd64"
    packages = json.loads((folder / "sources.json").read_text())["packages"]
    (kernel,) = (each["name"] for each in packages if each["name"].startswith("linux-image-"))
    packed = (folder / "vmlinuz").read_bytes()
    image = lzma.LZMADecompressor().decompress(packed[packed.index(XZ_MAGIC) :])
    payload = subprocess.run(program, input=image, capture_output=True, check=True).stdout
    header = b"MZ\0\0zimg" + struct.pack("<IIII", 512, len(payload), 0, 0) + name.encode()
    path = tmp_path / "vmlinuz.efi"
    path.write_bytes(header.ljust(512, b"\0") + payload + bytes(100))
    assert kernel_version(path) == kernel.removeprefix("linux-image-")
