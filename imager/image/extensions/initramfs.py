"""Add system extensions to an initramfs.

The result is microcode (not compressed, since the kernel needs it first), then the initramfs as it
is, then an archive of extensions, their list and firmware. Format: Talos, internal/pkg/extensions.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from imager.content.extents import Content
from imager.content.reading import hash_content, iterate_bytes
from imager.content.stored import compressed_start, stored_end
from imager.content.tree import ROOT, File, Tree
from imager.formats.cpio import plan_cpio
from imager.formats.squashfs import Compression, XzCompression, cached_squashfs_root, labels_root
from imager.image.extensions.extension import Extension
from imager.image.extensions.firmware import separate_firmware
from imager.image.extensions.kept import kept_file
from imager.image.extensions.manifest import extensions_yaml
from imager.image.extensions.modules import NAME as MODULES_NAME
from imager.image.extensions.modules import merged_modules
from imager.support.errors import InputError
from imager.talos.version import TalosVersion

_LIST = "extensions.yaml"
_ZSTD_SINCE = (1, 8)
_USR_SINCE = (1, 10)
_LEVEL = 18
_XZ_PRESET = 0 | lzma.PRESET_EXTREME


@dataclass(frozen=True, slots=True)
class Rebuild:
    """How an initramfs is extended.

    `timestamp` is the time of all files in seconds since 1970. Results are kept in the folder
    `cache` by their digests; `scratch` is for temporary files.
    """

    version: TalosVersion
    timestamp: int
    cache: Path
    scratch: Path

    @property
    def has_zstd(self) -> bool:
        """Whether the Talos version reads zstd; otherwise xz is used."""
        return self.version.at_least(*_ZSTD_SINCE)

    def folder(self, name: str) -> str:
        """Return the path of `name`, which is below /usr/lib or /lib, without its first slash."""
        return f"usr/lib/{name}" if self.version.at_least(*_USR_SINCE) else f"lib/{name}"


def extended_initramfs(initramfs: Path, extensions: Sequence[Extension], job: Rebuild) -> Content:
    """Return `initramfs` with `extensions`, the lowest layer first.

    Raises as `merged_modules`, and InputError for a file that is too large for the format.
    """
    modules = merged_modules(
        extensions,
        job.folder("modules"),
        initramfs=initramfs,
        cache=job.cache,
        scratch=job.scratch,
    )
    names = folder_names(len(extensions))
    parts = separate_firmware(extensions, job.folder("firmware"))
    layers = [*zip(names, parts.extensions, strict=True)]
    if modules is not None:
        layers.append((MODULES_NAME, modules))
    added = parts.firmware.joined(_layer_files(layers, job))
    early = plan_cpio(parts.microcode, timestamp=job.timestamp).content
    return Content.concat(
        (
            *([early] if parts.microcode.files else []),
            Content.of_file(initramfs),
            _compressed(added, job),
        )
    )


def without_root_label(extensions: Sequence[Extension]) -> tuple[str, ...]:
    """Return the names of extensions whose root folder has a label that mksquashfs cannot set."""
    labelled = tuple(each.metadata.name for each in extensions if each.root.labels.get(ROOT))
    return () if labelled and labels_root() else labelled


def folder_names(count: int) -> list[str]:
    """Return the names of extensions, whose order as text is that of the extensions.

    Up to ten are named as in Talos. Of more, Talos takes 10 before 2.
    """
    digits = len(str(count - 1))
    return [f"{number:0{digits}}" for number in range(count)]


def _layer_files(layers: Sequence[tuple[str, Extension]], job: Rebuild) -> Tree:
    images = [(f"{name}.sqsh", extension) for name, extension in layers]
    listed = extensions_yaml((image, extension.metadata) for image, extension in images)
    compression = Compression(_LEVEL) if job.has_zstd else XzCompression()
    packed = [
        File(
            image,
            Content.of_file(
                cached_squashfs_root(
                    extension.root,
                    timestamp=job.timestamp,
                    compression=compression,
                    cache=job.scratch if extension.secret else job.cache,
                )
            ),
        )
        for image, extension in images
    ]
    return Tree.of([File(_LIST, Content.of_bytes(listed)), *packed])


def _compressed(tree: Tree, job: Rebuild) -> Content:
    """Return the archive of `tree` compressed; the images in it are stored as they are."""
    try:
        plan = plan_cpio(tree, timestamp=job.timestamp)
    except ValueError as error:
        raise InputError(f"system extensions: {error}: a file may have 4 GiB") from error
    archive = plan.content
    if not job.has_zstd:
        return Content.of_file(_kept(archive, _xz, job.cache, "xz"))
    # The list comes right before the images.
    (end,) = (file.offset + file.length for file in plan.files if file.path == _LIST)
    start = archive.slice(0, end)
    return Content.concat(
        (
            Content.of_file(_kept(start, _zstd, job.cache, "zst")),
            stored_end(archive.slice(end, archive.size - end)),
        )
    )


def _zstd(content: Content) -> Iterator[bytes]:
    return compressed_start(content, level=_LEVEL)


def _xz(content: Content) -> Iterator[bytes]:
    # The kernel knows no other checksum.
    encoder = lzma.LZMACompressor(check=lzma.CHECK_CRC32, preset=_XZ_PRESET)
    for piece in iterate_bytes(content):
        yield encoder.compress(piece)
    yield encoder.flush()


def _kept(
    content: Content, compress: Callable[[Content], Iterator[bytes]], cache: Path, suffix: str
) -> Path:
    """Return a file in `cache` with `content` compressed."""
    made_by = f"{suffix} {_LEVEL} {zstandard.ZSTD_VERSION} ".encode()
    key = hashlib.sha256(made_by + hash_content(content)).hexdigest()
    return kept_file(cache / f"{key}.{suffix}", lambda: compress(content))
