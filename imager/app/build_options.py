"""The options of a build, besides its profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imager.app.release.options import Release
from imager.efi.keyfiles import DEFAULT_FOLDER
from imager.oci.reference import Reference
from imager.support.repro import source_date_epoch

if TYPE_CHECKING:
    from imager.image.stream import Stream
    from imager.oci.settings import RegistrySettings


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options for building a profile; `layer_cache` is a folder.

    `output` is a folder or the file to write. An existing file is replaced if `clobber`. With
    `device`, the output is written to that disk instead. `assets` is a folder of boot assets, or a
    container image that has them: its reference, OCI layout or archive. `registries` are the
    default settings if None. The cache must contain the images in the lists `require_images`.
    `secureboot` is the folder of keys and certificates. `bmap` describes the output for bmaptool in
    a file beside it; `release` adds other files. `push` is the reference that an installer image is
    pushed as, instead of being written. With `stream`, the output is sent there.
    `timestamp` is the time in the output, by default SOURCE_DATE_EPOCH.
    """

    output: Path
    assets: Path | Reference | None = None
    registries: RegistrySettings | None = None
    layer_cache: Path | None = None
    require_images: Sequence[str] = ()
    verify: bool = True
    checksum: bool = False
    dry_run: bool = False
    clobber: bool = True
    secureboot: Path = DEFAULT_FOLDER
    device: Path | None = None
    bmap: bool = False
    release: Release = field(default_factory=Release)
    push: str | None = None
    stream: Stream | None = None
    timestamp: int = field(default_factory=source_date_epoch)

    @property
    def names_file(self) -> bool:
        """Whether the output is for a file."""
        return not (self.device or self.push or self.stream)

    @property
    def writes_file(self) -> bool:
        """Whether the output is written to a file."""
        return self.names_file and not self.dry_run
