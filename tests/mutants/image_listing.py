"""Breaks of `imager images list`."""

from __future__ import annotations

from tests.mutants.definitions import Mutant

_LISTING = ("tests/unit/test_image_listing.py",)
_YAML = ("tests/unit/test_yamldocs.py",)

IMAGE_LISTING = (
    Mutant(
        "an alias counts as one value, whatever it stands for",
        "imager/yamldocs.py",
        "self._size_of(event) if is_alias else _weight(event)",
        "1",
        _YAML,
    ),
    Mutant(
        "an anchor keeps its size from the document before",
        "imager/yamldocs.py",
        "self._anchored.pop(event.anchor, None)",
        "self._anchored.get(event.anchor, None)",
        _YAML,
    ),
    Mutant(
        "an equals sign is no string",
        "imager/yamldocs.py",
        'timestamp", "tag:yaml.org,2002:value")',
        'timestamp",)',
        _YAML,
    ),
    Mutant(
        "init containers are not looked at",
        "imager/imagecache/podimages.py",
        '"containers", "initContainers", ',
        '"containers", ',
        _LISTING,
    ),
    Mutant(
        "image volumes are not looked at",
        "imager/imagecache/podimages.py",
        'elif key == "volumes" and',
        'elif key == "volume" and',
        _LISTING,
    ),
    Mutant(
        "schemas name images",
        "imager/imagecache/podimages.py",
        'elif kind == "CustomResourceDefinition":',
        'elif kind == "CRD":',
        _LISTING,
    ),
    Mutant(
        "what is turned off is listed",
        "imager/imagecache/machineconfig.py",
        'if image not in (None, "") and not is_off:',
        'if image not in (None, ""):',
        _LISTING,
    ),
    Mutant(
        "hidden folders are read",
        "imager/imagecache/manifestfiles.py",
        'sorted(name for name in folders if not name.startswith("."))',
        "sorted(folders)",
        _LISTING,
    ),
    Mutant(
        "one problem hides the others",
        "imager/imagecache/listing.py",
        "return frozenset(images), _lines(problems)",
        "return frozenset(images), _lines(problems[:1])",
        _LISTING,
    ),
)
