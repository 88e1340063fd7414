"""An OCI layout as one tar, around a layer that lies in it: an oci-archive, as skopeo calls it.

The layer comes first, so its place is known before its bytes are, and they are written there at
once. What stands around it has the same size whatever the digests are.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from pathlib import Path

from imager.errors import InputError
from imager.extents import Codec
from imager.imagecache.image import TIMESTAMP, CacheImage, cache_image
from imager.oci.digest import Digest
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, blob_path, oci_layout_json
from imager.oci.manifest import OCI_LAYER, Descriptor, index_json
from imager.oci.platform import Platform
from imager.tarball import TAR_END, file_header, folder_header, padding

_FOLDERS = ("blobs", "blobs/sha256")
_ANY = Digest("0" * 64)


class ArchiveFormat(enum.Enum):
    """A tar that a cache is made as, by the end of its name."""

    TAR = ".tar"
    GZIP = ".tar.gz"
    ZSTD = ".tar.zst"

    @classmethod
    def named(cls, path: Path) -> ArchiveFormat | None:
        """Return the archive that the name of `path` stands for, None for a folder's name.

        Raises InputError for other kinds of compression.
        """
        name = path.name.lower()
        for archive in cls:
            if name.endswith(archive.value):
                return archive
        if ".tar." in name or name.endswith((".tgz", ".tzst", ".txz")):
            raise InputError(
                f"{path}: an image cache is not packed like that",
                hint=f"name it {', '.join(f'*{each.value}' for each in cls)}, or as a folder",
            )
        return None

    @classmethod
    def packed(cls, codec: Codec | None) -> ArchiveFormat:
        """Return the archive that is compressed by `codec`."""
        return next(archive for archive in cls if archive.codec is codec)

    @property
    def codec(self) -> Codec | None:
        """How the whole is compressed."""
        return {ArchiveFormat.GZIP: Codec.GZIP, ArchiveFormat.ZSTD: Codec.ZSTD}.get(self)


def archive_head(layer: Descriptor) -> bytes:
    """Return what stands before the layer: folders, and its own header."""
    folders = b"".join(folder_header(path, TIMESTAMP) for path in _FOLDERS)
    return folders + file_header(blob_path(layer.digest), layer.size, TIMESTAMP)


def archive_tail(image: CacheImage, layer: Descriptor) -> bytes:
    """Return what follows the layer: the documents of its image and of the layout, and the end."""
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
    """Return at which byte of an archive a layer of `layer_size` bytes begins."""
    return len(archive_head(Descriptor(OCI_LAYER, _ANY, layer_size)))


def planned_size(platforms: Collection[Platform], layer_size: int) -> int:
    """Return the bytes of an uncompressed archive around a layer of `layer_size` bytes."""
    layer = Descriptor(OCI_LAYER, _ANY, layer_size)
    tail = archive_tail(cache_image(platforms, layer, diff_id=_ANY), layer)
    return planned_head(layer_size) + layer_size + len(tail)
