"""`imager ls` and `imager extract`: the files of an image."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFREG, filemode
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imager.cli.declare import argument, flag, option
from imager.cli.options import Registries, Results, parse_platforms
from imager.support.errors import InputError

if TYPE_CHECKING:
    from imager.app.files import FilesOf
    from imager.image.inspect.extract import Extracted
    from imager.image.inspect.paths import Entry

SOURCE_HELP = "Path or https:// URL of an image, an OCI layout, or a reference of a registry."
_Source = Annotated[str, argument("SOURCE", SOURCE_HELP)]
_Platform = Annotated[
    str | None,
    option("OS/ARCH", "The image to take, of container images.", default="linux/amd64"),
]
_STDOUT = "-"
_TYPES = {"file": S_IFREG, "folder": S_IFDIR, "link": S_IFLNK}
_LETTERS = {"partition": "p", "device": "c", "other": "?"}


def ls(
    source: _Source,
    path: Annotated[
        str, argument("PATH", "A path in it; with / at its end, what is inside of a file.")
    ] = "",
    recursive: Annotated[bool, flag("--recursive", "List all below it.", "-R")] = False,
    platform: _Platform = None,
    *,
    registries: Registries,
    display: Results,
) -> None:
    """List files of an image, through partitions, file systems, UKIs, archives and compression.

    On a disk, a path begins with the label or number of a partition: EFI/EFI/Linux/talos.efi.
    It goes on inside of files: EFI/EFI/Linux/talos.efi/.initrd/init.
    """
    from imager.app.files import list_files

    found = list_files(_files_of(source, platform, registries), path, recursive=recursive)
    display.answer(_listing_text, _listing_json, found)


def extract(
    source: _Source,
    path: Annotated[str, argument("PATH", "A file or folder in it; / is everything.")],
    target: Annotated[
        str | None, argument("DEST", "A file or folder to write; - is standard output.")
    ] = None,
    force: Annotated[bool, flag("--force", "Replace an existing file.")] = False,
    platform: _Platform = None,
    *,
    registries: Registries,
    display: Results,
) -> None:
    """Write a file of an image, or a folder with all below it. See `imager ls` for paths.

    Links that may lead out of the folder, and devices, are left out.
    """
    from imager.app.files import extract_files, send_file

    of = _files_of(source, platform, registries)
    if target == _STDOUT:
        if sys.stdout.isatty():
            raise InputError("standard output is a terminal", hint="redirect it, or give a file")
        send_file(of, path, sys.stdout.buffer)
        return
    done = extract_files(of, path, None if target is None else Path(target), force=force)
    display.reporter().warn(*(f"not extracted: {each}" for each in done.left_out))
    display.summary(_extracted_text, _extracted_json, done)


def _files_of(source: str, platform: str | None, registries: Registries) -> FilesOf:
    from imager.app.files import FilesOf

    platforms = parse_platforms([platform] if platform else None)
    if len(platforms) > 1:
        raise typer.BadParameter("give one platform")
    settings = None if Path(source).exists() else registries.settings()
    return FilesOf(source, platforms[0] if platforms else None, settings)


def _listing_text(found: Sequence[Entry]) -> Iterator[str]:
    from imager.cli.tables import table

    if not found:
        return
    rows = [
        (
            "" if each.size is None else str(each.size),
            _mode(each),
            f"{each.path} -> {each.target}" if each.target else each.path,
        )
        for each in found
    ]
    yield from table(rows, numbers=1)


def _mode(entry: Entry) -> str:
    kind = _TYPES.get(entry.kind)
    if kind is None:
        return f"{_LETTERS[entry.kind]}---------"
    usual = 0o777 if entry.kind == "link" else 0o755
    return filemode(kind | (usual if entry.mode is None else entry.mode))


def _listing_json(found: Sequence[Entry]) -> Any:
    from imager.cli.tables import json_object

    return {"entries": [json_object(each) for each in found]}


def _extracted_text(done: Extracted) -> Iterator[str]:
    from imager.support.units import count, format_size

    yield f"{done.path}: {count(done.files, 'file')}, {format_size(done.size)}"


def _extracted_json(done: Extracted) -> Any:
    from imager.cli.tables import json_object

    return json_object(done)
