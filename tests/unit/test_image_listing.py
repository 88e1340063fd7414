"""`imager images list` over the files of tests/site, and over what no one should write."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.discover.listing import find_images
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError, InvalidManifestsError

SITE = Path(__file__).parents[1] / "site"
APPS = (
    "docker.io/example/worker:1",
    "docker.io/fluent/fluent-bit:3.2.2",
    "docker.io/library/busybox:1.37",
    "docker.io/library/nginx:latest",
    "docker.io/library/postgres:16.6-bookworm",
    "docker.io/library/redis:7.4.1",
    "docker.io/nginx/nginx-prometheus-exporter:1.3.0",
    "docker.io/nicolaka/netshoot:v0.13",
    "ghcr.io/example/pg-backup@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "quay.io/example/tools:2",
    "quay.io/prometheus/node-exporter:v1.8.2",
    "registry.example.com:5000/shop/migrate:2024.11.3",
    "registry.example.com:5000/shop/seed:v1"
    "@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "registry.k8s.io/pause:3.10",
)
CONTROL_PLANE = (
    "docker.io/library/hello-world:linux",
    "gcr.io/etcd-development/etcd:v3.5.17",
    "ghcr.io/kube-vip/kube-vip:v0.8.7",
    "ghcr.io/siderolabs/gvisor:20241111.0",
    "ghcr.io/siderolabs/installer:v1.9.0",
    "ghcr.io/siderolabs/iscsi-tools:v0.1.6",
    "ghcr.io/siderolabs/kubelet:v1.32.0",
    "registry.example.com:5000/pause:3.10",
    "registry.k8s.io/coredns/coredns:v1.12.0",
    "registry.k8s.io/kube-apiserver:v1.32.0",
    "registry.k8s.io/kube-controller-manager:v1.32.0",
)
SEPARATE_DOCUMENTS = (
    "docker.io/library/haproxy:3.1",
    "factory.talos.dev/metal-installer/"
    "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba:v1.14.0",
    "ghcr.io/siderolabs/kubelet:v1.36.0",
    "registry.k8s.io/coredns/coredns:v1.14.2",
    "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.12.0",
)


def listed(*sources: Path | str) -> tuple[tuple[str, ...], list[str]]:
    """Return the images and the warnings, without the folder of each file."""
    listing = find_images([str(source) for source in sources])
    listing.check(strict=False)
    images = tuple(each.reference for each in listing.images)
    return images, [str(each).rpartition("/site/")[2] for each in listing.warnings]


def write(folder: Path, text: str, name: str = "web.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems(*sources: Path | str) -> tuple[str, ...]:
    """Return what is wrong, without the folders of files."""
    with pytest.raises(InvalidManifestsError) as caught:
        listed(*sources)
    folder = Path(sources[0]).parent
    return tuple(each.removeprefix(f"{folder}/") for each in caught.value.problems)


def pod(image: str, *, version: str = "v1", kind: str = "Pod") -> str:
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web, namespace: shop}}\n"
        f"spec:\n  containers:\n  - name: web\n    image: {image}\n"
    )


def test_every_kind_that_runs_pods() -> None:
    images, (warning,) = listed(SITE / "apps")
    assert images == APPS
    # A word like any other, but its key says that it is an image.
    assert warning == (
        "apps/web.yaml:13: ConfigMap shop/web: data.image: not-an-image is not listed: "
        "it may be the short name of an image; add it if it is pulled"
    )


def test_files_and_folders_together_give_each_image_once() -> None:
    backup = SITE / "apps/backup.yml"
    assert listed(backup, SITE / "apps", backup)[0] == APPS
    assert listed(backup)[0] == tuple(each for each in APPS if "backup" in each or "seed" in each)


def test_custom_resources_operators_and_crds() -> None:
    images, warnings = listed(SITE / "system")
    assert images == (
        "docker.io/library/python:3.12-slim",
        "docker.io/oauth2-proxy/oauth2-proxy:v7.7.1",
        "ghcr.io/cloudnative-pg/postgresql:16.6",
        "ghcr.io/example/gallery:v2",
        "quay.io/cilium/cilium:v1.16.4",
        "quay.io/openshift/origin-oauth-proxy:4.17",
        "quay.io/prometheus-operator/prometheus-config-reloader:v0.79.2",
        "quay.io/prometheus-operator/prometheus-operator:v0.79.2",
        "quay.io/prometheus/prometheus:v3.0.1",
    )
    name = "CustomResourceDefinition prometheuses.monitoring.coreos.com"
    schema = "spec.versions[0].schema.openAPIV3Schema.properties.spec.properties."
    custom = "system/monitoring.yaml"
    assert warnings == [
        f"system/crds.yaml:22: {name}: {schema}image.default: quay.io/example/from-a-schema:v1 "
        "is not listed: it is a default in a schema; add it if a resource relies on that",
        f"system/crds.yaml:27: {name}: {schema}containers.default[0].image: "
        "quay.io/example/from-a-default:v1 is not listed: "
        "it is a default in a schema; add it if a resource relies on that",
        f"{custom}:12: Prometheus monitoring/main: spec.thanos.baseImage: thanos is not listed: "
        "it may be the short name of an image; add it if it is pulled (and 1 more place)",
        f"{custom}:27: Workflow nightly-: spec.templates[0].container.image: "
        "{{inputs.parameters.image}} is not listed: it contains a variable",
        f"{custom}:38: HelmRelease kube-system/cilium: the images that it deploys are not known "
        "here; list the rendered manifests too",
    ]


def test_what_is_listed_from_an_argument_is_told() -> None:
    listing = find_images([str(SITE / "system")])
    (remark,) = [str(each).rpartition("/site/")[2] for each in listing.remarks]
    assert remark == (
        "system/operator.yaml:12: Deployment monitoring/operator: "
        "spec.template.spec.containers[0].args[1]: "
        "quay.io/prometheus-operator/prometheus-config-reloader:v0.79.2 is listed: a "
        "complete reference outside of an image field; remove it if nothing pulls it"
    )
    # The name of the variable says that its value is an image.
    (image,) = [each for each in listing.images if "oauth-proxy:4.17" in each.reference]
    assert image.is_certain
    assert [(each.line, each.where) for each in image.places] == [
        (16, "Deployment monitoring/operator: spec.template.spec.containers[0].env[1].value")
    ]


def test_strict_refuses_what_is_not_certain() -> None:
    with pytest.raises(InvalidManifestsError, match="5 problems"):
        find_images([str(SITE / "system")]).check(strict=True)
    find_images([str(SITE / "apps/agent.yaml")]).check(strict=True)


def test_a_kustomization_that_changes_images_is_told() -> None:
    images, warnings = listed(SITE / "kustomize")
    assert images == ("docker.io/valkey/valkey:8.0", "docker.io/valkey/valkey:8.1")
    assert warnings == [
        "kustomize/overlays/edge/kustomization.yaml:1: Kustomization: "
        "it changes or adds images: list the output of `kustomize build` instead"
    ]


def test_a_control_plane() -> None:
    images, warnings = listed(SITE / "talos/controlplane.yaml")
    assert images == CONTROL_PLANE
    place, rest = "machine configuration: ", "are not known here"
    file = "talos/controlplane.yaml"
    assert [each.partition(rest)[0] for each in warnings] == [
        f"{file}:61: {place}cluster.extraManifests[0]: "
        "the images of https://example.com/metallb.yaml ",
        f"{file}:59: {place}cluster.externalCloudProvider.manifests[0]: "
        "the images of https://example.com/ccm.yaml ",
        f"{file}:42: {place}cluster.network.cni.urls[0]: "
        "the images of https://example.com/cni.yaml ",
        f"{file}:34: {place}machine.files[0].content: example.com/not/run:v1 is not listed: "
        "it looks like an image; add it if it is pulled",
    ]


def test_the_documents_of_later_releases() -> None:
    images, warnings = listed(SITE / "talos/worker.yaml")
    assert images == SEPARATE_DOCUMENTS
    (warning,) = warnings
    assert "KubeExternalManifestConfig policy: url: the images of https://example.com/p" in warning


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("scheduler: {disabled: true}", "scheduler: {disabled: false}", "+kube-scheduler:v1.32.0"),
        (
            "Manager: {disabled: false}",
            "Manager: {disabled: true}",
            "-kube-controller-manager:v1.32.0",
        ),
        ("    disabled: true\n", "", "+kube-proxy:v1.32.0"),
        ("coreDNS:\n", "coreDNS:\n    disabled: true\n", "-coredns/coredns:v1.12.0"),
    ],
)
def test_what_is_turned_off_is_not_listed(
    tmp_path: Path, before: str, after: str, changed: str
) -> None:
    text = (SITE / "talos/controlplane.yaml").read_text()
    assert text.count(before) == 1
    images, _ = listed(write(tmp_path, text.replace(before, after)))
    assert set(images) ^ set(CONTROL_PLANE) == {f"registry.k8s.io/{changed[1:]}"}
    assert (len(images) > len(CONTROL_PLANE)) is changed.startswith("+")


def test_a_patch_of_a_machine_configuration(tmp_path: Path) -> None:
    patch = "machine:\n  install:\n    image: ghcr.io/siderolabs/installer:v1.9.1\n"
    assert listed(write(tmp_path, patch))[0] == ("ghcr.io/siderolabs/installer:v1.9.1",)


def test_all_files_of_the_site_at_once_in_any_order() -> None:
    folders = [SITE / name for name in ("talos", "system", "apps", "kustomize")]
    images, warnings = listed(SITE)
    assert images == listed(*folders)[0]
    # The operator's variable names an image of the custom resource: nothing to warn of.
    assert not any("prometheus:v3.0.1" in warning for warning in warnings)
    assert "ghcr.io/example/staged:v1" not in images


def test_the_same_from_a_copy_made_in_another_order(tmp_path: Path) -> None:
    for path in sorted(SITE.rglob("*.*"), reverse=True):
        if path.is_file():
            target = tmp_path / "site" / path.relative_to(SITE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    assert listed(tmp_path / "site") == listed(SITE)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\ufeff" + pod("alpine").replace("web", "w\u00e9b")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "ascii"))
    assert listed("-")[0] == ("docker.io/library/alpine:latest",)


def test_a_list_of_a_kind_and_lists_in_lists(tmp_path: Path) -> None:
    items = [{"metadata": {"name": n}, "spec": {"containers": [{"image": n}]}} for n in ("a", "b")]
    inner = {"apiVersion": "v1", "kind": "PodList", "items": items}
    outer = {"apiVersion": "v1", "kind": "List", "items": [inner, inner]}
    images, warnings = listed(write(tmp_path, json.dumps(outer)))
    assert images == ("docker.io/library/a:latest", "docker.io/library/b:latest")
    assert warnings == []


def test_all_problems_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, f"{pod('nginx')}---\n{pod('Nginx')}---\n{pod('')}", "site/a.yaml")
    write(tmp_path, pod("1.20") + "  - {name: x, image: [a]}\n", "site/b/c.yml")
    write(tmp_path, "a: [\n", "site/d.yaml")
    write(tmp_path, pod("${IMAGE}", version="apps/v1", kind="Deployment"), "site/e.yaml")
    (tmp_path / "site/f.yaml").write_bytes(b"a: \xff\n")
    (tmp_path / "site/g.yaml").symlink_to("nowhere")
    image = "spec.containers[0].image"
    assert problems(tmp_path / "site", tmp_path / "gone.yaml") == (
        f"site/a.yaml:15: Pod shop/web: {image}: image reference 'Nginx': "
        "'library/Nginx' is not a repository name (it must be lower case)",
        f"site/a.yaml:23: Pod shop/web: {image}: the image is empty",
        "site/d.yaml:2: did not find expected node content",
        f"site/e.yaml:7: Deployment shop/web: {image}: image reference '${{IMAGE}}': "
        "'library/${IMAGE}' is not a repository name",
        "site/f.yaml: is not UTF-8, at byte 3",
        "site/g.yaml: cannot be read: No such file or directory",
        f"site/b/c.yml:7: Pod shop/web: {image}: "
        "the image is a number, not text: is a quote missing?",
        "site/b/c.yml:8: Pod shop/web: spec.containers[1].image: "
        "the image is a list, not text: is a quote missing?",
        "gone.yaml: cannot be read: No such file or directory",
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{{- if .Values.on }}\nkind: Pod\n{{- end }}\n", "web.yaml:1: "),
        ("kind: Pod\nspec: {{ toYaml .Values.spec }}\n", "web.yaml:2: "),
        (pod('"{{ .Values.image }}"'), "web.yaml:7: Pod shop/web: spec.containers[0].image: "),
        (
            "cluster:\n  inlineManifests:\n  - contents: |\n      {{ range .x }}\n",
            "web.yaml:4: machine configuration: cluster.inlineManifests[0].contents: ",
        ),
    ],
)
def test_a_template_is_told_to_be_one(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(InvalidManifestsError) as caught:
        listed(write(tmp_path, text))
    (problem,) = caught.value.problems
    assert problem.removeprefix(f"{tmp_path}/").startswith(place)
    assert ("it is a template, not YAML" in problem) is ("Pod" not in place)
    assert "helm template" in caught.value.hint


def test_yaml_that_is_no_template_has_no_hint_of_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestsError) as caught:
        listed(write(tmp_path, "a: [\n"))
    assert caught.value.hint == ""


def test_a_bad_image_of_a_machine_configuration(tmp_path: Path) -> None:
    text = (
        "machine: {kubelet: {image: 'a b'}, pods: [{kind: Pod, spec: {containers: [{image: }]}}]}\n"
        "cluster: {inlineManifests: [{contents: {kind: Pod}}]}\n"
    )
    place = "machine configuration:"
    first, second, third = problems(write(tmp_path, text))
    assert first.startswith(f"web.yaml:1: {place} machine.kubelet.image: image reference 'a b'")
    assert (
        second
        == f"web.yaml:1: {place} machine.pods[0]: Pod: spec.containers[0].image: the image is empty"
    )
    assert third == (
        f"web.yaml:1: {place} cluster.inlineManifests[0].contents: "
        "is not a string with Kubernetes manifests"
    )


@pytest.mark.parametrize(
    "text", ["", "---\n", "kind: Service\napiVersion: v1\n", "a: 1\n", "- 1\n"]
)
def test_no_image_at_all(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match="no images found in") as caught:
        listed(path, tmp_path)
    assert "Kubernetes manifests or Talos machine configurations" in caught.value.hint


def test_what_is_neither_kubernetes_nor_talos_is_told(tmp_path: Path) -> None:
    text = f"image: nginx\nresources: {{}}\n---\n{pod('alpine')}---\nmachine: {{}}\nother: 1\n"
    _, warnings = listed(write(tmp_path, text))
    unknown = "not a Kubernetes or Talos document: only complete references in it are listed"
    assert [each.rpartition("web.yaml:")[2] for each in warnings] == [
        "1: document 1: image: nginx is not listed: "
        "it may be the short name of an image; add it if it is pulled",
        f"1: document 1: {unknown}",
        f"12: document 3: {unknown}",
    ]


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    assert problems(path) == ("web.yaml: is larger than 16 MiB",)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    write(tmp_path, pod("alpine"))
    assert listed(tmp_path)[0] == ("docker.io/library/alpine:latest",)


def test_names_cannot_forge_lines_or_flood(tmp_path: Path) -> None:
    text = json.dumps({"kind": "Pod\nerror: x", "spec": {"containers": [{"image": ""}]}})
    (forged,) = problems(write(tmp_path, text))
    assert forged == "web.yaml:1: Pod error: x: spec.containers[0].image: the image is empty"
    many = json.dumps({"kind": "Pod", "spec": {"containers": [{"image": ""}] * 500}})
    with pytest.raises(InvalidManifestsError) as caught:
        listed(write(tmp_path, many.replace("Pod", "P" * 100_000)))
    assert len(caught.value.message) < 200_000
    assert caught.value.message.startswith("manifests: 500 problems\n")
    assert caught.value.message.endswith("\n  and 400 more")


def test_one_long_name_over_many_values_stays_small(tmp_path: Path) -> None:
    long = "n" * 2_000_000
    value = {"apiVersion": "a.io/v1", "kind": long, long: [{"image": f"x{n}"} for n in range(500)]}
    _, warnings = listed(write(tmp_path, json.dumps(value)), SITE / "apps/agent.yaml")
    assert len(warnings) == 500
    assert all(len(warning) < 1000 for warning in warnings)


_KEYS = st.sampled_from([
    "apiVersion", "kind", "metadata", "name", "namespace", "spec", "template", "items", "args",
    "containers", "initContainers", "volumes", "image", "reference", "imageName", "env", "value",
    "command", "resources", "images", "machine", "cluster", "pods", "install", "pod", "manifest",
    "inlineManifests", "contents", "extraManifests", "extensions", "proxy", "disabled", "coreDNS",
    "data", "repository", "registry", "tag", "digest", "hub", "newTag", "services", "patches",
    "inline", "components", "annotations", "version", "op", "path", "default", "schema", "package",
])  # fmt: skip
_SCALARS = st.sampled_from(
    ["v1", "v1alpha1", "apps/v1", "a.io/v1", "Pod", "List", "PodList", "KubeStaticPodConfig",
     "KubeInlineManifestConfig", "KubeletConfig", "Kustomization", "nginx", "quay.io/a/b:1", "A B",
     "kind: Pod\nspec: {containers: [{image: x}]}", "{{", "", "a\nb", "\u0007", "Secret",
     "a/b:v1", "oci://quay.io/a/b", "cXVheS5pby9hL2I6djE=", "ConfigMap", "--image", "x=a/b:v1,c:1",
     "Cluster", "ZarfPackageConfig", "CustomResourceDefinition", "pkg.crossplane.io/v1", "${x}",
     "image: {repository: quay.io/a/b, tag: 1}\nx: 1", "kyverno.io/v1", "tekton.dev/v1"]
) | st.none() | st.booleans() | st.integers() | st.floats()  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=25,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "any.yaml"


def images_or_told_error(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ImagerError):
        images, _ = listed(path)
        assert images == tuple(sorted({str(Reference.parse_strict(each)) for each in images}))
        assert images


@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_any_object_is_images_or_a_told_error(scratch: Path, value: dict[str, object]) -> None:
    images_or_told_error(scratch, json.dumps(value))


@given(st.text(max_size=50))
def test_any_text_is_images_or_a_told_error(scratch: Path, text: str) -> None:
    images_or_told_error(scratch, text)
    images_or_told_error(scratch, f"kind: Pod\nspec: {{containers: [{{image: {text}}}]}}\n")


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"List","items":[' * 400 + "]}" * 400,
        '{"kind":"Pod","spec":' * 400 + "1" + "}" * 400,
        '{"kind":"Pod","containers":[{"image":' + "[" * 400 + "]" * 400 + "}]}",
        f"kind: Pod\n0x{'f' * 9000}: 1\ncontainers: [{{image: 0x{'f' * 9000}}}]\n",
        f"kind: 0x{'f' * 9000}\nmetadata: {{name: 0x{'f' * 9000}}}\n",
        f"machine: {{}}\ncluster: {{extraManifests: [0x{'f' * 9000}]}}\n",
    ],
)
def test_what_is_too_deep_or_too_long_to_show(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        listed(write(tmp_path, text))
