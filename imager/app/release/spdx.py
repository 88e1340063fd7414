"""The bill of materials in SPDX 2.3, as JSON.

https://spdx.github.io/spdx-spec/v2.3/

Files of SPDX need a SHA-1. The blobs of the image cache are not read for it: they are packages,
whose SHA-256 is known. Images and the inputs of the build are packages too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imager.app.lock.inputs import BuildInput
from imager.app.release.bill import Bill, CachedImage, OutputFile
from imager.app.release.provenance import image_purl
from imager.oci.digest import Digest
from imager.support.repro import derived_uuid

if TYPE_CHECKING:
    from spdx_tools.spdx.model import Checksum, Document, File, Package, Relationship

_DOCUMENT, _OUTPUT = "SPDXRef-DOCUMENT", "SPDXRef-Output"


def spdx_json(bill: Bill) -> bytes:
    """Return the SPDX document of an output."""
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter

    value = DocumentConverter().convert(_document(bill))
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def _document(bill: Bill) -> Document:
    from spdx_tools.spdx.model import Actor, ActorType, CreationInfo, Document

    created = datetime.fromtimestamp(bill.created, UTC).replace(tzinfo=None)
    unique = derived_uuid(f"spdx {bill.name} {bill.digest}")
    creation = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=bill.name,
        document_namespace=f"https://spdx.org/spdxdocs/imager-{unique}",
        creators=[Actor(ActorType.TOOL, f"imager-{bill.tool}")],
        created=created,
    )
    contents = bill.contents
    named = {_file_id(each): each for each in contents.files}
    return Document(
        creation,
        packages=[
            _output(bill),
            *(_image(each) for each in contents.images),
            *(_input(each) for each in contents.inputs),
            *(_blob(each, name) for name, each in named.items() if each.sha1 is None),
        ],
        files=[_file(each, name) for name, each in named.items() if each.sha1 is not None],
        relationships=[*_relationships(bill)],
    )


def _relationships(bill: Bill) -> Iterator[Relationship]:
    """Yield what contains what, and what each file comes from."""
    from spdx_tools.spdx.model import Relationship, RelationshipType

    contains = RelationshipType.CONTAINS
    yield Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _OUTPUT)
    for image in bill.contents.images:
        yield Relationship(_OUTPUT, contains, _image_id(image))
    for file in bill.contents.files:
        name = _file_id(file)
        yield Relationship(_OUTPUT, contains, name)
        for image in file.images:
            yield Relationship(name, RelationshipType.COPY_OF, _image_id(image))
        kind = RelationshipType.COPY_OF if file.copied else RelationshipType.GENERATED_FROM
        for each in file.inputs:
            yield Relationship(name, kind, _input_id(each))


def _output(bill: Bill) -> Package:
    from spdx_tools.spdx.model import PackagePurpose
    from spdx_tools.spdx.spdx_element_utils import calculate_package_verification_code

    files = [_file(each, _file_id(each)) for each in bill.contents.files if each.sha1 is not None]
    return _package(
        _OUTPUT,
        bill.name,
        bill.digest,
        files_analyzed=bool(files),
        verification_code=calculate_package_verification_code(files) if files else None,
        file_name=bill.name,
        primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
    )


def _image(image: CachedImage) -> Package:
    from spdx_tools.spdx.model import (
        ExternalPackageRef,
        ExternalPackageRefCategory,
        PackagePurpose,
    )

    purl = image_purl(image.reference, image.digest)
    return _package(
        _image_id(image),
        str(image.reference),
        image.digest,
        version=image.reference.tag or str(image.digest),
        external_references=[
            ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)
        ],
        primary_package_purpose=PackagePurpose.CONTAINER,
    )


def _input(each: BuildInput) -> Package:
    return _package(
        _input_id(each),
        each.name,
        each.digest,
        source_info=f"{each.kind.value}: {each.place}",
    )


def _blob(file: OutputFile, name: str) -> Package:
    from spdx_tools.spdx.model import PackagePurpose

    return _package(
        name,
        file.path,
        file.digest,
        file_name=file.path,
        primary_package_purpose=PackagePurpose.ARCHIVE,
    )


def _package(name: str, label: str, digest: Digest, **more: Any) -> Package:
    from spdx_tools.spdx.model import Package, SpdxNoAssertion

    values = {"files_analyzed": False, **more}
    return Package(name, label, SpdxNoAssertion(), checksums=[_sha256(digest)], **values)


def _file(file: OutputFile, name: str) -> File:
    from spdx_tools.spdx.model import Checksum, ChecksumAlgorithm, File

    sha1 = Checksum(ChecksumAlgorithm.SHA1, file.sha1 or "")
    return File(f"./{file.path}", name, [sha1, _sha256(file.digest)])


def _sha256(digest: Digest) -> Checksum:
    from spdx_tools.spdx.model import Checksum, ChecksumAlgorithm

    return Checksum(ChecksumAlgorithm.SHA256, digest.hex)


def _image_id(image: CachedImage) -> str:
    return f"SPDXRef-Image-{_short(str(image.reference))}"


def _input_id(each: BuildInput) -> str:
    return f"SPDXRef-Input-{_short(f'{each.kind.value} {each.name} {each.digest}')}"


def _file_id(file: OutputFile) -> str:
    return f"SPDXRef-File-{_short(file.path)}"


def _short(text: str) -> str:
    """Return an identifier for a name that may have any characters."""
    return Digest.of(text.encode("utf-8", "surrogateescape")).hex[:24]
