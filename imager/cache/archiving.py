"""Packs an OCI layout as a tar, which skopeo calls an oci-archive.

The layer is the first member, so its offset is known before its contents are, and blobs are written
to their final places. The size of everything around the layer does not depend on digests.
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

# Names that cannot be meant for a folder.
_OTHER_FILES = """
.tgz .tzst .txz .tbz2 .gz .zst .xz .bz2 .zip .7z .rar .cpio
.iso .img .raw .qcow2 .vmdk .squashfs .sqsh .txt .yaml .yml .json
"""
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


def plan_archive(image: CacheImage, layer: Descriptor, content: Content) -> VolumePlan:
    """Return the archive of `image`; `content` is its layer, the first of the placed files."""
    return plan_tar(layout_tree(image, File(blob_path(layer.digest), content)), timestamp=TIMESTAMP)


def expected_archive(platforms: Collection[Platform], layer: Content) -> VolumePlan:
    """Return the archive of a layer whose digest is not known yet: only sizes and places count."""
    descriptor = Descriptor(OCI_LAYER, _ANY, layer.size)
    return plan_archive(cache_image(platforms, descriptor, diff_id=_ANY), descriptor, layer)
