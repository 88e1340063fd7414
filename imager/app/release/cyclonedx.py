"""The bill of materials in CycloneDX 1.6, as JSON.

https://cyclonedx.org/docs/1.6/json/

Files, images and inputs are components. The dependencies lead from the output to its files and
images, and from each file to what it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imager.app.lock.inputs import BuildInput
from imager.app.release.bill import Bill, CachedImage, OutputFile
from imager.app.release.provenance import image_purl
from imager.oci.digest import Digest
from imager.support.repro import derived_uuid

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.dependency import Dependency

_OUTPUT = "output"


def cyclonedx_json(bill: Bill) -> bytes:
    """Return the CycloneDX document of an output."""
    from cyclonedx.output.json import JsonV1Dot6

    return (JsonV1Dot6(_bom(bill)).output_as_string(indent=1) + "\n").encode()


def _bom(bill: Bill) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository

    tool = Component(name="imager", version=bill.tool, type=ComponentType.APPLICATION)
    contents = bill.contents
    return Bom(
        serial_number=derived_uuid(f"cyclonedx {bill.name} {bill.digest}"),
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(bill.created, UTC),
            tools=ToolRepository(components=[tool]),
            component=_component(_OUTPUT, bill.name, "operating-system", bill.digest),
        ),
        components=[
            *map(_image, contents.images),
            *map(_input, contents.inputs),
            *map(_file, contents.files),
        ],
        dependencies=[*_dependencies(bill)],
    )


def _dependencies(bill: Bill) -> Iterator[Dependency]:
    contents = bill.contents
    direct = [*map(_image_ref, contents.images), *map(_file_ref, contents.files)]
    yield _dependency(_OUTPUT, direct)
    for file in contents.files:
        yield _dependency(
            _file_ref(file), [*map(_image_ref, file.images), *map(_input_ref, file.inputs)]
        )
    for reference in (*map(_image_ref, contents.images), *map(_input_ref, contents.inputs)):
        yield _dependency(reference, ())


def _dependency(reference: str, others: Iterable[str]) -> Dependency:
    from cyclonedx.model.bom_ref import BomRef
    from cyclonedx.model.dependency import Dependency

    return Dependency(BomRef(reference), [Dependency(BomRef(each)) for each in others])


def _image(image: CachedImage) -> Component:
    from packageurl import PackageURL

    return _component(
        _image_ref(image),
        str(image.reference),
        "container",
        image.digest,
        version=image.reference.tag or str(image.digest),
        purl=PackageURL.from_string(image_purl(image.reference, image.digest)),
    )


def _input(each: BuildInput) -> Component:
    from cyclonedx.model import Property

    properties = [
        Property(name="imager:kind", value=each.kind.value),
        Property(name="imager:place", value=each.place),
    ]
    return _component(_input_ref(each), each.name, "data", each.digest, properties=properties)


def _file(file: OutputFile) -> Component:
    from cyclonedx.model import Property

    sources = [str(image.reference) for image in file.images]
    sources += [f"{each.kind.value} {each.name}" for each in file.inputs]
    how = "imager:copyOf" if file.copied else "imager:madeFrom"
    return _component(
        _file_ref(file),
        file.path,
        "file",
        file.digest,
        properties=[
            Property(name="imager:size", value=str(file.size)),
            *(Property(name=how, value=source) for source in sources),
        ],
    )


def _component(reference: str, name: str, kind: str, digest: Digest, **more: Any) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    sha256 = HashType(alg=HashAlgorithm.SHA_256, content=digest.hex)
    return Component(
        bom_ref=reference, name=name, type=ComponentType(kind), hashes=[sha256], **more
    )


def _image_ref(image: CachedImage) -> str:
    return f"image:{image.reference}"


def _input_ref(each: BuildInput) -> str:
    return f"input:{each.kind.value}:{each.name}:{each.digest.hex}"


def _file_ref(file: OutputFile) -> str:
    return f"file:{file.path}"
