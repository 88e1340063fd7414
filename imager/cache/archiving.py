"""Packs an OCI layout as a tar, which skopeo calls an oci-archive.

The layer is the first member, so its offset is known before its contents are, and blobs are written
to their final places. The size of everything around the layer does not depend on digests.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from pathlib import Path

from imager.cache.image import TIMESTAMP, CacheImage, cache_image
from imager.content.extents import Codec
from imager.content.tar import TAR_END, file_header, folder_header, padding
from imager.oci.digest import Digest
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, blob_path, oci_layout_json
from imager.oci.manifest import OCI_LAYER, Descriptor, index_json
from imager.oci.platform import Platform
from imager.support.errors import InputError

# Names that cannot be meant for a folder.
_OTHER_FILES = """
.tgz .tzst .txz .tbz2 .gz .zst .xz .bz2 .zip .7z .rar .cpio
.iso .img .raw .qcow2 .vmdk .squashfs .sqsh .txt .yaml .yml .json
"""
_FOLDERS = ("blobs", "blobs/sha256")
_ANY = Digest("0" * 64)


class ArchiveFormat(enum.Enum):
    """A format of cache archives, by its file name suffix."""

    TAR = ".tar"
    GZIP = ".tar.gz"
    ZSTD = ".tar.zst"

    @classmethod
    def named(cls, path: Path) -> ArchiveFormat | None:
        """Return the format for the file name `path`, None for the name of a folder.

        Raises InputError for names of other files, such as `c.zip`, unless such a folder exists.
        """
        name = path.name.lower()
        for archive in cls:
            if name.endswith(archive.value):
                return archive
        if (".tar." in name or name.endswith(tuple(_OTHER_FILES.split()))) and not path.is_dir():
            raise InputError(
                f"{path}: unknown archive format",
                hint=f"use {', '.join(f'*{each.value}' for each in cls)}, or a folder name",
            )
        return None

    @classmethod
    def packed(cls, codec: Codec | None) -> ArchiveFormat:
        """Return the format that is compressed with `codec`."""
        return next(archive for archive in cls if archive.codec is codec)

    @property
    def codec(self) -> Codec | None:
        """The compression of the file."""
        return {ArchiveFormat.GZIP: Codec.GZIP, ArchiveFormat.ZSTD: Codec.ZSTD}.get(self)


def archive_head(layer: Descriptor) -> bytes:
    """Return the bytes before the layer: folder entries and the header of the layer."""
    folders = b"".join(folder_header(path, TIMESTAMP) for path in _FOLDERS)
    return folders + file_header(blob_path(layer.digest), layer.size, TIMESTAMP)


def archive_tail(image: CacheImage, layer: Descriptor) -> bytes:
    """Return the bytes after the layer: the documents of the layout, and the end marker."""
    documents = {
        blob_path(Digest.of(image.config)): image.config,
        blob_path(Digest.of(image.manifest)): image.manifest,
        INDEX_FILE: index_json(image.entries),
        LAYOUT_FILE: oci_layout_json(),
    }
    members = (
        file_header(path, len(data), TIMESTAMP) + data + padding(len(data))
        for path, data in documents.items()
    )
    return padding(layer.size) + b"".join(members) + TAR_END


def planned_head(layer_size: int) -> int:
    """Return the offset in bytes of a layer of `layer_size` bytes in an archive."""
    return len(archive_head(Descriptor(OCI_LAYER, _ANY, layer_size)))


def planned_size(platforms: Collection[Platform], layer_size: int) -> int:
    """Return the size in bytes of an uncompressed archive with a layer of `layer_size` bytes."""
    layer = Descriptor(OCI_LAYER, _ANY, layer_size)
    tail = archive_tail(cache_image(platforms, layer, diff_id=_ANY), layer)
    return planned_head(layer_size) + layer_size + len(tail)
