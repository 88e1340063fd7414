"""The script of docs/api.md, run as it is there; the ISO that it builds, judged by xorriso."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lib.caches.caches import tree_files
from tests.lib.tools.cli import environment, real_assets, tool

pytestmark = pytest.mark.oracle

PAGE = Path(__file__).parents[2] / "docs/api.md"


def script() -> str:
    """Return the only script of the page."""
    (text,) = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text("utf-8"))
    return str(text)


def test_the_script_builds_an_iso_with_the_images(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text(f"registry.local/team/app:v1=oci:{layout}:v1\n")
    done = subprocess.run(
        [sys.executable, "-c", script()],
        cwd=tmp_path,
        env=environment({"IMAGER_ASSETS": str(real_assets())}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    iso = tmp_path / "talos.iso"
    assert re.fullmatch(r"1 images, [1-9]\d* bytes", first)
    assert last == f"talos.iso {hashlib.sha256(iso.read_bytes()).hexdigest()}"
    tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", tmp_path / "tree")
    found = tree_files(tmp_path / "tree")
    assert {"EFI/BOOT/BOOTX64.EFI", "efi.img"} <= found.keys()
    manifest = found["imagecache/manifests/registry.local/team/app/reference/v1"]
    document = json.loads(manifest)
    blobs = {each["digest"].partition(":")[2] for each in (document["config"], *document["layers"])}
    for digest in blobs:
        data = found[f"imagecache/blob/sha256-{digest}"]
        assert data == (layout / "blobs/sha256" / digest).read_bytes()
    assert sum(path.startswith("imagecache/blob/") for path in found) == len(blobs)
