"""What looks like an image reference, and what looks like one but is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.discover.image_fields import says_address, says_image
from imager.discover.likeness import is_complete, is_likely, whole
from imager.discover.textimages import within_text
from imager.oci.reference import Reference

DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
COMPLETE = [
    "quay.io/acme/engine:v2",
    "registry.k8s.io/pause:3.10",
    "registry.example.com:5000/team/app:2024.11.3",
    "localhost:5000/app:v1",
    "10.0.0.1:5000/app:v1",
    "docker.io/library/busybox:latest",
    f"ghcr.io/acme/app@{DIGEST}",
    f"nginx@{DIGEST}",
    "docker://quay.io/acme/app:v1",
    "oci://quay.io/acme/model:v1",
    "containers-storage:quay.io/acme/app:v1",
    "docker.elastic.co/beats/filebeat:8.15.0-SNAPSHOT",
]
LIKELY = [
    "acme/engine:v2",
    "rancher/mirrored-library-busybox:1.36.1",
    "nginx:1.27",
    "redis:7-alpine",
    "busybox:latest",
    "quay.io/acme/untagged",
    "registry.k8s.io/pause",
    "registry.example.com/acme/untagged",
    "registry.example.com/acme/app:production",
    "docker://acme/app",
    "acme/engine:20241101",
    "registry.example.com/app:7000",
    "redis:7",
    "redis:v7",
    "node:22",
    "postgres:16",
    "ubuntu:22.04",
    "debian:bookworm-slim",
    "alpine:edge",
    "amazonlinux:2023",
]
NEITHER = [
    "",
    "true",
    "nginx",
    "1.2.3",
    "apps/v1",
    "apps/v1:Deployment",
    "apps.example.com/v1:Deployment",
    "monitoring.coreos.com/v1",
    "app.kubernetes.io/name",
    "topology.kubernetes.io/zone",
    "node-role.kubernetes.io/control-plane",
    "application/json",
    "text/html;charset=utf-8",
    "kubernetes/kubernetes",
    "github.com/acme/app:v1",
    "k8s.io/api:v1",
    "https://quay.io/acme/app:v1",
    "http://localhost:8080/metrics",
    "localhost:8080/metrics",
    "0.0.0.0:8080",
    "10.0.0.0/8",
    "fd00::/8",
    "[::]:9090",
    "prometheus.monitoring.svc:9090",
    "kafka:9092",
    "redis:6379",
    "redis:80",
    "redis:443",
    "node:master",
    "node:internal",
    "engine:7",
    "default/example-go:8080",
    "kube-system/kube-dns:53",
    "kube-system/kube-dns:53:PROXY",
    "system:serviceaccount:kube-system:default",
    "system:node-proxier",
    "2024-11-03T10:00:00Z",
    "10:30",
    "arn:aws:iam::123456789012:role/s3-access",
    "instance:node_cpu_utilisation:rate5m",
    "job:apiserver_request:rate5m",
    "role:master",
    "RotateKubeletServerCertificate=true",
    "docker.io/*",
    "ghcr.io/acme/",
    "*/nginx:latest",
    "{{ .Values.image }}:v1",
    "$(IMAGE)",
    "/etc/config:/config:ro",
    "/var/run/docker.sock",
    "etc/app/config.yaml:12",
    "src/main.go:42",
    "git@github.com:acme/app.git",
    "git.example.com/acme/app.git:main",
    "user@example.com",
    "sha256:9f86d081",
    DIGEST,
    "tls:1.2",
    "version:1.2.3",
    "docker.io/library",
    "ghcr.io/acme",
    "quay.io",
    "x" * 5000 + "/y:v1",
]


@pytest.mark.parametrize("text", COMPLETE)
def test_complete_references(text: str) -> None:
    assert (is_complete(text), is_likely(text)) == (True, True)


@pytest.mark.parametrize("text", LIKELY)
def test_likely_references(text: str) -> None:
    assert (is_complete(text), is_likely(text)) == (False, True)


@pytest.mark.parametrize("text", NEITHER)
def test_others(text: str) -> None:
    assert (is_complete(text), is_likely(text)) == (False, False)
    assert [each.image for each in within_text(text)] == []


@given(st.text(st.sampled_from("ab/:.@-_19 =,\n{$"), max_size=30))
def test_what_looks_like_an_image_parses(text: str) -> None:
    for each in (*whole(text), *within_text(text)):
        assert Reference.parse(each.image)
        assert not each.is_complete or "/" in each.image or "@" in each.image


def test_a_list_is_by_commas_or_white_space() -> None:
    assert [each.image for each in whole("acme/a:v1, quay.io/acme/b:v2\nnginx:1.27")] == [
        "acme/a:v1",
        "quay.io/acme/b:v2",
        "nginx:1.27",
    ]
    assert whole("acme/a:v1, and others") == ()


@pytest.mark.parametrize("text", ["engine:7", "my-app:v2", "redis:7"])
def test_a_word_with_a_version_may_be_an_image_where_it_is_all(text: str) -> None:
    assert [each.image for each in whole(f" {text}\n")] == [text]


@pytest.mark.parametrize("text", ["engine:443", "engine:80", "tcp:7", "a:7", "engine:7:8"])
def test_a_word_with_a_port_is_no_image(text: str) -> None:
    assert whole(text) == ()


@pytest.mark.parametrize(
    ("line", "images"),
    [
        ("docker run -d -p 80:80 redis", ["redis"]),
        ("sudo nerdctl -n k8s.io pull acme/tool", ["acme/tool"]),
        ("/usr/bin/crictl pull --creds x 'busybox' >/dev/null 2>&1", ["busybox"]),
        ("docker pull redis # docker pull nginx", ["redis"]),
        ("docker ps; echo redis", []),
        ("kubectl run x --image=busybox -- sh", ["busybox"]),
        ("kubectl run x --image busybox -- sh", ["busybox"]),
        ("x: {name: a, image: busybox, tty: true}", ["busybox"]),
        ("docker run ${REGISTRY}/acme/app:v1", ["${REGISTRY}/acme/app:v1"]),
        ("crane copy quay.io/acme/app:${TAG} x", ["quay.io/acme/app:${TAG}"]),
        ("docker run -v $HOME/conf:ro x", []),
        ("curl https://quay.io/acme/app:${TAG}", []),
        ("docker push gcr.io/$PROJECT", []),
        ('image: "[[ x ]]/app:1.0"', ["[[ x ]]/app:1.0"]),
        (
            'image: {{ .x | default "acme/app:v1" }}',
            ['{{ .x | default "acme/app:v1" }}', "acme/app:v1"],
        ),
        ("legend: {{image}}", []),
        ("background-image: url(x.png)", []),
    ],
)
def test_lines_of_scripts_and_templates(line: str, images: list[str]) -> None:
    assert [each.image for each in within_text(line)] == images
    assert all(
        each.has_variable == ("{" in each.image or "[" in each.image) for each in within_text(line)
    )


def test_dockerfiles() -> None:
    text = """\
# syntax=docker/dockerfile:1
ARG VERSION=1
FROM --platform=$BUILDPLATFORM golang AS build
FROM build AS test
FROM scratch
FROM ${BASE}
COPY --from=acme/tools:v1 /x /x
"""
    found = [(each.image, each.offset) for each in within_text(text)]
    assert found == [("golang", 2), ("${BASE}", 5), ("acme/tools:v1", 6)]
    assert within_text("SELECT a\nFROM users") == ()


def test_texts_have_images_in_lines_without_comments() -> None:
    text = """\
#!/bin/sh
# docker pull acme/comment:v1
docker run --rm acme/runner:v1 sh -c 'x' # or acme/other:v1
curl https://quay.io/acme/web:v1
env IMAGES="acme/one:v1,acme/two:v2" 'quay.io/acme/three'
  image: alpine
SIDECAR_IMAGE=busybox
agent.image = "acme/agent"
export IMAGE=$1 BACKGROUND=image
  image: {{ .Values.image }}
  - image: "acme/four:v4"
(see quay.io/acme/five:v5).
"""
    assert [(each.image, each.offset) for each in within_text(text)] == [
        ("acme/runner:v1", 2),
        ("acme/one:v1", 4),
        ("acme/two:v2", 4),
        ("quay.io/acme/three", 4),
        ("alpine", 5),
        ("busybox", 6),
        ("acme/agent", 7),
        ("{{ .Values.image }}", 9),
        ("acme/four:v4", 10),
        ("quay.io/acme/five:v5", 11),
    ]


@pytest.mark.parametrize(
    "key",
    [
        "image",
        "images",
        "sidecarImage",
        "baseImage",
        "imageName",
        "imageRef",
        "osImageURL",
        "--acme-http01-solver-image",
        "-image",
        "RELATED_IMAGE_PROXY",
        "ROOK_CSI_CEPH_IMAGE",
        "IMAGE",
        "sidecar.istio.io/proxyImage",
        "artifacthub.io/images",
        "agent.image",
    ],
)
def test_keys_that_name_an_image(key: str) -> None:
    assert says_image(key)


@pytest.mark.parametrize(
    "key",
    [
        "imagePullPolicy",
        "imagePullSecrets",
        "IMAGE_TAG",
        "imageRepository",
        "image-gc-high-threshold",
        "imageMaximumGCAge",
        "disable-image-updates",
        "imageFeatures",
        "imageID",
        "imagery",
        "name",
        "",
        "image" * 100,
    ],
)
def test_keys_that_do_not(key: str) -> None:
    assert not says_image(key)


@pytest.mark.parametrize(
    "key", ["REDIS_ADDR", "redisHost", "--upstream", "kafka.bootstrap.servers"]
)
def test_keys_of_addresses(key: str) -> None:
    assert says_address(key)
