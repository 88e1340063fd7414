"""Create an image cache from lists of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.cache.archiving import ArchiveFormat
from imager.cache.blobstore import BlobStore
from imager.cache.contents import Gathered
from imager.cache.lists import read_entries
from imager.cache.plan import (
    CacheLayout,
    CreateOptions,
    CreationPlan,
    LayerCompression,
    plan_creation,
)
from imager.cache.resolve import gather
from imager.cache.selection import DEFAULT_PLATFORM, MissingPlatform, Selection, parse_platforms
from imager.cache.signature_policy import judge
from imager.cache.write import Created, check_creatable, write_cache
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.errors import InputError
from imager.support.reporter import QUIET, Reporter
from imager.support.units import count

if TYPE_CHECKING:
    from imager.app.verification_policy import PolicyFiles


@dataclass(frozen=True, slots=True)
class Images:
    """Images to add to a cache.

    `lists` are values of `--images`: references, local images, or files with one per line.
    `platforms` are values such as linux/amd64, or `all`. The default is linux/amd64, or the
    platforms of an existing cache. With `signatures`, cosign signatures are also cached. With
    `policy`, images are refused unless its rules allow them.
    """

    lists: Sequence[str]
    platforms: Sequence[str] = ()
    missing_platform: MissingPlatform = MissingPlatform.FAIL
    signatures: bool = True
    jobs: int = 4
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    policy: PolicyFiles | None = None

    def read(self, reporter: Reporter, store: BlobStore | None = None) -> Gathered:
        """Read the manifests of all images, and check their signatures against the policy.

        Raises as `gather` and `PolicyFiles.read`, UnverifiedImageError for refused images.
        """
        if self.policy and not self.signatures:
            raise InputError(
                "--no-cosign-signatures leaves out the signatures that --verify-policy checks",
                hint="leave one of the two out",
            )
        policy = self.policy.read(reporter) if self.policy else None
        platforms = parse_platforms(self.platforms or (DEFAULT_PLATFORM,))
        selection = Selection(platforms, self.signatures, self.missing_platform)
        entries = read_entries(self.lists)
        client = RegistryClient.from_settings(self.registries)
        with reporter.waiting(f"reading the manifests of {count(len(entries), 'image')}"):
            gathered = gather(
                entries, client=client, selection=selection, jobs=self.jobs, store=store
            )
        reporter.warn(*gathered.warnings)
        if policy:
            with reporter.waiting("verifying signatures"):
                judgement = judge(gathered, gathered.names, policy)
            judgement.require()
            reporter.warn(*judgement.notes)
            reporter.step(f"verified the signatures of {count(len(judgement.verified), 'image')}")
        return gathered


@dataclass(frozen=True, slots=True)
class NewCache:
    """A cache to create at `path`: a folder, or a tar if the suffix is that of a tar.

    `layer_cache` is a folder of blobs shared between runs. With `force` an existing cache is
    replaced. `lock` is the lock of the images.
    """

    images: Images
    path: Path
    layout: CacheLayout = CacheLayout.OCI
    compression: LayerCompression = LayerCompression.NONE
    layer_cache: Path | None = None
    force: bool = False
    lock: Path | None = None


def plan_cache(new: NewCache, reporter: Reporter = QUIET) -> CreationPlan:
    """Plan a cache by reading manifests, without writing it.

    Raises InputError for invalid options or images, if no cache can be created at the path, and for
    images that are not those of the lock;
    DependencyError if a registry fails, HostError if the layer cache cannot be used.
    """
    archive = ArchiveFormat.named(new.path)
    store = None if new.layer_cache is None else BlobStore.open(new.layer_cache)
    options = CreateOptions(new.layout, new.compression, new.images.jobs, store, archive)
    check_creatable(new.path, force=new.force, archive=archive)
    gathered = _gathered(new, reporter, store)
    return plan_creation(gathered, new.path, options)


def _gathered(new: NewCache, reporter: Reporter, store: BlobStore | None) -> Gathered:
    if new.lock is None:
        return new.images.read(reporter, store)
    from imager.app.lock.images_lock import check_images
    from imager.app.lock.model import read_lock

    lock = read_lock(new.lock)
    registries = replace(new.images.registries, pins=lock.pins)
    gathered = replace(new.images, registries=registries).read(reporter, store)
    check_images(lock, gathered, source=str(new.lock))
    return gathered


def create_cache(new: NewCache, reporter: Reporter = QUIET) -> Created:
    """Create a cache atomically; raises as `plan_cache` and `write_cache`."""
    return write_cache(plan_cache(new, reporter), reporter=reporter)
