"""Show an inspection as an HTML page with everything in one file, which needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from imager.cli.inspect_svg import inspection_svg, text
from imager.cli.inspect_text import inspection_json
from imager.image.inspect.model import Inspection, UkiInfo
from imager.support.units import format_size

# Words up to here, such as a UUID, are not broken.
_LONGEST_WORD = 36
# Cells such as sizes stay on one line.
_SHORTEST = 12
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; }
h3 { margin: 1.2rem 0 .3rem; font-size: 1rem; }
svg { box-sizing: border-box; width: 100%; min-width: 40rem; height: auto;
      border: 1px solid #8886; border-radius: 6px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; }
th { border-bottom: 2px solid #9ca3af; white-space: nowrap; }
td { border-bottom: 1px solid #8885; }
td.short { white-space: nowrap; }
td.long { overflow-wrap: anywhere; min-width: 15rem; }
.bad { color: #b91c1c; }
@media (prefers-color-scheme: dark) { .bad { color: #f87171; } }
pre { overflow-x: auto; font-size: .8rem; }
""".strip()


def inspection_html(found: Inspection) -> str:
    """Return the page: the picture, a table for each kind of contents, and the JSON."""
    talos = f", Talos {found.talos}" if found.talos else ""
    title = f"{found.source.name}: {found.kind}, {format_size(found.size)}{talos}"
    parts = [
        "<!doctype html>",
        "<html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
        "style-src 'unsafe-inline'\">",
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{text(title)}</h1>",
        f"<p>{text(' > '.join(found.source.formats))}</p>" if found.source.formats else "",
        f"<div class='wide'>{inspection_svg(found)}</div>",
        *_tables(found),
        "<details><summary>JSON</summary><pre>",
        text_lines(json.dumps(inspection_json(found), indent=2)),
        "</pre></details></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def text_lines(value: str) -> str:
    """Return text of several lines for HTML."""
    return "\n".join(map(text, value.split("\n")))


def _tables(found: Inspection) -> Iterator[str]:
    findings = [(each.place, each.problem) for each in found.findings]
    yield from _table("Damaged", ("Place", "Problem"), findings, kind="bad")
    yield from _table(
        "Partitions",
        ("Number", "Offset", "Size", "Label", "Type", "UUID", "Flags"),
        (
            (each.number, each.offset, _size(each.size), each.label, each.type_name or each.type_id,
             each.uuid, " ".join(each.flags))
            for each in found.partitions
        ),
    )  # fmt: skip
    yield from _table(
        "File systems",
        ("Place", "Kind", "Label", "UUID", "Offset", "Size", "Used", "Files"),
        (
            (each.place, each.kind, each.label, each.uuid, each.offset, _size(each.size),
             _size(each.used), "" if each.files is None else each.files)
            for each in found.volumes
        ),
    )  # fmt: skip
    yield from _boot_tables(found)
    yield from _table(
        "Image cache",
        ("Image", "Size", "Own", "Platforms", "Digest"),
        (
            (each.name, _size(each.size), _size(each.own), ", ".join(each.platforms), each.digest)
            for each in (found.cache.images if found.cache else ())
        ),
    )
    yield from _table(
        "Container images",
        ("Name", "Kind", "Platform", "Size", "Layers", "Digest"),
        (
            (each.name, each.kind, each.platform, _size(each.size), len(each.layers), each.digest)
            for each in found.containers
        ),
    )
    unknown = [(each.place, each.reason) for each in found.unknown]
    yield from _table("Unknown", ("Place", "Reason"), unknown)


def _boot_tables(found: Inspection) -> Iterator[str]:
    yield from _table(
        "Boot",
        ("Firmware", "By", "Title", "Place", "File", "Kernel", "Arguments"),
        (
            (each.firmware.value.upper() if each.firmware else "BIOS, UEFI", each.by, each.title,
             each.place, each.path, " ".join((each.kernel, *each.initramfs)), each.cmdline)
            for each in found.boot
        ),
    )  # fmt: skip
    for uki in found.ukis:
        yield from _uki(uki)
    yield from _table(
        "Kernels",
        ("Version", "Place", "File", "Size"),
        ((each.version, each.place, each.path, _size(each.size)) for each in found.kernels),
    )
    extensions = (
        (each.name, each.version, each.author, each.description, initramfs.path)
        for initramfs in found.initramfs
        for each in initramfs.extensions
    )
    heads = ("Name", "Version", "Author", "Description", "Initramfs")
    yield from _table("System extensions", heads, extensions)
    yield from _table(
        "EFI binaries",
        ("Place", "File", "Size", "SHA-256", "Signed by"),
        (
            (each.place, each.path, _size(each.size), each.digest,
             "; ".join(signature.subject or signature.problem for signature in each.signatures))
            for each in found.efi
        ),
    )  # fmt: skip
    keys = ((each.variable, each.entries, each.signer, each.path) for each in found.keys)
    yield from _table("Keys to enrol", ("Variable", "Entries", "Signer", "Folder"), keys)
    meta = ((f"{each.key:#04x}", each.value) for each in found.meta)
    yield from _table("META", ("Key", "Value"), meta)


def _uki(uki: UkiInfo) -> Iterator[str]:
    title = f"Unified kernel image {uki.path}"
    yield from _table(title, ("Field", "Value"), uki.os_release.items())
    sections = ((each.name, _size(each.size)) for each in uki.sections)
    yield from _table("Sections", ("Name", "Size"), sections, level=3)
    yield from _table(
        "Profiles",
        ("Id", "Title", "Arguments", "PCR 11", "Phases"),
        (
            (each.id, each.title, each.cmdline, each.policy.pcr11 if each.policy else "",
             ", ".join(each.policy.phases) if each.policy else "")
            for each in uki.profiles
        ),
        level=3,
    )  # fmt: skip


def _table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    kind: str = "",
    level: int = 2,
) -> Iterator[str]:
    """Yield a table under a heading; nothing if it has no rows."""
    lines = ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows]
    if lines:
        mark = f" class='{kind}'" if kind else ""
        yield f"<h{level}{mark}>{text(title)}</h{level}><div class='wide'><table>"
        yield "<tr>" + "".join(f"<th>{text(head)}</th>" for head in heads) + "</tr>"
        yield from lines
        yield "</table></div>"


def _cell(value: object) -> str:
    shown = str(value)
    is_long = any(len(word) > _LONGEST_WORD for word in shown.split())
    kind = " class='long'" if is_long else " class='short'" if len(shown) <= _SHORTEST else ""
    return f"<td{kind}>{text(shown)}</td>"


def _size(size: int | None) -> str:
    return "" if size is None else format_size(size)
