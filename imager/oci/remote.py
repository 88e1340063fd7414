"""Images in registries as sources: OCI distribution specification 1.1, section Pull.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from imager.content.extents import Content
from imager.oci.client import Client, Request
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT
from imager.oci.download import download
from imager.oci.endpoint import Capability, Endpoint
from imager.oci.errors import NotFoundError, RegistryFailedError, WrongBytesError
from imager.oci.manifest import ACCEPTED_TYPES, OCI_INDEX, Descriptor, RawManifest
from imager.oci.reference import Reference
from imager.oci.referrers import NO_REFERRERS, Page, all_entries, read_page
from imager.oci.retry import NO_METHOD, insist
from imager.oci.source import BlobCheck, ByteSink
from imager.oci.transport import Response, read_bounded
from imager.support.errors import DependencyError, ImagerError, InputError
from imager.support.units import format_size

_T = TypeVar("_T")
_MOST_URLS = 8


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """One image in a registry; an ImageSource."""

    client: Client
    reference: Reference

    @property
    def warnings(self) -> tuple[str, ...]:
        """Empty: the image is kept byte for byte."""
        return ()

    def root(self) -> RawManifest:
        """Return the manifest or index of the reference, by its digest if it has one."""
        return self.manifest(self.reference.target)

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest or index of the repository; see ImageSource."""
        return self._find(target)[0]

    def locate(self) -> tuple[RawManifest, Endpoint]:
        """Return the root and the host that served it; raises as `root`."""
        return self._find(self.reference.target)

    def find_at(self, host: Endpoint) -> RawManifest | None:
        """Return the root from `host` only, None when this host does not have it.

        For a host that cannot resolve tags, returns the root from any host. Raises as `root`.
        """
        try:
            if Capability.RESOLVE not in host.config.capabilities:
                return self.root()
            return self._ask_manifest(self.reference.target, host)
        except NotFoundError:
            return None

    def _find(self, target: str | Digest) -> tuple[RawManifest, Endpoint]:
        # A server that resolves tags must be trusted; the content of a digest can be verified.
        need = Capability.PULL if isinstance(target, Digest) else Capability.RESOLVE
        return self.client.first(
            self.reference, need, lambda endpoint: (self._ask_manifest(target, endpoint), endpoint)
        )

    def _ask_manifest(self, target: str | Digest, endpoint: Endpoint) -> RawManifest:
        return insist(lambda: self._read_manifest(target, endpoint), self.client.patience)

    def _read_manifest(self, target: str | Digest, endpoint: Endpoint) -> RawManifest:
        itself = target == self.reference.target
        where = str(self.reference if itself else f"{self.reference}: manifest {target}")
        accept = {"Accept": ", ".join(ACCEPTED_TYPES)}
        asked = Request("GET", f"manifests/{target}", headers=accept)
        with self.client.request(self.reference, asked, endpoint=endpoint) as response:
            media_type = response.headers.get("Content-Type", "")
            if media_type.startswith("text/html"):
                raise RegistryFailedError(
                    f"{where}: {endpoint.host} answers with a web page",
                    hint="the host is not a registry, or a proxy or login page is answering for it",
                )
            stated = response.headers.get("Docker-Content-Digest", "")
            raw = read_bounded(response, MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise RegistryFailedError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
        digest = Digest.of(raw)
        expected = str(target) if isinstance(target, Digest) else stated
        if digest.contradicts(expected):
            raise RegistryFailedError(
                f"{where} does not match its digest: expected {expected}, got {digest}",
                hint="the registry or a proxy in front of it is damaged or modifies images",
            )
        return RawManifest.parse(raw, media_type=media_type, where=where)

    def blob_content(self, blob: Descriptor) -> Content | None:
        """Return None, as the blob is remote; see ImageSource.

        Raises NotFoundError for a foreign layer that is neither in the registry nor at one of its
        URLs.
        """
        if blob.is_foreign and not any(self._has(path, blob.size) for path in _blob_paths(blob)):
            raise NotFoundError(f"{self.reference.name} has no foreign layer {blob.digest}")
        return None

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Download the blob to `sink` and check it; see ImageSource.

        An interrupted transfer resumes at its last byte; see `download`.
        """
        where = f"{self.reference.name}: blob {blob.digest}"
        check = BlobCheck(blob, sink, where=where, error=WrongBytesError)
        for data in have:
            check.skip(data)
        failures: list[ImagerError] = []
        for path in _blob_paths(blob):
            try:
                # The next host is only asked for the bytes that are still missing.
                self._ask_for(path, functools.partial(self._download, check, path))
            except WrongBytesError:
                raise
            except (InputError, DependencyError) as error:
                failures.append(error)
            else:
                return
        raise failures[0]

    def _has(self, path: str, size: int) -> bool:
        def ask(endpoint: Endpoint) -> bool:
            if not self.client.answers(path, endpoint):
                return False
            # Some file servers do not support HEAD: send a GET and ignore the body.
            for method in ("HEAD", "GET"):
                asked = Request(method, path, accepted=(200, 404, 401, 403, *NO_METHOD))
                with self.client.request(self.reference, asked, endpoint=endpoint) as response:
                    length = response.headers.get("Content-Length", str(size))
                    if response.status not in NO_METHOD:
                        return (response.status, length) == (200, str(size))
            return False

        try:
            return self._ask_for(path, ask)
        except ImagerError:
            return False

    def _ask_for(self, path: str, ask: Callable[[Endpoint], _T]) -> _T:
        """Return the result of `ask` for a host that has `path`; see RegistryClient.first.

        A URL belongs to another server, so its failures do not count for the hosts of the registry.
        """
        if "://" in path:
            return ask(self.client.endpoints(self.reference.registry)[-1])
        return self.client.first(self.reference, Capability.PULL, ask)

    def referrers(self, subject: Digest, host: Endpoint) -> tuple[Descriptor, ...]:
        """List the manifests that refer to the manifest `subject`, according to `host`.

        Empty when the host has no referrers API, or its capabilities exclude it. Raises InputError
        when access is refused or a list is invalid, DependencyError when the host fails.
        """
        if Capability.REFERRERS not in host.config.capabilities:
            return ()

        def read(path: str) -> Page:
            headers = {"Accept": OCI_INDEX}
            asked = Request("GET", path, headers=headers, accepted=(200, *NO_REFERRERS))
            with self.client.request(self.reference, asked, endpoint=host) as response:
                return read_page(response, f"{self.reference.name}: {path}")

        return all_entries(
            f"referrers/{subject}", lambda path: insist(lambda: read(path), self.client.patience)
        )

    def _download(self, check: BlobCheck, path: str, endpoint: Endpoint) -> None:
        def ask(start: int) -> AbstractContextManager[Response]:
            asked = Request(
                "GET",
                path,
                headers={"Range": f"bytes={start}-"} if start else {},
                accepted=(200, 206, 416) if start else (200,),
            )
            return self.client.request(self.reference, asked, endpoint=endpoint)

        download(check, ask, patience=self.client.patience)


def _blob_paths(blob: Descriptor) -> tuple[str, ...]:
    """Return the paths of a blob: that in the registry and, for a foreign layer, its URLs."""
    urls = (url for url in blob.urls if url.startswith(("http://", "https://")))
    return (
        f"blobs/{blob.digest}",
        *(itertools.islice(urls, _MOST_URLS) if blob.is_foreign else ()),
    )
