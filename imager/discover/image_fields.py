"""Where objects name images: paths by API group, and the words in keys that mean an image.

A path matches the last keys, without list indices: `containerDisk.image` is every `image` below a
`containerDisk`. To support another kind, add its group and paths here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imager.discover.likeness import words

# Groups with workloads, where any other `image` is a Ceph disk or part of a node's status.
_BUILTIN_GROUPS = frozenset({"", "apps", "batch", "extensions"})

# Fields whose value is an image reference, short names included, by API group.
_IMAGES: Mapping[str, tuple[str, ...]] = {
    "argoproj.io": ("container.image", "script.image", "sidecars.image"),
    "cdi.kubevirt.io": ("source.registry.url",),
    "content.hauler.cattle.io": ("spec.images.name",),
    "data.packaging.carvel.dev": ("imgpkgBundle.image", "fetch.image.url"),
    "helm.cattle.io": ("spec.jobImage",),
    "imgpkg.carvel.dev": ("images.image", "bundle.image"),
    "kappctrl.k14s.io": ("imgpkgBundle.image", "fetch.image.url"),
    "kbld.k14s.io": ("overrides.newImage",),
    "kubevirt.io": ("containerDisk.image", "kernelBoot.container.image"),
    "mirror.openshift.io": ("additionalImages.name", "operators.catalog"),
    "operators.coreos.com": ("spec.image", "relatedImages.image"),
    "packaging.carvel.dev": ("imgpkgBundle.image", "fetch.image.url"),
    "tekton.dev": (
        "steps.image",
        "sidecars.image",
        "stepTemplate.image",
        "taskRef.bundle",
        "pipelineRef.bundle",
    ),
}
_IMAGES_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "ZarfPackageConfig": ("components.images",),
    "ZarfInitConfig": ("components.images",),
}
# Groups in which a `version` next to an `image` is its tag.
_VERSIONED = frozenset({"k0s.k0sproject.io", "nvidia.com"})
# Groups of policies: they allow or forbid images, and run none of them.
_POLICIES = (
    "admissionregistration.k8s.io",
    "constraints.gatekeeper.sh",
    "config.gatekeeper.sh",
    "config.openshift.io",
    "image.toolkit.fluxcd.io",
    "kyverno.io",
    "policies.kyverno.io",
    "operator.openshift.io",
    "policy.sigstore.dev",
    "templates.gatekeeper.sh",
)
# Prose, fields that a controller writes, and copies of other parts of the document.
_NO_IMAGE_KEYS = frozenset({
    "alm-examples",
    "description",
    "documentation",
    "last-applied-configuration",
    "managedFields",
    "message",
    "readme",
    "runbook_url",
    "summary",
})  # fmt: skip
# Names; a Ceph disk; registries, and images excluded from mirroring.
_NO_IMAGE_PATHS = frozenset({
    ("blockedImages", "name"),
    ("imageDigestMirrors", "mirrors"),
    ("imageDigestMirrors", "source"),
    ("imageTagMirrors", "mirrors"),
    ("imageTagMirrors", "source"),
    ("metadata", "generateName"),
    ("metadata", "labels"),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "uid"),
    ("rbd", "image"),
    ("repositoryDigestMirrors", "mirrors"),
    ("repositoryDigestMirrors", "source"),
})  # fmt: skip
# Paths of lists in which kustomize overrides images.
_KUSTOMIZED: Mapping[str, tuple[str, ...]] = {
    "argoproj.io": ("kustomize.images",),
    "helm.toolkit.fluxcd.io": ("kustomize.images",),
    "kustomize.config.k8s.io": ("images",),
    "kustomize.toolkit.fluxcd.io": ("spec.images",),
}

_LONGEST_KEY = 128
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Words after or next to `image` that give the key another meaning.
_OTHERS = words(
    "accept active allowed auto backup cache caches count credentials delay deletion digest dir "
    "directory disk disks enable enabled feature features filter format gc height id ids interval "
    "limit list location max maximum media min minimum mirror mirrors mode names namespace "
    "options path paths pattern patterns period policies policy port prefix provider pull pulls "
    "quality registries registry repo repositories repository schema secret secrets service size "
    "sizes source status suffix tag tags threshold time timeout title type types ttl update "
    "upload user version versions volume width"
)
_NAMING = frozenset({"name", "ref", "reference", "url", "uri", "default"})
_NEGATING = frozenset({"disable", "has", "is", "use"})

# Words in keys whose value is a host and port.
_ADDRESSES = words(
    "addr address addresses backend bind bootstrap broker brokers dsn endpoint endpoints host "
    "hostname hosts listen peer peers port ports sentinel sentinels server servers service target "
    "targets upstream upstreams"
)

CHOSEN = "its operator selects images that are not known here; add them to the list"
_CHARTS = "the images that it deploys are not known here; list the rendered manifests too"
_KUBEADM = "kubeadm adds images: list the output of `kubeadm config images list` too"
_TALOS = "Talos adds the images of its release: list the output of `imager images default` too"
_LISTS = "the lists of images at its URLs are not read; download and list them too"
_SEALED = "its values are encrypted: decrypt it, and list the result"
_UNSEEN: Mapping[tuple[str, str], str] = {
    ("argoproj.io", "Application"): _CHARTS,
    ("argoproj.io", "ApplicationSet"): _CHARTS,
    ("addons.cluster.x-k8s.io", "HelmChartProxy"): _CHARTS,
    ("collection.hauler.cattle.io", "ImageTxts"): _LISTS,
    ("collection.hauler.cattle.io", "ThickCharts"): _CHARTS,
    ("content.hauler.cattle.io", "Charts"): _CHARTS,
    ("content.hauler.cattle.io", "ImageTxts"): _LISTS,
    ("bitnami.com", "SealedSecret"): _SEALED,
    ("bootstrap.cluster.x-k8s.io", "KubeadmConfig"): _KUBEADM,
    ("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate"): _KUBEADM,
    ("controlplane.cluster.x-k8s.io", "KubeadmControlPlane"): _KUBEADM,
    ("controlplane.cluster.x-k8s.io", "KubeadmControlPlaneTemplate"): _KUBEADM,
    ("controlplane.cluster.x-k8s.io", "TalosControlPlane"): _TALOS,
    ("kubeadm.k8s.io", "ClusterConfiguration"): _KUBEADM,
    ("fleet.cattle.io", "Bundle"): _CHARTS,
    ("fleet.cattle.io", "GitRepo"): _CHARTS,
    ("helm.cattle.io", "HelmChart"): _CHARTS,
    ("helm.crossplane.io", "Release"): _CHARTS,
    ("helm.cattle.io", "HelmChartConfig"): _CHARTS,
    ("helm.toolkit.fluxcd.io", "HelmRelease"): _CHARTS,
    ("install.istio.io", "IstioOperator"): _CHARTS,
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): _CHARTS,
    ("operators.coreos.com", "Subscription"): CHOSEN,
    ("operator.cluster.x-k8s.io", "AddonProvider"): CHOSEN,
    ("operator.cluster.x-k8s.io", "BootstrapProvider"): CHOSEN,
    ("operator.cluster.x-k8s.io", "ControlPlaneProvider"): CHOSEN,
    ("operator.cluster.x-k8s.io", "CoreProvider"): CHOSEN,
    ("operator.cluster.x-k8s.io", "InfrastructureProvider"): CHOSEN,
    ("operator.knative.dev", "KnativeEventing"): CHOSEN,
    ("operator.knative.dev", "KnativeServing"): CHOSEN,
    ("operator.tigera.io", "Installation"): CHOSEN,
    ("packaging.carvel.dev", "PackageInstall"): _CHARTS,
    ("pkg.crossplane.io", "Configuration"): (
        "its dependencies are not known here; list their packages too"
    ),
    ("sailoperator.io", "Istio"): CHOSEN,
}
# Kinds whose operators choose a default image.
_OPERATED = frozenset({
    ("argoproj.io", "ArgoCD"),
    ("cassandra.datastax.com", "CassandraDatacenter"),
    ("cdi.kubevirt.io", "CDI"),
    ("hco.kubevirt.io", "HyperConverged"),
    ("jaegertracing.io", "Jaeger"),
    ("k8s.mariadb.com", "MariaDB"),
    ("k8ssandra.io", "K8ssandraCluster"),
    ("kubevirt.io", "KubeVirt"),
    ("loki.grafana.com", "LokiStack"),
    ("minio.min.io", "Tenant"),
    ("mysql.oracle.com", "InnoDBCluster"),
    ("opensearch.opster.io", "OpenSearchCluster"),
    ("opentelemetry.io", "OpenTelemetryCollector"),
    ("tempo.grafana.com", "TempoStack"),
    ("grafana.integreatly.org", "Grafana"),
    ("kafka.strimzi.io", "Kafka"),
    ("mongodbcommunity.mongodb.com", "MongoDBCommunity"),
    ("monitoring.coreos.com", "Alertmanager"),
    ("monitoring.coreos.com", "Prometheus"),
    ("monitoring.coreos.com", "PrometheusAgent"),
    ("monitoring.coreos.com", "ThanosRuler"),
    ("postgresql.cnpg.io", "Cluster"),
    ("acid.zalan.do", "postgresql"),
    ("rabbitmq.com", "RabbitmqCluster"),
})  # fmt: skip
_OPERATED_SUFFIX = ".k8s.elastic.co"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for the fields of one kind of object.

    `unseen` is why an object needs images that it does not name; empty if it does not. An object
    that `is_operated` needs an image even if it names none.
    """

    images: tuple[str, ...] = ()
    kustomized: tuple[str, ...] = ()
    version_is_tag: bool = False
    is_policy: bool = False
    is_builtin: bool = False
    is_operated: bool = False
    unseen: str = ""


def rules_of(group: str, kind: str) -> Rules:
    """Return the rules for an API group and kind."""
    return Rules(
        images=(*_IMAGES.get(group, ()), *_IMAGES_OF_KINDS.get(kind, ())),
        kustomized=_KUSTOMIZED.get(group, ()),
        version_is_tag=group in _VERSIONED,
        is_policy=group in _POLICIES,
        is_builtin=group in _BUILTIN_GROUPS,
        is_operated=(group, kind) in _OPERATED or group.endswith(_OPERATED_SUFFIX),
        unseen=_UNSEEN.get((group, kind), ""),
    )


def names_no_image(keys: tuple[str, ...]) -> bool:
    """Whether values below the last of these keys are never images, whatever they look like."""
    if not keys or keys[-2:] in _NO_IMAGE_PATHS:
        return bool(keys)
    # Annotations have a domain before the slash; ConfigMap and Secret keys may be anything.
    is_free = len(keys) > 1 and keys[-2] in ("data", "stringData")
    return not is_free and keys[-1].rpartition("/")[2] in _NO_IMAGE_KEYS


def says_image(key: str) -> bool:
    """Whether the words of a key or option mean that its value is an image.

    True for `sidecarImage`, `--acme-http01-solver-image` and `RELATED_IMAGE_PROXY`, false for
    `imagePullPolicy` and `IMAGE_TAG`.
    """
    if len(key) > _LONGEST_KEY:
        return False
    parts = [word.lower() for word in _WORDS.findall(key)]
    if "image" not in parts and "images" not in parts:
        return False
    at = max(index for index, word in enumerate(parts) if word in ("image", "images"))
    before, after = parts[:at], parts[at + 1 :]
    if after and after[0] in _NAMING and len(after) == 1:
        return True
    return not _OTHERS.intersection(after) and not _NEGATING.intersection(before)


def says_address(key: str) -> bool:
    """Whether the words of a key or option mean that its value is a host and port: `REDIS_ADDR`."""
    if len(key) > _LONGEST_KEY:
        return False
    return not _ADDRESSES.isdisjoint(word.lower() for word in _WORDS.findall(key))
