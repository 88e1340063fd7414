"""Take boot assets out of a container image.

They are kept in the user's cache, by the digest of the image, so that a second build neither
fetches nor unpacks anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from imager.app.container_images import image_root
from imager.bootassets.artifact import artifact_files, is_artifact
from imager.bootassets.find import BootAssets, find_assets
from imager.bootassets.from_image import take_assets
from imager.cache.files import FileFetch
from imager.cache.pull import Puller
from imager.oci.digest import Digest
from imager.oci.errors import RegistryFailedError, RegistryUnreachableError
from imager.oci.location import open_local_image
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.source import ImageSource
from imager.support.arch import Arch
from imager.support.atomic import write_atomic
from imager.support.errors import ImagerError
from imager.talos.version import TalosVersion


@dataclass(frozen=True, slots=True)
class Taking:
    """How boot assets are taken out of an image, and kept in the folder `kept`."""

    arch: Arch
    puller: Puller
    kept: Path

    def take(self, place: Path | Reference) -> BootAssets:
        """Return the boot assets of the image at `place`, unpacked at most once."""
        reporter = self.puller.reporter
        with reporter.waiting(f"opening {place}"):
            source, digest = self._source(place)
        folder = self.kept / digest.file_name / self.arch.name
        if not folder.is_dir():
            unpack_assets(source, str(place), self.arch, folder, self.puller)
        name, tag = str(place), None
        if isinstance(place, Reference):
            name, tag = str(replace(place, digest=None)), place.tag
        return replace(
            find_assets(self.arch, given=folder.parent),
            image=f"{name}@{digest}",
            origin=place,
            tagged=tag if tag and is_version(tag) else None,
        )

    def _source(self, place: Path | Reference) -> tuple[ImageSource, Digest]:
        """Return an image and its digest; no request is sent for a reference that has one."""
        if isinstance(place, Path):
            source = open_local_image(place, _platform(self.arch))
            return source, source.root().digest
        client = RegistryClient.from_settings(self.puller.registries)
        pinned = client.image(place).reference.digest
        digest = pinned or self._resolved(client, place)
        return client.image(replace(place, digest=digest)), digest

    def _resolved(self, client: RegistryClient, reference: Reference) -> Digest:
        """Return the digest of a tag: the registry's, or that of the last run without a network."""
        name = hashlib.sha256(str(reference).encode()).hexdigest()
        note = self.kept / f"tag-{name}"
        try:
            digest = client.image(reference).root().digest
        except (RegistryFailedError, RegistryUnreachableError) as error:
            known = _noted(note)
            if known is None or not (self.kept / known.file_name / self.arch.name).is_dir():
                raise
            self.puller.reporter.warn(f"{error.message}; using {reference} as of the last run")
            return known
        write_atomic(note, f"{digest}\n".encode())
        return digest


def unpack_assets(
    source: ImageSource, where: str, arch: Arch, folder: Path, puller: Puller
) -> None:
    """Write the boot assets of an image, or of an artifact of boot assets, to `folder`, atomically.

    `where` names the image in messages. Raises as `take_assets` and `artifact_files`.
    """
    root = source.root()
    if is_artifact(root, where=where):
        files = artifact_files(root, arch, where=where)
        fetch = FileFetch(source, files, folder, root.digest.hex, "pulling boot assets")
        fetch.replace(puller.reporter)
        return
    image = image_root(source, _platform(arch), where, puller)
    take_assets(image, arch, folder, is_version=is_version)


def is_version(text: str) -> bool:
    """Return whether `text` is a version of Talos."""
    try:
        TalosVersion.parse(text)
    except ImagerError:
        return False
    return True


def _platform(arch: Arch) -> Platform:
    return Platform("linux", arch.name)


def _noted(note: Path) -> Digest | None:
    try:
        return Digest.parse(note.read_text().strip())
    except (OSError, ValueError, ImagerError):
        return None
