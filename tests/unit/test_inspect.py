"""Inspecting images: what is found, and that no damage is an error or takes long."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from imager.app.inspect import inspect_image
from imager.cli.inspect_html import inspection_html
from imager.cli.inspect_svg import inspection_svg
from imager.cli.inspect_text import inspection_json
from imager.cli.tables import camel_case
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.reading import Sources
from imager.formats.xz import xz_stream_end
from imager.image.inspect import model
from imager.image.inspect.model import Firmware, Inspection, SourceInfo
from imager.support.errors import InputError, UnsupportedError
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.volumes.foreign_volumes import patch
from tests.lib.volumes.sample_images import sample_images


@pytest.fixture(scope="module", name="cache")
def flat_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=2, blob_size=5000)


@pytest.fixture(scope="module", name="images")
def written_images(
    cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return one image of each kind."""
    return sample_images(tmp_path_factory.mktemp("images"), cache)


def test_a_disk(images: dict[str, Path], cache: CacheFixture) -> None:
    found = inspect_image(str(images["disk"]))
    assert (found.kind, found.talos, found.findings, found.unknown) == ("disk", "v1.9.1", (), ())
    assert [(each.kind, each.label) for each in found.volumes] == [
        ("fat32", "EFI"),
        ("xfs", "BOOT"),
        ("ext4", "IMAGECACHE"),
    ]
    assert found.volumes[0].uuid == "1234-ABCD"
    assert [(each.key, each.value) for each in found.meta] == [(10, "value")]
    grub = next(each for each in found.boot if each.by == "GRUB")
    assert (grub.title, grub.is_default, grub.kernel) == ("A - Talos v1.9.1", True, "/A/vmlinuz")
    assert (grub.cmdline, grub.firmware) == ("talos.platform=metal a={b}", None)
    profiles = [each for each in found.boot if each.by == "systemd-boot"]
    assert [(each.title, each.cmdline, each.firmware) for each in profiles] == [
        ("Talos (v1.9.1)", "console=ttyS0", Firmware.UEFI),
        ("Reset", "console=ttyS0 wipe", Firmware.UEFI),
    ]
    assert {each.version for each in found.kernels} == {"6.12.6-talos"}
    for each in found.initramfs:
        assert each.archives == ("xz", "zstd")
        assert [(x.name, x.version, x.size) for x in each.extensions] == [
            ("iscsi-tools", "v0.2.0", 5000)
        ]
    assert found.cache is not None
    assert [each.name for each in found.cache.images] == sorted(map(str, cache.references))
    assert found.cache.size == sum(map(len, cache.files.values()))


def test_the_same_disk_in_other_formats(images: dict[str, Path], tmp_path: Path) -> None:
    raw = inspect_image(str(images["disk"]))
    for name, formats in (("qcow2", ["qcow2"]), ("vhd", ["vhd"]), ("ova", ["ova", "vmdk"])):
        found = inspect_image(str(images[name]))
        assert [*found.source.formats] == formats
        assert without_source(found) == without_source(raw)
    packed = tmp_path / "disk.qcow2.gz"
    packed.write_bytes(gzip.compress(images["qcow2"].read_bytes(), 1, mtime=0))
    found = inspect_image(str(packed))
    assert (found.source.formats, found.talos) == (("gzip", "qcow2"), "v1.9.1")


def without_source(found: Inspection) -> Inspection:
    return replace(found, source=SourceInfo("", None, ()))


def test_single_files(images: dict[str, Path]) -> None:
    found = inspect_image(str(images["uki"]))
    assert (found.kind, found.talos, len(found.ukis[0].profiles)) == ("uki", "v1.9.1", 2)
    found = inspect_image(str(images["initramfs"]))
    assert (found.kind, found.initramfs[0].archives) == ("initramfs", ("xz", "zstd"))
    found = inspect_image(str(images["iso"]))
    assert (found.kind, found.talos) == ("iso", "v1.9.1")
    assert found.cache is not None
    assert len(found.cache.images) == 2


@pytest.mark.parametrize("behind", [b"", b"\0" * 8, b"YZ" * 40, bytes(range(256)) * 9])
def test_the_end_of_an_xz_stream(behind: bytes) -> None:
    """Marks of an end in the data and behind it do not count."""
    looks_like_an_end = b"\0\0\0\0\0\0\0\0\0\1YZ" * 50
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
    noise = random.Random("xz").randbytes(300_000)
    for data in (b"", noise, noise + looks_like_an_end + noise):
        stream = lzma.compress(data, check=lzma.CHECK_CRC32, filters=filters)
        content = Content.of_bytes(b"before" + stream + behind)
        with ContentReader(content) as reader:
            assert xz_stream_end(reader, 6) == 6 + len(stream)
            with pytest.raises(InputError, match="cut off"):
                xz_stream_end(ContentReader(content.slice(0, len(stream))), 6)


def test_what_is_damaged_is_said(images: dict[str, Path], tmp_path: Path) -> None:
    """And all else is found as before."""
    path = tmp_path / "disk"
    path.write_bytes(b"")
    with Sources() as sources, path.open("r+b") as file, images["disk"].open("rb") as whole:
        file.truncate(images["disk"].stat().st_size)
        for start, length in sources.data_ranges(images["disk"], 0, file.seek(0, os.SEEK_END)):
            os.pwrite(file.fileno(), os.pread(whole.fileno(), length, start), start)
    sound = inspect_image(str(path))
    assert without_source(sound) == without_source(inspect_image(str(images["disk"])))
    places_of = {each.label: each.offset for each in sound.partitions}
    for offset in (
        sound.size - 512 + 40,  # the backup table
        places_of["META"] + 100,  # the first copy
        places_of["IMAGECACHE"] + 1024 + 4,  # the superblock
    ):
        patch(path, offset, b"\xa5")
    found = inspect_image(str(path))
    places = {each.place: each.problem for each in found.findings}
    assert "checksum" in places["GPT"]
    assert "copy 1: it does not match its checksum" in places["META"]
    assert "partition 4 (IMAGECACHE)" in places
    assert [(each.key, each.value) for each in found.meta] == [(10, "value")]
    assert found.cache is None
    assert (found.talos, found.partitions) == (sound.talos, sound.partitions)


def test_the_reference_names_every_field() -> None:
    """Those of the result, and of all values in it."""
    page = (Path(__file__).parents[2] / "docs/reference/inspection.md").read_text("utf-8")
    classes = [each for each in vars(model).values() if is_dataclass(each)]
    names = {camel_case(field.name) for each in classes for field in fields(each)}
    assert len(names) > 60
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_what_images_of_a_cache_share(tmp_path: Path) -> None:
    """Two names for one image share all of its blobs."""
    cache = make_flat(tmp_path / "flat", images=2, blob_size=5000)
    name = next(path for path in cache.files if path.endswith("img0/reference/v1"))
    (cache.folder / name).with_name("v2").write_bytes(cache.files[name])
    found = inspect_image(str(cache.folder))
    assert (found.kind, found.talos, found.findings) == ("image-cache", "", ())
    assert found.cache is not None
    tags = {each.name.rpartition("/")[2]: each for each in found.cache.images}
    assert set(tags) == {"img0:v1", "img0:v2", "img1:v1"}
    assert (tags["img0:v1"].own, tags["img0:v2"].own) == (0, 0)
    assert 0 < tags["img1:v1"].own <= tags["img1:v1"].size
    assert 0 < found.cache.shared < tags["img0:v1"].size


@pytest.mark.parametrize("data", [b"", b"plain text", b"MZ", b"QFI", bytes(100)])
def test_what_is_no_image_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    found = inspect_image(str(tmp_path / "file"))
    assert found.findings or found.unknown
    assert found.kind in ("unknown", "efi-binary")


def test_sources_that_cannot_be_opened(tmp_path: Path, images: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        inspect_image(str(tmp_path / "none"))
    with pytest.raises(InputError, match="not encrypted"):
        inspect_image("http://127.0.0.1:1/x.iso")
    backed = bytearray(images["qcow2"].read_bytes()[:65536])
    backed[8:16] = (512).to_bytes(8, "big")
    (tmp_path / "backed").write_bytes(backed)
    with pytest.raises(UnsupportedError, match="a backing file"):
        inspect_image(str(tmp_path / "backed"))


def test_text_and_pages_escape_what_images_say(images: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "<b>'&.iso"
    path.write_bytes(images["iso"].read_bytes())
    found = inspect_image(str(path))
    for page in (inspection_html(found), inspection_svg(found)):
        assert "<b>" not in page
        assert "&lt;b&gt;&#x27;&amp;.iso" in page
    assert json.loads(json.dumps(inspection_json(found)))["kind"] == "iso"


def test_long_names_are_cut_in_pictures_and_words_are_not_broken(images: dict[str, Path]) -> None:
    found = inspect_image(str(images["disk"]))
    name = f"{'a' * 90}-{'z' * 90}.raw"
    region = replace(found.regions[0], name="n" * 99)
    found = replace(found, source=replace(found.source, name=name), regions=(region,))
    picture, page = inspection_svg(found), inspection_html(found)
    shown = re.findall("<text[^>]*>([^<]*)</text>", picture)
    assert re.fullmatch(r"a+\u2026z+\.raw, [0-9.]+ MiB", shown[0])
    assert re.fullmatch(r"n+\u2026n+", shown[1])
    # The width of a letter is at most 0.7 of the size of the font, 18 and 13 pixels.
    assert len(shown[0]) * 18 * 0.6 < 960
    assert len(shown[1]) * 13 * 0.7 < 560 - 120
    for uuid in {each.uuid for each in found.partitions}:
        assert f"<td>{uuid}</td>" in page
    assert "<td class='short'>64 MiB</td>" in page
