"""Images that were built are caches again: to look into, to check, to compare, to build from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_layout
from tests.lib.registries.registry import running_registry
from tests.lib.registries.serving import serving
from tests.lib.tools.cli import MIB, build, cut, fingerprint, run, tool
from tests.lib.volumes.foreign_volumes import patch

pytestmark = pytest.mark.oracle

BUILDS: Mapping[str, tuple[str, ...]] = {
    "iso": ("iso",),
    "iso-sd-boot": ("iso", "--bootloader", "sd-boot"),
    "metal": ("metal", "--out-format", "raw"),
    "metal-4k": ("metal-4k", "--out-format", "raw"),
    "usb": ("iso", "--output-kind", "usb"),
}


@pytest.fixture(scope="module", name="images")
def built_images(
    cache: CacheFixture, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    layout = make_layout(cache, tmp_path_factory.mktemp("layout") / "layout")
    found = {}
    for name, args in BUILDS.items():
        folder = tmp_path_factory.mktemp(name)
        done = build(*args, "--assets", assets, "--image-cache", layout, "--output", folder)
        found[name] = Path(done["output"])
    return found


ESP = ("-append_partition", "2", "0xef", "esp.img", "-e", "--interval:appended_partition_2:all::")
XORRISO: Mapping[str, tuple[str, ...]] = {
    "as Talos makes a SecureBoot ISO": ("-partition_offset", "16", "-partition_cyl_align", "all"),
    "with a GPT of 248 entries": ("-appended_part_as_gpt",),
}


@pytest.mark.parametrize("options", XORRISO.values(), ids=XORRISO)
def test_isos_of_xorriso_are_caches(
    options: tuple[str, ...],
    cache: CacheFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an EFI system partition behind the ISO, and its names in Rock Ridge."""
    monkeypatch.chdir(tmp_path)
    tool("mkfs.fat", "-C", "esp.img", "4096")
    tool("xorrisofs", "-o", "talos.iso", "-V", "TALOS_V1_9_0", *ESP, "-no-emul-boot", *options,
         "-graft-points", f"imagecache={cache.folder}")  # fmt: skip
    done = run("images", "cache-diff", tmp_path / "talos.iso", cache.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "verified 3 images" in run("images", "cache-verify", tmp_path / "talos.iso").stdout


def copied(image: Path, folder: Path) -> Path:
    return cut(image, 0, image.stat().st_size, folder / image.name)


def places(image: Path, data: bytes) -> list[int]:
    """Return where `data` stands in a file, which may be sparse and large."""
    found, start = [], 0
    with image.open("rb", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        while start < end:
            try:
                start = file.seek(start, os.SEEK_DATA)
            except OSError:
                break
            hole = file.seek(start, os.SEEK_HOLE)
            part = os.pread(file.fileno(), hole - start, start)
            found += [start + match.start() for match in re.finditer(re.escape(data), part)]
            start = hole
    return found


@pytest.mark.parametrize("kind", BUILDS)
def test_what_was_built_is_verified_and_the_same(
    images: dict[str, Path], cache: CacheFixture, kind: str
) -> None:
    image = images[kind]
    done = run("images", "cache-verify", image)
    assert (done.returncode, done.stderr) == (0, "")
    size = sum(len(data) for data in cache.files.values())
    assert done.stdout == (
        f"verified 3 images, {len(cache.blobs)} blobs, {size} bytes ({size / MIB:.1f} MiB)\n"
    )
    done = run("images", "cache-diff", image, cache.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    told = json.loads(run("images", "cache-info", image, "--json").stdout)
    assert (told["layout"], told["size"]) == ("image", size)
    assert [each["name"] for each in told["images"]] == list(cache.references)
    assert "(image, not compressed)" in run("images", "cache-info", image).stdout


@pytest.mark.parametrize("kind", BUILDS)
def test_a_damaged_blob_is_told(
    images: dict[str, Path], cache: CacheFixture, tmp_path: Path, kind: str
) -> None:
    image = copied(images[kind], tmp_path)
    blob = cache.blobs[-1]
    (place,) = places(image, blob.read_bytes())
    patch(image, place + 70_000, bytes([blob.read_bytes()[70_000] ^ 0xFF]))
    done = run("images", "cache-verify", image)
    assert done.returncode == 2
    assert re.search(
        rf"blob {blob.name.replace('-', ':')} of [^ ]+:v1 does not match its digest", done.stderr
    )
    assert "1 problem" in done.stderr


@pytest.mark.parametrize("kind", BUILDS)
def test_damaged_metadata_are_told(
    images: dict[str, Path], cache: CacheFixture, tmp_path: Path, kind: str
) -> None:
    """The name of a blob is changed in every folder that has it: no other part says the same."""
    image = copied(images[kind], tmp_path)
    name = cache.blobs[1].name
    # On FAT a name is cut into parts of 5, 6 and 2 letters.
    texts = (name.encode(), name.encode("utf-16-be"), name[13:18].encode("utf-16-le"))
    changed = [(place + 4, b"?") for text in texts for place in places(image, text)]
    assert changed
    for place, data in changed:
        patch(image, place, data)
    done = run("images", "cache-verify", image)
    assert done.returncode == 2
    assert "damaged" in done.stderr or "lacks blob" in done.stderr
    done = run("images", "cache-diff", image, cache.folder)
    assert done.returncode in (1, 2)


def test_every_image_makes_the_same_iso(
    images: dict[str, Path], assets: Path, tmp_path: Path
) -> None:
    common = ("iso", "--assets", assets, "--output", tmp_path, "--image-cache")
    wanted = fingerprint(images["iso"])
    for image in images.values():
        built = Path(build(*common, image)["output"])
        assert fingerprint(built) == wanted
    # Also where the image is what is built anew.
    assert fingerprint(Path(build(*common, built)["output"])) == wanted


def test_an_image_is_pushed_as_its_cache_is(
    images: dict[str, Path], cache: CacheFixture, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry") as registry:
        digests = set()
        for source in (cache.folder, *images.values()):
            done = run("images", "cache-push", source, f"{registry.host}/cache:v1")
            assert done.returncode == 0, done.stderr
            digests.add(done.stdout.splitlines()[0])
        done = run("images", "cache-diff", images["metal"], f"{registry.host}/cache:v1")
        assert done.returncode == 0, done.stderr
    assert len(digests) == 1


@pytest.mark.parametrize("kind", BUILDS)
def test_an_image_is_served_as_its_cache_is(
    images: dict[str, Path], cache: CacheFixture, kind: str
) -> None:
    with serving(images[kind]) as server:
        for path, data in cache.files.items():
            folders = path.split("/")
            name = "/".join(folders[2:-2]) or "any"
            where = "blobs" if folders[0] == "blob" else "manifests"
            target = folders[-1].replace("sha256-", "sha256:")
            found = server.ask(f"/v2/{name}/{where}/{target}")
            assert (found.status, found.data) == (200, data), path
            part = server.ask(f"/v2/{name}/{where}/{target}", headers={"Range": "bytes=9-99"})
            assert (part.status, part.data) == (206, data[9:100])


def test_a_damaged_blob_of_an_image_is_not_served(
    images: dict[str, Path], cache: CacheFixture, tmp_path: Path
) -> None:
    image = copied(images["iso"], tmp_path)
    blob = cache.blobs[-1]
    target = f"/v2/any/blobs/{blob.name.replace('-', ':')}"
    (place,) = places(image, blob.read_bytes())
    with serving(image) as server:
        assert server.ask(target).data == blob.read_bytes()
        patch(image, place + 70_000, bytes([blob.read_bytes()[70_000] ^ 0xFF]))
        assert server.ask(target).status == 404
    with serving(image, images["metal"]) as server:
        assert server.ask(target).data == blob.read_bytes()


def test_images_are_not_changed_in_place(images: dict[str, Path], cache: CacheFixture) -> None:
    before = {image: fingerprint(image) for image in images.values()}
    for image in images.values():
        for command in ("cache-add", "cache-prune"):
            option = "--images" if command == "cache-add" else "--remove"
            done = run("images", command, image, option, "-", stdin=cache.references[0])
            assert done.returncode == 3
            assert "is an ISO or disk image: only OCI layouts, flat trees" in done.stderr
            assert "hint: change the cache that it was built from" in done.stderr
    assert {image: fingerprint(image) for image in images.values()} == before


@pytest.mark.parametrize("suffix", [".zst", ".gz", ".xz"])
def test_compressed_images_say_what_to_do(
    images: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    packed = tmp_path / f"metal-amd64.iso{suffix}"
    program = {".zst": ("zstd", "-qk"), ".gz": ("gzip", "-k"), ".xz": ("xz", "-0k")}[suffix]
    image = copied(images["iso"], tmp_path)
    tool(*program, image)
    done = run("images", "cache-verify", packed, "--quiet")
    assert done.returncode == 2
    done = run("images", "cache-info", packed)
    assert done.returncode == 3
    command = done.stderr.split("decompress it first: ")[1]
    image.unlink()
    tool("sh", "-c", command)
    assert run("images", "cache-verify", image).returncode == 0


def test_an_image_without_a_cache(assets: Path, tmp_path: Path) -> None:
    for args in BUILDS.values():
        image = Path(build(*args, "--assets", assets, "--output", tmp_path)["output"])
        done = run("images", "cache-info", image)
        assert done.returncode == 2
        assert "is an image without an image cache" in done.stderr


def test_sticks_that_users_make(cache: CacheFixture, tmp_path: Path) -> None:
    """A table by sfdisk, GPT or MBR, and FAT by mkfs.fat and mtools."""
    tree = tmp_path / "imagecache"
    tree.symlink_to(cache.folder)
    for label in ("gpt", "dos"):
        stick = tmp_path / f"{label}.img"
        tool("truncate", "-s", "80M", stick)
        tool("sfdisk", "-q", stick, stdin=f"label: {label}\nsize=64M, type=uefi\n".encode())
        fat = tmp_path / "fat.img"
        tool("truncate", "-s", "64M", fat)
        tool("mkfs.fat", "-F", "32", "-s", "1", "-n", "TALOS_1", fat)
        tool("mcopy", "-s", "-i", fat, tree, "::")
        with stick.open("r+b") as file:
            os.pwrite(file.fileno(), fat.read_bytes(), MIB)
        fat.unlink()
        done = run("images", "cache-diff", stick, cache.folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert run("images", "cache-verify", stick).returncode == 0


def test_isos_of_other_tools(cache: CacheFixture, tmp_path: Path) -> None:
    """xorriso's hybrids have a GPT with more entries than a disk's, which no machine minds."""
    graft = ("-graft-points", f"imagecache={cache.folder}")
    plain, hybrid, esp = (tmp_path / name for name in ("plain.iso", "hybrid.iso", "esp.img"))
    tool("grub-mkrescue", "-o", plain, *graft)
    tool("truncate", "-s", "3M", esp)
    tool("mkfs.fat", esp)
    appended = ("-append_partition", "2", "0xef", esp, "-appended_part_as_gpt")
    tool("xorriso", "-as", "mkisofs", "-quiet", "-o", hybrid, *appended, *graft)
    assert "Appended2" in tool("sgdisk", "-p", hybrid)
    for iso in (plain, hybrid):
        done = run("images", "cache-diff", iso, cache.folder)
        assert (done.returncode, done.stderr) == (0, "")
