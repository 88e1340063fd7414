"""The images that a Talos release needs (`imager images default`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from imager.support.errors import ImagerError
from imager.talos.components import INSTALLER
from imager.talos.errors import InvalidVersionError
from imager.talos.version import TalosVersion
from imager.talos.versions import default_installer

_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """An image of a release: the component's name, and the reference."""

    component: str
    reference: str


@dataclass(frozen=True, slots=True)
class Release:
    """The images of a release; `note` states what is uncertain about them."""

    images: tuple[ReleaseImage, ...]
    note: str = ""

    @property
    def references(self) -> tuple[str, ...]:
        """The references of the images."""
        return tuple(image.reference for image in self.images)


def find_release(version: str) -> Release:
    """Return the images of Talos `version`, in talosctl's order.

    Always includes the installer, last where talosctl omits it: a machine installs it unless
    configured otherwise. If the table has only previews of a release, returns the images of the
    last preview. Raises InputError for a release that is not in the table.
    """
    releases = {row["talos"]: row for row in _table()}
    name = version if version.startswith("v") else f"v{version}"
    row = releases.get(name)
    if row is not None:
        return Release(tuple(_images(row, name)))
    previews = [each for each in releases if each.startswith(f"{name}-")]
    if previews:
        note = f"no image list for Talos {name} yet: using the images of {previews[-1]}"
        return Release(tuple(_images(releases[previews[-1]], name)), note)
    known = list(releases)
    raise InvalidVersionError(
        f"Talos {version} is not in the table of releases ({known[0]} to {known[-1]})",
        hint=f"did you mean {_nearest(name, known)}?",
    )


def _nearest(name: str, releases: Sequence[str]) -> str:
    """Return the release of the table to suggest: the last one of the same minor version.

    Otherwise, suggest the newest stable release, or the oldest for an older version.
    """
    parsed = [TalosVersion.parse(each) for each in releases]
    finals = [each for each in parsed if "-" not in each.text]
    try:
        version = TalosVersion.parse(name)
    except ImagerError:
        return finals[-1].text
    same = [each for each in parsed if each.numbers[:2] == version.numbers[:2]]
    chosen = [each for each in same if each in finals] or same
    return (chosen or (finals[:1] if version < finals[0] else finals))[-1].text


def _table() -> list[dict[str, str]]:
    text = (files("imager.talos") / "talos-versions.tsv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def _images(row: Mapping[str, str], version: str) -> Iterator[ReleaseImage]:
    """Yield the images; releases that list no installer have the pause image after etcd."""
    lists_installer = row["lists_installer"] == "yes"
    installer = ReleaseImage(INSTALLER, default_installer(TalosVersion.parse(version)))
    pause = ReleaseImage("pause", f"registry.k8s.io/pause:{row['pause']}")
    pauses = () if row["pause"] == _ABSENT else (pause,)
    yield ReleaseImage("flannel", f"ghcr.io/siderolabs/flannel:{row['flannel']}")
    yield ReleaseImage("coredns", f"registry.k8s.io/coredns/coredns:{row['coredns']}")
    yield ReleaseImage("etcd", f"{row['etcd_image']}:{row['etcd']}")
    if not lists_installer:
        yield from pauses
    for name in ("apiserver", "controller-manager", "scheduler", "proxy"):
        component = f"kube-{name}"
        yield ReleaseImage(component, f"registry.k8s.io/{component}:{row['kubernetes']}")
    yield ReleaseImage("kubelet", f"ghcr.io/siderolabs/kubelet:{row['kubernetes']}")
    if lists_installer:
        yield installer
        yield from pauses
    if row["network_policies"] != _ABSENT:
        policies = "kube-network-policies"
        reference = f"registry.k8s.io/networking/{policies}:{row['network_policies']}"
        yield ReleaseImage(policies, reference)
    if not lists_installer:
        yield installer


def newest_release() -> str:
    """Return the newest stable release of the table."""
    return [row["talos"] for row in _table() if "-" not in row["talos"]][-1]
