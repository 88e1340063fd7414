"""Writes files for the clients of a server: containerd's hosts files and Talos's patch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.registry.address import Address
from imager.registry.containerd_hosts import write_hosts
from imager.registry.mirrors import DEFAULT_REGISTRIES, mirror_documents, mirrors_patch
from imager.registry.patchfiles import require_same, write_patch
from imager.support.errors import InputError, OutputError
from imager.support.folders import check_output_folder


@dataclass(frozen=True, slots=True)
class Announcement:
    """The files to write for clients, each optional.

    `patch` works with every version of Talos; `documents` is the file that talosctl writes by
    default. `registries` are added to those of the images; `url` replaces the server's own; clients
    trust the certificates in `ca_file`.
    """

    hosts_folder: Path | None = None
    patch: Path | None = None
    documents: Path | None = None
    registries: tuple[str, ...] = ()
    url: str | None = None
    ca_file: Path | None = None

    def check(self, address: Address) -> None:
        """Raise InputError when the files cannot be written for a server listening on `address`."""
        if self.patch is not None:
            check_output_folder(self.patch.parent)
        wanted = self.hosts_folder is not None or self.patch is not None
        if wanted and self.url is None and address.is_everywhere:
            raise InputError(
                f"{address} is not an address that clients can use",
                hint="give the URL at which they reach the server: --advertise-url http://192.0.2.7:3172",
            )

    def write(self, registries: Iterable[str], url: str) -> tuple[Path, ...]:
        """Write the files for `registries` and the server at `url`; return their paths.

        Raises InputError and HostError as `write_hosts`, OutputError when `ca_file` cannot be read.
        """
        told = sorted({*registries, *self.registries})
        at = self.url or url
        written: list[Path] = []
        if self.hosts_folder is not None:
            written += write_hosts(self.hosts_folder, told, url=at, ca_file=self.ca_file)
        if self.patch is not None:
            write_patch(self.patch, mirrors_patch(told, url=at, ca=self._ca()))
            written.append(self.patch)
        return tuple(written)

    def write_documents(self, registries: Iterable[str], urls: Sequence[str]) -> Path | None:
        """Write `documents` for a server at `urls`; return its path, None if it is not configured.

        Raises InputError when the file exists with other contents, HostError when it cannot be
        written.
        """
        if self.documents is None:
            return None
        named = self.registries or DEFAULT_REGISTRIES
        text = mirror_documents({*registries, *named}, urls=[self.url] if self.url else urls)
        require_same(self.documents, text)
        write_patch(self.documents, text)
        return self.documents

    def _ca(self) -> bytes | None:
        try:
            return self.ca_file.read_bytes() if self.ca_file else None
        except OSError as error:
            raise OutputError(f"cannot read {self.ca_file}: {error.strerror}") from error
