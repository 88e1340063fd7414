"""The images of a Talos release: lists as the releases' own talosctl prints them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from imager.errors import InputError
from imager.imagecache.defaults import default_images
from imager.oci.reference import Reference
from tests import cli

TABLE = Path(__file__).parents[2] / "imager/imagecache/talos-versions.tsv"

V1_9_0 = """\
ghcr.io/siderolabs/flannel:v0.26.1
registry.k8s.io/coredns/coredns:v1.12.0
gcr.io/etcd-development/etcd:v3.5.17
registry.k8s.io/kube-apiserver:v1.32.0
registry.k8s.io/kube-controller-manager:v1.32.0
registry.k8s.io/kube-scheduler:v1.32.0
registry.k8s.io/kube-proxy:v1.32.0
ghcr.io/siderolabs/kubelet:v1.32.0
ghcr.io/siderolabs/installer:v1.9.0
registry.k8s.io/pause:3.10
"""
V1_13_9 = """\
ghcr.io/siderolabs/flannel:0.28.8
registry.k8s.io/coredns/coredns:v1.14.6
registry.k8s.io/etcd:v3.6.12
registry.k8s.io/pause:3.10.1
registry.k8s.io/kube-apiserver:v1.36.3
registry.k8s.io/kube-controller-manager:v1.36.3
registry.k8s.io/kube-scheduler:v1.36.3
registry.k8s.io/kube-proxy:v1.36.3
ghcr.io/siderolabs/kubelet:v1.36.3
registry.k8s.io/networking/kube-network-policies:v1.1.0
"""
V1_6_0 = """\
ghcr.io/siderolabs/flannel:v0.23.0
registry.k8s.io/coredns/coredns:v1.11.1
gcr.io/etcd-development/etcd:v3.5.11
registry.k8s.io/kube-apiserver:v1.29.0
registry.k8s.io/kube-controller-manager:v1.29.0
registry.k8s.io/kube-scheduler:v1.29.0
registry.k8s.io/kube-proxy:v1.29.0
ghcr.io/siderolabs/kubelet:v1.29.0
ghcr.io/siderolabs/installer:v1.6.0
"""


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(TABLE.read_text().splitlines(), delimiter="\t"))


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v1.9.0", V1_9_0), ("1.9.0", V1_9_0), ("v1.13.9", V1_13_9), ("v1.6.0", V1_6_0)],
)
def test_a_release(version: str, expected: str) -> None:
    assert "".join(f"{image}\n" for image in default_images(version)) == expected


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["talos"])
def test_every_row_of_the_table(row: dict[str, str]) -> None:
    images = default_images(row["talos"])

    assert all(str(Reference.parse_strict(image)) == image for image in images)
    assert len(set(images)) == len(images)
    used = [value for key, value in row.items() if key not in ("talos", "lists_installer")]
    listed = " ".join(images)
    assert all(value in listed for value in used if value != "-")
    assert not any(":-" in image for image in images)
    installers = [image for image in images if "/installer:" in image]
    assert installers == (
        [f"ghcr.io/siderolabs/installer:{row['talos']}"] if row["lists_installer"] == "yes" else []
    )
    # pause comes after etcd where no installer is listed, and last where one is.
    if row["pause"] != "-":
        pause = f"registry.k8s.io/pause:{row['pause']}"
        assert images.index(pause) == (len(images) - 1 if installers else 3)


def test_the_table_is_in_order_and_well_formed() -> None:
    versions = [row["talos"] for row in rows()]
    assert all(re.fullmatch(r"v1\.\d+\.\d+", version) for version in versions)
    numbers = [[int(part) for part in version[1:].split(".")] for version in versions]
    assert numbers == sorted(numbers)
    assert len(set(versions)) == len(versions)
    assert all(None not in row and None not in row.values() for row in rows())


@pytest.mark.parametrize("version", ["v9.9.9", "latest", "", "v1.9", "v1.9.0\n", "-"])
def test_an_unknown_release(version: str) -> None:
    with pytest.raises(InputError, match="not in the table") as caught:
        default_images(version)
    assert "v1." in caught.value.hint


def test_a_slip_is_told_the_likely_release() -> None:
    with pytest.raises(InputError) as caught:
        default_images("v1.99.0")
    assert "v1.9.0" in caught.value.hint


@pytest.mark.parametrize("command", [("images", "default"), ("image", "k8s-bundle")])
def test_the_command_prints_the_list(command: tuple[str, str]) -> None:
    done = cli.run(*command)
    assert (done.returncode, done.stdout, done.stderr) == (0, V1_9_0, "")
    done = cli.run(*command, "--talos-version", "v1.13.9")
    assert (done.returncode, done.stdout, done.stderr) == (0, V1_13_9, "")


def test_the_command_refuses_an_unknown_release() -> None:
    done = cli.run("images", "default", "--talos-version", "v0.1.0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: Talos v0.1.0 is not in the table")
