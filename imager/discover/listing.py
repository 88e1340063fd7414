"""List the images that manifests and machine configurations name (`imager images list`)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from imager.discover.documents import text_findings
from imager.discover.findings import (
    Finding,
    ImageField,
    Mention,
    Note,
    Problem,
    Remark,
    Suspect,
    full_reference,
)
from imager.discover.likeness import parsed
from imager.discover.manifestfiles import ManifestFile, read_manifest_files, source_name
from imager.discover.objects import TEMPLATE, UNKNOWN
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError, InvalidManifestsError
from imager.support.units import count

_RENDER = "render charts first: helm template CHART | imager images list --from -"
_SUBJECT = "manifests"
_SURE = "add these images to your list, or leave out --strict"
_TEXT = "a complete reference outside of an image field; remove it if nothing pulls it"
_LONGEST = 2000
_MOST_FINDINGS = 200_000
_TOO_MANY = f"has more than {_MOST_FINDINGS} images and texts that look like images"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a source: a file, a line (0 if unknown), and a path in the document."""

    file: str
    line: int
    where: str

    def __str__(self) -> str:
        """Return the place as the prefix of a message."""
        at = f"{self.file}:{self.line}" if self.line else self.file
        return f"{at}: {self.where}" if self.where else at


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A full reference and its places; `is_certain` if one of them is an image field."""

    reference: str
    places: tuple[Place, ...]
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A message about the first of its places; `image` is set if the message is about an image.

    `denied` is the OSError if a permission is missing.
    """

    place: Place
    text: str
    image: str = ""
    others: int = 0
    denied: OSError | None = None

    def __str__(self) -> str:
        """Return the message as one line of bounded length, since it quotes untrusted names."""
        more = f" (and {count(self.others, 'more place')})" if self.others else ""
        line = " ".join(f"{self.place}: {self.text}{more}".split())
        return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


@dataclass(frozen=True, slots=True)
class Listing:
    """The images that some sources name.

    `warnings` are about images that may be missing from the list, `remarks` about images in it that
    no field names; `problems` are errors.
    """

    sources: tuple[str, ...]
    images: tuple[ListedImage, ...]
    remarks: tuple[Message, ...]
    warnings: tuple[Message, ...]
    problems: tuple[Message, ...]

    def check(self, *, strict: bool) -> None:
        """Raise InvalidManifestsError with all problems; if `strict`, warnings are problems.

        Raises InputError if there are no images, unless a remark explains why.
        """
        if self.problems:
            texts = [str(each) for each in self.problems]
            is_template = any(TEMPLATE in text or "{{" in text for text in texts)
            denied = next((each.denied for each in self.problems if each.denied), None)
            hint = _RENDER if is_template else ""
            raise InvalidManifestsError(_SUBJECT, texts, hint=hint) from denied
        if strict and self.warnings:
            raise InvalidManifestsError(_SUBJECT, [*map(str, self.warnings)], hint=_SURE)
        if not self.images and not self.remarks:
            raise InputError(
                f"no images found in {', '.join(self.sources)}",
                hint="give Kubernetes manifests or Talos machine configurations, as YAML or JSON",
            )


def find_images(sources: Sequence[str]) -> Listing:
    """Return the images in `sources` (files, folders, `-`), sorted and without duplicates.

    Short names expand as in Kubernetes: `nginx` is `docker.io/library/nginx:latest`.
    """
    found = _Found()
    for file in (file for source in sources for file in read_manifest_files(source)):
        if isinstance(file, ManifestFile):
            findings = text_findings(file.text)
            for each in islice(findings, _MOST_FINDINGS):
                found.add(Place(file.name, each.line, each.where), each)
            if next(findings, None):
                found.add(Place(file.name, 0, ""), Problem("", _TOO_MANY))
        else:
            found.add(Place(file.where, 0, ""), file)
    images = tuple(
        ListedImage(reference, tuple(dict.fromkeys(places)), reference in found.certain)
        for reference, places in sorted(found.places.items())
    )
    warnings = [each for each in found.warnings if not _is_listed(each.image, found.places)]
    return Listing(
        sources=tuple(source_name(each) for each in sources),
        images=images,
        remarks=_messages([*found.remarks, *_mentions(images)]),
        # Folders may contain many files of other tools: put suspected images before these.
        warnings=_messages(sorted(warnings, key=_is_of_other_tool)),
        problems=_messages(found.problems),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The places of all images, those in image fields, and the messages."""

    places: dict[str, list[Place]] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    problems: list[Message] = field(default_factory=list)
    remarks: list[Message] = field(default_factory=list)
    warnings: list[Message] = field(default_factory=list)

    def add(self, place: Place, finding: Finding) -> None:
        """Add a finding."""
        match finding:
            case ImageField(_, value):
                try:
                    reference = full_reference(value)
                except ImagerError as error:
                    self.problems.append(Message(place, error.message))
                    return
                self.places.setdefault(reference, []).append(place)
                self.certain.add(reference)
            case Mention(_, image):
                self.places.setdefault(str(Reference.parse(image)), []).append(place)
            case Problem(_, text, denied=denied):
                self.problems.append(Message(place, text, denied=denied))
            case Remark(_, text):
                self.remarks.append(Message(place, text))
            case Note(_, text):
                self.warnings.append(Message(place, text))
            case Suspect(_, image, why):
                self.warnings.append(Message(place, f"{image} is not listed: {why}", image))


def _mentions(images: Iterable[ListedImage]) -> Iterator[Message]:
    for image in images:
        if not image.is_certain:
            text = f"{image.reference} is listed: {_TEXT}"
            yield Message(image.places[0], text, others=len(image.places) - 1)


def _is_of_other_tool(message: Message) -> bool:
    return message.text == UNKNOWN


def _is_listed(image: str, known: Container[str]) -> bool:
    reference = parsed(image)
    return reference is not None and str(reference) in known


def _messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return the messages without duplicates: one per image, with its first place."""
    merged: dict[tuple[str, object], Message] = {}
    for each in dict.fromkeys(messages):
        key = (each.text, each.place.file if each.image else each.place)
        before = merged.get(key)
        merged[key] = replace(before, others=before.others + 1) if before else each
    return tuple(merged.values())
