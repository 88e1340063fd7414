"""The images that Talos releases need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.reporter import QUIET, Reporter
from imager.talos.bundles import official_extensions, official_overlays, talos_images, with_versions
from imager.talos.default_images import find_release
from imager.talos.version import TalosVersion


@dataclass(frozen=True, slots=True)
class Bundle:
    """A release of Talos to list the images of, with or without extensions and overlays."""

    version: TalosVersion
    extensions: bool = True
    overlays: bool = True
    registries: RegistrySettings = field(default_factory=RegistrySettings)


def default_images(
    version: TalosVersion, versions: Mapping[str, str], reporter: Reporter = QUIET
) -> tuple[str, ...]:
    """Return the images that a machine with this release needs.

    `versions` sets those of components: k8s, etcd, flannel, coredns, kube-network-policies. Raises
    InputError for an unknown release or a version that does not parse.
    """
    release = find_release(version.text)
    if release.note:
        reporter.warn(release.note)
    return with_versions(release.references, versions)


def bundle_images(bundle: Bundle) -> tuple[str, ...]:
    """Return the images that a release is built of; the lists of extensions are fetched.

    Raises UnsupportedError for releases without lists, DependencyError when the registry fails.
    """
    images = talos_images(bundle.version)
    client = RegistryClient.from_settings(bundle.registries)
    listed = [
        *(official_extensions(bundle.version, client) if bundle.extensions else ()),
        *(official_overlays(bundle.version, client) if bundle.overlays else ()),
    ]
    return (*images, *sorted(set(listed)))
