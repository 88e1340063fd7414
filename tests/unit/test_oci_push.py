"""Images pushed from layouts: what is sent, in which order, and what is refused."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imager.oci.errors import NotFoundError
from imager.oci.layout import Layout
from imager.oci.push import Pushed, PushOptions, mount_repository, plan_layout, push
from imager.oci.reference import Reference
from imager.oci.retry import Patience
from imager.support.errors import DependencyError, InputError
from imager.support.reporter import JsonReporter
from tests.lib.caches.caches import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    flip,
    image_index,
)
from tests.lib.registries.client import make_client
from tests.lib.registries.programmable import Registry
from tests.lib.servers.faults import Fault, Lost
from tests.lib.servers.messages import Answer
from tests.lib.servers.rules import Where

QUICK = Patience(retries=2, first_delay=0.001, longest_delay=0.01, connect=20, read=20, probe=20)
MANIFESTS = "PUT /v2/a/b/manifests/"


class Site:
    """A layout that is made blob by blob."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs/sha256"
        self.blobs.mkdir(parents=True)
        (folder / "oci-layout").write_bytes(dump({"imageLayoutVersion": "1.0.0"}))

    def add(self, kind: str, data: bytes, **more: object) -> dict[str, Any]:
        entry: dict[str, Any] = descriptor(kind, data, **more)
        self.path(entry).write_bytes(data)
        return entry

    def path(self, entry: dict[str, Any]) -> Path:
        return self.blobs / str(entry["digest"]).removeprefix("sha256:")

    def image(self, number: int) -> dict[str, Any]:
        config = self.add(CONFIG_TYPE, dump({"architecture": "amd64", "os": "linux", "n": number}))
        layers = [self.add(LAYER_TYPE, random.Random(n).randbytes(3000)) for n in (0, number)]
        fields = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config}
        return self.add(MANIFEST_TYPE, dump({**fields, "layers": layers}))

    def index(self, entries: Sequence[object]) -> dict[str, Any]:
        return self.add(INDEX_TYPE, image_index(entries))

    def close(self, *entries: object) -> Layout:
        (self.folder / "index.json").write_bytes(image_index(entries))
        return Layout.open(self.folder)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "layout")


def run(
    registry: Registry, layout: Layout, *, name: str = "a/b:v1", jobs: int = 2
) -> tuple[Pushed, list[dict[str, Any]]]:
    """Push a layout; return the result, and the events that were reported."""
    said = io.StringIO()
    pushed = push(
        plan_layout(layout),
        Reference.parse(f"{registry.host}/{name}"),
        client=make_client(QUICK),
        options=PushOptions(jobs=jobs, chunk_size=1000),
        reporter=JsonReporter(said),
    )
    return pushed, [json.loads(line) for line in said.getvalue().splitlines()]


@pytest.mark.parametrize("jobs", [1, 8])
def test_the_tag_comes_last(registry: Registry, site: Site, jobs: int) -> None:
    images = [site.image(number) for number in (1, 2, 3)]
    inner = site.index(images[1:])
    layout = site.close(site.index([images[0], inner]))
    pushed, events = run(registry, layout, jobs=jobs)
    root = str(layout.index.manifests[0].digest)
    assert str(pushed.reference) == f"{registry.host}/a/b:v1@{root}"
    order = [*(image["digest"] for image in images), inner["digest"], "v1"]
    puts = [f"{MANIFESTS}{name}" for name in order]
    assert registry.log.lines[-5:] == puts
    assert len(registry.blobs) == 3 + 4
    stored = {path.name: path.read_bytes() for path in site.blobs.iterdir()}
    repository = registry.repository("a/b")
    manifests = {digest: each.data for digest, each in repository.manifests.items()}
    for digest, data in {**registry.blobs, **manifests}.items():
        assert stored[digest.removeprefix("sha256:")] == data
    assert set(manifests) == {*(each["digest"] for each in (*images, inner)), root}
    assert repository.tags == {"v1": root}
    total = sum(map(len, registry.blobs.values()))
    assert (events[-1]["done"], events[-1]["total"]) == (total, total)
    assert pushed.summary() == f"7 blobs sent ({total} bytes)"


def test_several_entries_are_an_index_with_the_layouts_own_bytes(
    registry: Registry, site: Site
) -> None:
    image = site.image(1)
    platforms = [{"os": "linux", "architecture": arch} for arch in ("amd64", "arm64")]
    layout = site.close(*({**image, "platform": platform} for platform in platforms))
    run(registry, layout)
    repository = registry.repository("a/b")
    index = repository.tags["v1"]
    assert repository.manifests[index].data == (site.folder / "index.json").read_bytes()
    assert set(repository.manifests) == {index, image["digest"]}


def test_without_a_tag_it_is_pushed_by_its_digest(registry: Registry, site: Site) -> None:
    image = site.image(1)
    layout = site.close(image)
    run(registry, layout, name=f"a/b@{image['digest']}")
    assert set(registry.repository("a/b").manifests) == {image["digest"]}
    assert registry.repository("a/b").tags == {}
    with pytest.raises(InputError, match=f"its digest is {image['digest']}"):
        run(registry, layout, name=f"a/b:v1@sha256:{'0' * 64}")


def test_what_failed_leaves_no_manifest(registry: Registry, site: Site) -> None:
    layout = site.close(site.image(1))
    registry.always(Where("PATCH"), Answer(403))
    with pytest.raises(InputError, match="the registry refuses access"):
        run(registry, layout)
    assert registry.repository("a/b").manifests == {}
    assert not [line for line in registry.log.lines if line.startswith(MANIFESTS)]


@pytest.mark.parametrize("fault", [Lost(), Answer(503)])
def test_a_manifest_is_put_again(registry: Registry, site: Site, fault: Fault) -> None:
    registry.fault(Where(word="/manifests/"), fault, fault)
    run(registry, site.close(site.image(1)))
    assert registry.log.lines.count(f"{MANIFESTS}v1") == 3


def test_a_manifest_that_the_registry_changes_is_told(registry: Registry, site: Site) -> None:
    changed = Answer(201, headers={"Docker-Content-Digest": f"sha256:{'1' * 64}"})
    registry.always(Where(word="/manifests/"), changed)
    with pytest.raises(DependencyError, match=f"changed the manifest .* to sha256:{'1' * 64}"):
        run(registry, site.close(site.image(1)))


def test_an_incomplete_layout_is_found_before_anything_is_sent(site: Site) -> None:
    image = site.image(1)
    layout = site.close(site.index([image, site.image(2)]))
    site.path(image).rename(site.folder / "elsewhere")
    with pytest.raises(NotFoundError, match="is missing"):
        plan_layout(layout)


def test_a_damaged_manifest_is_found_before_anything_is_sent(site: Site) -> None:
    image = site.image(1)
    layout = site.close(image)
    flip(site.path(image))
    with pytest.raises(InputError, match="does not match its digest"):
        plan_layout(layout)


def test_an_empty_layout(site: Site) -> None:
    with pytest.raises(InputError, match="contains no image"):
        plan_layout(site.close())


def test_indexes_are_not_followed_for_ever(site: Site) -> None:
    entry = site.image(1)
    for number in range(5):
        # Each names the one below many times over: it is read once.
        entry = site.index([{**entry, "annotations": {"n": str(n)}} for n in range(200 + number)])
        plan = plan_layout(site.close(entry)) if number < 4 else None
        assert plan is None or len(plan.manifests) == number + 2
    with pytest.raises(InputError, match="nested too deeply"):
        plan_layout(site.close(entry))


@pytest.mark.parametrize("text", ["c/d", "registry.test:5000/c/d"])
def test_the_repository_to_mount_from(text: str) -> None:
    reference = Reference.parse("registry.test:5000/a/b:v1")
    assert mount_repository(text, reference) == "c/d"
    for wrong in ("other.test/C", "../x", ""):
        with pytest.raises(InputError):
            mount_repository(wrong, reference)
