"""Read the manifest of a system extension, and write the list of those in an initramfs.

Format: Talos, pkg/machinery/extensions/metadata.go. Unknown fields are ignored, as in Talos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from imager.support.errors import InputError
from imager.support.yamldocs import LocatedDocument, load_located
from imager.talos.ranges import VersionRange
from imager.talos.version import TalosVersion

VERSION = "v1alpha1"
LARGEST_MANIFEST = 1 << 20
_TALOS = "compatibility.talos.version"


class ManifestError(Exception):
    """A manifest with `problems`, each `field: what is wrong`."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Metadata:
    """The description of an extension; `talos` is the range of versions that it is for."""

    name: str
    version: str = ""
    author: str = ""
    description: str = ""
    talos: str = ""
    extra_info: str = ""

    def fields(self) -> Mapping[str, Any]:
        """Return the values by Talos's field names; an empty `extraInfo` is left out."""
        found = {
            "name": self.name,
            "version": self.version,
            "author": self.author,
            "description": self.description,
            "compatibility": {"talos": {"version": self.talos}},
        }
        return found | ({"extraInfo": self.extra_info} if self.extra_info else {})

    def check_talos(self, version: TalosVersion) -> None:
        """Raise ManifestError unless the extension is for `version`."""
        if not self.talos:
            return
        try:
            fits = VersionRange.parse(self.talos).contains(version)
        except InputError as error:
            raise ManifestError(f"metadata.{_TALOS}: {error.message}") from error
        if not fits:
            raise ManifestError(
                f"metadata.{_TALOS}: it is for Talos {self.talos}, not for {version.text}"
            )


def parse_manifest(data: bytes) -> Metadata:
    """Return the metadata in a manifest; raises ManifestError with all of its problems."""
    try:
        documents = load_located(data.decode())
    except InputError as error:
        raise ManifestError(error.message) from error
    except UnicodeDecodeError as error:
        raise ManifestError("it is not UTF-8") from error
    if not documents or not isinstance(documents[0].value, dict):
        raise ManifestError("it is not a mapping")
    fields = _Fields(documents[0])
    version = fields.text("version")
    if version != VERSION and not fields.problems:
        fields.problems.append(f"version: {version[:40]!r} is not {VERSION}")
    metadata = Metadata(
        name=fields.text("metadata.name"),
        version=fields.text("metadata.version"),
        author=fields.text("metadata.author"),
        description=fields.text("metadata.description"),
        talos=fields.text(f"metadata.{_TALOS}"),
        extra_info=fields.text("metadata.extraInfo"),
    )
    if not metadata.name and not fields.problems:
        fields.problems.append("metadata.name: is missing")
    if fields.problems:
        raise ManifestError(*fields.problems)
    return metadata


class _Fields:
    """The text fields of a document, and what is wrong with them."""

    def __init__(self, document: LocatedDocument) -> None:
        self._document = document
        self.problems: list[str] = []

    def text(self, path: str) -> str:
        """Return a field as written, like Go: 1.10 is not a number; empty if it is missing."""
        value: Any = self._document.value
        *above, last = path.split(".")
        for number, key in enumerate(above, start=1):
            value = value.get(key)
            if value is None:
                return ""
            if not isinstance(value, dict):
                self._report(".".join(above[:number]), "is not a mapping")
                return ""
        value = value.get(last)
        if isinstance(value, dict | list):
            self._report(path, "is not text")
            return ""
        return self._document.written(path) or ""

    def _report(self, path: str, problem: str) -> None:
        if (text := f"{path}: {problem}") not in self.problems:
            self.problems.append(text)


def extensions_yaml(layers: Iterable[tuple[str, Metadata]]) -> bytes:
    """Return extensions.yaml: each image with its metadata, the lowest layer first."""
    listed = [{"image": image, "metadata": each.fields()} for image, each in layers]
    text = yaml.safe_dump({"layers": listed}, sort_keys=False, allow_unicode=True, width=1 << 20)
    return text.encode()
