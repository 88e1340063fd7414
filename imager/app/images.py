"""List the images that Talos releases need."""

from __future__ import annotations

from collections.abc import Mapping

from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.reporter import QUIET, Reporter
from imager.talos.bundles import official_extensions, official_overlays, talos_images, with_versions
from imager.talos.default_images import find_release
from imager.talos.version import TalosVersion


def default_images(
    version: TalosVersion, versions: Mapping[str, str], reporter: Reporter = QUIET
) -> tuple[str, ...]:
    """Return the images that a machine with this release needs.

    `versions` overrides the versions of components: k8s, etcd, flannel, coredns,
    kube-network-policies. Raises InputError for an unknown release or an invalid version.
    """
    release = find_release(version.text)
    if release.note:
        reporter.warn(release.note)
    return with_versions(release.references, versions)


def bundle_images(
    version: TalosVersion,
    registries: RegistrySettings,
    *,
    extensions: bool = True,
    overlays: bool = True,
) -> tuple[str, ...]:
    """Return the images that a release is built from; lists of extensions are fetched.

    Raises UnsupportedError for releases without lists, DependencyError if the registry fails.
    """
    images, client = talos_images(version), RegistryClient.from_settings(registries)
    listed = [
        *(official_extensions(version, client) if extensions else ()),
        *(official_overlays(version, client) if overlays else ()),
    ]
    return (*images, *sorted(set(listed)))
