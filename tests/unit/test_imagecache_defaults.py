"""The images of a Talos release: as its own talosctl lists them, and always with its installer."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from imager.oci.reference import Reference
from imager.support.errors import InputError
from imager.talos.default_images import find_release
from tests.lib.tools import cli

TABLE = Path(__file__).parents[2] / "imager/talos/talos-versions.tsv"

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
ghcr.io/siderolabs/installer:v1.13.9
"""
# As the sources of v1.14.0-rc.1 have them.
V1_14_RC = """\
ghcr.io/siderolabs/flannel:0.28.9
registry.k8s.io/coredns/coredns:v1.14.6
registry.k8s.io/etcd:3.7.1
registry.k8s.io/pause:3.10.2
registry.k8s.io/kube-apiserver:v1.37.0-rc.0
registry.k8s.io/kube-controller-manager:v1.37.0-rc.0
registry.k8s.io/kube-scheduler:v1.37.0-rc.0
registry.k8s.io/kube-proxy:v1.37.0-rc.0
ghcr.io/siderolabs/kubelet:v1.37.0-rc.0
registry.k8s.io/networking/kube-network-policies:v1.1.1
"""
FACTORY = (
    "factory.talos.dev/metal-installer/"
    "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
)
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
    [
        ("v1.9.0", V1_9_0),
        ("1.9.0", V1_9_0),
        ("v1.13.9", V1_13_9),
        ("v1.6.0", V1_6_0),
        ("v1.14.0-rc.1", f"{V1_14_RC}{FACTORY}:v1.14.0-rc.1\n"),
    ],
)
def test_a_release(version: str, expected: str) -> None:
    assert "".join(f"{image}\n" for image in find_release(version).references) == expected


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["talos"])
def test_every_row_of_the_table(row: dict[str, str]) -> None:
    images = find_release(row["talos"]).references

    assert all(str(Reference.parse_strict(image)) == image for image in images)
    assert len(set(images)) == len(images)
    used = [value for key, value in row.items() if key not in ("talos", "lists_installer")]
    listed = " ".join(images)
    assert all(value in listed for value in used if value != "-")
    assert not any(":-" in image for image in images)
    repository = FACTORY if row["talos"].startswith("v1.14.") else "ghcr.io/siderolabs/installer"
    installers = [image for image in images if "installer" in image]
    assert installers == [f"{repository}:{row['talos']}"]
    # pause comes after etcd where no installer is listed, and last where one is.
    listed_there = row["lists_installer"] == "yes"
    assert images.index(installers[0]) == (8 if listed_there else len(images) - 1)
    if row["pause"] != "-":
        pause = f"registry.k8s.io/pause:{row['pause']}"
        assert images.index(pause) == (len(images) - 1 if listed_there else 3)


def test_the_table_is_in_order_and_well_formed() -> None:
    versions = [row["talos"] for row in rows()]
    form = r"v1\.(\d+)\.(\d+)(?:-(alpha|beta|rc)\.(\d+))?"
    matches = [re.fullmatch(form, version) for version in versions]
    # A release comes after its previews; their names are in the order of the alphabet.
    orders = [(int(m[1]), int(m[2]), m[3] or "release", int(m[4] or 0)) for m in matches if m]
    assert len(orders) == len(versions)
    assert orders == sorted(orders)
    assert len(set(versions)) == len(versions)
    assert all(None not in row and None not in row.values() for row in rows())


@pytest.mark.parametrize("version", ["v9.9.9", "latest", "", "v1.9", "v1.9.0\n", "-"])
def test_an_unknown_release(version: str) -> None:
    with pytest.raises(InputError, match="not in the table") as caught:
        find_release(version)
    assert "v1." in caught.value.hint


def test_a_release_known_by_its_previews() -> None:
    found = find_release("v1.14.0")
    assert "".join(f"{each}\n" for each in found.references) == f"{V1_14_RC}{FACTORY}:v1.14.0\n"
    assert found.note == ("no image list for Talos v1.14.0 yet: using the images of v1.14.0-rc.1")
    assert find_release("1.14.0") == found
    assert find_release("v1.13.9").note == ""


@pytest.mark.parametrize("version", ["v1.14.1", "v1.15.0", "v1.14.0-rc.0", "v1.14.0-", "v1.14"])
def test_other_releases_are_not_guessed(version: str) -> None:
    with pytest.raises(InputError, match=r"not in the table of releases \(v1\.6\.0 to v1\.14"):
        find_release(version)


@pytest.mark.parametrize(
    ("version", "suggested"),
    [
        ("v2.0.0", "v1.13.9"),
        ("v1.99.0", "v1.13.9"),
        ("v1.9.77", "v1.9.6"),
        ("1.9", "v1.9.6"),
        ("v1.14.5", "v1.14.0-rc.1"),
        ("v1.0.0", "v1.6.0"),
        ("v1.14.0-", "v1.13.9"),
    ],
)
def test_the_release_to_suggest(version: str, suggested: str) -> None:
    with pytest.raises(InputError) as caught:
        find_release(version)
    assert caught.value.hint == f"did you mean {suggested}?"


@pytest.mark.parametrize("command", [("images", "default"), ("image", "k8s-bundle")])
def test_the_command_prints_the_list(command: tuple[str, str]) -> None:
    done = cli.run(*command)
    assert (done.returncode, done.stdout, done.stderr) == (0, V1_9_0, "")
    done = cli.run(*command, "--talos-version", "v1.13.9")
    assert (done.returncode, done.stdout, done.stderr) == (0, V1_13_9, "")


def test_an_unknown_release_is_reported_once() -> None:
    done = cli.run("images", "default", "--talos-version", "v1.99.0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Talos v1.99.0 is not in the table of releases")
    assert "warning" not in done.stderr


def test_the_alias_of_the_group_has_help() -> None:
    assert "The same as `images`." in cli.run("image", "--help").stdout


def test_the_command_warns_of_what_is_not_known() -> None:
    done = cli.run("images", "default", "--talos-version", "v1.14.0")
    assert (done.returncode, done.stdout) == (0, f"{V1_14_RC}{FACTORY}:v1.14.0\n")
    assert done.stderr.startswith("warning: no image list for Talos v1.14.0 yet")


def test_the_command_refuses_an_unknown_release() -> None:
    done = cli.run("images", "default", "--talos-version", "v0.1.0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: Talos v0.1.0 is not in the table")
