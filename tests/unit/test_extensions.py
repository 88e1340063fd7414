from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from zstandard import ZstdDecompressor

from imager.app.profiles import overlay_options, read_embedded
from imager.content.extents import Content
from imager.content.rootfiles import RootFiles
from imager.content.stored import compressed_start, stored_end
from imager.content.tree import File, Link, Tree
from imager.formats.squashfs import Compression, cached_squashfs_root
from imager.image.extensions.embedded import embedded_config
from imager.image.extensions.extension import Extension, read_extensions
from imager.image.extensions.firmware import separate_firmware
from imager.image.extensions.initramfs import folder_names, without_root_label
from imager.image.extensions.manifest import Metadata, extensions_yaml, parse_manifest
from imager.image.extensions.modules import ordered
from imager.oci.layerfiles import layer_entries
from imager.oci.roottree import RootTree
from imager.support.errors import InvalidConfigError, InvalidExtensionsError, UnsupportedError
from imager.talos.version import TalosVersion
from tests.lib.tools.support import content_bytes
from tests.lib.volumes.extension_images import (
    extension_image,
    layer_tar,
    manifest,
    root_files,
)

V1_12 = TalosVersion.parse("v1.12.3")


def problems(*images: tuple[str, RootFiles], version: TalosVersion = V1_12) -> list[str]:
    with pytest.raises(InvalidExtensionsError) as caught:
        read_extensions(images, version)
    return [*caught.value.problems]


def with_manifest(data: bytes) -> tuple[str, RootFiles]:
    return "a.tar", root_files({"manifest.yaml": data, "rootfs/usr/local/a": b""})


def file_paths(tree: Tree) -> dict[str, bytes]:
    return {file.path: content_bytes(file.content) for file in tree.files}


# --- manifests --------------------------------------------------------------------------------


def test_a_manifest_is_read_as_written() -> None:
    found = parse_manifest(
        b"""version: v1alpha1
metadata:
  name: gvisor
  version: 1.10
  author: Sidero Labs
  description: |
    This system extension provides gVisor.
  compatibility:
    talos:
      version: ">= v1.5.0"
  extraInfo: 0x10
unknown: [1]
"""
    )
    assert found == Metadata(
        name="gvisor",
        version="1.10",
        author="Sidero Labs",
        description="This system extension provides gVisor.\n",
        talos=">= v1.5.0",
        extra_info="0x10",
    )


def test_an_extension_is_its_rootfs_in_path_order() -> None:
    image = extension_image(
        "a", {"usr/local/b": b"2", "usr/local/a": b"1"}, labels={"usr/local/a": "a_t"}
    )
    (found,) = read_extensions([image], V1_12)
    assert [file.path for file in found.root.tree.files] == ["usr/local/a", "usr/local/b"]
    assert found.root.labels == {"usr/local/a": "a_t"}
    assert found.metadata.name == "a"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is not a mapping"),
        (b"[]", "it is not a mapping"),
        (b"\xff", "it is not UTF-8"),
        (b"a: {", "line 2"),
        (b"a: *a", "line 1"),
        (b"version: v1alpha1\nversion: v1alpha1", "given twice"),
        (b"version: v1beta1\nmetadata: {name: a}", "version: 'v1beta1' is not v1alpha1"),
        (b"metadata: {name: a}", "version: '' is not v1alpha1"),
        (b"version: v1alpha1", "metadata.name: is missing"),
        (b"version: v1alpha1\nmetadata: text", "metadata: is not a mapping"),
        (b"version: v1alpha1\nmetadata: {name: [a]}", "metadata.name: is not text"),
        (
            b"version: v1alpha1\nmetadata: {name: a, compatibility: {talos: 1.5}}",
            "metadata.compatibility.talos: is not a mapping",
        ),
        (
            manifest("a", compatibility={"talos": {"version": "about 1.5"}}),
            "metadata.compatibility.talos.version: 'about 1.5' is not a range of versions",
        ),
        (
            manifest("a", compatibility={"talos": {"version": ">= v1.13.0"}}),
            "metadata.compatibility.talos.version: it is for Talos >= v1.13.0, not for v1.12.3",
        ),
    ],
)
def test_a_bad_manifest_is_named_with_its_field(data: bytes, problem: str) -> None:
    (found,) = problems(with_manifest(data))
    assert found.startswith("a.tar: manifest.yaml: ")
    assert problem in found


def test_a_manifest_without_a_range_is_for_all_versions() -> None:
    (found,) = read_extensions([with_manifest(manifest("a", compatibility={}))], V1_12)
    assert found.metadata.talos == ""


def test_a_huge_manifest_is_not_read() -> None:
    (found,) = problems(with_manifest(b"#" * (1 << 20) + b"\n"))
    assert found == "a.tar: manifest.yaml: is larger than 1048576 bytes"


def test_all_problems_of_all_extensions_are_named() -> None:
    lone = "lone", root_files({"rootfs/usr/local/a": b"", "extra": b"", "link": "rootfs"})
    empty = "empty", RootFiles(Tree.of(others=["pipe"]))
    bad = with_manifest(b"version: x\nmetadata: {name: {}, author: [], version: {a: b}}")
    assert problems(lone, empty, bad) == [
        "lone: 'extra': not allowed beside manifest.yaml and rootfs",
        "lone: 'link': not allowed beside manifest.yaml and rootfs",
        "lone: manifest.yaml: is missing",
        "empty: rootfs: the folder is missing",
        "empty: 'pipe': not allowed beside manifest.yaml and rootfs",
        "empty: 'pipe': is neither a file, a folder, a link nor a character device",
        "empty: manifest.yaml: is missing",
        "a.tar: manifest.yaml: version: 'x' is not v1alpha1",
        "a.tar: manifest.yaml: metadata.name: is not text",
        "a.tar: manifest.yaml: metadata.version: is not text",
        "a.tar: manifest.yaml: metadata.author: is not text",
    ]


def test_a_link_is_not_a_rootfs() -> None:
    image = root_files({"manifest.yaml": manifest("a"), "rootfs": "/usr"})
    assert problems(("a", image)) == ["a: rootfs: the folder is missing"]


def test_an_image_has_labels_and_folder_modes(tmp_path: Path) -> None:
    """The members of later layers replace those below them, with what they have beside data."""
    base = layer_tar(tmp_path / "base", {"a": b"1", "f/b": b"2", "f": None}, label="old_t")
    top = layer_tar(tmp_path / "top", {"f/c": "b", "a": b"3", "g": None}, label="new_t\0")
    last = layer_tar(tmp_path / "last", {"g/d": b"4"})
    layers = [layer_entries(Content.of_file(path), where=path.name) for path in (base, top, last)]
    found = RootTree.of(layers).root_files()
    assert found.labels == {
        "a": "new_t",
        "f": "old_t",
        "f/b": "old_t",
        "f/c": "new_t",
        "g": "new_t",
    }
    assert found.folder_modes == {"f": 0o700, "g": 0o700}


@pytest.mark.parametrize(
    ("version", "is_labelled"), [("4.5.1", False), ("4.6", True), ("4.10", True), ("5.0", True)]
)
def test_the_root_folder_is_labelled_where_mksquashfs_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_labelled: bool
) -> None:
    """By a pseudo definition, as in Talos; version 4.6 of squashfs-tools added it."""
    program = tmp_path / "mksquashfs"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] && echo "mksquashfs version {version} (2023/02/28)"'
        ' && exit\ncat >/dev/null\nprintf "%s\\n" "$@" >"$2"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    files = {"manifest.yaml": manifest("a"), "rootfs/usr/a": b""}
    image = "a.tar", root_files(files, labels={"rootfs": "root_t", "rootfs/usr/a": "a_t"})
    (found,) = read_extensions([image], V1_12)
    (tmp_path / "cache").mkdir()
    made = cached_squashfs_root(
        found.root, timestamp=1, compression=Compression(3), cache=tmp_path / "cache"
    )
    argv = made.read_text().splitlines()
    label = "/ x security.selinux=0scm9vdF90"
    assert ("-p" in argv, label in argv) == (is_labelled, is_labelled)
    assert without_root_label([found]) == (() if is_labelled else ("a",))
    assert without_root_label([replace(found, root=root_files({}))]) == ()


# --- the list ---------------------------------------------------------------------------------


def test_the_list_is_that_of_the_format() -> None:
    tricky = Metadata(name="ü: #", version="1.10", extra_info="a\nb: c\n")
    found = extensions_yaml(
        [("0.sqsh", Metadata("a", "1", "me", "what", ">= v1.5.0")), ("1", tricky)]
    )
    assert yaml.safe_load(found) == {
        "layers": [
            {
                "image": "0.sqsh",
                "metadata": {
                    "name": "a",
                    "version": "1",
                    "author": "me",
                    "description": "what",
                    "compatibility": {"talos": {"version": ">= v1.5.0"}},
                },
            },
            {
                "image": "1",
                "metadata": {
                    "name": "ü: #",
                    "version": "1.10",
                    "author": "",
                    "description": "",
                    "compatibility": {"talos": {"version": ""}},
                    "extraInfo": "a\nb: c\n",
                },
            },
        ]
    }


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [(1, "0", "0"), (10, "0", "9"), (11, "00", "10"), (101, "000", "100")],
)
def test_folders_sort_in_the_order_of_the_profile(count: int, first: str, last: str) -> None:
    names = folder_names(count)
    assert (len(names), names[0], names[-1]) == (count, first, last)
    assert names == sorted(set(names))


# --- firmware ---------------------------------------------------------------------------------


def extension(files: Mapping[str, bytes | str], **more: Any) -> Extension:
    return Extension(Metadata("a"), root_files(files, **more))


def test_firmware_and_microcode_leave_the_extensions() -> None:
    ucode = extension(
        {
            "usr/lib/firmware/intel-ucode/06-02": b"I2",
            "usr/lib/firmware/intel-ucode/06-01": b"I1",
            "usr/lib/firmware/amd-ucode/microcode_amd_fam15h.bin": b"A2",
            "usr/lib/firmware/amd-ucode/microcode_amd.bin": b"A1",
            "usr/lib/firmware/amd-ucode/microcode_amd.bin.asc": b"signature",
            "usr/lib/firmware/amd-ucode/old/microcode_amd.bin": b"older",
        }
    )
    more = extension(
        {
            "usr/lib/firmware/intel-ucode/06-00": b"I3",
            "usr/lib/firmware/net/card.bin": b"card",
            "usr/lib/firmware/net/other.bin": "card.bin",
            "usr/lib/firmwares/stays": b"",
            "usr/local/bin/tool": b"tool",
        }
    )
    found = separate_firmware([ucode, more], "usr/lib/firmware")
    assert file_paths(found.microcode) == {
        "kernel/x86/microcode/GenuineIntel.bin": b"I1I2I3",
        "kernel/x86/microcode/AuthenticAMD.bin": b"A1A2",
    }
    assert file_paths(found.firmware) == {
        "usr/lib/firmware/amd-ucode/microcode_amd.bin.asc": b"signature",
        "usr/lib/firmware/amd-ucode/old/microcode_amd.bin": b"older",
        "usr/lib/firmware/net/card.bin": b"card",
    }
    assert found.firmware.nodes == (Link("usr/lib/firmware/net/other.bin", "card.bin"),)
    without, rest = (each.root.tree for each in found.extensions)
    assert (without.files, without.folders) == ((), ("usr", "usr/lib"))
    assert [*file_paths(rest)] == ["usr/lib/firmwares/stays", "usr/local/bin/tool"]


def test_of_the_same_firmware_the_later_one_counts() -> None:
    pair = [extension({"lib/firmware/a": data}) for data in (b"old", b"new")]
    found = separate_firmware(pair, "lib/firmware")
    assert file_paths(found.firmware) == {"lib/firmware/a": b"new"}


def test_extensions_without_firmware_stay_as_they_are() -> None:
    plain = extension({"usr/local/bin/tool": b""}, labels={"usr/local/bin/tool": "bin_t"})
    found = separate_firmware([plain], "usr/lib/firmware")
    assert found.extensions == (plain,)
    assert (found.firmware, found.microcode) == (Tree.of(), Tree.of())


# --- embedded configuration -------------------------------------------------------------------


def test_a_configuration_becomes_an_extension() -> None:
    text = "machine: {}\n---\nkind: HostnameConfig\n"
    found = embedded_config(text, V1_12)
    path = "usr/local/etc/talos/config.yaml"
    assert found.metadata == Metadata(
        name="embedded-config",
        version=hashlib.sha256(text.encode()).hexdigest(),
        author="Imager",
        description="Virtual extension which embeds the machine configuration.",
        talos=">= 1.0.0",
    )
    assert found.root.tree.files == (File(path, Content.of_bytes(text.encode()), mode=0o400),)
    assert found.root.labels == {path: "system_u:object_r:system_state_t:s0"}
    assert found.root.folder_modes == {}


def test_the_bytes_of_a_configuration_are_kept(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfmachine:\r\n  token: |\r\n    a\r    b\r\n"
    path = tmp_path / "config.yaml"
    path.write_bytes(data)
    (file,) = embedded_config(read_embedded(path), V1_12).root.tree.files
    assert content_bytes(file.content) == data
    assert overlay_options([f"key=@{path}"]) == {"key": data.decode()}


def test_a_talos_that_does_not_look_for_it_gets_no_configuration() -> None:
    embedded_config("a: b", TalosVersion.parse("v1.12.0-alpha.0"))
    with pytest.raises(UnsupportedError, match="reads no embedded") as caught:
        embedded_config("a: b", TalosVersion.parse("v1.11.9"))
    assert "Talos v1.11.9" in caught.value.message
    assert "v1.12.0 or later" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no document"),
        ("a: {", "line 2"),
        ("a: b\na: c", "given twice"),
        ("- a", "not every document is a mapping"),
        ("a: b\n---\ntext", "not every document is a mapping"),
    ],
)
def test_what_is_not_a_configuration_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidConfigError, match=problem):
        embedded_config(text, V1_12)


# --- the archive and the lists of modules -----------------------------------------------------


@pytest.mark.parametrize("size", [1, 128 << 10, (128 << 10) + 1, 300_000])
def test_a_frame_with_a_stored_end_is_zstd(size: int) -> None:
    start, end = b"firmware " * 50_000, random.Random(1).randbytes(size)
    compressed = b"".join(compressed_start(Content.of_bytes(start), level=3))
    stored = content_bytes(stored_end(Content.of_bytes(end)))
    assert len(compressed) < 5_000
    assert len(stored) == size + 3 * -(-size // (128 << 10))
    decoder = ZstdDecompressor().decompressobj()
    assert decoder.decompress(compressed + stored) == start + end
    assert decoder.eof


def test_every_module_is_listed_for_depmod(tmp_path: Path) -> None:
    for name in ("kernel/b.ko", "kernel/a.ko.xz", "extras/c.ko.zst", "extras/d.ko", "modules.dep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [*ordered(tmp_path, b"kernel/b.ko\nkernel/gone.ko\n")] == [
        *("kernel/b.ko", "kernel/gone.ko", "extras/c.ko.zst", "extras/d.ko", "kernel/a.ko.xz")
    ]
