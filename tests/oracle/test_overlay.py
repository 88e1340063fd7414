"""An overlay's installer, built from Go for both architectures, in its sandbox."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imager.content.folder import open_folder
from imager.content.reading import read_content
from imager.content.rootfiles import RootFiles
from imager.image.errors import OverlayFailedError
from imager.image.overlay import InstalledOverlay, Overlay, install_overlay
from imager.support.arch import AMD64, ARM64, Arch
from tests.lib.tools.cli import MIB, built_tools

pytestmark = pytest.mark.oracle
FIRMWARE = b"u-boot" * 1000
INSTALLERS = built_tools() / "overlay"


def unpacked(folder: Path, arch: Arch, **options: Any) -> Overlay:
    image = folder / "image"
    (image / "artifacts").mkdir(parents=True)
    (image / "artifacts/firmware.bin").write_bytes(FIRMWARE)
    (image / "installers").mkdir()
    shutil.copy(INSTALLERS / arch.name, image / "installers/board")
    files = open_folder(image)
    executable = [replace(file, mode=0o755) for file in files.files]
    return Overlay(RootFiles(files.with_files(executable)), "board", arch, options)


def installed(folder: Path, arch: Arch = AMD64, **options: Any) -> InstalledOverlay:
    scratch = folder / "scratch"
    scratch.mkdir()
    return install_overlay(unpacked(folder, arch, **options), scratch)


@pytest.mark.parametrize("arch", [AMD64, ARM64], ids=lambda arch: arch.name)
def test_what_it_adds_to_a_disk(tmp_path: Path, arch: Arch) -> None:
    found = installed(tmp_path, arch, model="b2")
    assert found.kernel_args == ("console=ttyS2", "board.model=b2")
    assert found.offset == 10 * MIB
    assert {file.path: read_content(file.content) for file in found.esp.files} == {
        "config.txt": b"model=b2\n",
        "dtb/board.dtb": b"device tree",
    }
    (extent,) = found.firmware.extents
    assert (extent.offset, extent.length) == (32768, 6144)
    assert read_content(found.firmware)[32768:].rstrip(b"\0") == FIRMWARE


@pytest.mark.parametrize("verb", ["get-options", "install"])
def test_it_fails(tmp_path: Path, verb: str) -> None:
    with pytest.raises(OverlayFailedError, match=f"overlay board: {verb}: .*board is not known"):
        installed(tmp_path, fails=verb)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("kernelArgs: [1]", "not a list of texts"),
        ("partitionOptions: {offset: -1}", "not a number of sectors"),
        ("partitionOptions: {offset: 9999999}", "not a number of sectors"),
        ("[1, 2]", "is no answer"),
        ("a: b: c", "is no answer"),
    ],
)
def test_what_it_prints_is_no_answer(tmp_path: Path, said: str, words: str) -> None:
    with pytest.raises(OverlayFailedError, match=words):
        installed(tmp_path, says=said)


def test_a_name_that_is_not_in_the_image(tmp_path: Path) -> None:
    overlay = unpacked(tmp_path, AMD64)
    other = Overlay(overlay.files, "rpi", AMD64, {})
    with pytest.raises(OverlayFailedError, match="no installer 'rpi'") as caught:
        install_overlay(other, tmp_path)
    assert "there are: board;" in caught.value.hint
