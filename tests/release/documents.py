"""What describes a release: its bill of materials and its provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tests.release.source import Source

_BUILD_TYPE = "urn:imager:release:v1"
_PACKAGE = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?P<rest>(?:[^\n]*\\\n)*.*)$", re.M
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
# Files that decide what is in a release or how it is built.
_LOCKS = ("requirements/run.lock", "requirements/build.lock")


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package that a lock file pins, with the SHA-256 of each of its files, in hex."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> PackageURL:
        """The package URL (purl-spec, types/pypi-definition.md)."""
        return PackageURL("pypi", None, self.name, self.version)


def pinned_packages(lock: str) -> Iterator[Package]:
    """Yield the packages of a lock file of `make lock`, given as its text."""
    for found in _PACKAGE.finditer(lock):
        yield Package(found["name"], found["version"], tuple(_HASH.findall(found["rest"])))


def bill_of_materials(source: Source, files: Mapping[str, str]) -> bytes:
    """Return the CycloneDX bill of the release: `files` by name with their SHA-256, and packages.

    The packages are those that imager needs, as they are pinned and tested.
    """
    root = Component(
        name="imager",
        version=source.version,
        type=ComponentType.APPLICATION,
        bom_ref="imager",
        licenses=[LicenseExpression("Apache-2.0")],
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"{source.origin}@{source.commit}"))
    bom.metadata.component = root
    bom.metadata.timestamp = datetime.fromtimestamp(source.epoch, UTC)
    packages = [_component(each) for each in pinned_packages(_text(source, _LOCKS[0]))]
    for each in (*packages, *(_file(name, digest) for name, digest in files.items())):
        bom.components.add(each)
    bom.register_dependency(root, packages)
    return (JsonV1Dot6(bom).output_as_string(indent=2) + "\n").encode()


def provenance(source: Source, files: Mapping[str, str], builder: str) -> bytes:
    """Return the SLSA 1.0 provenance of the release, an in-toto statement about its files."""
    build = [
        {"name": str(each.purl), "uri": str(each.purl)}
        for each in pinned_packages(_text(source, _LOCKS[1]))
    ]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"source": source.origin, "version": source.version},
                "internalParameters": {"sourceDateEpoch": source.epoch},
                "resolvedDependencies": [
                    {"uri": source.origin, "digest": {"gitCommit": source.commit}},
                    *build,
                ],
            },
            "runDetails": {"builder": {"id": builder}},
        },
    }
    return (json.dumps(statement, indent=2) + "\n").encode()


def _component(package: Package) -> Component:
    # A package may have a file for each platform, a component one hash of a kind: of one file.
    one = package.hashes if len(package.hashes) == 1 else ()
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(package.purl),
        purl=package.purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in one],
    )


def _file(name: str, digest: str) -> Component:
    return Component(
        name=name,
        type=ComponentType.FILE,
        bom_ref=f"file:{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )


def _text(source: Source, path: str) -> str:
    return (source.folder / Path(path)).read_text()
