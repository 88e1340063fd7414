"""The images that a Talos machine configuration names.

Its documents are told in https://www.talos.dev/latest/reference/configuration/: the first and
oldest, v1alpha1, has no kind; the others have `apiVersion: v1alpha1`, which no object of Kubernetes
has. Later releases move the fields of the first into documents of their own. A field that is
absent or empty stands for the default of the release: `imager images default` lists those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imager.imagecache.findings import (
    Finding,
    ImageField,
    Note,
    Problem,
    items_at,
    shown,
    text_at,
    value_at,
    within,
)
from imager.imagecache.podimages import manifest_findings, object_findings

_NAME = "machine configuration"
_SECTIONS = frozenset({"machine", "cluster"})
_KEYS = _SECTIONS | {"version", "debug", "persist"}


@dataclass(frozen=True, slots=True)
class _Component:
    """Where an image stands, and a field that turns its component off by `off`."""

    image: str
    switch: str = ""
    off: bool = True


_V1ALPHA1 = (
    _Component("machine.install.image"),
    _Component("machine.kubelet.image"),
    _Component("machine.kubelet.extraArgs.pod-infra-container-image"),
    _Component("cluster.etcd.image"),
    _Component("cluster.apiServer.image"),
    _Component(
        "cluster.controllerManager.image", "machine.controlPlane.controllerManager.disabled"
    ),
    _Component("cluster.scheduler.image", "machine.controlPlane.scheduler.disabled"),
    _Component("cluster.proxy.image", "cluster.proxy.disabled"),
    _Component("cluster.coreDNS.image", "cluster.coreDNS.disabled"),
)
_ENABLED = _Component("image", "enabled", off=False)
_KINDS = {
    "KubeletConfig": _Component("image"),
    "KubeAPIServerConfig": _Component("image"),
    "KubeControllerManagerConfig": _ENABLED,
    "KubeSchedulerConfig": _ENABLED,
    "KubeProxyConfig": _ENABLED,
    "KubeCoreDNSConfig": _ENABLED,
    "UnattendedInstallConfig": _Component("installer.image"),
}
_URL_LISTS = (
    "cluster.extraManifests",
    "cluster.externalCloudProvider.manifests",
    "cluster.network.cni.urls",
)


def is_machine_config(document: object) -> bool:
    """Whether `document` is one of a machine configuration, or a patch of its first."""
    if not isinstance(document, Mapping):
        return False
    if "kind" in document:
        return document.get("apiVersion") == "v1alpha1"
    return bool(document.keys() & _SECTIONS) and document.keys() <= _KEYS


def machine_findings(document: object) -> Iterator[Finding]:
    """Yield what a document that `is_machine_config` knows names, each with the document's."""
    yield from (within(document_name(document), found) for found in field_findings(document))


def document_name(document: object) -> str:
    """Return what a person calls a document: its kind and its name."""
    kind, name = text_at(document, "kind"), text_at(document, "name")
    if not kind:
        return _NAME
    return f"{shown(kind)} {shown(name)}" if name else shown(kind)


def field_findings(document: object) -> Iterator[Finding]:
    """Yield what the fields of a document name; places begin with the field's path."""
    kind = text_at(document, "kind")
    yield from _of_kind(document, kind) if kind else _of_v1alpha1(document)


def _of_v1alpha1(document: object) -> Iterator[Finding]:
    for component in _V1ALPHA1:
        yield from _image(document, component)
    for index, extension in enumerate(items_at(document, "machine.install.extensions")):
        where = f"machine.install.extensions[{index}]"
        yield from (within(where, found) for found in _image(extension, _Component("image")))
    for index, pod in enumerate(items_at(document, "machine.pods")):
        yield from _in_object(pod, f"machine.pods[{index}]")
    for index, manifest in enumerate(items_at(document, "cluster.inlineManifests")):
        where = f"cluster.inlineManifests[{index}].contents"
        yield from _in_text(value_at(manifest, "contents"), where)
    for path in _URL_LISTS:
        for index, url in enumerate(items_at(document, path)):
            if isinstance(url, str):
                yield _unseen(f"{path}[{index}]", url)


def _of_kind(document: object, kind: str) -> Iterator[Finding]:
    match kind:
        case "KubeStaticPodConfig":
            yield from _in_object(value_at(document, "pod"), "pod")
        case "KubeInlineManifestConfig":
            yield from _in_text(value_at(document, "manifest"), "manifest")
        case "KubeExternalManifestConfig":
            yield _unseen("url", text_at(document, "url"))
        case _ if kind in _KINDS:
            yield from _image(document, _KINDS[kind])


def _image(document: object, component: _Component) -> Iterator[ImageField]:
    image = value_at(document, component.image)
    is_off = component.switch and value_at(document, component.switch) is component.off
    if image not in (None, "") and not is_off:
        yield ImageField(component.image, image)


def _in_object(value: object, where: str) -> Iterator[Finding]:
    for found in object_findings(value, number=1):
        yield within(where, found)


def _in_text(value: object, where: str) -> Iterator[Finding]:
    if isinstance(value, str):
        yield from (within(where, found) for found in manifest_findings(value))
    elif value is not None:
        yield Problem(where, "is not text with Kubernetes manifests")


def _unseen(where: str, url: str) -> Note:
    return Note(where, f"the images of {url} are not known here: download it and list it too")
