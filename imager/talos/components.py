"""The components of a Talos machine, and the configuration fields that set their images.

https://www.talos.dev/latest/reference/configuration/: the first and oldest document, v1alpha1, has
no kind. Later releases move its fields into separate documents.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageSetting:
    """The path of an image field in documents of `kind`; the v1alpha1 document has no kind.

    `switch` is the path of a field in the same document; if it is `off`, the component is disabled.
    """

    kind: str
    image: str
    switch: str = ""
    off: bool = True


@dataclass(frozen=True, slots=True)
class Component:
    """A component and the configuration fields that override its default image.

    Components without `on_workers` run on control planes only.
    """

    name: str
    settings: tuple[ImageSetting, ...] = ()
    on_workers: bool = False


INSTALLER = "installer"
COMPONENTS = (
    Component(
        INSTALLER,
        (
            ImageSetting("", "machine.install.image"),
            ImageSetting("UnattendedInstallConfig", "installer.image"),
        ),
        on_workers=True,
    ),
    Component(
        "kubelet",
        (ImageSetting("", "machine.kubelet.image"), ImageSetting("KubeletConfig", "image")),
        on_workers=True,
    ),
    # The container runtime has its own pause image, which the kubelet's does not replace.
    Component(
        "kubelet's pause",
        (ImageSetting("", "machine.kubelet.extraArgs.pod-infra-container-image"),),
        on_workers=True,
    ),
    Component("pause", on_workers=True),
    Component("etcd", (ImageSetting("", "cluster.etcd.image"),)),
    Component(
        "kube-apiserver",
        (
            ImageSetting("", "cluster.apiServer.image"),
            ImageSetting("KubeAPIServerConfig", "image"),
        ),
    ),
    Component(
        "kube-controller-manager",
        (
            ImageSetting(
                "",
                "cluster.controllerManager.image",
                "machine.controlPlane.controllerManager.disabled",
            ),
            ImageSetting("KubeControllerManagerConfig", "image", "enabled", off=False),
        ),
    ),
    Component(
        "kube-scheduler",
        (
            ImageSetting("", "cluster.scheduler.image", "machine.controlPlane.scheduler.disabled"),
            ImageSetting("KubeSchedulerConfig", "image", "enabled", off=False),
        ),
    ),
    Component(
        "kube-proxy",
        (
            ImageSetting("", "cluster.proxy.image", "cluster.proxy.disabled"),
            ImageSetting("KubeProxyConfig", "image", "enabled", off=False),
        ),
    ),
    Component(
        "coredns",
        (
            ImageSetting("", "cluster.coreDNS.image", "cluster.coreDNS.disabled"),
            ImageSetting("KubeCoreDNSConfig", "image", "enabled", off=False),
        ),
    ),
)
SETTINGS = tuple(setting for component in COMPONENTS for setting in component.settings)
