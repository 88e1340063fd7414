"""Image caches that are damaged, incomplete or hostile: told, and nothing left behind."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lib.caches.caches import (
    LAYER_TYPE,
    compress,
    cut,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    make_layout_of,
    sha256,
    tar_bytes,
)
from tests.lib.tools.cli import MIB, run
from tests.lib.tools.fault_site import INPUT, Site, check_error, refused


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


def images_for_another_architecture(site: Site) -> Bad:
    flat = site.flat(arch="arm64")
    return Bad(flat.folder, ("incomplete for amd64", *flat.references), "--platform linux/amd64")


def damaged_flat_blob(site: Site) -> Bad:
    flat = site.flat()
    flip(flat.blobs[1])
    digest = flat.blobs[1].name.replace("-", ":")
    return Bad(
        flat.folder,
        (f"blob {digest} of {flat.references[0]} does not match",),
        "copy or make it again",
    )


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


def damaged_compressed_layer(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout", codec="gzip")
    flip(layout_blobs(path)["layer"])
    return Bad(path, ("does not match its digest",), "it again")


def damaged_config(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    flip(layout_blobs(path)["config"])
    return Bad(path, (layout_blobs(path)["config"].name,))


def damaged_layout_manifest(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    name = layout_blobs(path)["manifest"]
    name.write_bytes(name.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
    return Bad(path, (name.name,), "copy or create it again")


def missing_layer(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    layer = layout_blobs(path)["layer"]
    layer.unlink()
    return Bad(path, (layer.name, "is missing"), "copy or create it again")


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
    return Bad(path, ("does not match its media type",), "create it again")


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
    return Bad(path, ("is an OCI image, not an image cache",), "cache-create")


def garbage_index(site: Site) -> Bad:
    path = make_layout(site.flat(), site.folder / "layout")
    (path / "index.json").write_bytes(b"{")
    return Bad(path, ("index.json",))


BAD_CACHES: tuple[Callable[[Site], Bad], ...] = (
    missing,
    empty_folder,
    no_manifests,
    other_architecture,
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


def test_damage_of_a_layer_outside_of_blobs_does_not_reach_the_output(site: Site) -> None:
    layout = make_layout(site.flat(), site.folder / "layout")
    output, layer = site.out / "metal-amd64.iso", layout_blobs(layout)["layer"]
    assert site.run("iso", "--image-cache", layout).returncode == 0
    whole = output.read_bytes()
    # The padding at the end, which no blob has: only the digest of the layer tells.
    flip(layer, layer.stat().st_size - 1)
    assert site.run("iso", "--image-cache", layout).returncode == 0
    assert output.read_bytes() == whole
    verified = run("images", "cache-verify", layout, env=site.env)
    check_error(verified, INPUT, f"layer sha256:{layer.name} does not match")


def test_existing_output_survives_a_failed_build(site: Site) -> None:
    flat = site.flat()
    assert site.run("iso", "--image-cache", flat.folder).returncode == 0
    output = site.out / "metal-amd64.iso"
    before = output.read_bytes()
    flip(flat.blobs[-1])
    refused(site, "iso", "--image-cache", flat.folder)
    assert output.read_bytes() == before


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


def test_a_platform_cannot_speak_to_the_terminal_in_a_plan(site: Site) -> None:
    flat = make_flat(site.folder / "flat", images=1, arches=("amd64", "arm64"))
    (tag,) = flat.folder.rglob("reference/v1")
    index = json.loads(tag.read_bytes())
    index["manifests"][1]["platform"]["os"] = "\x1b[2Jx"
    tag.write_text(json.dumps(index))
    copy = f"sha256-{sha256(tag.read_bytes())}"
    (tag.parents[1] / "digest" / copy).write_bytes(tag.read_bytes())
    for argv in (("--dry-run",), ()):
        done = site.run("iso", "--image-cache", flat.folder, *argv)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "[2jx/arm64" in done.stdout


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
