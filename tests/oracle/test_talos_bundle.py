"""`images talos-bundle`, with the lists of a release in a real registry."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping

import pytest

from tests.lib.caches.caches import (
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_index,
    image_manifest,
    tar_bytes,
)
from tests.lib.registries.pushed_images import push_blob, push_manifest
from tests.lib.registries.registry import RunningRegistry, running_registry
from tests.lib.tools import cli
from tests.lib.tools.fault_site import INPUT, UNSUPPORTED, check_error

pytestmark = pytest.mark.oracle

DEPENDENCY = 5
A, B = "a" * 64, "b" * 64
EXTENSIONS = [
    f"ghcr.io/siderolabs/gvisor:20250505.0-v1.13.0@sha256:{A}",
    f"ghcr.io/siderolabs/amd-ucode:20250808@sha256:{B}",
]
OVERLAYS = f"""\
overlays:
  - name: rpi_generic
    image: ghcr.io/siderolabs/sbc-raspberrypi:v0.1.5
    digest: sha256:{B}
  - name: rpi_5
    image: ghcr.io/siderolabs/sbc-raspberrypi:v0.1.5
    digest: sha256:{B}
"""
SOURCES = [
    "installer",
    "installer-base",
    "imager",
    "talos",
    "talosctl-all",
    "overlays",
    "extensions",
]


def push_lists(
    host: str, repository: str, *layers: Mapping[str, str], tag: str, indexed: bool = False
) -> None:
    """Push an image whose layers have these files, behind an index of two platforms or alone."""
    packed = [
        gzip.compress(tar_bytes({name: text.encode() for name, text in layer.items()}), mtime=0)
        for layer in layers
    ]
    config = dump({"architecture": "amd64", "os": "linux"})
    for blob in (config, *packed):
        push_blob(host, repository, blob)
    manifest = image_manifest(config, packed, layer_type=f"{LAYER_TYPE}+gzip")
    push_manifest(host, repository, manifest, MANIFEST_TYPE, "" if indexed else tag)
    if indexed:
        platform = {"architecture": "amd64", "os": "linux"}
        entries = [descriptor(MANIFEST_TYPE, manifest, platform=platform)]
        index = image_index(entries)
        push_manifest(host, repository, index, INDEX_TYPE, tag)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A mirror of ghcr.io."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        extensions, overlays = "siderolabs/extensions", "siderolabs/overlays"
        lists = {
            "image-digests": "\n".join(EXTENSIONS) + "\n\n# a comment\n",
            "descriptions.yaml": "",
        }
        older = {"image-digests": "ghcr.io/siderolabs/old:v1\n"}
        push_lists(running.host, extensions, older, lists, tag="v1.13.0", indexed=True)
        push_lists(running.host, overlays, {"overlays.yaml": OVERLAYS}, tag="v1.13.0")
        push_lists(running.host, extensions, {"image-digests": "a b@c\n"}, tag="v1.13.1")
        push_lists(running.host, extensions, {"other": "x"}, tag="v1.13.2")
        push_lists(running.host, overlays, {"overlays.yaml": "overlays: {}\n"}, tag="v1.13.3")
        yield running


def listed(registry: RunningRegistry, *options: str) -> cli.Completed:
    mirror = f"ghcr.io=http://{registry.host}"
    return cli.run(
        "images", "talos-bundle", *options, "--registry-mirror", mirror, "--retries", "0"
    )


def test_a_release(registry: RunningRegistry) -> None:
    sources = [f"ghcr.io/siderolabs/{name}:v1.13.0" for name in SOURCES]
    overlay = f"ghcr.io/siderolabs/sbc-raspberrypi:v0.1.5@sha256:{B}"
    for options, more in (
        ((), sorted([*EXTENSIONS, overlay])),
        (("--no-overlays",), sorted(EXTENSIONS)),
        (("--no-extensions",), [overlay]),
    ):
        done = listed(registry, "v1.13.0", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [*sources, *more]
    done = listed(registry, "v1.13.0", "--json")
    assert json.loads(done.stdout)["images"][:7] == sources


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("v1.13.1", "extensions:v1.13.1: image-digests: "),
        ("v1.13.2", "extensions:v1.13.2: the image has no file image-digests"),
    ],
)
def test_lists_that_are_damaged(registry: RunningRegistry, version: str, words: str) -> None:
    check_error(listed(registry, version, "--no-overlays"), DEPENDENCY, words)


def test_an_empty_list(registry: RunningRegistry) -> None:
    done = listed(registry, "v1.13.3", "--no-extensions")
    check_error(done, DEPENDENCY, "overlays:v1.13.3: overlays.yaml: no images are listed")


def test_releases_without_lists() -> None:
    done = cli.run("images", "talos-bundle", "v1.10.9")
    check_error(done, UNSUPPORTED, "Talos v1.10.9 publishes no lists", hint="use v1.11 or later")
    check_error(cli.run("images", "talos-bundle", "1.13.0"), INPUT, "'1.13.0'", hint="v1.13.0")


def test_the_images_alone_need_no_network() -> None:
    for release, names in (("v1.13.0", SOURCES), ("v1.14.0", SOURCES[1:])):
        done = cli.run("images", "talos-bundle", release, "--no-extensions", "--no-overlays")
        expected = [f"ghcr.io/siderolabs/{name}:{release}" for name in names]
        assert done.stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("options", "image"),
    [
        (("--k8s-version", "1.31"), "registry.k8s.io/kube-proxy:v1.31.0"),
        (("--k8s-version", "v1.32.0-rc.1"), "ghcr.io/siderolabs/kubelet:v1.32.0-rc.1"),
        (("--etcd-version", "3.5.20"), "registry.k8s.io/etcd:v3.5.20"),
        (("--flannel-version", "0.27.4"), "ghcr.io/siderolabs/flannel:0.27.4"),
        (("--flannel-version", "v0.27.4"), "ghcr.io/siderolabs/flannel:v0.27.4"),
        (("--coredns-version", "v1.12.1"), "registry.k8s.io/coredns/coredns:v1.12.1"),
        (
            ("--kube-network-policies-version", "v2"),
            "registry.k8s.io/networking/kube-network-policies:v2.0.0",
        ),
    ],
)
def test_other_versions(options: tuple[str, ...], image: str) -> None:
    release = ("--talos-version", "v1.13.9")
    before = cli.run("images", "default", *release).stdout.splitlines()
    after = cli.run("images", "k8s-bundle", *release, *options).stdout.splitlines()
    assert image in after
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert {each.rpartition(":")[2] for each in changed} == {image.rpartition(":")[2]}
    assert len(changed) == (5 if "--k8s-version" in options else 1)


def test_what_is_no_version() -> None:
    for text in ("latest", "v", "1.2.3.4", "1.x", "v1.2.3 4"):
        done = cli.run("images", "k8s-bundle", "--etcd-version", text)
        check_error(done, INPUT, f"--etcd-version: {text!r} is not a version")
