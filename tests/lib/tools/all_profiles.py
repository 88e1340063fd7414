"""Build every profile for both architectures in one process, through the Python API.

`python -m tests.lib.tools.all_profiles SITE CACHE OUTPUT` prints the fingerprint of each output,
and what is special about the process, as JSON. SITE is a folder of `make_site`, CACHE the form of
the image cache in it.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imager import BuildOptions, Profile, build, builtin_profiles, image_cache_asset, open_profile
from imager.talos.choices import OutputKind
from tests.lib.caches.caches import make_flat, make_layout
from tests.lib.keys.signing_keys import generated
from tests.lib.tools.cli import MIB, fingerprint, synthetic_assets
from tests.lib.volumes.board_images import installer_base, overlay_image
from tests.lib.volumes.extension_images import (
    KERNEL,
    base_initramfs,
    layer_tar,
    manifest,
    real_modules,
)

ARCHES = ("amd64", "arm64")
FLAT, GZIP = "flat", "gzip"
_VERSION = "v1.13.0"
# Just large enough: other sizes are tested elsewhere, and holes take time to compress.
_SIZES = {"amd64": 4400 * MIB, "arm64": 2400 * MIB}
_LABEL = "system_u:object_r:bin_exec_t:s0"
_MODULES = f"rootfs/usr/lib/modules/{KERNEL}"


def make_site(folder: Path) -> Path:
    """Put all inputs of builds into the new folder: assets, caches, keys, and container images."""
    flat = make_flat(folder / FLAT, images=3, blob_size=20_000, arches=ARCHES)
    make_layout(flat, folder / GZIP, codec="gzip", platforms=ARCHES)
    module = real_modules()["usbcore"]
    for arch in ARCHES:
        initramfs = synthetic_assets(folder / "assets", arch=arch) / arch / "initramfs.xz"
        base_initramfs(
            initramfs, {"kernel/usb/usbcore.ko": module}, root={"etc/arch": arch.encode()}
        )
        (folder / f"base-{arch}").mkdir()
        installer_base(folder / f"base-{arch}", arch=arch)
    generated(folder / "keys")
    (folder / "overlay").mkdir()
    overlay_image(folder / "overlay")
    _make_extensions(folder)
    return folder


def _make_extensions(folder: Path) -> None:
    """Make one with modules and firmware, and one with labels, a link and a private folder."""
    kernel = {
        "manifest.yaml": manifest("kernel"),
        f"{_MODULES}/extras/uas.ko": real_modules()["uas"],
        "rootfs/usr/lib/firmware/chip.bin": b"firmware",
        "rootfs/usr/lib/firmware/intel-ucode/06-01-01": b"microcode",
    }
    layer_tar(folder / "kernel.tar", kernel)
    tool = {
        "manifest.yaml": manifest("tool"),
        "rootfs": None,
        "rootfs/usr/local/bin/tool": b"tool\n" * 1000,
        "rootfs/usr/local/bin/link": "tool",
    }
    layer_tar(folder / "tool.tar", tool, label=_LABEL)


def _builds(site: Path, cache: str) -> Iterator[tuple[str, Profile]]:
    for arch in ARCHES:
        for name, profile in builtin_profiles().items():
            layers = [_inputs(site, cache, arch)]
            if profile.output.kind is not OutputKind.INSTALLER:
                layers.append({"customization": {"metaContents": [{"key": 0xA, "value": "x"}]}})
            yield f"{name} {arch}", open_profile(name, *layers)
        common = _inputs(site, cache, arch)
        extended = common | {"customization": {"embeddedMachineConfiguration": "machine: {}\n"}}
        extended["input"] = {**common["input"], "systemExtensions": _extensions(site)}
        yield f"extensions {arch}", open_profile("metal-uki", extended)
        for bootloader in ("grub", "sd-boot"):
            chosen = {"output": {"imageOptions": {"bootloader": bootloader}}}
            board = open_profile("metal", common, _overlay(site), chosen)
            yield f"overlay, {bootloader} {arch}", board


def _inputs(site: Path, cache: str, arch: str) -> dict[str, Any]:
    inputs = {
        "imageCache": image_cache_asset(str(site / cache)),
        "baseInstaller": {"ociPath": str(site / f"base-{arch}/base")},
    }
    disk = {"imageOptions": {"diskSize": _SIZES[arch]}}
    return {"arch": arch, "version": _VERSION, "input": inputs, "output": disk}


def _extensions(site: Path) -> list[dict[str, str]]:
    return [{"tarballPath": str(site / name)} for name in ("kernel.tar", "tool.tar")]


def _overlay(site: Path) -> dict[str, Any]:
    image = {"ociPath": str(site / "overlay/image")}
    return {"overlay": {"name": "board", "image": image, "options": {"model": "b2"}}}


def _built(profile: Profile, site: Path, output: Path) -> str:
    options = BuildOptions(output, assets=site / "assets", secureboot=site / "keys")
    path = build(profile, options).path
    made = fingerprint(path)
    path.unlink()
    return made


def _circumstances(site: Path) -> dict[str, object]:
    """Return what must not matter here, and is to differ from another process."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "user": os.getuid(),
        "umask": umask,
        "processors": len(os.sched_getaffinity(0)),
        "year": datetime.datetime.now(datetime.UTC).year,
        "time zone": time.strftime("%z"),
        "hashes": hash("imager"),
        "locale": os.environ["LC_ALL"],
        "order of files": " ".join(path.name for path in (site / FLAT / "blob").iterdir()),
        "current folder": str(Path.cwd()),
        "temporary file system": Path(tempfile.gettempdir()).stat().st_dev,
    }


def main() -> None:
    """Build, and print the result."""
    site, cache, output = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    outputs = {name: _built(profile, site, output) for name, profile in _builds(site, cache)}
    print(json.dumps({"outputs": outputs, "circumstances": _circumstances(site)}))


if __name__ == "__main__":
    main()
