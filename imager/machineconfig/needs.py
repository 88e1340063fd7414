"""The images that a machine needs: those its configuration names, and its release's defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imager.imagecache.findings import text_at, value_at
from imager.oci.reference import Reference
from imager.yamldocs import LocatedDocument

_CONTROL_PLANES = ("controlplane", "init")
_TYPES = (*_CONTROL_PLANES, "worker")


@dataclass(frozen=True, slots=True)
class _Component:
    """A default image by the last word of its name, and what in a configuration stands for it.

    `fields` are paths, after the kind of a document where it is not the first, whose images are
    used instead; `switches` turn the component off, with the values that do so. A component with
    neither `on_workers` nor a configuration of a control plane is told by the latter alone.
    """

    name: str
    fields: tuple[str, ...] = ()
    switches: tuple[tuple[str, bool], ...] = ()
    on_workers: bool = False


_COMPONENTS = (
    _Component("kubelet", ("machine.kubelet.image", "KubeletConfig/image"), on_workers=True),
    _Component(
        "installer",
        ("machine.install.image", "UnattendedInstallConfig/installer.image"),
        on_workers=True,
    ),
    _Component("pause", on_workers=True),
    _Component("etcd", ("cluster.etcd.image",)),
    _Component("kube-apiserver", ("cluster.apiServer.image", "KubeAPIServerConfig/image")),
    _Component(
        "kube-controller-manager",
        ("cluster.controllerManager.image", "KubeControllerManagerConfig/image"),
        (
            ("machine.controlPlane.controllerManager.disabled", True),
            ("KubeControllerManagerConfig/enabled", False),
        ),
    ),
    _Component(
        "kube-scheduler",
        ("cluster.scheduler.image", "KubeSchedulerConfig/image"),
        (("machine.controlPlane.scheduler.disabled", True), ("KubeSchedulerConfig/enabled", False)),
    ),
    _Component(
        "kube-proxy",
        ("cluster.proxy.image", "KubeProxyConfig/image"),
        (("cluster.proxy.disabled", True), ("KubeProxyConfig/enabled", False)),
    ),
    _Component(
        "coredns",
        ("cluster.coreDNS.image", "KubeCoreDNSConfig/image"),
        (("cluster.coreDNS.disabled", True), ("KubeCoreDNSConfig/enabled", False)),
    ),
)


@dataclass(frozen=True, slots=True)
class NeededDefault:
    """A default image of a release that the configuration whose type is at `line` needs."""

    image: str
    line: int


def needed_defaults(
    documents: Sequence[LocatedDocument], images: Sequence[str]
) -> Iterator[NeededDefault]:
    """Yield those of `images`, a release's defaults, that a machine with `documents` needs.

    Of a worker they are those that it pulls for itself: what a control plane makes it run is for
    the configuration of the latter to say. A patch, which has no `machine.type`, needs none.
    """
    typed = [each for each in documents if text_at(each.value, "machine.type") in _TYPES]
    if not typed:
        return
    first = typed[0]
    on_control_plane = text_at(first.value, "machine.type") in _CONTROL_PLANES
    components = {each.name: each for each in _COMPONENTS}
    line = first.line("machine.type")
    for image in images:
        name = Reference.parse(image).repository.rpartition("/")[2]
        component = components.get(name)
        if component is None:
            wanted = on_control_plane and _is_wanted(name, first.value)
        else:
            wanted = (on_control_plane or component.on_workers) and not _is_replaced(
                component, documents
            )
        if wanted:
            yield NeededDefault(image, line)


def _is_wanted(name: str, document: object) -> bool:
    """Whether a cluster's network wants what no component stands for: flannel, and its policies."""
    cni = "cluster.network.cni"
    has_flannel = text_at(document, f"{cni}.name") in ("", "flannel")
    policies = value_at(document, f"{cni}.flannel.kubeNetworkPoliciesEnabled") is True
    return has_flannel and (policies or name != "kube-network-policies")


def _is_replaced(component: _Component, documents: Sequence[LocatedDocument]) -> bool:
    named = any(_text(documents, each) for each in component.fields)
    return named or any(_at(documents, path) is off for path, off in component.switches)


def _text(documents: Sequence[LocatedDocument], path: str) -> bool:
    return _at(documents, path) not in (None, "")


def _at(documents: Sequence[LocatedDocument], path: str) -> object:
    kind, _, rest = path.rpartition("/")
    found = (
        value_at(each.value, rest) for each in documents if text_at(each.value, "kind") == kind
    )
    return next((value for value in found if value is not None), None)
