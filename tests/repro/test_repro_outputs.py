"""The same inputs give the same bytes: whoever builds, wherever, whenever, and however set up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.tools.cli import environment, fingerprint, run, synthetic_assets, tool

ODD_MKE2FS = """\
[defaults]
\tbase_features = sparse_super,large_file,resize_inode
\tblocksize = 1024
\tinode_size = 128
\tinode_ratio = 4096
\treserved_ratio = 20
[options]
\tno_discard = 1
[fs_types]
\text4 = {
\t\tfeatures = has_journal,extent,quota,project,verity,casefold,orphan_file
\t\thash_alg = tea
\t\tblocksize = 1024
\t}
"""
NOBODY = 65534
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build: what is not the user's input, and must not matter."""

    prefix: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    umask: int = -1
    in_memory: bool = False
    source: str = "flat"


def with_changed_configuration() -> tuple[str, ...]:
    """Return a prefix that gives the process another /etc/mke2fs.conf, in a mount namespace."""
    script = 'mount --bind "$ODD_MKE2FS" /etc/mke2fs.conf && exec "$@"'
    return ("unshare", "-m", "sh", "-c", script, "sh")


def variants() -> dict[str, Variant]:
    """Return the variants that are possible for this user on this machine."""
    found = {
        "again": Variant(),
        "memory": Variant(in_memory=True),
        "abroad": Variant(
            umask=0o077,
            env={
                "TZ": "Pacific/Kiritimati",
                "PYTHONHASHSEED": "1",
                "LANG": "tr_TR.UTF-8",
                "LC_ALL": "tr_TR.UTF-8",
                "LANGUAGE": "tr",
            },
        ),
        "elsewhere": Variant(
            umask=0,
            env={
                "TZ": "America/New_York",
                "PYTHONHASHSEED": "77",
                "LANG": "C",
                "LC_ALL": "POSIX",
                "PYTHONUTF8": "0",
                "PYTHONOPTIMIZE": "2",
                "HOME": "/nonexistent",
            },
        ),
        "mke2fs": Variant(env={"MKE2FS_CONFIG": "$ODD_MKE2FS", "MKE2FS_SYNC": "1"}),
        "one core": Variant(prefix=("taskset", "-c", "0")),
        "layout": Variant(source="layout"),
        "gzip": Variant(source="gzip"),
    }
    if os.geteuid() == 0:
        ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        found["user"] = Variant(prefix=("setpriv", *ids))
        found["configuration"] = Variant(prefix=with_changed_configuration())
    if shutil.which("faketime"):
        found["past"] = Variant(prefix=("faketime", "1999-12-31 23:59:58"))
        found["future"] = Variant(prefix=("faketime", "2041-07-01 12:00:01"))
    return found


VARIANTS = variants()


@dataclass(frozen=True, slots=True)
class Inputs:
    assets: Path
    sources: Mapping[str, Path]
    mke2fs: Path


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """Yield a folder that other users can read: pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def inputs(shared: Path) -> Inputs:
    base = shared
    flat: CacheFixture = make_flat(base / "flat", images=3)
    mke2fs = base / "mke2fs.conf"
    mke2fs.write_text(ODD_MKE2FS)
    sources = {
        "flat": flat.folder,
        "layout": make_layout(flat, base / "layout"),
        "gzip": make_layout(flat, base / "gzip", codec="gzip"),
    }
    return Inputs(synthetic_assets(base / "assets"), sources, mke2fs)


def outputs(
    inputs: Inputs,
    variant: Variant,
    folder: Path,
    *,
    packed: bool,
    env: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Build ISO, stick, UKI and disk (raw, or packed) in `folder`; return their fingerprints."""
    folder.chmod(0o777)
    target = folder / "where/it/goes"
    target.mkdir(parents=True)
    temporary = folder / "temporary"
    for place in (temporary, target):
        place.mkdir(exist_ok=True)
        place.chmod(0o777)
    changes = {**variant.env, **(env or {}), "ODD_MKE2FS": str(inputs.mke2fs)}
    changes = {
        key: value.replace("$ODD_MKE2FS", str(inputs.mke2fs)) for key, value in changes.items()
    }
    cache = ("--image-cache", inputs.sources[variant.source])
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("iso", *cache),
        ("metal", *cache, "--out-format", ".zst" if packed else "raw"),
        ("iso", *cache, "--output-kind", "usb"),
        ("metal", "--output-kind", "uki", "--out-format", "raw"),
    )
    for command in commands:
        done = run(
            *(*command, "--assets", inputs.assets, "--output", target, "--meta", "0xa=value"),
            env={"TMPDIR": str(temporary), **changes},
            cwd=temporary,
            umask=variant.umask,
            prefix=variant.prefix,
        )
        assert done.returncode == 0, done.stderr
    assert not list(temporary.iterdir())
    return {path.name: fingerprint(path) for path in sorted(target.iterdir())}


@pytest.fixture(scope="module")
def reference(inputs: Inputs, shared: Path) -> dict[str, str]:
    """Return the fingerprints of all outputs, built the plain way."""
    raw = outputs(inputs, Variant(), new_folder(shared), packed=False)
    return raw | outputs(inputs, Variant(), new_folder(shared), packed=True)


def new_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="imager-", dir=parent))


@pytest.mark.parametrize("name", VARIANTS)
def test_same_bytes(inputs: Inputs, reference: dict[str, str], shared: Path, name: str) -> None:
    variant = VARIANTS[name]
    # Compressing depends on cores alone; elsewhere the raw disk is the sharper test.
    packed = name in ("one core", "again")
    folder = new_folder(MEMORY if variant.in_memory else shared)
    try:
        built = outputs(inputs, variant, folder, packed=packed)
    finally:
        shutil.rmtree(folder)
    assert len(built) == 4
    assert built == {name: reference[name] for name in built}


def test_the_odd_configuration_matters(inputs: Inputs, tmp_path: Path) -> None:
    """Else the variant that sets it would show nothing."""
    volume = tmp_path / "volume"
    env = {**environment(), "MKE2FS_CONFIG": str(inputs.mke2fs)}
    subprocess.run(["mkfs.ext4", "-q", volume, "64M"], env=env, check=True)
    said = tool("dumpe2fs", "-h", volume)
    assert re.search(r"^Block size: +1024$", said, re.MULTILINE)
    assert re.search(r"^Filesystem features:.* resize_inode ", said, re.MULTILINE)


def test_another_epoch_gives_other_bytes(
    inputs: Inputs, reference: dict[str, str], tmp_path: Path
) -> None:
    """All that has dates in it differs: the UKI has none."""
    later = outputs(
        inputs, Variant(), tmp_path, packed=False, env={"SOURCE_DATE_EPOCH": "1750000000"}
    )
    assert later["metal-amd64.iso"] != reference["metal-amd64.iso"]
    assert later["metal-amd64.raw"] != reference["metal-amd64.raw"]
    assert later["metal-amd64-uki.efi"] == reference["metal-amd64-uki.efi"]


def test_an_epoch_is_kept(inputs: Inputs, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    env = {"SOURCE_DATE_EPOCH": "1750000000"}
    assert outputs(inputs, Variant(), first, packed=False, env=env) == outputs(
        inputs, Variant(umask=0o027), second, packed=False, env={**env, "TZ": "Asia/Kathmandu"}
    )
