"""Images in registries: OCI distribution specification 1.1, section Pull.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import urlsplit

from imager.errors import DependencyError, ImagerError, InputError
from imager.extents import Content
from imager.oci.authorization import Authorizer, login_hint, read_bounded
from imager.oci.credentials import CredentialStore
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT, load_fields
from imager.oci.download import download
from imager.oci.manifest import ACCEPTED_TYPES, Descriptor, RawManifest
from imager.oci.reference import DOCKER_HUB, Reference
from imager.oci.source import BlobCheck, ByteSink, NotFoundError, WrongBytesError
from imager.oci.transport import HttpTransport, Patience, Response, Transport
from imager.units import KIB, format_size

_HUB_HOST = "registry-1.docker.io"
_LONGEST_SAID = 200


class RegistryClient:
    """Pulls from any number of registries with one transport and one set of credentials.

    `insecure` allows plain HTTP where a registry has no TLS; registries on loopback addresses
    may always use it. Whether certificates are checked is the transport's matter. `patience` is
    for blobs that come in pieces. Several threads may use one client: they share its tokens, and
    one of them at a time asks for the token of a repository.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        credentials: CredentialStore,
        insecure: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self._transport = transport
        self._authorizer = Authorizer(transport, credentials)
        self._insecure = insecure
        self._bases: dict[str, str] = {}
        self._authorizations: dict[str, str] = {}
        self._locks: dict[str, threading.Lock] = {}

    @classmethod
    def default(cls, *, insecure: bool = False) -> RegistryClient:
        """Return a client on HTTP with the user's stored credentials.

        Raises InputError when the file of credentials is not valid.
        """
        transport = HttpTransport(verify_tls=not insecure)
        credentials = CredentialStore.default()
        return cls(transport=transport, credentials=credentials, insecure=insecure)

    def image(self, reference: Reference) -> RemoteImage:
        """Return the image source of `reference`; asks nothing yet."""
        return RemoteImage(self, reference)

    @contextlib.contextmanager
    def get(
        self,
        reference: Reference,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        accepted: Collection[int] = (200,),
    ) -> Iterator[Response]:
        """Ask the registry for `path` (`manifests/...`, `blobs/...`) of the repository.

        A challenge is answered once, whether there was no token or an expired one. Raises
        NotFoundError for 404, InputError when access is refused, DependencyError for every other
        status that is not `accepted`.
        """
        url = f"{self._base(reference.registry)}/v2/{reference.repository}/{path}"
        known = self._authorizations.get(reference.name)
        sent = dict(headers or {})
        answered = False
        while True:
            with self._transport.get(url, headers=sent | _authorization(known)) as response:
                if answered or response.status != 401:
                    if response.status not in accepted:
                        raise _failure(response, reference, path)
                    yield response
                    return
                challenge = response.headers.get("WWW-Authenticate", "")
            with self._lock(reference.name):
                refused, known = known, self._authorizations.get(reference.name)
                # Else another thread has answered the challenge since.
                if known == refused:
                    known = self._authorizer.answer(challenge, reference=reference, url=url)
                    self._authorizations[reference.name] = known
                    answered = True

    def _lock(self, name: str) -> threading.Lock:
        """Return the lock of a registry or a repository; the latter's name has a slash."""
        return self._locks.setdefault(name, threading.Lock())

    def _base(self, registry: str) -> str:
        with self._lock(registry):
            if registry not in self._bases:
                self._bases[registry] = self._find_base(registry)
            return self._bases[registry]

    def _find_base(self, registry: str) -> str:
        host = _HUB_HOST if registry == DOCKER_HUB else registry
        schemes = ["https"]
        if _is_loopback(host):
            schemes = ["http", "https"]
        elif self._insecure:
            schemes = ["https", "http"]
        bases = [f"{scheme}://{host}" for scheme in schemes]
        if len(bases) == 1:
            return bases[0]
        # When neither answers, the request itself says why.
        return next((base for base in bases if self._transport.answers(f"{base}/v2/")), bases[0])


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """One image of a registry; an ImageSource."""

    client: RegistryClient
    reference: Reference

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the image is kept byte by byte."""
        return ()

    def root(self) -> RawManifest:
        """Return the manifest or index behind the reference: by its digest if it has one."""
        return self.manifest(self.reference.target)

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest or index of the repository; see ImageSource."""
        where = f"{self.reference.name}: manifest {target}"
        accept = {"Accept": ", ".join(ACCEPTED_TYPES)}
        with self.client.get(self.reference, f"manifests/{target}", headers=accept) as response:
            media_type = response.headers.get("Content-Type", "")
            if media_type.startswith("text/html"):
                raise DependencyError(
                    f"{where}: {self.reference.registry} answers with a web page",
                    hint="it is no registry, or a proxy or login page stands before it",
                )
            stated = response.headers.get("Docker-Content-Digest", "")
            raw = read_bounded(response, MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise DependencyError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
        digest = Digest.of(raw)
        _check_digest(digest, str(target) if isinstance(target, Digest) else stated, where)
        return RawManifest.parse(raw, media_type=media_type, where=where)

    def blob_content(self, blob: Descriptor) -> Content | None:  # noqa: ARG002
        """Return None: the blob is not on this machine."""
        return None

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink`, checked; see ImageSource.

        A connection that breaks is taken up where it broke; see `download`.
        """
        where = f"{self.reference.name}: blob {blob.digest}"
        check = BlobCheck(blob, sink, where=where, error=WrongBytesError)
        for data in have:
            check.skip(data)

        def ask(start: int) -> AbstractContextManager[Response]:
            return self.client.get(
                self.reference,
                f"blobs/{blob.digest}",
                headers={"Range": f"bytes={start}-"} if start else {},
                accepted=(200, 206, 416) if start else (200,),
            )

        download(check, ask, patience=self.client.patience)


def _authorization(value: str | None) -> dict[str, str]:
    return {"Authorization": value} if value else {}


def _check_digest(digest: Digest, expected: str, where: str) -> None:
    # A registry may state a digest of another algorithm, which says nothing of ours.
    if expected.startswith("sha256:") and expected != str(digest):
        raise DependencyError(
            f"{where} is not what its digest says: expected {expected}, got {digest}",
            hint="the registry or a proxy before it is damaged or changes images",
        )


def _failure(response: Response, reference: Reference, path: str) -> ImagerError:
    registry, what = reference.registry, f"{reference} ({path})"
    said = _said(response)
    if response.status == 404:
        return NotFoundError(
            f"{what} is not in the registry{said}",
            hint="check the image's name and its tag or digest",
        )
    if response.status in (401, 403):
        return InputError(
            f"{registry} refuses access to {what}: HTTP {response.status}{said}",
            hint=login_hint(registry),
        )
    if response.status == 429:
        return DependencyError(
            f"{registry} limits the rate of pulls: {what}{said}",
            hint=f"wait, or log in with: docker login {registry}",
        )
    return DependencyError(
        f"{registry} failed to give {what}: HTTP {response.status}{said}",
        hint="try again later, or ask who runs the registry",
    )


def _said(response: Response) -> str:
    """Return the registry's own words for an error, made safe for a terminal."""
    try:
        raw = read_bounded(response, 64 * KIB)
        errors = load_fields(raw, where="error").children("errors")
        text = "; ".join(error.text("message") for error in errors)
    except ImagerError:
        return ""
    shown = "".join(char for char in text if char.isprintable())[:_LONGEST_SAID]
    return f": {shown}" if shown else ""


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
