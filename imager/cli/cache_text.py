"""Format the results of cache commands as text and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imager.cache.diff import CacheDiff, ImageChange
from imager.cache.edit import Addition, Pruning
from imager.cache.images import CachedImage
from imager.cache.info import CacheInfo
from imager.cache.opened import OpenedCache
from imager.cache.verify import Verification
from imager.cli.tables import exact_size, json_object, mebibytes, table
from imager.oci.digest import Digest
from imager.support.screen import printable
from imager.support.units import count


def info_text(info: CacheInfo) -> str:
    """Format the images of a cache as a table, followed by its sizes."""
    cache, opened = info.cache, info.opened
    rows = [("SIZE", "IMAGE", "PLATFORMS")]
    by_size = sorted(info.images, key=lambda each: (-each.size, str(each.reference)))
    rows += [(mebibytes(each.size), str(each.reference), _platforms(each)) for each in by_size]
    lines = [
        *table(rows, numbers=1),
        "",
        f"image cache      {cache.source} ({opened.kind.value}, {_compression(opened)})",
        f"platforms        {', '.join(map(str, cache.platforms)) or 'unknown'}",
        f"images           {len(info.images)}, {count(info.manifests, 'manifest')}",
        f"signatures       {len(info.signatures)}",
        f"blobs            {len(cache.blobs)}, {len(info.unreferenced)} unused",
        f"size             {exact_size(cache.size)}",
        f"shared           {exact_size(info.shared)} saved by sharing blobs",
    ]
    if opened.layer is not None:
        lines.append(f"layer            {opened.layer.digest}, {exact_size(opened.layer.size)}")
    lines += [
        f"smallest volume  {info.volume_size >> 20}MiB in a disk image",
        f"minSize          {info.min_size} for a VolumeConfig named IMAGECACHE",
    ]
    return printable("\n".join(lines))


def info_json(info: CacheInfo) -> dict[str, Any]:
    """Return the JSON object of `info_text`; sizes in bytes."""
    cache, opened = info.cache, info.opened
    return {
        "source": cache.source,
        "layout": opened.kind.value,
        "layerCompression": opened.codec.value if opened.codec else "none",
        "layer": opened.layer and {"digest": str(opened.layer.digest), "size": opened.layer.size},
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


def verification_text(_source: str, found: Verification) -> str:
    """Format the notes on a valid cache and a summary of the verification."""
    notes = [f"note: {note}" for note in found.notes]
    parts = [count(found.images, "image"), count(found.blobs, "blob"), exact_size(found.size)]
    if found.signatures:
        parts.insert(1, count(found.signatures, "signature"))
    return printable("\n".join([*notes, f"verified {', '.join(parts)}"]))


def verification_json(source: str, found: Verification) -> dict[str, Any]:
    """Return the verification as a JSON object, including problems."""
    return {"source": source, "ok": not found.problems, **json_object(found, without="hint")}


def diff_text(diff: CacheDiff) -> str:
    """Format the differences, one per line: `-` only in the first, `+` only in the second cache."""
    lines = [f"- {image.reference}  {_platforms(image)}".rstrip() for image in diff.removed]
    lines += [f"+ {image.reference}  {_platforms(image)}".rstrip() for image in diff.added]
    for change in diff.changed:
        lines.append(f"~ {change.new.reference}  {_digests(change)}")
        lines += [
            f"    {each.platform or 'no platform'}: {each.old or 'none'} -> {each.new or 'none'}"
            for each in change.platforms
        ]
    lines += [
        f"signatures {each.name}  {each.old or 'none'} -> {each.new or 'none'}"
        for each in diff.signatures
    ]
    lines += [
        f"blobs removed    {_blobs(diff.blobs_removed)}",
        f"blobs added      {_blobs(diff.blobs_added)}",
    ]
    return printable("\n".join(lines))


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


def addition_text(path: Path, addition: Addition) -> str:
    """Format the additions to the cache at `path`."""
    blobs = addition.gathered.blobs
    if not addition.changes:
        return f"{path}: nothing to add, {count(len(blobs), 'blob')}"
    new = {digest: blobs[digest].blob.size for digest in addition.blobs_added}
    lines = [
        f"{path}: {_blobs(new)} added, {count(len(blobs) - len(new), 'blob')} kept; "
        f"{exact_size(addition.gathered.size)} in all"
    ]
    if addition.folders_added:
        lines.append(f"{path}: {count(len(addition.folders_added), 'folder')} added")
    return printable("\n".join(lines))


def addition_json(path: Path, addition: Addition) -> dict[str, Any]:
    """Return the JSON object of `addition_text`; sizes in bytes."""
    blobs = addition.gathered.blobs
    return {
        "path": str(path),
        "changed": addition.changes,
        "replaced": [str(image.reference) for image in addition.moved],
        "blobsAdded": _blob_list({each: blobs[each].blob.size for each in addition.blobs_added}),
        "blobs": len(blobs),
        "foldersAdded": list(addition.folders_added),
        "size": addition.gathered.size,
    }


def pruning_text(path: Path, pruning: Pruning, *, dry_run: bool) -> str:
    """Format the removals from the cache at `path`, done or planned."""
    if not pruning.changes:
        return f"{path}: nothing to take out"
    lines = [f"- {image.reference}" for image in pruning.removed]
    would = "would free" if dry_run else "freed"
    dropped = count(len(pruning.blobs_dropped), "blob")
    images = count(len(pruning.removed), "image")
    if pruning.takes_out:
        lines.append(f"{path}: {would} {exact_size(pruning.freed)}: {images}, {dropped}")
    if pruning.folders_added:
        added = "would be added" if dry_run else "added"
        lines.append(f"{path}: {count(len(pruning.folders_added), 'folder')} {added}")
    return printable("\n".join(lines))


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
    return [{"digest": str(digest), "size": size} for digest, size in blobs.items()]


def _compression(opened: OpenedCache) -> str:
    return opened.codec.value if opened.codec else "not compressed"


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


def _digests(change: ImageChange) -> str:
    return f"{change.old.root.digest} -> {change.new.root.digest}"


def _change(change: ImageChange) -> dict[str, Any]:
    return {
        "name": str(change.new.reference),
        "old": str(change.old.root.digest),
        "new": str(change.new.root.digest),
        "platforms": [*map(json_object, change.platforms)],
    }
