"""Overlay images as a board's makers build them, and installer images, with umoci and skopeo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lib.tools.cli import built_tools, tool
from tests.lib.volumes.extension_images import image_layout, layer_tar

FIRMWARE = b"u-boot" * 1000
# Where the installer of the tests writes it.
FIRMWARE_OFFSET = 32768


def overlay_installer(arch: str) -> bytes:
    """Return the executable that `make test-setup` builds for the architecture."""
    return (built_tools() / "overlay" / arch).read_bytes()


def overlay_image(
    folder: Path,
    profiles: Mapping[str, bytes | str] | None = None,
    *,
    arch: str = "amd64",
) -> Path:
    """Make an overlay image with the installer `board` in a layout; `profiles` are by file name.

    Text is where a link points.
    """
    folder.mkdir(parents=True, exist_ok=True)
    members: dict[str, bytes | str | None] = {
        "artifacts/firmware.bin": FIRMWARE,
        "artifacts/private": None,
        "artifacts/private/board.dtb": b"device tree",
        "artifacts/latest.bin": "../installers/../artifacts/firmware.bin",
        "installers/board": overlay_installer(arch),
        **{f"profiles/{name}": data for name, data in (profiles or {}).items()},
    }
    layout = image_layout(folder / "image", [layer_tar(folder / "layer.tar", members)])
    tool("umoci", "config", "--image", f"{layout}:v1", "--architecture", arch)
    return layout


def installer_base(folder: Path, layers: int = 1, *, arch: str = "amd64") -> Path:
    """Make an image with `layers` layers: /bin/0, /bin/1, ..., and an entry point."""
    layout = folder / "base"
    image = f"{layout}:base"
    tool("umoci", "init", "--layout", layout)
    tool("umoci", "new", "--image", image)
    for number in range(layers):
        file = folder / str(number)
        file.write_text(f"{number}\n")
        tool("umoci", "insert", "--rootless", "--image", image, file, f"/bin/{number}")
    tool("umoci", "config", "--image", image, "--config.entrypoint", "/bin/installer",
         "--architecture", arch)  # fmt: skip
    return layout


def unpacked_installer(source: str, folder: Path) -> Path:
    """Return the root of an installer image, which skopeo copies and umoci unpacks."""
    copy = ("skopeo", "copy", "-q", "--src-tls-verify=false")
    tool(*copy, source, f"oci:{folder}/image:x")
    tool("umoci", "unpack", "--rootless", "--image", f"{folder}/image:x", folder / "bundle")
    return folder / "bundle/rootfs"


def files_below(root: Path) -> dict[str, bytes]:
    """Return the files below a folder, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
