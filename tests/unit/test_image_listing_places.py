"""Where images are named: texts, custom resources, and the files of other tools."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest

from imager.cli.listing_text import listing_json, report
from imager.discover.listing import Listing, find_images
from imager.support.reporter import ProgressStyle, make_reporter
from imager.support.yamldocs import DEEPEST

DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
LOOKALIKES = Path(__file__).parents[1] / "lookalikes"


def read(folder: Path, text: str, name: str = "x.yaml") -> Listing:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return find_images([str(path)])


def listed(listing: Listing) -> list[str]:
    return [each.reference for each in listing.images]


def told(listing: Listing) -> list[tuple[int, str]]:
    """Return the line and text of each warning; `x` stands for an image that is not listed."""
    return [
        (each.place.line, each.text if each.image == "" else f"{each.image} is not listed")
        for each in listing.warnings
    ]


def config_map(data: str) -> str:
    lines = "".join(f"  {line}\n" for line in data.splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n{lines}"


@pytest.mark.parametrize(
    ("value", "images"),
    [
        ("a: quay.io/acme/app:v1", ["quay.io/acme/app:v1"]),
        (f"a: nginx@{DIGEST}", [f"docker.io/library/nginx@{DIGEST}"]),
        ("a: docker://quay.io/acme/app:v1", ["quay.io/acme/app:v1"]),
        ("a: quay.io/a/a:1,quay.io/a/b:2", ["quay.io/a/a:1", "quay.io/a/b:2"]),
        (
            "a: |\n  # list\n  quay.io/a/image:1\n  quay.io/a/b:2",
            ["quay.io/a/b:2", "quay.io/a/image:1"],
        ),
        ("SIDECAR_IMAGE: acme/side:v1", ["docker.io/acme/side:v1"]),
        ("""a: '{"image": "acme/json:v1"}'""", ["docker.io/acme/json:v1"]),
        ("""a: '{"x": {"repository": "quay.io/a/t", "tag": 4}}'""", ["quay.io/a/t:4"]),
        ("a: |\n  x: 1\n  image: acme/yaml:v1", ["docker.io/acme/yaml:v1"]),
        (
            "a: |\n  kind: Pod\n  apiVersion: v1\n  spec: {containers: [{image: busybox}]}",
            ["docker.io/library/busybox:latest"],
        ),
        (
            "a: |\n  machine:\n    kubelet: {image: 'ghcr.io/a/kubelet:v1'}",
            ["ghcr.io/a/kubelet:v1"],
        ),
    ],
)
def test_values_of_config_maps_that_are_certain(
    tmp_path: Path, value: str, images: list[str]
) -> None:
    listing = read(tmp_path, config_map(value))
    assert (listed(listing), listing.warnings) == (images, ())


@pytest.mark.parametrize(
    ("value", "line", "image"),
    [
        ("a: acme/engine:v2", 5, "acme/engine:v2"),
        ("x: y\nquay.io/acme/key:v1: true", 6, "quay.io/acme/key:v1"),
        ("a: quay.io/acme/untagged", 5, "quay.io/acme/untagged"),
        ("image: busybox", 5, "busybox"),
        ("a: b\nc: |\n  x=1\n  # quay.io/a/no:v1\n  img=acme/props:v1", 9, "acme/props:v1"),
        ("c: |\n  x: {image: 1}\n  y:\n    image: alpine", 8, "alpine"),
        ("c: |-\n  {{ if .x }}\n  image: acme/template:v1", 7, "acme/template:v1"),
        ("c: >\n  see quay.io/acme/prose:v1\n  for more", 5, "quay.io/acme/prose:v1"),
        ('c: "x\\ndocker run acme/run:v1"', 5, "acme/run:v1"),
    ],
)
def test_values_of_config_maps_that_are_suspected(
    tmp_path: Path, value: str, line: int, image: str
) -> None:
    listing = read(tmp_path, config_map(value))
    assert (listed(listing), told(listing)) == ([], [(line, f"{image} is not listed")])


def test_values_of_secrets(tmp_path: Path) -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    text = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: x}}
stringData:
  image: acme/plain:v1
data:
  one: {encoded("quay.io/acme/one:v1")}
  two: {encoded("image: acme/two:v2")}
  three: {encoded("acme/three:v3")}
  key: {base64.b64encode(bytes(range(256))).decode()}
---
apiVersion: v1
kind: ConfigMap
binaryData: {{four: {encoded("quay.io/acme/four:v4")}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: sh.helm.release.v1.x.v1}}
type: helm.sh/release.v1
data: {{release: {encoded("quay.io/acme/no:v1")}}}
"""
    listing = read(tmp_path, text)
    assert listed(listing) == [
        "docker.io/acme/plain:v1",
        "docker.io/acme/two:v2",
        "quay.io/acme/four:v4",
        "quay.io/acme/one:v1",
    ]
    (three, release) = told(listing)
    assert three == (9, "acme/three:v3 is not listed")
    assert release[0] == 16
    assert "helm get manifest" in release[1]


def container(fields: str) -> str:
    return (
        "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: docker.io/acme/main:v1\n"
        f"    {fields}\n"
    )


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ("args: ['--solver-image=quay.io/acme/solver:v1']", "quay.io/acme/solver:v1"),
        ("args: ['--reloader=quay.io/acme/reloader:v1']", "quay.io/acme/reloader:v1"),
        ("args: [--engine-image, 'acme/engine:v1']", "docker.io/acme/engine:v1"),
        ("args: [--engine-image, 'docker.io/acme/engine:head']", "docker.io/acme/engine:head"),
        ("args: ['--image=postgres:16']", "docker.io/library/postgres:16"),
        ("command: [run, 'quay.io/acme/bare:v1']", "quay.io/acme/bare:v1"),
        ("env: [{name: RELATED_IMAGE_X, value: 'acme/env:v1'}]", "docker.io/acme/env:v1"),
        ("""env: [{name: X, value: '{"image": "acme/json:v1"}'}]""", "docker.io/acme/json:v1"),
        ("""args: ['--config={"image": "acme/json:v1"}']""", "docker.io/acme/json:v1"),
    ],
)
def test_arguments_and_variables_that_are_certain(tmp_path: Path, fields: str, image: str) -> None:
    listing = read(tmp_path, container(fields))
    assert (listed(listing), listing.warnings) == (sorted({"docker.io/acme/main:v1", image}), ())


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ("args: ['acme/engine:v2']", "acme/engine:v2"),
        ("args: ['--engine=acme/engine:v2']", "acme/engine:v2"),
        ("command: [sh, -c, 'docker run acme/engine:v2']", "acme/engine:v2"),
        ("env: [{name: X, value: 'acme/engine:v2'}]", "acme/engine:v2"),
        ("env: [{name: X_IMAGE, value: engine}]", "engine"),
        ("env: [{name: X_IMAGE, value: 'quay.io/acme/$(TAG)'}]", "quay.io/acme/$(TAG)"),
    ],
)
def test_arguments_and_variables_that_are_suspected(
    tmp_path: Path, fields: str, image: str
) -> None:
    listing = read(tmp_path, container(fields))
    assert (listed(listing), told(listing)) == (
        ["docker.io/acme/main:v1"],
        [(6, f"{image} is not listed")],
    )


def test_an_image_in_two_lists_of_one_text_is_told_once(tmp_path: Path) -> None:
    listing = read(tmp_path, config_map("a: acme/a:v1\nb: acme/a:v1\nc: docker.io/acme/b:v1"))
    (warning,) = listing.warnings
    assert (warning.place.line, warning.others) == (5, 1)
    assert str(warning).endswith("(and 1 more place)")


def test_what_istio_replaces_is_no_image(tmp_path: Path) -> None:
    text = container("name: x").replace("docker.io/acme/main:v1", "auto") + (
        "  initContainers: [{image: 'quay.io/a/b:v1'}]\n"
    )
    listing = read(tmp_path, text)
    assert (listed(listing), listing.warnings, listing.problems) == (["quay.io/a/b:v1"], (), ())
    alone = read(tmp_path, text.partition("  initContainers")[0])
    alone.check(strict=True)
    assert alone.images == ()
    (remark,) = listing.remarks
    assert (remark.place.line, "Istio" in remark.text) == (5, True)


def test_a_repeated_key_is_a_warning_in_manifests_alone(tmp_path: Path) -> None:
    text = container("name: x").replace("spec:", "metadata: {labels: {a: b,\n  a: c}}\nspec:", 1)
    listing = read(tmp_path, text + "    env: []\n    image: docker.io/acme/last:v1\n")
    assert listed(listing) == ["docker.io/acme/last:v1"]
    used = "is given twice: the last value is used, as in kubectl"
    assert told(listing) == [
        (4, f"key 'a' {used}"),
        (10, f"key 'image' {used}"),
        (7, "docker.io/acme/main:v1 is not listed"),
    ]
    machine = read(tmp_path, "machine:\n  install:\n    image: x\n    image: y\n")
    assert [(each.place.line, each.text) for each in machine.problems] == [
        (4, "key 'image' is given twice")
    ]


def resource(version: str, kind: str, spec: str) -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("version", "kind", "spec", "image"),
    [
        ("a.io/v1", "X", "{image: 'acme/x:v1'}", "docker.io/acme/x:v1"),
        ("a.io/v1", "X", "{image: {repository: quay.io/a/b, tag: 7}}", "quay.io/a/b:7"),
        (
            "a.io/v1",
            "X",
            "{image: {registry: quay.io, repository: a/b, tag: v1, digest: '" + DIGEST + "'}}",
            f"quay.io/a/b:v1@{DIGEST}",
        ),
        (
            "serving.kserve.io/v1beta1",
            "InferenceService",
            "{predictor: {model: {storageUri: 'oci://quay.io/acme/model:v1'}}}",
            "quay.io/acme/model:v1",
        ),
        (
            "source.toolkit.fluxcd.io/v1",
            "OCIRepository",
            "{url: 'oci://ghcr.io/acme/manifests', ref: {tag: 6.5.0}}",
            "ghcr.io/acme/manifests:6.5.0",
        ),
        (
            "source.toolkit.fluxcd.io/v1",
            "OCIRepository",
            f"{{url: 'oci://ghcr.io/acme/m', ref: {{semver: '>= 1', digest: '{DIGEST}'}}}}",
            f"ghcr.io/acme/m@{DIGEST}",
        ),
        (
            "pkg.crossplane.io/v1",
            "Provider",
            "{package: 'xpkg.upbound.io/upbound/provider-aws-s3:v1.1.0'}",
            "xpkg.upbound.io/upbound/provider-aws-s3:v1.1.0",
        ),
        (
            "kubevirt.io/v1",
            "VirtualMachine",
            "{template: {spec: {volumes: [{containerDisk: {image: fedora}}]}}}",
            "docker.io/library/fedora:latest",
        ),
        (
            "cdi.kubevirt.io/v1beta1",
            "DataVolume",
            "{source: {registry: {url: 'docker://quay.io/acme/disk:39'}}}",
            "quay.io/acme/disk:39",
        ),
        ("tekton.dev/v1", "Task", "{steps: [{image: alpine}]}", "docker.io/library/alpine:latest"),
        (
            "tekton.dev/v1",
            "PipelineRun",
            "{pipelineRef: {params: [{name: bundle, value: 'gcr.io/acme/catalog:v1'}]}}",
            "gcr.io/acme/catalog:v1",
        ),
        (
            "nvidia.com/v1",
            "ClusterPolicy",
            "{validator: {repository: nvcr.io/nvidia, image: validator, version: v24.6.0}}",
            "nvcr.io/nvidia/validator:v24.6.0",
        ),
        (
            "k0s.k0sproject.io/v1beta1",
            "ClusterConfig",
            "{images: {agent: {image: quay.io/k0sproject/agent, version: v0.1.4}}}",
            "quay.io/k0sproject/agent:v0.1.4",
        ),
        (
            "content.hauler.cattle.io/v1",
            "Images",
            "{images: [{name: a}]}",
            "docker.io/library/a:latest",
        ),
        (
            "bootstrap.cluster.x-k8s.io/v1alpha3",
            "TalosConfig",
            "{configPatches: [{op: add, path: /machine/install/image, value: 'a/installer:v1'}]}",
            "docker.io/a/installer:v1",
        ),
        (
            "operators.coreos.com/v1alpha1",
            "CatalogSource",
            "{image: 'quay.io/operatorhubio/catalog:latest'}",
            "quay.io/operatorhubio/catalog:latest",
        ),
    ],
)  # fmt: skip
def test_custom_resources(tmp_path: Path, version: str, kind: str, spec: str, image: str) -> None:
    listing = read(tmp_path, resource(version, kind, spec))
    assert (listed(listing), listing.warnings) == ([image], ())
    (found,) = listing.images
    assert {each.line for each in found.places} == {4}


@pytest.mark.parametrize(
    ("version", "kind", "spec", "warning"),
    [
        ("a.io/v1", "X", "{image: {repository: acme/x, tag: v1}}", "acme/x:v1 is not listed"),
        ("a.io/v1", "X", "{image: {repository: quay.io/a/b}}", "quay.io/a/b is not listed"),
        ("a.io/v1", "X", "{hub: docker.io/istio, tag: 1.20.0}", "docker.io/istio/...:1.20.0"),
        ("serving.kserve.io/v1beta1", "X", "{storageUri: 'oci://acme/m'}", "acme/m is not listed"),
        (
            "source.toolkit.fluxcd.io/v1",
            "OCIRepository",
            "{url: 'oci://ghcr.io/acme/m', ref: {semver: '>= 1'}}",
            "ghcr.io/acme/m is not listed",
        ),
        ("pkg.crossplane.io/v1", "Function", "{package: 'acme/f:v1'}", "acme/f:v1 is not listed"),
        ("tekton.dev/v1", "Task", "{steps: [{image: $(x)}]}", "$(x) is not listed"),
        ("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", "{version: 8.15.0}", "its operator"),
        ("argoproj.io/v1alpha1", "Application", "{}", "list the rendered manifests"),
        ("kyverno.io/v1", "ClusterPolicy", "{x: 'quay.io/a/b:v1'}", "quay.io/a/b:v1 is not listed"),
    ],
)
def test_custom_resources_that_are_suspected(
    tmp_path: Path, version: str, kind: str, spec: str, warning: str
) -> None:
    listing = read(tmp_path, resource(version, kind, spec))
    assert listed(listing) == []
    ((line, text),) = told(listing)
    assert line in (1, 4)
    assert warning in text


def test_helm_and_kustomize_in_other_resources(tmp_path: Path) -> None:
    chart = resource(
        "helm.cattle.io/v1",
        "HelmChart",
        "\n  valuesContent: |-\n    image:\n      repository: quay.io/acme/rke\n      tag: v1",
    )
    application = resource(
        "argoproj.io/v1alpha1",
        "Application",
        "{source: {kustomize: {images: ['nginx=acme/new:v1']},"
        " helm: {parameters: [{name: controller.image, value: 'acme/parameter:v1'}]}}}",
    )
    release = resource(
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        "{postRenderers: [{kustomize: {images: [{name: a, newName: acme/flux, newTag: v1}]}}]}",
    )
    listing = read(tmp_path, f"{chart}---\n{application}---\n{release}")
    assert listed(listing) == [
        "docker.io/acme/flux:v1",
        "docker.io/acme/new:v1",
        "docker.io/acme/parameter:v1",
        "quay.io/acme/rke:v1",
    ]
    assert [line for line, _ in told(listing)] == [1, 10, 15]
    assert [each.line for each in listing.images[3].places] == [7]


OMNI = """\
kind: Cluster
name: edge
talos: {version: v1.9.0}
patches:
- inline:
    machine:
      install: {image: "ghcr.io/siderolabs/installer:v1.9.1"}
- file: patches/b.yaml
---
kind: Workers
systemExtensions: [siderolabs/iscsi-tools]
patches:
- inline: {apiVersion: v1alpha1, kind: KubeletConfig, image: "ghcr.io/acme/kubelet:v2"}
"""
SKOPEO = f"""\
registry.example.com:
  images:
    busybox: []
    redis: ["1.0", {DIGEST}]
  images-by-semver: {{alpine: ">= 3.12"}}
"""
ZARF = """\
kind: ZarfPackageConfig
metadata: {name: z}
components:
- name: a
  images: ["ghcr.io/acme/z:v1", nginx]
  charts: [{name: x}]
"""
CHART = """\
apiVersion: v2
name: c
version: 1.0.0
annotations:
  artifacthub.io/images: |
    - name: x
      image: acme/chart:v1
"""
COMPOSE = "services:\n  web: {image: nginx}\n  db: {image: 'postgres:${V}'}\n"
LIST = "# list\ndocker.io/rancher/pause:3.6\n\nnginx # short\r\n"


@pytest.mark.parametrize(
    ("text", "images", "warnings"),
    [
        (
            OMNI,
            ["ghcr.io/acme/kubelet:v2", "ghcr.io/siderolabs/installer:v1.9.1"],
            [
                (
                    3,
                    "add the images of this release: "
                    "`imager images default --talos-version v1.9.0`",
                ),
                (8, "patches/b.yaml is not read; list it too"),
                (
                    11,
                    "Omni puts system extensions into an installer of an image factory; "
                    "add that installer to the list",
                ),
            ],
        ),
        (
            SKOPEO,
            ["registry.example.com/redis:1.0", f"registry.example.com/redis@{DIGEST}"],
            [
                (3, "registry.example.com/busybox is not listed"),
                (5, "registry.example.com/alpine is not listed"),
            ],
        ),
        (
            ZARF,
            ["docker.io/library/nginx:latest", "ghcr.io/acme/z:v1"],
            [(3, "its charts and manifests are not read; list the rendered manifests too")],
        ),
        (
            CHART,
            ["docker.io/acme/chart:v1"],
            [(1, "a Helm chart: list the output of `helm template` too")],
        ),
        (COMPOSE, ["docker.io/library/nginx:latest"], [(3, "postgres:${V} is not listed")]),
        (LIST, ["docker.io/library/nginx:latest", "docker.io/rancher/pause:3.6"], []),
        (
            json.dumps(["quay.io/acme/a:v1", "redis"]),
            ["docker.io/library/redis:latest", "quay.io/acme/a:v1"],
            [],
        ),
    ],
)  # fmt: skip
def test_files_of_other_tools(
    tmp_path: Path, text: str, images: list[str], warnings: list[tuple[int, str]]
) -> None:
    listing = read(tmp_path, text)
    assert (listed(listing), told(listing)) == (images, warnings)


def test_lists_in_a_folder_are_read(tmp_path: Path) -> None:
    for name in ("rke2-images.linux-amd64.txt", "images.list", "notes.txt", ".x-images.txt"):
        (tmp_path / name).write_text(f"quay.io/acme/{name.strip('.')[:4]}:v1\n")
    assert listed(find_images([str(tmp_path)])) == [
        "quay.io/acme/imag:v1",
        "quay.io/acme/rke2:v1",
    ]


@pytest.mark.parametrize(
    ("text", "line", "warning"),
    [
        ("", 1, "empty: it contains no document"),
        ("# nothing\n---\n", 1, "empty: it contains no document"),
        ("[1, 2]", 1, "not a Kubernetes or Talos document"),
        ("hello world", 1, "not a Kubernetes or Talos document"),
        ("---\n---\na: 1\n", 3, "not a Kubernetes or Talos document"),
        ("kind: Unknown\n", 1, "not a Kubernetes or Talos document (it has no apiVersion)"),
    ],
)
def test_what_is_not_understood_is_told(tmp_path: Path, text: str, line: int, warning: str) -> None:
    ((at, said),) = told(read(tmp_path, text))
    assert at == line
    assert said.startswith(warning)


def test_lines_of_json_are_those_of_the_file(tmp_path: Path) -> None:
    pod = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "data": {"\N{GRINNING FACE}\ud800": "x\ty\x7f\u2028", "a": "acme/engine:v2"},
    }
    text = json.dumps(pod, indent="\t").replace("/", "\\/")
    assert told(read(tmp_path, text, "x.json")) == [(6, "acme/engine:v2 is not listed")]


def test_manifests_without_other_images_are_silent() -> None:
    listing = find_images([str(LOOKALIKES)])
    assert [str(each) for each in (*listing.warnings, *listing.remarks, *listing.problems)] == []
    assert listed(listing) == ["docker.io/acme/known:v1"]


BOMB = "image: x\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10) if before else 'x'}]\n"
    for before, name in ((None, "a"), ("a", "b"), ("b", "c"), ("c", "d"))
)


def test_documents_in_texts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imager.discover.documents._MOST_NESTED_VALUES", 5000)
    bombs = json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": [BOMB] * 100}})
    listing = read(tmp_path, bombs)
    assert told(listing)[-1] == (1, "too many documents nested in texts: the rest is not read")
    text = "image: a/b:v1\nk: v\n"
    for _ in range(8):
        text = json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": text}})
    assert "too many documents" in told(read(tmp_path, text))[0][1]


def test_a_text_that_aliases_repeat_is_bounded(tmp_path: Path) -> None:
    text = f"a: &a {'x/y:z ' * 100_000}\nb: [{','.join(['*a'] * 1000)}]\n"
    (problem,) = read(tmp_path, text).problems
    assert "has more than 1000000 values with its aliases expanded" in problem.text


def test_what_is_found_in_one_file_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a: |\n  see " + " ".join(f"acme/x{n}:v1" for n in range(10_050))
    listing = read(tmp_path, config_map(text))
    assert len(listing.warnings) == 10_001
    assert "the rest is not read" in listing.warnings[-1].text
    monkeypatch.setattr("imager.discover.listing._MOST_FINDINGS", 3)
    (problem,) = read(tmp_path, config_map(text)).problems
    assert "images and texts that look like images" in problem.text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("message: quay.io/acme/app:v1", ["quay.io/acme/app:v1"]),
        ("other: |\n  message: quay.io/acme/app:v1", []),
    ],
)
def test_prose_names_no_image_but_any_key_of_a_config_map_may(
    tmp_path: Path, data: str, expected: list[str]
) -> None:
    assert listed(read(tmp_path, config_map(data))) == expected


def test_short_names_count_in_all_fields_of_pods(tmp_path: Path) -> None:
    text = container("name: x") + (
        "  initContainers: [{image: init}]\n"
        "  ephemeralContainers: [{image: debug}]\n"
        "  volumes: [{image: {reference: tools}}]\n"
    )
    listing = read(tmp_path, text)
    assert listing.warnings == ()
    assert listed(listing) == [
        "docker.io/acme/main:v1",
        *(f"docker.io/library/{name}:latest" for name in ("debug", "init", "tools")),
    ]
    assert all(each.is_certain for each in listing.images)


def test_what_nests_as_deeply_as_it_may(tmp_path: Path) -> None:
    depth = DEEPEST - 3
    inner = json.dumps({"image": "acme/inner:v1", "x": ["quay.io/acme/deep:v1"]})
    deep = "{a: [" * (depth // 2) + json.dumps(inner) + "]}" * (depth // 2)
    listing = read(tmp_path, f"kind: ConfigMap\napiVersion: v1\ndata: {deep}\n")
    assert listed(listing) == ["docker.io/acme/inner:v1", "quay.io/acme/deep:v1"]
    assert all(len(str(each.places[0])) < 1000 for each in listing.images)


def test_many_messages_are_printed_in_part_and_in_json_all(tmp_path: Path) -> None:
    listing = read(tmp_path, config_map("\n".join(f"k{n}: acme/x{n}:v1" for n in range(150))))
    stream = io.StringIO()
    report(listing, make_reporter(ProgressStyle.PLAIN, stream), strict=False)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 101
    assert lines[-1] == "warning: 50 more warnings: --json prints them all"
    found = listing_json(listing)
    assert [each["line"] for each in found["warnings"]] == list(range(5, 155))
    assert found["warnings"][0]["image"] == "acme/x0:v1"
    silent = io.StringIO()
    report(listing, make_reporter(ProgressStyle.PLAIN, silent), strict=True)
    assert silent.getvalue() == ""
