"""Warn about settings that Talos accepts but that may be mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imager.support.errors import InputError
from imager.support.units import format_size
from imager.support.yamldocs import LocatedDocument
from imager.talos.config.disk import Disk
from imager.talos.config.document import MachineConfig
from imager.talos.config.fields import FieldReader, LineProblem
from imager.talos.config.identity import document_name
from imager.talos.config.image_verification import VERIFICATION_KIND, report_doubts
from imager.talos.config.selector import Selector
from imager.talos.config.volumes import VOLUME_KIND
from imager.talos.constants import IMAGE_CACHE

_MATCH = "provisioning.diskSelector.match"
_VARIABLES = re.compile(r"\b(?:system_)?disk\b")


def doubts(config: MachineConfig) -> Iterator[LineProblem]:
    """Yield the warnings for `config`."""
    yield from _no_volume(config)
    yield from _relative_size(config)
    for document in config.documents:
        name = document_name(document.value)
        if name.startswith(f"{VOLUME_KIND} "):
            yield from _no_disk(document, name)
        elif name == VERIFICATION_KIND:
            found: list[LineProblem] = []
            report_doubts(FieldReader(document, name, found))
            yield from found


def _no_volume(config: MachineConfig) -> Iterator[LineProblem]:
    settings = config.image_cache
    has_document = any(
        document_name(each.value) == f"{VOLUME_KIND} {IMAGE_CACHE}" for each in config.documents
    )
    if settings.enabled and not has_document:
        yield LineProblem(
            settings.line,
            f"the image cache is enabled, but no volume {IMAGE_CACHE} is configured: unless the "
            "disk image or a medium has the cache, Talos waits five minutes and continues without "
            "it (`imager config patch` prints the volume)",
        )


def _relative_size(config: MachineConfig) -> Iterator[LineProblem]:
    """Yield a warning about a relative maxSize, which Talos treats as absolute for this volume."""
    if config.volume is None or config.volume.max_size.is_fixed:
        return
    document = config.document(f"{VOLUME_KIND} {IMAGE_CACHE}")
    size = config.volume.max_size.size
    result = (
        f"the sign, so it takes up to {format_size(-size)}"
        if size
        else "percentages, so it takes all free space"
    )
    yield LineProblem(
        document.line("provisioning.maxSize"),
        f"maxSize {document.written('provisioning.maxSize')}: for the volume {IMAGE_CACHE}, Talos "
        f"ignores {result}; write a size such as 4GiB",
    )


def _no_disk(document: LocatedDocument, name: str) -> Iterator[LineProblem]:
    """Yield a warning about a selector that ignores the disk, and is false or fails."""
    text = document.written(_MATCH) or ""
    if not text or _VARIABLES.search(text):
        return
    try:
        matches = Selector(text).matches([Disk()], system_disk="")
    except InputError as error:
        yield LineProblem(document.line(_MATCH), f"{name}: {_MATCH}: {error.message}")
        return
    if matches == [False]:
        yield LineProblem(document.line(_MATCH), f"{name}: {_MATCH}: selects no disk")
