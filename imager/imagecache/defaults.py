"""The images that a Talos release needs: `imager images default`."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping
from importlib.resources import files

from imager.errors import InputError

_ABSENT = "-"


def default_images(version: str) -> tuple[str, ...]:
    """Return the references of Talos `version`, in the order in which talosctl lists them.

    Releases that list no installer have the pause image after etcd, the others at the end.
    Raises InputError for a release that the table does not have.
    """
    releases = {row["talos"]: row for row in _table()}
    row = releases.get(version) or releases.get(f"v{version}")
    if row is None:
        close = difflib.get_close_matches(version, releases, n=3)
        known = list(releases)
        raise InputError(
            f"Talos {version} is not in the table of releases ({known[0]} to {known[-1]})",
            hint=f"did you mean {' or '.join(close)}?" if close else "give one, such as v1.9.0",
        )
    return tuple(_images(row))


def _table() -> list[dict[str, str]]:
    text = (files("imager.imagecache") / "talos-versions.tsv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def _images(row: Mapping[str, str]) -> Iterator[str]:
    lists_installer = row["lists_installer"] == "yes"
    pause = () if row["pause"] == _ABSENT else (f"registry.k8s.io/pause:{row['pause']}",)
    yield f"ghcr.io/siderolabs/flannel:{row['flannel']}"
    yield f"registry.k8s.io/coredns/coredns:{row['coredns']}"
    yield f"{row['etcd_image']}:{row['etcd']}"
    if not lists_installer:
        yield from pause
    for component in ("apiserver", "controller-manager", "scheduler", "proxy"):
        yield f"registry.k8s.io/kube-{component}:{row['kubernetes']}"
    yield f"ghcr.io/siderolabs/kubelet:{row['kubernetes']}"
    if lists_installer:
        yield f"ghcr.io/siderolabs/installer:{row['talos']}"
        yield from pause
    if row["network_policies"] != _ABSENT:
        policies = row["network_policies"]
        yield f"registry.k8s.io/networking/kube-network-policies:{policies}"


def newest_release() -> str:
    """Return the newest release of the table that is no preview."""
    return [row["talos"] for row in _table() if "-" not in row["talos"]][-1]
