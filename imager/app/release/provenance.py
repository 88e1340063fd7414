"""The provenance of an output: an in-toto statement with a SLSA 1.0 predicate.

https://github.com/in-toto/attestation, spec/v1/statement.md; https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imager.app.lock.inputs import BuildInput
from imager.app.release.bill import CachedImage
from imager.oci.digest import Digest
from imager.oci.reference import Reference
from imager.profile.model import Profile

BUILD_TYPE = "urn:imager:build:v1"


@dataclass(frozen=True, slots=True)
class Provenance:
    """How an output was made: from which profile and inputs, by which builder and version.

    `timestamp` is that of the build, in seconds since 1970; `builder` is a URI.
    """

    profile: Profile
    inputs: tuple[BuildInput, ...]
    images: tuple[CachedImage, ...]
    builder: str
    tool: str
    timestamp: int

    def statement(
        self, name: str, digest: Digest, byproducts: Mapping[str, Digest] | None = None
    ) -> bytes:
        """Return the statement about the output `name`; `byproducts` are files made with it."""
        value = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [_resource(name, digest)],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"profile": _published(self.profile)},
                    "internalParameters": {"sourceDateEpoch": self.timestamp},
                    "resolvedDependencies": [*self._dependencies()],
                },
                "runDetails": {
                    "builder": {"id": self.builder, "version": {"imager": self.tool}},
                    "byproducts": [
                        _resource(path, each) for path, each in sorted((byproducts or {}).items())
                    ],
                },
            },
        }
        return (json.dumps(value, indent=2) + "\n").encode("ascii")

    def _dependencies(self) -> Iterator[dict[str, object]]:
        listed = {(str(each.name), each.digest) for each in self.inputs}
        for each in self.inputs:
            yield {
                **_resource(each.name, each.digest),
                **({"uri": each.place} if each.place else {}),
                "annotations": {"kind": each.kind.value},
            }
        for image in self.images:
            if (str(image.reference), image.digest) not in listed:
                yield {
                    **_resource(str(image.reference), image.digest),
                    "uri": image_purl(image.reference, image.digest),
                    "annotations": {"kind": "image"},
                }


def image_purl(reference: Reference, digest: Digest) -> str:
    """Return the package URL of an image (purl-spec, types/oci-definition.md)."""
    from urllib.parse import quote

    name = reference.repository.rpartition("/")[2]
    url = quote(f"{reference.registry}/{reference.repository}", safe="")
    tag = f"&tag={quote(reference.tag, safe='')}" if reference.tag else ""
    return f"pkg:oci/{name}@{quote(str(digest), safe='')}?repository_url={url}{tag}"


def _resource(name: str, digest: Digest) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": digest.hex}}


def _published(profile: Profile) -> dict[str, Any]:
    """Return the profile as it may be published: of a machine configuration only its digest.

    The fields of SecureBoot name private keys; their certificates are inputs.
    """
    value: dict[str, Any] = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    value.get("input", {}).pop("secureboot", None)
    customization = value.get("customization", {})
    embedded = customization.get("embeddedMachineConfiguration")
    if embedded:
        hidden = hashlib.sha256(embedded.encode()).hexdigest()
        customization["embeddedMachineConfiguration"] = f"sha256:{hidden}"
    return value
