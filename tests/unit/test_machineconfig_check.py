"""Machine configurations and image caches: do they go together?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imager.app.check_config import Checked, SizedCache, check_machine_config
from imager.cache.cache import ImageCache
from imager.cache.open import open_cache
from imager.support.errors import ImagerError, InvalidConfigError, UnsupportedError
from imager.support.yamldocs import load_located
from imager.talos.config.document import read_machine_config
from imager.talos.config.patch import patch_text
from imager.talos.config.required_images import needed_defaults
from imager.talos.default_images import find_release
from imager.talos.version import TalosVersion
from tests.lib.caches.caches import make_flat

MIB, GIB = 2**20, 2**30
NEED = 2300 * MIB
SITE = Path(__file__).parents[1] / "site" / "talos"
# A controlplane.yaml of `talosctl gen config`, with what is of no concern here left out.
CONTROL_PLANE = """\
version: v1alpha1
machine:
  type: controlplane
  kubelet:
    image: ghcr.io/siderolabs/kubelet:v1.32.0
  install:
    image: ghcr.io/siderolabs/installer:v1.9.0
cluster:
  apiServer: {image: registry.k8s.io/kube-apiserver:v1.32.0}
  controllerManager: {image: registry.k8s.io/kube-controller-manager:v1.32.0}
  scheduler: {image: registry.k8s.io/kube-scheduler:v1.32.0}
  proxy: {image: registry.k8s.io/kube-proxy:v1.32.0}
"""
WORKER = CONTROL_PLANE[: CONTROL_PLANE.index("cluster:")].replace("controlplane", "worker")
PATCH = patch_text(TalosVersion.parse("v1.9.0"), NEED)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    flat = make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1, blob_size=10)
    return open_cache(flat.folder).cache


def check(
    text: str, *, version: str = "", cache: ImageCache | None = None, size: int = NEED
) -> Checked:
    return check_machine_config(
        text,
        source="m.yaml",
        version=TalosVersion.parse(version) if version else None,
        sized=SizedCache(cache, size) if cache else None,
    )


def images(text: str, version: str = "") -> set[str]:
    return {str(image) for image in check(text, version=version).images}


def problems(text: str, cache: ImageCache, *, size: int = NEED, version: str = "") -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        check(text, cache=cache, size=size, version=version)
    return [each.removeprefix("m.yaml:") for each in caught.value.problems]


def defaults(*, without: Iterable[str] = (), version: str = "v1.9.0") -> set[str]:
    return {
        each
        for each in find_release(version).references
        if not any(name in each for name in without)
    }


def test_a_control_plane_needs_all_that_its_release_does() -> None:
    assert images(CONTROL_PLANE) == defaults()


def test_a_worker_needs_what_it_pulls_for_itself() -> None:
    assert images(WORKER) == {
        "ghcr.io/siderolabs/kubelet:v1.32.0",
        "ghcr.io/siderolabs/installer:v1.9.0",
        "registry.k8s.io/pause:3.10",
    }


@pytest.mark.parametrize(
    ("version", "installer"),
    [
        ("v1.9.0", "ghcr.io/siderolabs/installer:v1.9.0"),
        ("v1.13.9", "ghcr.io/siderolabs/installer:v1.13.9"),
        (
            "v1.14.0-rc.1",
            "factory.talos.dev/metal-installer/"
            "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba:v1.14.0-rc.1",
        ),
    ],
)
def test_a_machine_that_names_no_installer_needs_the_default(version: str, installer: str) -> None:
    text = "machine: {type: worker}\n"
    assert installer in images(text, version)
    assert installer not in images(
        "machine: {type: worker, install: {image: 'example.com/installer:v1'}}\n", version
    )


def test_the_document_of_an_installation_names_an_installer() -> None:
    text = "machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: UnattendedInstallConfig\n"
    version = "v1.14.0-rc.1"
    assert any("metal-installer" in image for image in images(text, version))
    named = images(f"{text}installer: {{image: 'example.com/i:v1'}}\n", version)
    assert not any("metal-installer" in image for image in named)


def test_what_is_not_known_of_a_release_is_a_warning() -> None:
    (warning,) = check("machine: {type: worker}\n", version="v1.14.0").warnings
    assert "no image list for Talos v1.14.0 yet" in warning


def test_a_patch_needs_what_it_names() -> None:
    text = "machine: {kubelet: {image: 'ghcr.io/siderolabs/kubelet:v1.31.0'}}"
    assert images(text, "v1.9.0") == {"ghcr.io/siderolabs/kubelet:v1.31.0"}


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("cluster: {proxy: {disabled: true}}", ["kube-proxy"]),
        ("cluster: {coreDNS: {disabled: true}}", ["coredns"]),
        ("cluster: {network: {cni: {name: none}}}", ["flannel"]),
        ("cluster: {network: {cni: {name: flannel}}}", []),
        ("cluster: {proxy: {disabled: false}}", []),
    ],
)
def test_what_is_turned_off_is_not_needed(line: str, gone: Sequence[str]) -> None:
    text = f"machine: {{type: init}}\n{line}\n"
    assert images(text, "v1.9.0") == defaults(without=gone)


def test_what_is_named_is_needed_instead_of_the_default() -> None:
    text = CONTROL_PLANE + "  etcd: {image: registry.example.com/etcd:v3.5.18}\n"
    expected = defaults(without=["etcd"]) | {"registry.example.com/etcd:v3.5.18"}
    assert images(text) == expected
    later = (
        "machine: {type: controlplane}\n---\napiVersion: v1alpha1\nkind: KubeProxyConfig\n"
        "enabled: false\n---\napiVersion: v1alpha1\nkind: KubeSchedulerConfig\n"
        "enabled: true\nimage: example.com/scheduler:v2\n"
    )
    expected = defaults(without=["kube-proxy", "scheduler", "network-policies"], version="v1.13.0")
    needed = needed_defaults(load_located(later), find_release("v1.13.0").images)
    assert {each.image for each in needed} == expected
    assert images(later) == {"example.com/scheduler:v2"}


def test_network_policies_are_needed_where_they_are_turned_on() -> None:
    cni = "cluster: {network: {cni: {flannel: {kubeNetworkPoliciesEnabled: true}}}}"
    text = "machine: {type: controlplane}\n"
    policies = {each for each in find_release("v1.13.0").references if "network-policies" in each}
    assert len(policies) == 1
    assert images(text + cni, "v1.13.0") - images(text, "v1.13.0") == policies


def test_the_release_is_that_of_the_installer_unless_it_is_given() -> None:
    other = CONTROL_PLANE.replace("installer:v1.9.0", "installer:v1.10.0")
    assert "registry.k8s.io/coredns/coredns:v1.12.1" in images(other)
    assert "registry.k8s.io/coredns/coredns:v1.12.0" in images(other, "v1.9.0")
    assert "registry.k8s.io/pause:3.10" not in images(
        WORKER.replace("installer:v1.9.0", "x@sha256:" + "0" * 64)
    )
    (warning,) = check(CONTROL_PLANE.replace("installer:v1.9.0", "installer:v9.9.9")).warnings
    assert "Talos v9.9.9 is not in the table" in warning


def test_what_the_cache_lacks(empty: ImageCache) -> None:
    text = CONTROL_PLANE.replace(
        "cluster:", "  features: {imageCache: {localEnabled: true}}\ncluster:"
    )
    found = problems(f"{text}---\n{PATCH.partition('---')[2].lstrip()}", empty)
    assert found[0].startswith(
        "3: the image cache lacks gcr.io/etcd-development/etcd:v3.5.17 (Talos"
    )
    assert "5: the image cache lacks ghcr.io/siderolabs/kubelet:v1.32.0" in "\n".join(found)
    assert len(found) == len(defaults())


def test_what_the_cache_has_is_not_lacking(empty: ImageCache) -> None:
    (image,) = empty.images
    digest = empty.manifests[image].digest
    text = f"{PATCH}---\napiVersion: v1alpha1\nkind: KubeletConfig\nimage: "
    assert check(f"{text}{image}\n", cache=empty).warnings == ()
    assert check(f"{text}{image}@{digest}\n", cache=empty).warnings == ()
    (problem,) = problems(f"{text}{image}@sha256:{'0' * 64}\n", empty)
    assert problem.startswith(
        "17: the image cache lacks registry.local:5000/team/img0:v1@sha256:00"
    )


def test_a_cache_that_does_not_fit(empty: ImageCache) -> None:
    assert check(PATCH, cache=empty).warnings == ()
    text = PATCH.replace("2816MiB", "2304MiB")
    assert check(text, cache=empty, size=2304 * MIB)
    assert problems(text, empty, size=2305 * MIB) == [
        "13: the volume IMAGECACHE is too small: "
        "the image cache needs 2305MiB (2.3 GiB), maxSize is 2.2 GiB"
    ]
    default = PATCH[: PATCH.index("provisioning")]
    (problem,) = problems(default, empty)
    assert problem.startswith("6: the volume IMAGECACHE is too small")
    assert problem.endswith("maxSize is 1 GiB")


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        (
            "minSize: 2304MiB",
            "minSize: 1GiB",
            "m.yaml:12: on a disk with little space the volume IMAGECACHE gets only 1024MiB, "
            "but the image cache needs 2300MiB (2.2 GiB): set minSize to that",
        ),
    ],
)
def test_what_may_be_a_mistake(empty: ImageCache, old: str, new: str, warning: str) -> None:
    assert old in PATCH
    text = PATCH.replace(old, new)
    (found,) = check(text, cache=empty).warnings
    assert found.startswith(warning)
    assert check(text).warnings == ()


def test_a_cache_that_is_turned_off(empty: ImageCache) -> None:
    off = "the image cache is disabled, so --image-cache is not used"
    for text, line in ((PATCH.replace("true", "false"), 4), (f"{WORKER}---\n{VOLUME}", 1)):
        found = problems(text, empty)
        assert [each for each in found if "lacks" not in each] == [
            f"{line}: {off}: `imager config patch` prints a patch that enables it"
        ]
        assert check(text).images is not None
    # The rest of a patch may be in another.
    assert check(VOLUME, cache=empty).warnings == ()


def test_a_cache_without_a_volume(empty: ImageCache) -> None:
    for text, line in ((FIELD, 4), (DOCUMENT, 4)):
        for cache in (None, empty):
            (found,) = check(text, cache=cache).warnings
            assert found.startswith(
                f"m.yaml:{line}: the image cache is enabled, but no volume IMAGECACHE is "
            )
            assert "Talos waits five minutes" in found
    wrong = f"{FIELD}---\n{VOLUME.replace('2304MiB', '9GiB')}"
    with pytest.raises(InvalidConfigError):
        check(wrong)


@pytest.mark.parametrize(
    ("size", "ignored"),
    [
        ("50%", "percentages, so it takes all free space"),
        ("-20%", "percentages, so it takes all free space"),
        ("-10GiB", "the sign, so it takes up to 10 GiB"),
    ],
)
def test_a_relative_size_of_the_volume(size: str, ignored: str) -> None:
    (found,) = check(PATCH.replace("2816MiB", size)).warnings
    assert found == (
        f"m.yaml:13: maxSize {size}: for the volume IMAGECACHE, Talos ignores {ignored}; "
        "write a size such as 4GiB"
    )
    other = VOLUME.replace("IMAGECACHE", "EPHEMERAL").replace("2816MiB", size)
    assert check(other).warnings == ()


@pytest.mark.parametrize(
    ("expression", "warning"),
    [
        ("false", "selects no disk"),
        ("1u * GiB > 1u * GB * 2u", "selects no disk"),
        ("1 / 0 == 1", "evaluation failed: divide by zero"),
        ("true", ""),
        ("disk.size < 0u", ""),
    ],
)
def test_a_selector_that_depends_on_no_disk(expression: str, warning: str) -> None:
    found = check(PATCH.replace("system_disk", f"'{expression}'")).warnings
    words = [f"m.yaml:11: VolumeConfig IMAGECACHE: provisioning.diskSelector.match: {warning}"]
    assert found == tuple(words if warning else [])


def test_the_release_decides_what_is_known() -> None:
    other = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n"
    assert images(CONTROL_PLANE.replace("installer:v1.9.0", "installer:v1.12.0") + other)
    for version in ("", "v1.9.0"):
        with pytest.raises(InvalidConfigError, match=r"v1\.9\.0 has no HostnameConfig"):
            check(CONTROL_PLANE + other, version=version)
    with pytest.raises(InvalidConfigError, match=r"v1\.8\.0 has no image cache"):
        check(FIELD, version="v1.8.0")
    (warning,) = check("machine: {type: worker}").warnings
    assert warning.startswith("m.yaml:1: the Talos release is unknown")


def test_a_volume_is_too_small_whatever_else_is_wrong_with_it(empty: ImageCache) -> None:
    text = PATCH.replace("system_disk", "disk.size > 1").replace("2816MiB", "2GiB")
    assert [each.partition(":")[0] for each in problems(text, empty)] == ["11", "12", "13"]


def test_all_is_told_at_once(empty: ImageCache) -> None:
    text = f"{WORKER}  features: {{imageCache: 1}}\n---\n{PATCH.partition('---')[2].lstrip()}"
    text = text.replace("kubelet:v1.32.0", "kubelet:v1:32").replace("2816MiB", "2GiB")
    found = problems(text.replace("2304MiB", "1GiB"), empty)
    assert [each.partition(":")[0] for each in found] == ["3", "5", "7", "8", "17"]
    assert "the image cache lacks registry.k8s.io/pause:3.10" in found[0]
    assert "machine.kubelet.image: image reference" in found[1]
    assert "the image cache lacks ghcr.io/siderolabs/installer:v1.9.0" in found[2]
    assert "imageCache: is not a mapping" in found[3]
    assert "the volume IMAGECACHE is too small" in found[4]


def test_configurations_of_the_site() -> None:
    warnings = check((SITE / "controlplane.yaml").read_text()).warnings
    assert [each.rpartition("//")[2].partition(" ")[0] for each in warnings] == [
        "example.com/cni.yaml",
        "example.com/ccm.yaml",
        "example.com/metallb.yaml",
    ]


FIELD = """\
machine:
  features:
    imageCache:
      localEnabled: true
"""
DOCUMENT = """\
apiVersion: v1alpha1
kind: ImageCacheConfig
local:
  enabled: true
"""
VOLUME = """\
apiVersion: v1alpha1
kind: VolumeConfig
name: IMAGECACHE
provisioning:
  diskSelector:
    match: system_disk
  minSize: 2304MiB
  maxSize: 2816MiB
"""


@pytest.mark.parametrize(
    ("version", "size", "text"),
    [
        ("v1.9.0", NEED, f"{FIELD}---\n{VOLUME}"),
        ("v1.13.9", NEED, f"{FIELD}---\n{VOLUME}"),
        ("v1.14.0-alpha.0", NEED, f"{DOCUMENT}---\n{VOLUME}"),
        ("v1.9.0", None, FIELD),
        ("v1.14.0", None, DOCUMENT),
        (
            "v1.9.0",
            4 * GIB,
            f"{FIELD}---\n{VOLUME}".replace("2304MiB", "4GiB").replace("2816MiB", "5GiB"),
        ),
    ],
)
def test_patches(version: str, size: int | None, text: str) -> None:
    assert patch_text(TalosVersion.parse(version), size) == text


def test_a_release_without_image_caches() -> None:
    with pytest.raises(UnsupportedError, match=r"v1\.8\.4 has no image cache"):
        patch_text(TalosVersion.parse("v1.8.4"), NEED)


@given(st.integers(32 * MIB, 1 << 45), st.sampled_from(["v1.9.0", "v1.14.0"]))
def test_a_patch_is_right_and_has_room(size: int, version: str) -> None:
    release = TalosVersion.parse(version)
    config = read_machine_config(patch_text(release, size), source="p", version=release)
    assert config.image_cache.enabled
    assert config.volume
    assert size <= config.volume.min_size < size + 16 * MIB
    assert size * 6 // 5 <= config.volume.max_size.size <= size * 6 // 5 + 256 * MIB


def test_a_patch_lies_over_a_configuration(empty: ImageCache) -> None:
    config, patch = yaml.safe_load(WORKER), list(yaml.safe_load_all(PATCH))
    config["machine"]["features"] = patch[0]["machine"]["features"]
    text = yaml.safe_dump_all([config, *patch[1:]])
    assert all("lacks" in each for each in problems(text, empty))


KEYS = st.sampled_from(
    [
        *(
            "apiVersion",
            "kind",
            "name",
            "machine",
            "cluster",
            "type",
            "install",
            "image",
            "kubelet",
        ),
        *("pods", "inlineManifests", "contents", "extensions", "network", "cni", "urls", "spec"),
        *("provisioning", "maxSize", "installer", "containers", "extraManifests", "proxy"),
    ]
)
SCALARS = st.sampled_from(
    [
        *("v1alpha1", "v1", "VolumeConfig", "KubeletConfig", "KubeStaticPodConfig", "IMAGECACHE"),
        *("controlplane", "ghcr.io/siderolabs/installer:v1.9.0", "installer@x", "1GiB", "a: b"),
        *("UnattendedInstallConfig", "Pod", "{{ x }}", "", True, None, 0, 1.5),
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(documents=st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3))
def test_any_documents_are_checked_or_told_to_be_wrong(
    documents: list[object], empty: ImageCache
) -> None:
    with contextlib.suppress(ImagerError):
        check(yaml.safe_dump_all(documents), cache=empty)


@pytest.mark.parametrize("tag", ["latest", "v1.9.x", "main"])
def test_an_installer_whose_tag_is_no_version_leaves_the_release_unknown(tag: str) -> None:
    text = CONTROL_PLANE.replace("installer:v1.9.0", f"installer:{tag}")
    assert any("the Talos release is unknown" in each for each in check(text).warnings)
