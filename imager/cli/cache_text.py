"""Format the results of cache commands as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imager.cli.tables import blob_json, exact_size, json_object, mebibytes, table
from imager.support.units import count

if TYPE_CHECKING:
    from imager.cache.diff import CacheDiff, ImageChange
    from imager.cache.edit import Addition, Pruning
    from imager.cache.images import CachedImage
    from imager.cache.info import CacheInfo
    from imager.cache.verify import Verification
    from imager.oci.digest import Digest


def info_text(info: CacheInfo) -> Iterator[str]:
    """Format the images of a cache as a table, followed by its sizes."""
    cache, opened = info.cache, info.opened
    rows = [("SIZE", "IMAGE", "PLATFORMS")]
    by_size = sorted(info.images, key=lambda each: (-each.size, str(each.reference)))
    rows += [(mebibytes(each.size), str(each.reference), _platforms(each)) for each in by_size]
    compression = opened.codec.value if opened.codec else "not compressed"
    yield from table(rows, numbers=1)
    yield ""
    yield f"image cache      {cache.source} ({opened.kind.value}, {compression})"
    yield f"platforms        {', '.join(map(str, cache.platforms)) or 'unknown'}"
    yield f"images           {len(info.images)}, {count(info.manifests, 'manifest')}"
    yield f"signatures       {len(info.signatures)}"
    yield f"blobs            {len(cache.blobs)}, {len(info.unreferenced)} unused"
    yield f"size             {exact_size(cache.size)}"
    yield f"shared           {exact_size(info.shared)} saved by sharing blobs"
    if opened.layer is not None:
        yield f"layer            {opened.layer.digest}, {exact_size(opened.layer.size)}"
    yield f"smallest volume  {info.volume_size >> 20}MiB in a disk image"
    yield f"minSize          {info.min_size} for a VolumeConfig named IMAGECACHE"


def info_json(info: CacheInfo) -> dict[str, Any]:
    """Return the JSON object of `info_text`; sizes in bytes."""
    cache, opened = info.cache, info.opened
    return {
        "source": cache.source,
        "layout": opened.kind.value,
        "layerCompression": opened.codec.value if opened.codec else "none",
        "layer": opened.layer and blob_json(opened.layer.digest, opened.layer.size),
        "platforms": [str(platform) for platform in cache.platforms],
        "images": [_image(image) for image in info.images],
        "signatures": len(info.signatures),
        "manifests": info.manifests,
        "blobs": len(cache.blobs),
        "unreferencedBlobs": [str(digest) for digest in info.unreferenced],
        "size": cache.size,
        "sharedSize": info.shared,
        "volumeSize": info.volume_size,
        "minSize": info.min_size,
    }


def verification_text(_source: str, found: Verification) -> Iterator[str]:
    """Format the notes on a valid cache and a summary of the verification."""
    for note in found.notes:
        yield f"note: {note}"
    parts = [count(found.images, "image"), count(found.blobs, "blob"), exact_size(found.size)]
    if found.signatures:
        parts.insert(1, count(found.signatures, "signature"))
    yield f"verified {', '.join(parts)}"
    if found.verified:
        yield f"verified the signatures of {count(found.verified, 'image')}"


def verification_json(source: str, found: Verification) -> dict[str, Any]:
    """Return the verification as a JSON object, including problems."""
    return {"source": source, "ok": not found.problems, **json_object(found, without="hint")}


def diff_text(diff: CacheDiff) -> Iterator[str]:
    """Format the differences, one per line: `-` only in the first, `+` only in the second cache."""
    for sign, images in (("-", diff.removed), ("+", diff.added)):
        for image in images:
            yield f"{sign} {image.reference}  {_platforms(image)}".rstrip()
    for change in diff.changed:
        old, new = change.old.root.digest, change.new.root.digest
        yield f"~ {change.new.reference}  {old} -> {new}"
        for each in change.platforms:
            platform = each.platform or "no platform"
            yield f"    {platform}: {each.old or 'none'} -> {each.new or 'none'}"
    for signed in diff.signatures:
        yield f"signatures {signed.name}  {signed.old or 'none'} -> {signed.new or 'none'}"
    yield f"blobs removed    {_blobs(diff.blobs_removed)}"
    yield f"blobs added      {_blobs(diff.blobs_added)}"


def diff_json(diff: CacheDiff) -> dict[str, Any]:
    """Return the differences for JSON; sizes in bytes."""
    return {
        "same": diff.same,
        "removed": [_image(image) for image in diff.removed],
        "added": [_image(image) for image in diff.added],
        "changed": [_change(change) for change in diff.changed],
        "signatures": [*map(json_object, diff.signatures)],
        "blobsRemoved": _blob_list(diff.blobs_removed),
        "blobsAdded": _blob_list(diff.blobs_added),
        "bytesRemoved": sum(diff.blobs_removed.values()),
        "bytesAdded": sum(diff.blobs_added.values()),
    }


def addition_text(path: Path, addition: Addition) -> Iterator[str]:
    """Format the additions to the cache at `path`."""
    blobs = addition.gathered.blobs
    if not addition.changes:
        yield f"{path}: nothing to add, {count(len(blobs), 'blob')}"
        return
    new, kept = _sizes(addition), count(len(blobs) - len(addition.blobs_added), "blob")
    size = exact_size(addition.gathered.size)
    yield f"{path}: {_blobs(new)} added, {kept} kept; {size} in all"
    if addition.folders_added:
        yield f"{path}: {count(len(addition.folders_added), 'folder')} added"


def addition_json(path: Path, addition: Addition) -> dict[str, Any]:
    """Return the JSON object of `addition_text`; sizes in bytes."""
    return {
        "path": str(path),
        "changed": addition.changes,
        "replaced": [str(image.reference) for image in addition.moved],
        "blobsAdded": _blob_list(_sizes(addition)),
        "blobs": len(addition.gathered.blobs),
        "foldersAdded": list(addition.folders_added),
        "size": addition.gathered.size,
    }


def pruning_text(path: Path, pruning: Pruning, *, dry_run: bool) -> Iterator[str]:
    """Format the removals from the cache at `path`, done or planned."""
    if not pruning.changes:
        yield f"{path}: nothing to remove"
    for image in pruning.removed:
        yield f"- {image.reference}"
    if pruning.takes_out:
        freed = f"{'would free' if dry_run else 'freed'} {exact_size(pruning.freed)}"
        images = count(len(pruning.removed), "image")
        yield f"{path}: {freed}: {images}, {count(len(pruning.blobs_dropped), 'blob')}"
    if pruning.folders_added:
        added = "would be added" if dry_run else "added"
        yield f"{path}: {count(len(pruning.folders_added), 'folder')} {added}"


def pruning_json(path: Path, pruning: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """Return the JSON object of `pruning_text`; sizes in bytes."""
    return {
        "path": str(path),
        "changed": pruning.changes and not dry_run,
        "removed": [str(image.reference) for image in pruning.removed],
        "blobsRemoved": [str(digest) for digest in pruning.blobs_dropped],
        "foldersAdded": list(pruning.folders_added),
        "freed": pruning.freed,
    }


def _blobs(blobs: dict[Digest, int]) -> str:
    return f"{count(len(blobs), 'blob')}, {exact_size(sum(blobs.values()))}"


def _blob_list(blobs: dict[Digest, int]) -> list[dict[str, Any]]:
    return [blob_json(digest, size) for digest, size in blobs.items()]


def _sizes(addition: Addition) -> dict[Digest, int]:
    return {each: addition.gathered.blobs[each].blob.size for each in addition.blobs_added}


def _platforms(image: CachedImage) -> str:
    return ",".join(map(str, image.platforms))


def _image(image: CachedImage) -> dict[str, Any]:
    return {
        "name": str(image.reference),
        "digest": str(image.root.digest),
        "size": image.size,
        "platforms": [
            {
                "platform": str(part.platform or ""),
                "digest": str(part.manifest.digest),
                "size": sum(blob.size for blob in part.blobs),
            }
            for part in image.parts
        ],
    }


def _change(change: ImageChange) -> dict[str, Any]:
    return {
        "name": str(change.new.reference),
        "old": str(change.old.root.digest),
        "new": str(change.new.root.digest),
        "platforms": [*map(json_object, change.platforms)],
    }
