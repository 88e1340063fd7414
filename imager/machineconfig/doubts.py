"""What Talos takes in a machine configuration, and what may still be a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imager.errors import InputError
from imager.imagecache.machineconfig import document_name
from imager.machineconfig.disk import Disk
from imager.machineconfig.sections import LineProblem
from imager.machineconfig.selector import Selector
from imager.machineconfig.settings import MachineConfig
from imager.machineconfig.volumes import IMAGE_CACHE, VOLUME_KIND
from imager.units import format_size
from imager.yamldocs import LocatedDocument

_MATCH = "provisioning.diskSelector.match"
_VARIABLES = re.compile(r"\b(?:system_)?disk\b")


def doubts(config: MachineConfig) -> Iterator[LineProblem]:
    """Yield what may be a mistake, in documents that are right."""
    yield from _no_volume(config)
    yield from _relative_size(config)
    for document in config.documents:
        name = document_name(document.value)
        if name.startswith(f"{VOLUME_KIND} "):
            yield from _no_disk(document, name)


def _no_volume(config: MachineConfig) -> Iterator[LineProblem]:
    settings = config.image_cache
    has_document = any(
        document_name(each.value) == f"{VOLUME_KIND} {IMAGE_CACHE}" for each in config.documents
    )
    if settings.enabled and not has_document:
        yield LineProblem(
            settings.line,
            f"the image cache is on and no volume {IMAGE_CACHE} is configured: unless the disk "
            "image or a medium has the cache, Talos waits five minutes and goes on without it "
            "(`imager config patch` prints the volume)",
        )


def _relative_size(config: MachineConfig) -> Iterator[LineProblem]:
    """Yield a maximum that Talos reads as another one, for this volume alone."""
    if config.volume is None or config.volume.max_size.is_fixed:
        return
    document = config.document(f"{VOLUME_KIND} {IMAGE_CACHE}")
    size = config.volume.max_size.size
    takes = f"{format_size(-size)} at most" if size else "all the space that is free"
    yield LineProblem(
        document.line("provisioning.maxSize"),
        f"maxSize {document.written('provisioning.maxSize')} has no effect on the volume "
        f"{IMAGE_CACHE}: Talos makes it take {takes}, write a size",
    )


def _no_disk(document: LocatedDocument, name: str) -> Iterator[LineProblem]:
    """Yield a selector that is the same for all disks, and false."""
    text = document.written(_MATCH) or ""
    if not text or _VARIABLES.search(text):
        return
    try:
        matches = Selector(text).matches([Disk()], system_disk="")
    except InputError as error:
        yield LineProblem(document.line(_MATCH), f"{name}: {_MATCH}: {error.message}")
        return
    if matches == [False]:
        yield LineProblem(document.line(_MATCH), f"{name}: {_MATCH}: selects no disk at all")
