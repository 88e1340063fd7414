"""The images that manifests and machine configurations name: `imager images list`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from imager.errors import ImagerError, InputError, InvalidManifestsError
from imager.imagecache.findings import (
    Finding,
    ImageField,
    Mention,
    Note,
    Problem,
    full_reference,
    within,
)
from imager.imagecache.machineconfig import is_machine_config, machine_findings
from imager.imagecache.manifestfiles import ManifestFile, read_manifest_files, source_name
from imager.imagecache.podimages import TEMPLATE, object_findings, parse_manifests
from imager.oci.reference import Reference
from imager.reporter import Reporter

_RENDER = "render charts first: helm template CHART | imager images list --from -"
_LONGEST = 2000


def list_images(sources: Sequence[str], *, reporter: Reporter) -> tuple[str, ...]:
    """Return the full references that `sources` (files, folders, `-`) name, sorted, each once.

    Short names expand as Kubernetes does it: `nginx` is `docker.io/library/nginx:latest`. What
    may need images that are not in the files is told to `reporter` as a warning. Raises
    InvalidManifestsError with all that is wrong at once, InputError when no image is named.
    """
    findings = [found for source in sources for found in _in_source(source)]
    images, problems = _checked(findings)
    for warning in _lines(_warnings(findings, images)):
        reporter.warn(warning)
    if problems:
        is_template = any(TEMPLATE in problem or "{{" in problem for problem in problems)
        raise InvalidManifestsError(problems, hint=_RENDER if is_template else "")
    if not images:
        raise InputError(
            f"no image is named in {', '.join(source_name(each) for each in sources)}",
            hint="give Kubernetes manifests or Talos machine configurations, as YAML or JSON",
        )
    return tuple(sorted(images))


def _in_source(source: str) -> Iterator[Finding]:
    for file in read_manifest_files(source):
        if isinstance(file, ManifestFile):
            yield from (within(file.name, found) for found in _in_text(file.text))
        else:
            yield file


def _in_text(text: str) -> Iterator[Finding]:
    documents, problems = parse_manifests(text)
    yield from problems
    for number, document in enumerate(documents, start=1):
        if is_machine_config(document):
            yield from machine_findings(document)
        else:
            yield from object_findings(document, number=number)


def _checked(findings: Sequence[Finding]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the full references among the findings, and what is wrong."""
    images: set[str] = set()
    problems: list[str] = []
    for found in findings:
        if isinstance(found, Problem):
            problems.append(f"{found.where}: {found.text}")
        elif isinstance(found, ImageField):
            try:
                images.add(full_reference(found.value))
            except ImagerError as error:
                problems.append(f"{found.where}: {error.message}")
    return frozenset(images), _lines(problems)


def _warnings(findings: Sequence[Finding], images: frozenset[str]) -> Iterator[str]:
    for found in findings:
        if isinstance(found, Note):
            yield f"{found.where}: {found.text}"
        elif isinstance(found, Mention) and str(Reference.parse(found.image)) not in images:
            yield f"{found.where}: {found.image} is not listed: add it if it will be pulled"


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Return each text once, as one line of bounded length: they quote names of strangers."""
    lines = (" ".join(text.split()) for text in texts)
    return tuple(dict.fromkeys(f"{x[:_LONGEST]}..." if len(x) > _LONGEST else x for x in lines))
