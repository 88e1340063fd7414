"""Layers as an archive stores them, plain or compressed, checked against the configuration."""

from __future__ import annotations

import hashlib

from imager.content.extents import Codec, Content, FileRange, StreamRange
from imager.content.reading import content_codec, hash_content
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from imager.oci.plainfile import plain_pieces
from imager.support.errors import InputError

# Docker's containerd store saves layers compressed, as pulled from the registry.
_MEDIA_TYPES = {None: OCI_LAYER, Codec.GZIP: OCI_LAYER_GZIP, Codec.ZSTD: OCI_LAYER_ZSTD}


def stored_layer(content: Content, diff_id: str, where: str) -> Descriptor:
    """Return the descriptor of a layer, after checking it against the configuration's diff id.

    `content` is a range of one file.
    """
    codec = content_codec(content)
    stored = Digest(hash_content(content).hex())
    found = stored if codec is None else _plain_digest(content, codec, where)
    if str(found) != diff_id:
        raise InvalidImageError(
            f"{where} does not match its configuration: expected {diff_id}, got {found}",
            hint="the archive is damaged or was changed: save it again",
        )
    return Descriptor(_MEDIA_TYPES[codec], stored, content.size)


def _plain_digest(content: Content, codec: Codec, where: str) -> Digest:
    """Return the digest of the decompressed bytes."""
    (extent,) = content.extents
    if not isinstance(extent.source, FileRange):
        raise TypeError(f"{where} is not part of a file")
    path, start = extent.source.path, extent.source.offset
    stream = StreamRange(path, codec, start=start, length=content.size)
    plain = hashlib.sha256()
    try:
        for data in plain_pieces(stream):
            plain.update(data)
    except InputError as error:
        # Its message names the decompressed copy of a compressed archive.
        reason = error.message.rpartition(": ")[2]
        raise InvalidImageError(f"{where} cannot be decompressed: {reason}") from error
    return Digest(plain.hexdigest())
