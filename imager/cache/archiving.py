"""Pack an OCI layout as a tar (skopeo's oci-archive).

The layer is the first member, so its offset is known before its contents, and blobs are written
directly to their final offsets. The size of the other members does not depend on digests.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from pathlib import Path

from imager.cache.image import TIMESTAMP, CacheImage, cache_image, layout_tree
from imager.content.extents import Codec, Content
from imager.content.tar import plan_tar
from imager.content.tree import File, VolumePlan
from imager.oci.digest import Digest
from imager.oci.layout import blob_path
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.oci.platform import Platform
from imager.support.errors import InputError

# Suffixes of file names that are not plausible folder names.
_OTHER_FILES = """
.tgz .tzst .txz .tbz2 .gz .zst .xz .bz2 .zip .7z .rar .cpio
.iso .img .raw .qcow2 .vmdk .squashfs .sqsh .txt .yaml .yml .json
"""
_ANY = Digest("0" * 64)


class ArchiveFormat(enum.Enum):
    """A cache archive format; the value is its file name suffix."""

    TAR = ".tar"
    GZIP = ".tar.gz"
    ZSTD = ".tar.zst"

    @classmethod
    def named(cls, path: Path) -> ArchiveFormat | None:
        """Return the archive format for the file name `path`, or None for a folder name.

        Raises InputError for other file names, such as `c.zip`, unless a folder has that name.
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
        """Return the format compressed with `codec`."""
        return next(archive for archive in cls if archive.codec is codec)

    @property
    def codec(self) -> Codec | None:
        """The codec of the file; None for a plain tar."""
        return {ArchiveFormat.GZIP: Codec.GZIP, ArchiveFormat.ZSTD: Codec.ZSTD}.get(self)


def plan_archive(image: CacheImage, layer: Descriptor, content: Content) -> VolumePlan:
    """Plan the archive of `image`; `content` is its layer, the first placed file."""
    return plan_tar(layout_tree(image, File(blob_path(layer.digest), content)), timestamp=TIMESTAMP)


def expected_archive(platforms: Collection[Platform], layer: Content) -> VolumePlan:
    """Plan the archive of a layer whose digest is unknown: only sizes and offsets are valid."""
    descriptor = Descriptor(OCI_LAYER, _ANY, layer.size)
    return plan_archive(cache_image(platforms, descriptor, diff_id=_ANY), descriptor, layer)
