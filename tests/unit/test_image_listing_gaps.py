"""Images in places that are easily overlooked, and documents that are not understood."""

from __future__ import annotations

import base64
import gzip
import json
import time
from pathlib import Path

import pytest

from imager.discover.listing import Listing, find_images

DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def read(folder: Path, text: str | bytes, name: str = "x.yaml") -> Listing:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return find_images([str(path)])


def listed(listing: Listing) -> list[str]:
    return [each.reference for each in listing.images]


def suspected(listing: Listing) -> list[tuple[int, str]]:
    """Return the line of each warning, and the image or else the whole text."""
    return [(each.place.line, each.image or each.text) for each in listing.warnings]


def encoded(data: str | bytes) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def pod(fields: str) -> str:
    return (
        "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: docker.io/acme/main:v1\n"
        f"    {fields}\n"
    )


def config_map(data: str) -> str:
    lines = "".join(f"  {line}\n" for line in data.splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n{lines}"


def resource(spec: str, version: str = "a.io/v1", kind: str = "X") -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ("env: [{name: CACHE, value: 'redis:7'}]", "redis:7"),
        ("env: [{name: ENGINE, value: 'engine:7'}]", "engine:7"),
        ("""env: [{name: X, value: '{"a": "redis:7"}'}]""", "redis:7"),
        ("args: ['--cache=redis:7']", "redis:7"),
        ("args: [docker, pull, redis]", "redis"),
        ("command: [sh, -c, 'podman run --rm fedora bash']", "fedora"),
        ("command: [sh, -c, 'kubectl run x --image busybox']", "busybox"),
        ("args: ['quay.io/acme/${APP}:v1']", "quay.io/acme/${APP}:v1"),
    ],
)
def test_short_names_in_containers_are_suspected(tmp_path: Path, fields: str, image: str) -> None:
    listing = read(tmp_path, pod(fields))
    assert listed(listing) == ["docker.io/acme/main:v1"]
    assert suspected(listing) == [(6, image)]


@pytest.mark.parametrize(
    "fields",
    [
        "env: [{name: REDIS_ADDR, value: 'redis:7'}]",
        "env: [{name: HOSTS, value: 'redis:7,redis:8'}]",
        "args: ['--endpoint=redis:7']",
        "args: [--endpoint, 'redis:7']",
        "env: [{name: CACHE, value: 'redis:6379'}]",
        "args: [docker, ps, redis]",
    ],
)
def test_addresses_are_not(tmp_path: Path, fields: str) -> None:
    assert suspected(read(tmp_path, pod(fields))) == []


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        ("""args: ['--image="redis:7"']""", ["redis:7"]),
        ("""env: [{name: IMAGES, value: '["redis:7", "acme/a:v1"]'}]""", ["acme/a:v1", "redis:7"]),
        ("env: [{name: IMAGES, value: 'redis:7 acme/a:v1'}]", ["acme/a:v1", "redis:7"]),
    ],
)
def test_quotes_and_lists_where_the_key_names_images(
    tmp_path: Path, fields: str, images: list[str]
) -> None:
    listing = read(tmp_path, pod(fields))
    names = [each if "/" in each else f"library/{each}" for each in images]
    assert listed(listing) == sorted(["docker.io/acme/main:v1", *(f"docker.io/{n}" for n in names)])
    assert suspected(listing) == []


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ("{image: {name: quay.io/a/b, tag: v1}}", "quay.io/a/b:v1"),
        ("{image: {registry: quay.io, name: a/b, tag: v1}}", "quay.io/a/b:v1"),
        ("{image: {repository: quay.io/a, name: b, tag: v1}}", "quay.io/a/b:v1"),
        ("{image: {repository: quay.io/a/b, name: b, tag: v1}}", "quay.io/a/b:v1"),
        ("{image: {repository: quay.io/a/b, tag: production}}", "quay.io/a/b:production"),
        ("{set: {image.repository: quay.io/a/b, image.tag: v1}}", "quay.io/a/b:v1"),
        (
            "{set: {x.image.registry: quay.io, x.image.repository: a/b, x.image.tag: v1}}",
            "quay.io/a/b:v1",
        ),
        (
            "{parameters: [{name: image.tag, value: v1}, {name: image.repository,"
            " value: quay.io/a/b}]}",
            "quay.io/a/b:v1",
        ),
    ],
)
def test_images_of_several_fields(tmp_path: Path, spec: str, image: str) -> None:
    listing = read(tmp_path, resource(spec))
    assert (listed(listing), suspected(listing)) == ([image], [])
    assert listing.images[0].places[0].line == 4


@pytest.mark.parametrize(
    ("spec", "image", "why"),
    [
        ("{imageRepository: quay.io/a/b, imageTag: v1}", "quay.io/a/b:v1", "separate fields"),
        (
            "{imageRegistry: quay.io, imageRepository: a/b, imageTag: v1}",
            "quay.io/a/b:v1",
            "separate fields",
        ),
        ("{IMAGE_NAME: redis, IMAGE_TAG: '7'}", "redis:7", "no registry"),
        ("{images: [{name: redis, tag: 7}]}", "redis:7", "no registry"),
        ("{image: {repository: quay.io/a/b, tag: 1.20}}", "quay.io/a/b", "is a quote missing"),
        ("{image: {repository: '${R}/b', tag: v1}}", "${R}/b:v1", "contains a variable"),
        (
            "{dns: {imageRepository: reg.example.com/k8s, imageTag: v1.11.1}}",
            "reg.example.com/k8s/coredns:v1.11.1",
            "separate fields",
        ),
    ],
)
def test_images_of_several_fields_that_are_suspected(
    tmp_path: Path, spec: str, image: str, why: str
) -> None:
    listing = read(tmp_path, resource(spec))
    assert (listed(listing), suspected(listing)) == ([], [(4, image)])
    assert why in listing.warnings[0].text


def test_a_name_beside_a_repository_may_be_its_last_part(tmp_path: Path) -> None:
    spec = "{image: {repository: reg.example.com/a, name: b, tag: v1}}"
    listing = read(tmp_path, resource(spec))
    assert listed(listing) == ["reg.example.com/a:v1"]
    assert suspected(listing) == [(4, "reg.example.com/a/b:v1")]


def test_a_registry_alone_is_no_image(tmp_path: Path) -> None:
    spec = "{local: {imageRepository: registry.k8s.io, imageTag: 3.5.12-0}}"
    assert suspected(read(tmp_path, resource(spec))) == [(4, "registry.k8s.io/etcd:3.5.12-0")]
    other = resource("{imageRepository: registry.k8s.io, imageTag: 3.5.12-0}")
    assert suspected(read(tmp_path, other)) == []


@pytest.mark.parametrize(
    ("version", "kind", "why"),
    [
        ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration", "kubeadm config images list"),
        ("controlplane.cluster.x-k8s.io/v1beta1", "KubeadmControlPlane", "kubeadm config"),
        ("controlplane.cluster.x-k8s.io/v1alpha3", "TalosControlPlane", "imager images default"),
        ("bitnami.com/v1alpha1", "SealedSecret", "encrypted"),
    ],
)
def test_objects_that_need_images_which_they_do_not_name(
    tmp_path: Path, version: str, kind: str, why: str
) -> None:
    ((line, text),) = suspected(read(tmp_path, resource("{}", version, kind)))
    assert line == 1
    assert why in text


def test_what_is_encrypted_with_sops_is_reported(tmp_path: Path) -> None:
    text = config_map("a: ENC[AES256_GCM,data:x]") + "sops: {version: 3.9.0}\n"
    ((line, why),) = suspected(read(tmp_path, text))
    assert (line, "sops decrypt" in why) == (1, True)


def helm_secret(status: str, *, data: str = "") -> str:
    manifest = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'redis:7'}]}\n"
    hook = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: nginx}]}\n"
    release = {"info": {"status": status}, "manifest": manifest, "hooks": [{"manifest": hook}]}
    data = data or encoded(encoded(gzip.compress(json.dumps(release).encode(), mtime=0)))
    return (
        "apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\n"
        f"metadata: {{name: r, labels: {{owner: helm}}}}\ndata:\n  release: {data}\n"
    )


def test_the_manifests_of_a_helm_release_are_read(tmp_path: Path) -> None:
    listing = read(tmp_path, helm_secret("deployed"))
    images = ["docker.io/library/nginx:latest", "docker.io/library/redis:7"]
    assert (listed(listing), suspected(listing)) == (images, [])
    assert listing.images[0].places[0].line == 6
    in_config_map = helm_secret("deployed").replace(
        "kind: Secret\ntype: helm.sh/release.v1", "kind: ConfigMap"
    )
    (line,) = [each for each in in_config_map.splitlines() if "release:" in each]
    once = base64.b64decode(line.split()[1]).decode()
    assert listed(read(tmp_path, in_config_map.replace(line, f"  release: {once}"))) == images


def test_a_past_revision_of_a_helm_release_is_suspected(tmp_path: Path) -> None:
    listing = read(tmp_path, helm_secret("superseded"))
    assert (listed(listing), suspected(listing)) == ([], [(6, "redis:7"), (6, "nginx")])
    assert "roll back" in listing.warnings[0].text


@pytest.mark.parametrize(
    "data",
    [
        "AAAA",
        encoded("{}"),
        encoded(encoded(gzip.compress(b" " * (40 << 20), mtime=0))),
        "null",
        "'?'",
    ],
)
def test_a_helm_release_that_is_not_understood_is_reported(tmp_path: Path, data: str) -> None:
    ((_, text),) = suspected(read(tmp_path, helm_secret("deployed", data=data)))
    assert "helm get manifest" in text


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"image: quay.io/acme/app:v1", mtime=0),
        "image: quay.io/acme/app:v1".encode("utf-16"),
        encoded("image: quay.io/acme/app:v1").encode(),
        encoded(gzip.compress(b"image: quay.io/acme/app:v1", mtime=0)).encode(),
    ],
)
def test_values_of_secrets_that_are_encoded_again(tmp_path: Path, data: bytes) -> None:
    text = f"apiVersion: v1\nkind: Secret\ndata:\n  a: x\n  user-data: {encoded(data)}\n"
    listing = read(tmp_path, text)
    assert listed(listing) == ["quay.io/acme/app:v1"]
    assert listing.images[0].places[0].line == 5


def test_a_compressed_value_that_blows_up_is_reported(tmp_path: Path) -> None:
    bomb = encoded(gzip.compress(b" " * (8 << 20), mtime=0))
    text = f"apiVersion: v1\nkind: ConfigMap\nbinaryData:\n  a: {bomb}\n"
    ((line, why),) = suspected(read(tmp_path, text))
    assert (line, "too large" in why) == (4, True)


def test_hauler_has_a_registry_for_names_without_one(tmp_path: Path) -> None:
    text = (
        "apiVersion: content.hauler.cattle.io/v1\nkind: Images\n"
        "metadata: {name: x, annotations: {hauler.dev/registry: reg.example.com}}\n"
        f"spec: {{images: [{{name: redis:7}}, {{name: quay.io/a/b:v1}}, {{name: a/c@{DIGEST}}}]}}\n"
    )
    assert listed(read(tmp_path, text)) == [
        "quay.io/a/b:v1",
        f"reg.example.com/a/c@{DIGEST}",
        "reg.example.com/redis:7",
    ]


def test_omni_patches_in_files_are_reported(tmp_path: Path) -> None:
    text = "kind: Machine\nname: m\npatches:\n- file: a.yaml\n- b.yaml\n"
    assert suspected(read(tmp_path, text)) == [
        (4, "a.yaml is not read; list it too"),
        (5, "b.yaml is not read; list it too"),
    ]


def test_a_kustomization_needs_no_kind(tmp_path: Path) -> None:
    text = "images:\n- {name: a, newTag: v1}\n- {name: b, newName: quay.io/c/b}\n"
    listing = read(tmp_path, text)
    assert listed(listing) == ["docker.io/library/a:v1"]
    assert [line for line, _ in suspected(listing)] == [1, 3]
    assert "kustomize build" in listing.warnings[0].text


def test_compose_files(tmp_path: Path) -> None:
    text = (
        "include: [other.yaml]\nservices:\n  a:\n    build: .\n"
        "  b:\n    image: redis\n    extends: {file: c.yaml, service: b}\n"
    )
    listing = read(tmp_path, text)
    assert listed(listing) == ["docker.io/library/redis:latest"]
    assert [line for line, _ in suspected(listing)] == [1, 4, 7]


@pytest.mark.parametrize(
    ("value", "line", "warning"),
    [
        ("a: |\n  apiVersion: v1\n  kind: Pod\n  a: [", 9, "is not YAML"),
        ("a: |\n  apiVersion: v1\n  kind: Pod\n  a: {{ .x }}", 8, "template of a manifest"),
        (
            "a: |\n  # x\n  ---\n  {{ if .x }}\n  kind: Pod\n  apiVersion: v1\n  a: [",
            8,
            "template",
        ),
    ],
)
def test_manifests_in_values_that_do_not_parse(
    tmp_path: Path, value: str, line: int, warning: str
) -> None:
    ((at, text),) = suspected(read(tmp_path, config_map(value)))
    assert at == line
    assert warning in text


def test_scripts_with_manifests_are_no_manifests(tmp_path: Path) -> None:
    text = config_map("a: |\n  kubectl apply -f - <<E\n  apiVersion: v1\n  kind: Pod\n  a: [\n  E")
    assert suspected(read(tmp_path, text)) == []


def test_json_documents_one_after_the_other(tmp_path: Path) -> None:
    def document(image: str) -> str:
        return json.dumps(
            {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": image}]}},
            indent=1,
        )

    text = "\n".join(document(f"a{number}/b:v1") for number in range(3)) + "\n"
    listing = read(tmp_path, text, "x.json")
    assert listed(listing) == [f"docker.io/a{number}/b:v1" for number in range(3)]
    lines = [number for number, line in enumerate(text.splitlines(), 1) if "image" in line]
    assert [each.places[0].line for each in listing.images] == lines
    assert read(tmp_path, f"{text}{{").problems


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("a: b".encode("utf-16"), "is UTF-16, not UTF-8: convert it with `iconv -f UTF-16"),
        ("a: b".encode("utf-32"), "is UTF-32, not UTF-8: convert it with `iconv -f UTF-32"),
        (gzip.compress(b"a: b", mtime=0), "is compressed with gzip: decompress it with `gunzip`"),
        (b"\xff", "is not UTF-8, at byte 0"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, data: bytes, problem: str) -> None:
    ((text,),) = [[each.text for each in read(tmp_path, data).problems]]
    assert text.startswith(problem)


def test_files_that_were_joined_have_marks_in_the_middle(tmp_path: Path) -> None:
    text = f"\ufeff{pod('name: a')}---\n\ufeff{pod('name: b').replace('main', 'other')}"
    listing = read(tmp_path, text)
    assert listed(listing) == ["docker.io/acme/main:v1", "docker.io/acme/other:v1"]


def test_files_of_a_folder_that_are_not_read_are_reported(tmp_path: Path) -> None:
    for name in ("a.yaml.gz", "b.yaml.j2", "chart-1.0.0.tgz", "_helpers.yaml.tpl", ".x.json.gz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "pod.yaml").write_text(pod("name: a"))
    listing = find_images([str(tmp_path)])
    names = [Path(each.place.file).name for each in listing.warnings]
    assert names == ["a.yaml.gz", "b.yaml.j2", "chart-1.0.0.tgz"]


def test_lists_have_the_entries_of_cache_create(tmp_path: Path) -> None:
    text = (
        "# list\nredis:7\nredis:8=docker://mirror.example.com/redis:8 # here\n"
        "docker://quay.io/a/b:v1\nreg.example.com/x:v1=oci-archive:x.tar\noci-archive:y.tar\n"
    )
    listing = read(tmp_path, text, "x.txt")
    assert listed(listing) == [
        "docker.io/library/redis:7",
        "docker.io/library/redis:8",
        "quay.io/a/b:v1",
        "reg.example.com/x:v1",
    ]
    assert [(each.place.line, "not its source" in each.text) for each in listing.remarks] == [
        (3, True),
        (5, True),
    ]
    ((line, why),) = suspected(listing)
    assert (line, "write NAME=SOURCE" in why) == (6, True)
    assert listed(read(tmp_path, json.dumps(["a/b:v1=oci:x", "c"]))) == [
        "docker.io/a/b:v1",
        "docker.io/library/c:latest",
    ]


def test_a_line_that_is_no_image_is_a_problem_of_a_list(tmp_path: Path) -> None:
    listing = read(tmp_path, "redis:7\nthis is wrong\nquay.io/a/b:v1\nX=oci:y\n", "x.txt")
    assert [(each.place.line, each.text) for each in listing.problems] == [
        (2, "'this is wrong' is not an image"),
        (4, "'X=oci:y' is not an image"),
    ]


@pytest.mark.parametrize("prefix", ["", "data:text/yaml;base64,"])
@pytest.mark.parametrize("is_zipped", [False, True])
def test_documents_in_base64_anywhere(tmp_path: Path, prefix: str, *, is_zipped: bool) -> None:
    document = b"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'redis:7'}]}\n"
    text = encoded(gzip.compress(document, mtime=0) if is_zipped else document)
    listing = read(tmp_path, resource(f"{{files: [{{content: '{prefix}{text}'}}]}}"))
    assert (listed(listing), suspected(listing)) == (["docker.io/library/redis:7"], [])
    assert listing.images[0].places[0].line == 4


def test_base64_of_other_things_is_silent(tmp_path: Path) -> None:
    texts = ["x" * 64, encoded(bytes(range(256))), encoded("-----BEGIN CERTIFICATE-----\nMIIB")]
    for text in texts:
        assert suspected(read(tmp_path, config_map(f"a: {text}"))) == []


@pytest.mark.parametrize("separator", ["=", ":"])
def test_images_behind_names(tmp_path: Path, separator: str) -> None:
    value = f"a{separator}acme/a:v1,b{separator}acme/b:v2"
    listing = read(tmp_path, pod(f"args: ['--images={value}']"))
    assert suspected(listing) == [(6, "acme/a:v1"), (6, "acme/b:v2")]


@pytest.mark.parametrize(
    ("version", "kind", "spec", "why"),
    [
        ("mirror.openshift.io/v2alpha1", "ImageSetConfiguration", "{}", ""),
        ("collection.hauler.cattle.io/v1", "ImageTxts", "{}", "download and list them too"),
        ("addons.cluster.x-k8s.io/v1alpha1", "HelmChartProxy", "{}", "list the rendered manifests"),
        ("mysql.oracle.com/v2", "InnoDBCluster", "{version: 8.0.34}", "its operator selects"),
        ("mysql.oracle.com/v2", "InnoDBCluster", "{image: 'quay.io/a/b:v1'}", ""),
    ],
)
def test_other_objects_that_need_images(
    tmp_path: Path, version: str, kind: str, spec: str, why: str
) -> None:
    texts = [text for _, text in suspected(read(tmp_path, resource(spec, version, kind)))]
    assert [why in text for text in texts] == ([True] if why else [])


def test_what_oc_mirror_adds_is_reported(tmp_path: Path) -> None:
    text = "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\n"
    mirror = "mirror: {platform: {channels: [{name: stable}]}, additionalImages: [{name: redis}]}\n"
    listing = read(tmp_path, text + mirror)
    assert listed(listing) == ["docker.io/library/redis:latest"]
    ((line, why),) = suspected(listing)
    assert (line, "oc-mirror" in why) == (1, True)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 200_000 + "x: y",
        "docker " * 100_000,
        "image: {{ x" + " " * 200_000 + "y",
        "A" * 40 + " " * 200_000 + "!",
        "--" * 100_000 + "imag",
        "a." * 100_000 + "/$",
        "$" * 200_000 + "/x:",
        "{{" * 100_000,
        "quay.io/" + "a/" * 100_000,
    ],
)
def test_hostile_texts_take_no_longer_than_others(tmp_path: Path, text: str) -> None:
    before = time.process_time()
    read(tmp_path, json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": text}}))
    assert time.process_time() - before < 5
