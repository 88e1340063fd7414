"""The images that a machine needs: those in its configuration, and its release's defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imager.support.yamldocs import LocatedDocument
from imager.support.yamlpaths import text_at, value_at
from imager.talos.components import COMPONENTS, Component
from imager.talos.default_images import ReleaseImage

_CONTROL_PLANES = ("controlplane", "init")
_TYPES = (*_CONTROL_PLANES, "worker")


@dataclass(frozen=True, slots=True)
class NeededDefault:
    """A release's default image that a configuration needs; `line` is that of `machine.type`."""

    image: str
    line: int


def needed_defaults(
    documents: Sequence[LocatedDocument], images: Sequence[ReleaseImage]
) -> Iterator[NeededDefault]:
    """Yield the images of `images`, a release's defaults, that a machine with `documents` needs.

    For a worker, yields only images that it pulls for itself: the control plane's configuration
    determines the rest. A patch, which has no `machine.type`, needs none.
    """
    typed = [each for each in documents if text_at(each.value, "machine.type") in _TYPES]
    if not typed:
        return
    first = typed[0]
    on_control_plane = text_at(first.value, "machine.type") in _CONTROL_PLANES
    components = {each.name: each for each in COMPONENTS}
    line = first.line("machine.type")
    for image in images:
        component = components.get(image.component)
        if component is None:
            wanted = on_control_plane and _is_wanted(image.component, first.value)
        else:
            wanted = (on_control_plane or component.on_workers) and not _is_replaced(
                component, documents
            )
        if wanted:
            yield NeededDefault(image.reference, line)


def _is_wanted(name: str, document: object) -> bool:
    """Whether the cluster needs an image that is not a component: flannel, network policies."""
    cni = "cluster.network.cni"
    has_flannel = text_at(document, f"{cni}.name") in ("", "flannel")
    policies = value_at(document, f"{cni}.flannel.kubeNetworkPoliciesEnabled") is True
    return has_flannel and (policies or name != "kube-network-policies")


def _is_replaced(component: Component, documents: Sequence[LocatedDocument]) -> bool:
    """Whether a field sets another image, or disables the component."""
    for setting in component.settings:
        if _at(documents, setting.kind, setting.image) not in (None, ""):
            return True
        if setting.switch and _at(documents, setting.kind, setting.switch) is setting.off:
            return True
    return False


def _at(documents: Sequence[LocatedDocument], kind: str, path: str) -> object:
    found = (
        value_at(each.value, path) for each in documents if text_at(each.value, "kind") == kind
    )
    return next((value for value in found if value is not None), None)
