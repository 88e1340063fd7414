"""What goes wrong on the command line: exit code, message, next action, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.caches import (
    LAYER_TYPE,
    CacheFixture,
    compress,
    cut,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    make_layout_of,
    make_tar,
    tar_bytes,
)
from tests.cli import IMAGER, MIB, Completed, environment, run, synthetic_assets
from tests.pe_stub import MACHINE, patched, pe_stub

ROOT = os.geteuid() == 0
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
INPUT, HOST = 2, 4


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of its own, that every user may read: inputs, and an empty folder for outputs."""

    folder: Path

    @property
    def assets(self) -> Path:
        return self.folder / "assets"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def flat(self, name: str = "flat", *, images: int = 2, arch: str = "amd64") -> CacheFixture:
        return make_flat(self.folder / name, images=images, blob_size=20_000, arches=(arch,))

    def run(self, *args: str | Path, prefix: tuple[str, ...] = (), stdin: str = "") -> Completed:
        """Run `imager ARGS` with the assets and the output folder of the site."""
        common = ("--assets", self.assets, "--output", self.out)
        return run(*args, *common, prefix=prefix, stdin=stdin, env=self.env, cwd=self.folder)

    @property
    def env(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.folder / "tmp")}

    def snapshot(self) -> dict[str, int]:
        """Return every file and folder of the site, with its size."""
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_size if path.is_file() else -1
            for path in self.folder.rglob("*")
            if not path.is_symlink()
        }


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        synthetic_assets(folder / "assets")
        (folder / "out").mkdir()
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        yield Site(folder)


def check_error(done: Completed, code: int, *words: str, hint: str = "") -> None:
    """Check an error's form: one message on standard error, nothing on standard output."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    for word in words:
        assert word in done.stderr, done.stderr
    if hint:
        hints = [line for line in lines if line.startswith("hint: ")]
        assert len(hints) == 1, done.stderr
        assert hint in hints[0]


def refused(site: Site, *args: str | Path, code: int = INPUT, stdin: str = "") -> Completed:
    """Run what must fail with `code`, and check that it changed nothing in the site."""
    before = site.snapshot()
    done = site.run(*args, stdin=stdin)
    assert site.snapshot() == before
    assert done.returncode == code, done.stderr
    return done


# Image caches


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad cache and what its message must tell."""

    path: Path
    words: tuple[str, ...]
    hint: str = ""


def missing(site: Site) -> Bad:
    path = site.folder / "nowhere"
    return Bad(path, (str(path), "does not exist"), "OCI layout")


def empty_folder(site: Site) -> Bad:
    path = site.folder / "empty"
    path.mkdir()
    return Bad(path, (str(path), "is not an image cache"), "OCI layout")


def no_manifests(site: Site) -> Bad:
    path = site.folder / "bare"
    (path / "manifests").mkdir(parents=True)
    return Bad(path, (str(path), "no manifests"), "cache-create")


def other_architecture(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout", platforms=("arm64",))
    return Bad(path, ("no OCI image found for amd64",), "linux/arm64")


def no_platform(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout", platforms=())
    return Bad(path, ("no OCI image found for amd64",), "no platforms")


def images_for_another_architecture(site: Site) -> Bad:
    flat = site.flat(arch="arm64")
    return Bad(flat.folder, ("incomplete for amd64", *flat.references), "--platform linux/amd64")


def damaged_flat_blob(site: Site) -> Bad:
    flat = site.flat()
    flip(flat.blobs[1])
    digest = flat.blobs[1].name.replace("-", ":")
    return Bad(flat.folder, (f"blob {digest} does not match",), "copy or make it again")


def truncated_flat_blob(site: Site) -> Bad:
    flat = site.flat()
    cut(flat.blobs[1], 10_000)
    digest = flat.blobs[1].name.replace("-", ":")
    return Bad(flat.folder, (digest, "10000 bytes, not 20000"), "create it again")


def missing_blobs(site: Site) -> Bad:
    flat = site.flat()
    flat.blobs[1].unlink()
    flat.blobs[4].unlink()
    lacks = (f"lacks blob {flat.blobs[place].name.replace('-', ':')}" for place in (1, 4))
    return Bad(flat.folder, (*flat.references, *lacks), "create it again")


def damaged_tag(site: Site) -> Bad:
    flat = site.flat()
    path = next(flat.folder.rglob("reference/v1"))
    data = json.loads(path.read_bytes())
    path.write_bytes(json.dumps(data, indent=1).encode())
    return Bad(flat.folder, ("is damaged",), "create it again")


def damaged_manifest(site: Site) -> Bad:
    flat = site.flat()
    path = next(flat.folder.rglob("digest/*"))
    path.write_bytes(path.read_bytes() + b" ")
    return Bad(flat.folder, (path.name, "does not match its digest"), "create it again")


def manifest_that_is_no_json(site: Site) -> Bad:
    flat = site.flat()
    path = next(flat.folder.rglob("digest/*"))
    path.write_bytes(b"\0" * 100)
    return Bad(flat.folder, (path.name,))


def huge_manifest(site: Site) -> Bad:
    flat = site.flat()
    path = next(flat.folder.rglob("reference/v1"))
    with path.open("r+b") as file:
        file.truncate(5 * MIB)
    return Bad(flat.folder, ("reference/v1", "too large"), "create it again")


def link_in_a_flat_tree(site: Site) -> Bad:
    flat = site.flat()
    flat.blobs[0].unlink()
    flat.blobs[0].symlink_to("/etc/passwd")
    return Bad(flat.folder, (flat.blobs[0].name, "is a link"))


def damaged_layer(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    layer = layout_blobs(path)["layer"]
    # In the data of the first blob, or of the second: behind the headers of three folders.
    flip(layer, 8_000)
    return Bad(path, ("does not match its digest",), "it again")


def damaged_padding(site: Site) -> Bad:
    """No blob has the byte: only the layer's own digest tells."""
    path = make_layout(site.flat(), site.folder / "layout")
    layer = layout_blobs(path)["layer"]
    flip(layer, layer.stat().st_size - 1)
    return Bad(path, (f"layer sha256:{layer.name} does not match",), "make it again")


def damaged_compressed_layer(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout", codec="gzip")
    flip(layout_blobs(path)["layer"])
    return Bad(path, (str(path), "does not match its digest"), "it again")


def damaged_config(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    flip(layout_blobs(path)["config"])
    return Bad(path, (layout_blobs(path)["config"].name,))


def damaged_layout_manifest(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    name = layout_blobs(path)["manifest"]
    name.write_bytes(name.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
    return Bad(path, (name.name,), "make it again")


def missing_layer(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    layer = layout_blobs(path)["layer"]
    layer.unlink()
    return Bad(path, (layer.name, "is missing"), "make it again")


def truncated_layer(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    layer = layout_blobs(path)["layer"]
    size = layer.stat().st_size
    cut(layer)
    return Bad(path, (layer.name, f"{size // 2} bytes", str(size)))


def half_a_gzip(site: Site) -> Bad:
    data = compress(tar_bytes(site.flat().files), "gzip")
    path = make_layout_of(
        site.folder / "layout", data[: len(data) // 2], media_type=f"{LAYER_TYPE}+gzip"
    )
    return Bad(path, ("whole",), "again")


def half_a_tar(site: Site) -> Bad:
    data = tar_bytes(site.flat().files)
    path = site.folder / "cache.tar"
    path.write_bytes(data[:50_000])
    return Bad(path, (str(path), "is not a whole tar archive"), "again")


def layer_that_is_not_gzip(site: Site) -> Bad:
    data = tar_bytes(site.flat().files)
    path = make_layout_of(site.folder / "layout", data, media_type=f"{LAYER_TYPE}+gzip")
    return Bad(path, ("is not what its media type",), "create it again")


def gzip_of_garbage(site: Site) -> Bad:
    garbage = compress(random.Random(1).randbytes(5_000), "gzip")
    path = make_layout_of(site.folder / "layout", garbage, media_type=f"{LAYER_TYPE}+gzip")
    return Bad(path, ("is not a whole tar archive",), "again")


def broken_gzip(site: Site) -> Bad:
    data = bytearray(compress(tar_bytes(site.flat().files), "gzip"))
    data[len(data) // 2] ^= 0xFF
    path = site.folder / "cache.tar.gz"
    path.write_bytes(data)
    return Bad(path, (str(path),))


def empty_file(site: Site) -> Bad:
    path = site.folder / "cache.tar"
    path.write_bytes(b"")
    return Bad(path, (str(path),))


def image_with_many_layers(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    index = json.loads((path / "index.json").read_bytes())
    blobs = path / "blobs/sha256"
    entry = index["manifests"][0]
    manifest = json.loads((blobs / entry["digest"][7:]).read_bytes())
    manifest["layers"] *= 2
    raw = json.dumps(manifest).encode()
    import hashlib

    digest = hashlib.sha256(raw).hexdigest()
    (blobs / digest).write_bytes(raw)
    entry |= {"digest": f"sha256:{digest}", "size": len(raw)}
    (path / "index.json").write_bytes(json.dumps(index).encode())
    return Bad(path, ("not an image cache", "2"), "cache-create")


def garbage_index(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    (path / "index.json").write_bytes(b"{")
    return Bad(path, ("index.json",))


BAD_CACHES: tuple[Callable[[Site], Bad], ...] = (
    missing,
    empty_folder,
    no_manifests,
    other_architecture,
    no_platform,
    images_for_another_architecture,
    damaged_flat_blob,
    truncated_flat_blob,
    missing_blobs,
    damaged_tag,
    damaged_manifest,
    manifest_that_is_no_json,
    huge_manifest,
    link_in_a_flat_tree,
    damaged_layer,
    damaged_padding,
    damaged_compressed_layer,
    damaged_config,
    damaged_layout_manifest,
    missing_layer,
    truncated_layer,
    half_a_gzip,
    half_a_tar,
    layer_that_is_not_gzip,
    gzip_of_garbage,
    broken_gzip,
    empty_file,
    image_with_many_layers,
    garbage_index,
)


@pytest.mark.parametrize("make", BAD_CACHES)
def test_bad_cache(site: Site, make: Callable[[Site], Bad]) -> None:
    bad = make(site)
    done = refused(site, "iso", "--image-cache", bad.path)
    check_error(done, INPUT, *bad.words, hint=bad.hint)


def test_damage_is_found_in_a_disk_too(site: Site) -> None:
    flat = site.flat()
    flip(flat.blobs[-1])
    for form in ("raw", ".zst"):
        done = refused(site, "metal", "--image-cache", flat.folder, "--out-format", form)
        check_error(done, INPUT, flat.blobs[-1].name.replace("-", ":"), hint="it again")


def test_existing_output_survives_a_failed_build(site: Site) -> None:
    flat = site.flat()
    assert site.run("iso", "--image-cache", flat.folder).returncode == 0
    output = site.out / "metal-amd64.iso"
    before = output.read_bytes()
    flip(flat.blobs[-1])
    refused(site, "iso", "--image-cache", flat.folder)
    assert output.read_bytes() == before


# Hostile archives


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "up": member("blob/../../evil"),
    "up first": member("../evil"),
    "absolute": member("/etc/evil"),
    "link": member("blob/link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": member("blob/hard", kind=tarfile.LNKTYPE, link="blob/x"),
    "character device": member("blob/zero", kind=tarfile.CHRTYPE),
    "block device": member("blob/disk", kind=tarfile.BLKTYPE),
    "pipe": member("blob/pipe", kind=tarfile.FIFOTYPE),
    "long name": member("blob/" + "n" * 300),
    "long path": member("d/" * 3000 + "n"),
    "line feed": member("blob/a\nb"),
    "escape": member("blob/\x1b[2J"),
}


@pytest.mark.parametrize(
    ("name", "codec"),
    [*((name, None) for name in (*HOSTILE, "twice")), ("up", "gzip"), ("link", "gzip")],
)
def test_hostile_archive(site: Site, name: str, codec: str | None) -> None:
    flat = site.flat()
    first = next(iter(flat.files))
    info = HOSTILE.get(name) or member(first)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info)
    evil = buffer.getvalue().rstrip(b"\0")
    evil += bytes(-len(evil) % 512)
    path = site.folder / "cache.tar"
    path.write_bytes(compress(evil + tar_bytes(flat.files), codec))
    done = refused(site, "iso", "--image-cache", path)
    check_error(done, INPUT, str(path))
    assert "\x1b" not in done.stderr


# Sizes


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("12XB", ("'12XB' is not a size",), ""),
        ("-4GiB", ("'-4GiB' is not a size",), ""),
        ("", ("not a size",), ""),
        ("4GiB and more", ("not a size",), ""),
        ("99999999999TB", ("below 8 EiB",), ""),
        ("0.3B", ("whole number of bytes",), ""),
        ("0", ("too small", "EFI 1.1 GiB"), "--image-disk-size=1246MiB"),
        ("1GiB", ("a disk of 1 GiB is too small", "META 1 MiB"), "--image-disk-size=1246MiB"),
        ("2000000001", ("not a multiple of the sector size, 512 bytes",), "2000000000"),
    ],
)
def test_bad_disk_size(site: Site, text: str, words: tuple[str, ...], hint: str) -> None:
    check_error(refused(site, "metal", f"--image-disk-size={text}"), INPUT, *words, hint=hint)


@pytest.mark.parametrize("text", ["soon", "-1", "1e9", "0x10"])
def test_bad_epoch(site: Site, text: str) -> None:
    done = run(
        *("iso", "--assets", site.assets, "--output", site.out),
        env={"SOURCE_DATE_EPOCH": text},
        cwd=site.folder,
    )
    check_error(done, INPUT, f"SOURCE_DATE_EPOCH={text!r}", hint="git log")
    assert not list(site.out.iterdir())


# The output folder


def test_output_folder_missing(site: Site) -> None:
    place = site.folder / "not there"
    done = run("iso", "--assets", site.assets, "--output", place, cwd=site.folder)
    check_error(done, INPUT, str(place), "does not exist", hint=f"mkdir -p {place}")
    assert not place.exists()


def test_output_folder_is_a_file(site: Site) -> None:
    place = site.folder / "file"
    place.write_text("mine")
    done = run("iso", "--assets", site.assets, "--output", place, cwd=site.folder)
    check_error(done, INPUT, str(place), "is not a folder")
    assert place.read_text() == "mine"


def test_output_is_a_folder(site: Site) -> None:
    (site.out / "metal-amd64.iso").mkdir()
    done = refused(site, "iso", code=6)
    check_error(done, 6, "metal-amd64.iso")


if ROOT:

    def test_output_folder_not_writable(site: Site) -> None:
        site.out.chmod(0o755)
        before = site.snapshot()
        done = site.run("iso", prefix=AS_NOBODY)
        check_error(done, HOST, str(site.out), f"not writable for user {NOBODY}", hint="mkdir -p")
        assert site.snapshot() == before

    def test_cache_not_readable(site: Site) -> None:
        flat = site.flat()
        flat.blobs[0].chmod(0)
        site.out.chmod(0o777)
        before = site.snapshot()
        done = site.run("iso", "--image-cache", flat.folder, prefix=AS_NOBODY)
        check_error(done, done.returncode, flat.blobs[0].name, "Permission denied")
        assert done.returncode in (INPUT, HOST, 6)
        assert site.snapshot() == before

    @pytest.fixture
    def small_disk(site: Site) -> Iterator[Site]:
        """Put a file system of 48 MiB at the output folder."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", site.out], check=True)
        yield site
        subprocess.run(["umount", site.out], check=True)

    def test_too_little_space(small_disk: Site) -> None:
        (small_disk.out / "filler").write_bytes(bytes(40 * MIB))
        cache = make_flat(small_disk.folder / "flat", images=1, blob_size=9_000_000, layers=1)
        for kind in ("iso", "metal"):
            done = refused(small_disk, kind, "--image-cache", cache.folder, code=HOST)
            check_error(
                done, HOST, str(small_disk.out), "8 MiB free", "needed", hint="another folder"
            )

    def test_disk_full_half_way(small_disk: Site) -> None:
        """Space is there at the start; another program takes it while the build is stopped."""
        (small_disk.assets / "amd64/initramfs.xz").write_bytes(random.Random(1).randbytes(40 * MIB))
        with started(small_disk, "metal") as (process, _):
            with (small_disk.out / "filler").open("wb") as file:
                fill(file)
            process.send_signal(signal.SIGCONT)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == HOST, stderr
        assert "no space left while writing" in stderr
        assert "Traceback" not in stderr
        assert [path.name for path in small_disk.out.iterdir()] == ["filler"]


def fill(file: IO[bytes]) -> None:
    try:
        while True:
            file.write(bytes(64 << 10))
            file.flush()
    except OSError:
        file.seek(0)


@pytest.mark.parametrize("command", [("iso",), ("metal",), ("metal", "--out-format", "raw")])
def test_largest_file_size_reached(site: Site, command: tuple[str, ...]) -> None:
    (site.assets / "amd64/initramfs.xz").write_bytes(random.Random(1).randbytes(9 * MIB))
    before = site.snapshot()
    done = site.run(*command, prefix=("prlimit", f"--fsize={4 * MIB}"))
    check_error(done, HOST, "larger than a file can be", hint="another file system")
    assert site.snapshot() == before


# Signals


class started:  # noqa: N801 - used like a function
    """A build whose JSON progress has begun, stopped by SIGSTOP; and its standard error."""

    def __init__(self, site: Site, *args: str | Path) -> None:
        self._site = site
        self._args = args

    def __enter__(self) -> tuple[subprocess.Popen[str], IO[str]]:
        common = ("--assets", self._site.assets, "--output", self._site.out, "--progress", "json")
        self._process = subprocess.Popen(
            [*IMAGER, *self._args, *common],
            env=environment(self._site.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr
        for line in self._process.stderr:
            if json.loads(line)["event"] == "progress":
                break
        self._process.send_signal(signal.SIGSTOP)
        return self._process, self._process.stderr

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def slow_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that takes a while to compress."""
    folder = tmp_path_factory.mktemp("slow") / "flat"
    return make_flat(folder, images=1, layers=1, blob_size=150 * MIB).folder


@pytest.fixture
def slow(site: Site, slow_cache: Path) -> Site:
    """Give the site the slow cache."""
    (site.folder / "flat").symlink_to(slow_cache)
    return site


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_half_way_leaves_nothing(slow: Site, number: int, code: int) -> None:
    before = slow.snapshot()
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        assert not (slow.out / "metal-amd64.raw.zst").exists()
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert slow.snapshot() == before


def test_kill_half_way_is_cleaned_up_by_the_next_run(slow: Site) -> None:
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        process.kill()
        process.wait(timeout=60)
    names = [path.name for path in slow.out.iterdir()]
    assert all(name.startswith(".metal-amd64.raw.zst.") for name in names)
    # A run that is killed a little later leaves a file of this kind.
    (slow.out / ".metal-amd64.raw.zst.0123abcd.partial").write_bytes(b"half")
    (slow.out / ".other.raw.0123abcd.partial").write_bytes(b"of another output")
    assert slow.run("metal").returncode == 0
    assert sorted(path.name for path in slow.out.iterdir()) == [
        ".other.raw.0123abcd.partial",
        "metal-amd64.raw.zst",
    ]


def test_partial_file_of_a_running_build_is_left_alone(slow: Site) -> None:
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        held = [path for path in slow.out.iterdir() if path.name.endswith(".partial")]
        assert slow.run("metal").returncode == 0
        assert all(path.exists() for path in held)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=60) == 0
    assert [path.name for path in slow.out.iterdir()] == ["metal-amd64.raw.zst"]


# Boot assets


def test_assets_folder_missing(site: Site) -> None:
    done = run("iso", "--assets", site.folder / "none", "--output", site.out, cwd=site.folder)
    check_error(done, INPUT, "--assets", str(site.folder / "none"), "is not a folder")


@pytest.mark.parametrize(
    "name", ["vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi"]
)
def test_asset_missing(site: Site, name: str) -> None:
    (site.assets / "amd64" / name).unlink()
    done = refused(site, "iso")
    check_error(done, INPUT, name, "amd64", str(site.assets), hint="imager assets fetch")


NO_EFI_BINARIES = {
    "empty": b"",
    "script": b"#!/bin/sh\n",
    "cut headers": pe_stub()[:300],
    "cut section": pe_stub()[:1500],
    "wild header": patched(pe_stub(), 0x3C, b"\xff" * 4),
}
KERNEL, LOADER, STUB = "vmlinuz", "systemd-boot.efi", "systemd-stub.efi"


@pytest.mark.parametrize(
    ("kind", "name", "what", "fault"),
    [
        *(("iso", KERNEL, "kernel", fault) for fault in NO_EFI_BINARIES),
        ("metal", KERNEL, "kernel", "empty"),
        ("iso", LOADER, "systemd-boot", "script"),
        ("metal", LOADER, "systemd-boot", "cut section"),
        ("iso", STUB, "systemd-stub", "wild header"),
        ("metal", STUB, "systemd-stub", "cut headers"),
    ],
)
def test_asset_is_no_efi_binary(site: Site, kind: str, name: str, what: str, fault: str) -> None:
    path = site.assets / "amd64" / name
    path.write_bytes(NO_EFI_BINARIES[fault])
    check_error(refused(site, kind), INPUT, str(path), what, hint=what)


def test_asset_of_the_wrong_machine_names_both(site: Site) -> None:
    path = site.assets / "amd64/vmlinuz"
    path.write_bytes(patched(pe_stub(), MACHINE, b"\x64\xaa"))
    check_error(refused(site, "iso"), INPUT, "0xaa64", "0x8664")


def test_empty_initramfs(site: Site) -> None:
    (site.assets / "amd64/initramfs.xz").write_bytes(b"")
    check_error(refused(site, "iso"), INPUT, ".initrd")


def test_assets_of_another_architecture_alone(site: Site) -> None:
    done = refused(site, "iso", "--arch", "arm64")
    check_error(done, INPUT, "arm64", hint="imager assets fetch --arch arm64")


# Profiles and options

TEN_MISTAKES = """\
arch: riscv
platform: vmware
secureboot: true
versoin: v1.9.0
customization:
  extraKernelArgs: [""]
  metaContents: [{key: 999, value: x}]
input:
  imageCache: {imageRef: a, ociPath: b}
  kernel: {}
output:
  kind: image
  imageOptions: {diskSize: big, diskFormat: qcow2}
"""
MISTAKEN = (
    *("arch", "platform", "secureboot", "versoin", "customization.extraKernelArgs.0"),
    *("customization.metaContents.0.key", "input.imageCache", "input.kernel.path"),
    *("output.imageOptions.diskSize", "output.imageOptions.diskFormat"),
)


def test_all_mistakes_of_a_profile_at_once(site: Site) -> None:
    done = refused(site, "-", stdin=TEN_MISTAKES)
    check_error(done, INPUT, "standard input: 10 problems", "did you mean version?")
    for path in MISTAKEN:
        assert f"\n  {path}: " in done.stderr, done.stderr


def test_mistakes_of_a_profile_file_name_the_file(site: Site) -> None:
    path = site.folder / "edge.yaml"
    path.write_text(TEN_MISTAKES)
    check_error(refused(site, path), INPUT, f"{path}: 10 problems")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- list\n",
        "a: b: c",
        "\x00\x01\x02",
        "a: &a [x]\nb: *a\n",
        "[" * 5000,
        "output: !!python/object/apply:os.system [id]\n",
        "baseProfileName: nothing\n",
    ],
)
def test_garbage_on_standard_input(site: Site, text: str) -> None:
    done = refused(site, "-", stdin=text)
    check_error(done, INPUT)


def test_profile_of_many_megabytes(site: Site) -> None:
    check_error(refused(site, "-", stdin="#" * (2 * MIB)), INPUT, "standard input", "1 MiB")


def test_profile_that_is_not_there(site: Site) -> None:
    check_error(refused(site, "./nowhere.yaml"), INPUT, "./nowhere.yaml")


def test_profile_in_a_wrong_encoding(site: Site) -> None:
    path = site.folder / "latin.yaml"
    path.write_bytes("arch: amd64 # für\n".encode("latin-1"))
    check_error(refused(site, path), INPUT, str(path))


# Below Linux's 128 KiB for one argument each.
META_OF_300_KB = (
    "metal",
    *(word for key in "abc" for word in ("--meta", f"0x{key}={100_000 * 'v'}")),
)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("isoo",), ("isoo",)),
        (("iso", "--nonsense"), ("--nonsense",)),
        (("iso", "--arch", "mips"), ("arch", "'mips'", "amd64, arm64")),
        (("iso", "--platform", "aws"), ("platform", "aws")),
        (("iso", "--output-kind", "installer"), ("installer", "not supported")),
        (("iso", "--out-format", ".xz"), ("outFormat", "raw")),
        (("iso", "--talos-version", "a b"), ("version", "'a b'")),
        (("iso", "--talos-version", "../../x"), ("version", "'../../x'")),
        (("iso", "--meta", "12"), ("'12'",)),
        (("iso", "--meta", "0x100=a"), ("0x100=a",)),
        (("iso", "--meta", "0xa=a", "--meta", "10=b"), ("0xa", "twice")),
        (("iso", "--meta", "0xa=a;b"), (";",)),
        (META_OF_300_KB, ("META", "more than the 262104 that fit")),
        (("iso", "--extra-kernel-arg", "a\nb"), ("one printable kernel argument",)),
        (("iso", "--progress", "loud"), ("loud",)),
    ],
)
def test_bad_options(site: Site, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = refused(site, *args)
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_required_images_that_are_missing(site: Site) -> None:
    flat = site.flat()
    wanted = site.folder / "images.txt"
    absent = ("docker.io/library/alpine:3.20", "registry.local:5000/team/img9:v1")
    wanted.write_text("\n".join(["# all", flat.references[0], "", *absent]))
    args = ("--image-cache", flat.folder, "--require-images", wanted)
    done = refused(site, "iso", *args)
    check_error(done, INPUT, "lacks 2 required images", *absent, hint="cache-create")
    assert flat.references[0] not in done.stderr
    wanted.write_text("\n".join(flat.references))
    assert site.run("iso", *args).returncode == 0


def test_required_images_without_a_cache(site: Site) -> None:
    wanted = site.folder / "images.txt"
    wanted.write_text("alpine:3\n")
    done = refused(site, "iso", "--require-images", wanted)
    check_error(done, INPUT, "--require-images", hint="--image-cache")


def test_list_of_required_images_is_bad(site: Site) -> None:
    flat = site.flat()
    wanted = site.folder / "images.txt"
    for text in ("", "# nothing\n", "UPPER/case:x\nok:1\nbad image\n"):
        wanted.write_text(text)
        args = ("--image-cache", flat.folder, "--require-images", wanted)
        check_error(refused(site, "iso", *args), INPUT, str(wanted))


# What is printed


@pytest.mark.parametrize("kind", ["iso", "metal"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_dry_run_writes_nothing(site: Site, kind: str, form: tuple[str, ...]) -> None:
    flat = site.flat()
    before = site.snapshot()
    done = run(
        *(kind, "--dry-run", *form),
        *("--assets", site.assets, "--image-cache", flat.folder),
        env=site.env,
        cwd=site.folder,
    )
    assert done.returncode == 0, done.stderr
    assert site.snapshot() == before
    if form:
        plan = json.loads(done.stdout)
        assert plan["imageCache"]["images"] == sorted(flat.references)
        assert plan["imageCache"]["blobs"] == len(flat.blobs)
        assert plan["version"] == "v1.9.0"
        assert plan["spaceNeeded"] <= plan["spaceFree"]
        names = " ".join(region["name"] for region in plan["regions"])
        assert all(path in names for path in flat.files)
        assert plan["output"].startswith("_out/") or plan["output"].startswith("/out/")


def test_plan_tells_what_a_build_takes(site: Site) -> None:
    flat = site.flat()
    args: tuple[str | Path, ...] = ("metal", "--image-cache", flat.folder, "--out-format", "raw")
    args += ("--json",)
    plan = json.loads(site.run(*args, "--dry-run").stdout)
    built = json.loads(site.run(*args).stdout)
    output = site.out / "metal-amd64.raw"
    assert plan["output"] == built["output"] == str(output)
    assert plan["size"] == built["size"] == output.stat().st_size
    assert output.stat().st_blocks * 512 <= plan["spaceNeeded"]


def test_json_is_alone_on_standard_output(site: Site) -> None:
    done = site.run("iso", "--json", "--checksum")
    result = json.loads(done.stdout)
    assert len(result["sha256"]) == 64
    assert result["format"] == "raw"
    assert result["imageCache"] is None


def test_quiet_says_nothing(site: Site) -> None:
    done = site.run("iso", "--image-cache", site.flat().folder, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (site.out / "metal-amd64.iso").exists()


def test_quiet_still_tells_errors(site: Site) -> None:
    done = refused(site, "iso", "--quiet", "--image-cache", site.folder / "none")
    check_error(done, INPUT, "does not exist")


def test_files_that_are_no_part_of_a_cache_are_told(site: Site) -> None:
    flat = site.flat()
    (flat.folder / "README").write_text("hello")
    (flat.folder / "blob/sha256-short").write_text("hello")
    done = site.run("iso", "--image-cache", flat.folder, "--quiet")
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "2 files" in done.stderr


def test_progress_in_json(site: Site) -> None:
    args = ("metal", "--image-cache", site.flat().folder, "--out-format", "raw")
    done = site.run(*args, "--progress", "json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    steps = [event for event in events if event["event"] == "progress"]
    assert steps[0]["done"] == 0
    assert steps[-1]["done"] == steps[-1]["total"] > 0
    assert [event["done"] for event in steps] == sorted(event["done"] for event in steps)


@pytest.mark.parametrize("command", ["--dry-run", "--json"])
def test_reader_of_standard_output_has_gone(site: Site, command: str) -> None:
    script = '"$@" | true; echo "${PIPESTATUS[0]}"'
    prefix = ("bash", "-c", script, "bash")
    done = site.run("iso", command, prefix=prefix)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stdout.strip() in ("0", "1")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_standard_streams(site: Site, closed: str) -> None:
    prefix = ("bash", "-c", f'exec "$@" {closed}', "bash")
    done = site.run("iso", "--image-cache", site.flat().folder, prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in site.out.iterdir()] == ["metal-amd64.iso"]


def test_full_standard_output(site: Site) -> None:
    prefix = ("bash", "-c", 'exec "$@" >/dev/full', "bash")
    done = site.run("iso", "--dry-run", prefix=prefix)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_tar_of_the_tree_is_taken(site: Site) -> None:
    path = make_tar(site.flat(), site.folder / "cache.tar")
    assert site.run("iso", "--image-cache", path).returncode == 0
