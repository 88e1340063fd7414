"""Format an inspection as text with bars, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from imager.cli.tables import json_object, mebibytes, table
from imager.image.inspect.model import BootEntry, Inspection, Region, UkiInfo
from imager.support.units import count, format_size

_KINDS = {
    "iso": "ISO image",
    "disk": "disk image",
    "filesystem": "file system without partitions",
    "uki": "unified kernel image",
    "efi-binary": "EFI binary",
    "kernel": "Linux kernel",
    "initramfs": "initramfs",
    "image-cache": "image cache",
    "container-images": "container images",
    "unknown": "unknown format",
}
_BAR = 60
_FULL, _LIGHT = "\N{FULL BLOCK}", "\N{LIGHT SHADE}"
_ASCII_FULL, _ASCII_LIGHT = "#", "."
_MOST_ROWS = 40
_LONGEST_COMMAND = 2000


def inspection_text(found: Inspection) -> Iterator[str]:
    """Format an inspection, one section for each kind of contents that the image has."""
    yield from _head(found)
    for title, rows in (
        ("Layout", _layout(found)),
        ("Partitions", _partitions(found)),
        ("File systems", _volumes(found)),
        ("Boot", _boot(found)),
        ("Unified kernel images", _ukis(found.ukis)),
        ("Kernels", _kernels(found)),
        ("Initramfs", _initramfs(found)),
        ("EFI binaries", _efi(found)),
        ("Keys to enrol", _keys(found)),
        ("META", [f"{each.key:#04x}  {each.value}" for each in found.meta]),
        ("Image cache", _cache(found)),
        ("Container images", _containers(found)),
        ("Damaged", [f"{each.place}: {each.problem}" for each in found.findings]),
        ("Unknown", [f"{each.place}: {each.reason}" for each in found.unknown]),
    ):
        lines = list(rows)
        if lines:
            yield ""
            yield title
            yield from (f"  {line}" for line in lines)


def inspection_json(found: Inspection) -> dict[str, Any]:
    """Return an inspection as a JSON object: the fields of `Inspection` in camelCase."""
    return {"version": 1, **json_object(found)}


def _head(found: Inspection) -> Iterator[str]:
    talos = f", Talos {found.talos}" if found.talos else ""
    kind = _KINDS.get(found.kind, found.kind)
    yield f"{found.source.name}: {kind}, {format_size(found.size)}{talos}"
    if found.source.formats:
        inside = " > ".join(found.source.formats)
        size = f", {format_size(found.source.size)}" if found.source.size is not None else ""
        yield f"  {inside}{size}"


def _rows(rows: Sequence[Sequence[str]], *, numbers: int = 0) -> Iterator[str]:
    """Yield the lines of a table with a heading; of many rows only the first ones."""
    if len(rows) < 2:
        return
    shown = rows[: _MOST_ROWS + 1]
    yield from table(shown, numbers=numbers)
    if len(rows) > len(shown):
        yield f"and {len(rows) - len(shown)} more"


def _layout(found: Inspection) -> Iterator[str]:
    if not found.regions:
        return
    yield bar(found.regions, found.size)
    rows = [("OFFSET", "SIZE", "USED", "", "")]
    rows += [
        (
            str(each.offset),
            mebibytes(each.size),
            "" if each.used is None else mebibytes(each.used),
            _letter(number),
            each.name,
        )
        for number, each in enumerate(found.regions)
    ]
    yield from _rows(rows, numbers=3)


def bar(regions: Sequence[Region], size: int, *, width: int = _BAR) -> str:
    """Return a bar of the regions: each with its letter, then full and light for used and free."""
    full, light = (_FULL, _LIGHT) if _has_blocks() else (_ASCII_FULL, _ASCII_LIGHT)
    cells = []
    for number, region in enumerate(regions):
        length = max(round(region.size * width / size), 1) if size else 1
        share = region.used / region.size if region.used is not None and region.size else 1.0
        used = 0 if region.kind == "free" else min(round((length - 1) * share), length - 1)
        cells.append(_letter(number) + full * used + light * (length - 1 - used))
    return f"[{'|'.join(cells)}]"


def _letter(number: int) -> str:
    return chr(ord("a") + number % 26)


def _has_blocks() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def _partitions(found: Inspection) -> Iterator[str]:
    rows = [("NUMBER", "OFFSET", "SIZE", "LABEL", "TYPE", "UUID", "FLAGS")]
    rows += [
        (
            str(each.number),
            str(each.offset),
            str(each.size),
            each.label or "-",
            each.type_name or each.type_id,
            each.uuid or "-",
            " ".join(each.flags),
        )
        for each in found.partitions
    ]
    if found.table and found.partitions:
        uuid = f", {found.table.uuid}" if found.table.uuid else ""
        yield f"{found.table.kind}, {found.table.sector_size}-byte sectors{uuid}"
    yield from _rows(rows, numbers=3)


def _volumes(found: Inspection) -> Iterator[str]:
    rows = [("OFFSET", "SIZE", "USED", "KIND", "LABEL", "UUID", "PLACE")]
    rows += [
        (
            str(each.offset),
            "-" if each.size is None else mebibytes(each.size),
            "-" if each.used is None else mebibytes(each.used),
            each.kind,
            each.label or "-",
            each.uuid or "-",
            each.place,
        )
        for each in found.volumes
    ]
    yield from _rows(rows, numbers=3)


def _boot(found: Inspection) -> Iterator[str]:
    for entry in found.boot[:_MOST_ROWS]:
        yield _entry(entry)
        if entry.kernel and not entry.kernel.startswith("."):
            yield f"  kernel     {' '.join((entry.kernel, *entry.initramfs))}"
        if entry.cmdline:
            yield f"  arguments  {entry.cmdline[:_LONGEST_COMMAND]}"
    if len(found.boot) > _MOST_ROWS:
        yield f"and {len(found.boot) - _MOST_ROWS} more"


def _entry(entry: BootEntry) -> str:
    firmware = entry.firmware.value.upper() if entry.firmware else "BIOS, UEFI"
    path = f": {entry.path}" if entry.path and entry.path != entry.title else ""
    default = ", default" if entry.is_default else ""
    return f"{firmware}, {entry.by}{default}: {entry.title} ({entry.place}{path})"


def _ukis(ukis: Sequence[UkiInfo]) -> Iterator[str]:
    for uki in ukis:
        name = uki.os_release.get("PRETTY_NAME") or uki.os_release.get("NAME", "")
        yield f"{_at(uki.place, uki.path)}: {name or 'no os-release'}, {format_size(uki.size)}"
        sections = "  ".join(f"{each.name} {format_size(each.size)}" for each in uki.sections)
        yield f"  sections   {sections}"
        for profile in uki.profiles:
            title = " ".join(filter(None, (profile.id, profile.title))) or "only one"
            yield f"  profile    {title}"
            yield f"    arguments  {profile.cmdline[:_LONGEST_COMMAND]}"
            if profile.policy is not None:
                phases = ", ".join(each or "kernel start" for each in profile.policy.phases)
                yield f"    PCR 11     {profile.policy.pcr11}"
                yield f"    policies   {phases}"


def _at(place: str, path: str) -> str:
    return f"{place}: {path}" if place and path else place or path


def _kernels(found: Inspection) -> Iterator[str]:
    for each in found.kernels:
        version = each.version or "unknown version"
        yield f"{version}  {_at(each.place, each.path)}, {format_size(each.size)}"


def _initramfs(found: Inspection) -> Iterator[str]:
    for each in found.initramfs:
        archives = ", ".join(each.archives) or "none"
        yield f"{_at(each.place, each.path)}, {format_size(each.size)}"
        yield f"  archives   {archives}"
        for extension in each.extensions:
            size = f", {format_size(extension.size)}" if extension.size is not None else ""
            yield f"  extension  {extension.name} {extension.version}{size}"


def _efi(found: Inspection) -> Iterator[str]:
    for each in found.efi:
        yield f"{_at(each.place, each.path)}, {format_size(each.size)}"
        yield f"  sha256     {each.digest}"
        for signature in each.signatures:
            problem = f": {signature.problem}" if signature.problem else ""
            yield f"  signed by  {signature.subject or 'unknown'}{problem}"
            if signature.fingerprint:
                yield f"    sha256   {signature.fingerprint}"
        if not each.signatures:
            yield "  not signed"


def _keys(found: Inspection) -> Iterator[str]:
    for each in found.keys:
        signer = f"signed by {each.signer}" if each.signer else "not signed"
        yield f"{each.variable:4} {count(each.entries, 'entry')}, {signer} ({each.path})"


def _cache(found: Inspection) -> Iterator[str]:
    if found.cache is None:
        return
    cache = found.cache
    total, shared = format_size(cache.size), format_size(cache.shared)
    place = f" in {cache.place}" if cache.place else ""
    yield f"{count(len(cache.images), 'image')}{place}: {total}, {shared} shared"
    rows = [("SIZE", "OWN", "PLATFORMS", "IMAGE")]
    rows += [
        (mebibytes(each.size), mebibytes(each.own), ", ".join(each.platforms) or "-", each.name)
        for each in cache.images
    ]
    yield from _rows(rows, numbers=2)


def _containers(found: Inspection) -> Iterator[str]:
    for each in found.containers[:_MOST_ROWS]:
        platform = f", {each.platform}" if each.platform else ""
        yield f"{each.name}: {each.kind}{platform}, {format_size(each.size)}"
        yield f"  digest     {each.digest}"
        for layer in each.layers:
            yield f"  layer      {layer.digest} {format_size(layer.size)}"
        for key, value in each.labels.items():
            yield f"  label      {key}={value}"
    if len(found.containers) > _MOST_ROWS:
        yield f"and {len(found.containers) - _MOST_ROWS} more"
