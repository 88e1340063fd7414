"""The program's registry client, impatient, and what it pulls."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping

from imager.oci import manifest as m
from imager.oci.credentials import CredentialStore
from imager.oci.digest import Digest
from imager.oci.documents import Fields
from imager.oci.endpoint import Hosts
from imager.oci.httptransport import HttpTransport
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.remote import RemoteImage
from imager.oci.retry import Patience
from imager.oci.source import ImageSource
from tests.lib.registries.programmable import Registry
from tests.lib.registries.sample import BLOB, NAME

QUICK = Patience(retries=2, first_delay=0.01, longest_delay=0.05, connect=20, read=20, probe=20)
LAYER = m.Descriptor(m.OCI_LAYER, Digest.of(BLOB), len(BLOB))


def make_client(
    patience: Patience = QUICK,
    *,
    auths: Mapping[str, str | Mapping[str, str]] | None = None,
    hosts: Hosts | None = None,
) -> RegistryClient:
    """Return a client; `auths` has logins by host, as user:password or as entries of auth.json."""
    entries = {
        host: {"auth": base64.b64encode(login.encode()).decode()}
        if isinstance(login, str)
        else login
        for host, login in (auths or {}).items()
    }
    return RegistryClient(
        connect=lambda tls: HttpTransport(tls=tls, patience=patience),
        credentials=CredentialStore(Fields({"auths": entries}, "credentials")),
        hosts=hosts,
        patience=patience,
    )


def image(
    registry: Registry,
    *,
    auths: Mapping[str, str | Mapping[str, str]] | None = None,
    hosts: Hosts | None = None,
    patience: Patience = QUICK,
) -> RemoteImage:
    """Return the image team/app:v1 as the client sees it."""
    client = make_client(patience, auths=auths, hosts=hosts)
    return client.image(Reference.parse(f"{registry.host}/{NAME}:v1"))


def fetch(source: ImageSource, blob: m.Descriptor = LAYER, have: Iterable[bytes] = ()) -> bytes:
    """Return what is fetched of a blob behind the bytes `have`."""
    sink = io.BytesIO()
    source.fetch_blob(blob, sink, have=have)
    return sink.getvalue()


def manifest_of(image: ImageSource) -> m.ImageManifest:
    """Return the manifest of an image that has but one."""
    document = image.root().document
    assert isinstance(document, m.ImageManifest)
    return document
