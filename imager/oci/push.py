"""Pushes images to registries: OCI distribution specification 1.1, section Push.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push Blobs are pushed first,
then manifests from the leaves up, and the tag last, so an interrupted push never leaves a name that
refers to an incomplete image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from imager.content.extents import Content
from imager.oci.attach import attach, put_manifest
from imager.oci.blobreader import BlobReader
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError, InvalidReferenceError
from imager.oci.layout import Layout, LayoutImage
from imager.oci.manifest import Descriptor, Index, RawManifest
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.upload import Outcome, Target, has_blob, upload_blob
from imager.support.meter import Kept
from imager.support.reporter import Reporter
from imager.support.units import MIB, count
from imager.support.workers import Work

DEFAULT_CHUNK = 64 * MIB
# Maximum depth of nested indexes; deeper ones do not occur.
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class PushBlob:
    """A blob and the location of its bytes."""

    blob: Descriptor
    content: Content


@dataclass(frozen=True, slots=True)
class PushPlan:
    """The blobs and manifests to push; a manifest follows those it refers to, the image is last.

    `attached` are manifests whose subject is the first of `manifests`.
    """

    blobs: tuple[PushBlob, ...]
    manifests: tuple[RawManifest, ...]
    attached: tuple[RawManifest, ...] = ()

    @property
    def root(self) -> RawManifest:
        """The manifest or index that is tagged."""
        return self.manifests[-1]


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How to push: `jobs` blobs in parallel, in chunks of bytes; 0 sends each blob in one request.

    `mount_from` is a repository of the same registry that may have some of the blobs.
    """

    chunk_size: int = DEFAULT_CHUNK
    jobs: int = 4
    mount_from: str | None = None


def mount_repository(text: str, reference: Reference) -> str:
    """Parse the repository `text`, with or without the registry of `reference` before it.

    Raises InputError if it is invalid.
    """
    name = text.removeprefix(f"{reference.registry}/")
    return Reference.parse(f"{reference.registry}/{name}").repository


@dataclass(frozen=True, slots=True)
class Pushed:
    """A pushed image, and the outcome of each of its blobs."""

    reference: Reference
    blobs: tuple[tuple[Descriptor, Outcome], ...]

    def summary(self) -> str:
        """Return how many blobs and bytes were sent, how many were not, and why."""
        parts = []
        for outcome in Outcome:
            sizes = [blob.size for blob, found in self.blobs if found is outcome]
            if sizes or outcome is Outcome.SENT:
                parts.append(f"{count(len(sizes), 'blob')} {outcome.value} ({sum(sizes)} bytes)")
        return ", ".join(parts)


def plan_layout(layout: Layout) -> PushPlan:
    """Plan the push of a layout: of its only image, or of its index when it has several.

    Raises InputError when the layout is empty, damaged or incomplete.
    """
    entries = layout.index.manifests
    if not entries:
        raise InvalidImageError(f"{layout.path} contains no image to push")
    image = LayoutImage(layout, entries[0])
    root = image.root() if len(entries) == 1 else layout.root
    manifests: dict[Digest, RawManifest] = {}
    _collect(image, root, manifests, depth=0)
    blobs = {
        blob.digest: PushBlob(blob, layout.blob(blob).content)
        for manifest in manifests.values()
        if not isinstance(manifest.document, Index)
        for blob in manifest.document.blobs
    }
    return PushPlan(tuple(blobs.values()), tuple(manifests.values()))


def _collect(
    image: LayoutImage, root: RawManifest, found: dict[Digest, RawManifest], *, depth: int
) -> None:
    """Add the manifests below `root` to `found`, and then `root`; skips those already in it."""
    if depth > _DEEPEST:
        raise InvalidImageError(f"{image.layout.path}: indexes are nested too deeply")
    if isinstance(root.document, Index):
        for entry in root.document.manifests:
            if entry.digest not in found:
                _collect(image, image.manifest(entry.digest), found, depth=depth + 1)
    found[root.digest] = root


def push(
    plan: PushPlan,
    reference: Reference,
    *,
    client: RegistryClient,
    options: PushOptions,
    reporter: Reporter,
) -> Pushed:
    """Push an image under the tag of `reference`, or without a tag if it only has a digest.

    Skips blobs that the repository has. Raises InputError when the digest of `reference` is not the
    image's, and as `upload_blob`.
    """
    if reference.digest not in (None, plan.root.digest):
        raise InvalidReferenceError(
            f"the image to push is not {reference}: its digest is {plan.root.digest}",
            hint="remove the digest from the reference",
        )
    target = Target(client, reference, options.chunk_size, options.mount_from)
    blobs = tuple(each.blob for each in plan.blobs)
    with reporter.transfer(f"pushing {reference}", sum(blob.size for blob in blobs)) as advance:
        work = Work(advance)
        outcomes = work.run(
            lambda each: _push_blob(each, target, work), plan.blobs, jobs=options.jobs, what="blobs"
        )
    # A manifest that others refer to is there before them, the tag after them.
    for manifest in plan.manifests if plan.attached else plan.manifests[:-1]:
        put_manifest(target, manifest, manifest.digest)
    attach(target, plan.manifests[0].digest, plan.attached)
    put_manifest(target, plan.root, reference.tag or plan.root.digest)
    return Pushed(
        replace(reference, digest=plan.root.digest), tuple(zip(blobs, outcomes, strict=True))
    )


def _push_blob(each: PushBlob, target: Target, work: Work) -> Outcome:
    if has_blob(target, each.blob):
        work.advance(Kept(each.blob.size))
        return Outcome.THERE
    reader = BlobReader(each.blob, each.content, work)
    outcome = upload_blob(target, reader)
    work.advance(Kept(each.blob.size - reader.reached))
    return outcome
