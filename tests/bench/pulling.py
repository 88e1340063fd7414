"""The commands that pull images, and their limits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.bench.cases import WRITTEN_LIMIT, Setting, imager
from tests.bench.measure import Case

_CURL = "curl and openssl dgst of each blob; sync"
_SKOPEO = "skopeo copy of each image; sync"
_SHA = "SHA-256 of a layer of 2 GB"
_COLD = "cache-create, flat"
# At least twice as fast as skopeo, and no slower than curl.
_SKOPEO_LIMIT, _CURL_LIMIT = 0.5, 1.0
# One hash of the layer more, and what two runs differ by.
_LAYOUT_LIMIT = 1.1
_WARM_LIMIT = 0.1


def pull_cases(setting: Setting) -> list[Case]:
    """Return the cases that pull, each into the empty folder of outputs."""
    images, output = setting.images.references, setting.output
    layers = output.with_name("layers")
    few = _list_file(output.with_name("images.txt"), images)
    many = _list_file(output.with_name("many.txt"), setting.many_images)
    curl = [
        f"curl -sSf -o {output}/{digest} {url} && openssl dgst -sha256 {output}/{digest}"
        for url, digest in setting.images.blobs
    ]
    skopeo = [
        "skopeo --insecure-policy copy -q --src-tls-verify=false "
        f"docker://{reference} oci:{output}/layout:image{number}"
        for number, reference in enumerate(images)
    ]
    cold = _create(few, output, "--layout", "flat")
    return [
        Case(_CURL, _script(*curl, f"sync {output}/*")),
        Case(_SKOPEO, _script(*skopeo, f"sync {output}/layout/blobs/sha256/*")),
        Case(_SHA, ["openssl", "dgst", "-sha256", setting.cache.layer]),
        Case(
            _COLD,
            cold,
            against=(_CURL,),
            limit=_CURL_LIMIT,
            build=True,
            written_limit=WRITTEN_LIMIT,
        ),
        Case(
            f"{_COLD}, again",
            cold,
            against=(_SKOPEO,),
            limit=_SKOPEO_LIMIT,
            build=True,
            written_limit=WRITTEN_LIMIT,
        ),
        Case(
            "cache-create, OCI layout",
            _create(few, output),
            against=(_COLD,),
            plus=(_SHA,),
            limit=_LAYOUT_LIMIT,
            build=True,
        ),
        Case(
            f"{_COLD}, layers in the layer cache",
            _create(few, output, "--layout", "flat", "--layer-cache", layers),
            against=(_COLD,),
            limit=_WARM_LIMIT,
            build=True,
        ),
        Case(
            "cache-create --dry-run, 500 images for 3 platforms",
            _create(many, output, "--platform", "all", "--dry-run"),
            build=True,
        ),
    ]


def fill_layer_cache(setting: Setting) -> list[str | Path]:
    """Return the command after which the layer cache has all layers."""
    few = _list_file(setting.output.with_name("images.txt"), setting.images.references)
    layers = setting.output.with_name("layers")
    filled = setting.output.with_name("filled")
    filled.mkdir(exist_ok=True)
    return [*_create(few, filled, "--layout", "flat", "--force", "--layer-cache", layers)]


def _create(images: Path, output: Path, *options: str | Path) -> list[str | Path]:
    path = output / "cache"
    return [
        imager(),
        *("images", "cache-create", "--image-cache-path", path, "--images", images, "-q"),
        *options,
    ]


def _list_file(path: Path, references: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{reference}\n" for reference in references))
    return path


def _script(*commands: str) -> list[str | Path]:
    return ["sh", "-ec", "\n".join(commands)]
