"""Machine configurations as Talos's documentation writes them, and what is wrong with others."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imager.support.errors import ImagerError, InputError, InvalidConfigError
from imager.talos.config.document import ImageCacheSettings, MachineConfig, read_machine_config
from imager.talos.config.sizes import SizeLimit, parse_size_limit, parse_volume_size
from imager.talos.config.volumes import VolumeSettings
from imager.talos.version import TalosVersion

MIB, GIB, TIB = 2**20, 2**30, 2**40

# The guide "Image Cache" of Talos 1.9 to 1.13.
GUIDE = """\
machine:
  features:
    imageCache:
      localEnabled: true
---
apiVersion: v1alpha1
kind: VolumeConfig
name: IMAGECACHE
provisioning:
  diskSelector:
    match: 'system_disk'
  minSize: 2GB
  maxSize: 2GB
"""
# The reference of Talos 1.14.
DOCUMENT = """\
apiVersion: v1alpha1
kind: ImageCacheConfig
# Local (to the machine) image cache configuration.
local:
    enabled: true # Is the local image cache enabled.
"""
# The reference of VolumeConfig, and the guide "System Volumes".
EPHEMERAL = """\
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL # Name of the volume.
provisioning:
    diskSelector:
        match: disk.transport == "nvme" # The Common Expression Language (CEL) expression.
    maxSize: 50GiB
    # minSize: 2.5GiB
    grow: false
"""


def read(text: str, version: str = "") -> MachineConfig:
    release = TalosVersion.parse(version) if version else None
    return read_machine_config(text, source="m.yaml", version=release)


def problems(text: str, version: str = "") -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        read(text, version)
    assert caught.value.exit_code == 2
    assert all(problem.startswith("m.yaml:") for problem in caught.value.problems)
    return [problem.removeprefix("m.yaml:") for problem in caught.value.problems]


def volume(**fields: object) -> str:
    """Return a VolumeConfig of the image cache with `fields` as its provisioning, in one line."""
    document: dict[str, Any] = {"apiVersion": "v1alpha1", "kind": "VolumeConfig"}
    document |= {"name": "IMAGECACHE", "provisioning": fields}
    return yaml.safe_dump(document, default_flow_style=True, width=10**6)


def settings_of(text: str) -> VolumeSettings:
    found = read(text).volume
    assert found
    return found


def test_the_guide() -> None:
    config = read(GUIDE)
    assert config.image_cache == ImageCacheSettings(
        True, "machine.features.imageCache.localEnabled", 4
    )
    found = settings_of(GUIDE)
    assert (found.selector.text, found.min_size, found.max_size) == (
        "system_disk",
        2 * 10**9,
        SizeLimit(2 * 10**9),
    )
    assert not found.grow
    assert not found.encrypted
    assert found.line == 6


def test_the_document_of_later_releases() -> None:
    config = read(f"{EPHEMERAL}---\n{DOCUMENT}", "v1.14.0")
    assert config.image_cache == ImageCacheSettings(True, "ImageCacheConfig: local.enabled", 15)
    assert config.volume is None


@pytest.mark.parametrize(
    "text",
    [
        "machine: {type: worker}",
        "machine: {features: {imageCache: {localEnabled: false}}}",
        "machine: {features: {imageCache: {}}}",
        "machine: {features: {imageCache: null}}",
        "machine: null\ncluster: {}",
        "{apiVersion: v1alpha1, kind: ImageCacheConfig, local: {enabled: false}}",
        "{apiVersion: v1alpha1, kind: ImageCacheConfig}",
        EPHEMERAL,
        "# nothing\n---\nmachine: {}\n---\n",
        "apiVersion: v1alpha1\nkind: HostnameConfig\nlocal: {enabled: true}\nname: [1]\n",
    ],
)
def test_off_unless_it_is_turned_on(text: str) -> None:
    assert read(text).image_cache.enabled is False


def test_the_defaults_of_the_volume() -> None:
    found = settings_of("{apiVersion: v1alpha1, kind: VolumeConfig, name: IMAGECACHE}")
    assert (found.selector.text, found.min_size, found.max_size, found.grow) == (
        "system_disk",
        500 * MIB,
        SizeLimit(GIB),
        False,
    )


def test_fields_of_the_volume() -> None:
    text = volume(
        diskSelector={"match": "disk.size > 120u * GB && disk.size < 1u * TB"},
        minSize="2.5GiB",
        maxSize="80%",
        grow=True,
    )
    found = settings_of(text.replace("kind:", "encryption: {provider: luks2}, kind:"))
    assert found.selector.text == "disk.size > 120u * GB && disk.size < 1u * TB"
    assert found.min_size == 5 * GIB // 2
    assert found.max_size == SizeLimit(0, 80)
    assert found.grow
    assert found.encrypted


def test_anchors_and_merged_keys() -> None:
    text = f"x: &size {{minSize: 1GiB, maxSize: 2GiB}}\n---\n{volume()}"
    assert problems(text) == [
        "1: machine configuration: is not a document of a Talos machine configuration"
    ]
    text = (
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\n"
        "provisioning:\n  <<: {minSize: 1GiB, maxSize: 9GiB}\n  maxSize: 2XiB\n"
    )
    assert problems(text) == [
        "6: VolumeConfig IMAGECACHE: provisioning.maxSize: '2XiB' is not a size"
    ]
    assert settings_of(text.replace("2XiB", "2GiB")).max_size == SizeLimit(2 * GIB)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100MB", 10**8),
        ("2.5GiB", 5 * GIB // 2),
        ("2.5TiB", 5 * TIB // 2),
        ("4G", 4 * 10**9),
        ("4Gi", 4 * GIB),
        ("4 gib", 4 * GIB),
        ("512", 512),
        ("0", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_volume_size(text) == size
    assert parse_size_limit(text) == SizeLimit(size)
    assert parse_size_limit(text).of_disk(TIB) == size


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("80%", 800),
        ("100%", 1000),
        ("99.9%", 990),  # Talos drops the fraction
        ("-20%", 800),
        ("-200B", 800),
        ("-2000B", 0),
    ],
)
def test_limits_that_depend_on_the_disk(text: str, limit: int) -> None:
    assert parse_size_limit(text).of_disk(1000) == limit
    assert not parse_size_limit(text).is_fixed


@pytest.mark.parametrize(
    "text", ["101%", "%", "a%", "--1GiB", "--5%", "nan%", "-", "-%", "5%%", "G", "0x10"]
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(InputError):
        parse_size_limit(text)


def test_limits_for_people() -> None:
    texts = ["50GiB", "80%", "-10GiB", "-20%"]
    assert [str(parse_size_limit(text)) for text in texts] == [
        "50 GiB",
        "80 % of the disk",
        "the disk without 10 GiB",
        "80 % of the disk",
    ]


VOLUME = "VolumeConfig IMAGECACHE"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"minSize": "-1GiB"}, "minSize: '-1GiB' is negative"),
        ({"minSize": "10%"}, "minSize: '10%' is not a size"),
        ({"minSize": "0x10"}, "minSize: '0x10' is not a size"),
        ({"minSize": ["1GiB"]}, "minSize: is not a single value"),
        ({"maxSize": "120%"}, "maxSize: '120%' is not a percentage"),
        ({"maxSize": {}}, "maxSize: is not a single value"),
        ({"grow": "often"}, "grow: is not true or false"),
        ({"minsize": "1GiB"}, "minsize: unknown field (did you mean minSize?)"),
        ({"diskSelector": "system_disk"}, "diskSelector: is not a mapping"),
        ({"diskSelector": {"mtach": "system_disk"}}, "mtach: unknown field (did you mean match?)"),
        (
            {"minSize": "3GiB", "maxSize": "2GiB"},
            "minSize: minSize (3 GiB) is larger than maxSize (2 GiB)",
        ),
        (
            {"minSize": "2GiB"},
            "minSize: minSize (2 GiB) is larger than maxSize (1 GiB, the default)",
        ),
        (
            {"maxSize": "400MiB"},
            "maxSize: minSize (500 MiB, the default) is larger than maxSize (400 MiB)",
        ),
    ],
)
def test_a_wrong_field_of_the_volume(fields: dict[str, object], problem: str) -> None:
    (found,) = problems(f"machine: {{}}\n---\n{volume(**fields)}")
    assert found.startswith(f"3: {VOLUME}: provisioning.")
    assert problem in found


@pytest.mark.parametrize(
    "fields",
    [
        {"minSize": "1GiB", "maxSize": "1GiB"},
        {"minSize": "2GiB", "maxSize": "1%"},
        {"minSize": "2GiB", "maxSize": "-1GiB"},
        {"minSize": 600000000},
        {"diskSelector": {"match": "true"}},
        {"diskSelector": {}},
        {"minSize": None, "maxSize": "", "grow": None},
    ],
)
def test_right_fields_of_the_volume(fields: dict[str, object]) -> None:
    assert settings_of(volume(**fields))


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("mount: {secure: true}", "mount: is not allowed for the volume IMAGECACHE"),
        ("filesystem: {xfs: {}}", "filesystem: is not allowed for the volume IMAGECACHE"),
        ("volumeType: memory", "volumeType: unknown field (known: apiVersion, kind, name, "),
        ("encrypted: true", "encrypted: unknown field (did you mean encryption?)"),
        ("provisioning: [1]", "provisioning: is not a mapping"),
    ],
)
def test_fields_that_the_volume_may_not_have(field: str, problem: str) -> None:
    text = f"apiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\n{field}\n"
    (found,) = problems(text)
    assert found.startswith(f"4: {VOLUME}: {problem}")


def test_what_later_releases_forbid() -> None:
    text = "apiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\nmount: {secure: true}\n"
    assert read(text, "v1.13.0").volume
    assert problems(text, "v1.14.0") == [
        f"4: {VOLUME}: mount: is not allowed for the volume IMAGECACHE"
    ]
    assert problems(text.replace("IMAGECACHE", "LOG")) == [
        "4: VolumeConfig LOG: mount: needs `provisioning`: without it, LOG is a folder of EPHEMERAL"
    ]


@pytest.mark.parametrize(
    ("field", "version", "known"),
    [
        ("encryption: {provider: luks2}", "v1.10.9", False),
        ("encryption: {provider: luks2}", "v1.11.0", True),
        ("trim: {enabled: true}", "v1.13.9", False),
        ("trim: {enabled: true}", "v1.14.0", True),
        ("provisioning: {maxSize: 80%}", "v1.11.0", False),
        ("provisioning: {maxSize: 80%}", "v1.12.0", True),
        ("provisioning: {maxSize: -10GiB}", "v1.12.0", False),
        ("provisioning: {maxSize: -10GiB}", "v1.13.0", True),
        ("provisioning: {diskSelector: {match: \"'a' in disk.symlinks\"}}", "v1.9.0", False),
        ("provisioning: {diskSelector: {match: \"'a' in disk.symlinks\"}}", "v1.10.0", True),
        ("provisioning: {maxSize: 2GiB}", "v1.8.0", False),
        ("provisioning: {maxSize: 2GiB}", "v1.9.0", True),
    ],
)
def test_what_a_release_knows(field: str, version: str, known: bool) -> None:
    text = f"apiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\n{field}\n"
    assert read(text).volume
    if known:
        assert read(text, version).volume
    else:
        assert f"Talos {version}" in problems(text, version)[0]


def test_other_volumes_are_checked_too() -> None:
    assert problems(EPHEMERAL.replace("EPHEMERAL", "STATE")) == [
        "4: VolumeConfig STATE: provisioning: is not allowed for the volume STATE"
    ]
    wrong = EPHEMERAL.replace("50GiB", "1GiB").replace("# minSize", "minSize")
    place = "VolumeConfig EPHEMERAL: provisioning"
    order = f"8: {place}.minSize: minSize (2.5 GiB) is larger than maxSize (1 GiB)"
    assert problems(wrong) == [order]
    assert problems(wrong.replace('nvme"', "nvme")) == [
        f"6:34: {place}.diskSelector.match: Syntax error: token recognition error at: '\"nvme'",
        order,
    ]
    (found,) = problems(EPHEMERAL.replace("EPHEMERAL #", "IMAGE-CACHE #"))
    assert found.startswith(
        "3: VolumeConfig IMAGE-CACHE: name: must be one of EPHEMERAL, IMAGECACHE"
    )
    assert problems(EPHEMERAL.replace("EPHEMERAL", "ETCD"), "v1.13.0") == [
        "3: VolumeConfig ETCD: name: Talos v1.13.0 has no volume ETCD, which v1.14 added"
    ]


def test_an_empty_section_is_none() -> None:
    read("{apiVersion: v1alpha1, kind: VolumeConfig, name: STATE, provisioning: {}, mount: {}}")


@pytest.mark.parametrize(
    "match",
    [
        "disk.size > 120",
        "'disk.size > 120'",
        "'disk.model == ''a'' && disk.size > 120'",
        r'"disk.model == \"a\" && disk.size > 120"',
        "|\n      system_disk &&\n        disk.size > 120",
        ">-\n      system_disk &&\n      disk.size > 120",
        "system_disk &&\n      disk.size > 120",
        r'"system_disk &&\n\x64isk.size > 120"',
        '"system_disk && \\\n      disk.size > 120"',
    ],
)
def test_the_place_of_a_problem_in_an_expression(match: str) -> None:
    text = (
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\n"
        f"provisioning:\n  diskSelector:\n    match: {match}\n"
    )
    before = text[: text.index("> 120")].split("\n")
    assert problems(text) == [
        f"{len(before)}:{len(before[-1]) + 1}: {VOLUME}: provisioning.diskSelector.match: `>` does "
        "not take (uint, int): sizes are uint, write 10u * GiB"
    ]


@pytest.mark.parametrize(
    ("kind", "version", "problem"),
    [
        ("VolumeConfg", "", "no documents of kind 'VolumeConfg' (did you mean VolumeConfig?)"),
        ("imagecacheconfig", "", "(did you mean ImageCacheConfig?)"),
        ("TrustedRootConfig", "v1.13.0", "(did you mean TrustedRootsConfig?)"),
        ("Xyz", "v1.14.3", "Talos has no documents of kind 'Xyz'"),
        ("HostnameConfig", "v1.11.0", "Talos v1.11.0 has no HostnameConfig, which v1.12 added"),
        ("NetworkDefaultActionConfig", "v1.5.0", "which v1.6 added"),
    ],
)
def test_unknown_kinds(kind: str, version: str, problem: str) -> None:
    (found,) = problems(f"apiVersion: v1alpha1\nkind: {kind}\n", version)
    assert found.startswith(f"2: {kind}: kind: ")
    assert found.endswith(problem)


def test_kinds_newer_than_the_table() -> None:
    newer = TalosVersion.parse("v1.15.0-alpha.0")
    read_machine_config("apiVersion: v1alpha1\nkind: Xyz\n", source="c.yaml", version=newer)


@pytest.mark.parametrize("kind", ['""', "null", "~"])
def test_a_kind_is_not_empty(kind: str) -> None:
    (found,) = problems(f"apiVersion: v1alpha1\nkind: {kind}\n")
    assert found.startswith("2: machine configuration: kind: is empty")


def test_kinds_that_are_no_text() -> None:
    name = "2: machine configuration: kind:"
    assert problems("apiVersion: v1alpha1\nkind: 5\n") == [
        f"{name} Talos has no documents of kind '5'"
    ]
    assert problems("apiVersion: v1alpha1\nkind: [a]\n") == [f"{name} is not a single value"]


def test_kinds_of_releases_newer_than_the_table_may_be_new() -> None:
    read("apiVersion: v1alpha1\nkind: BrandNewConfig\n", "v1.15.0")
    assert problems("apiVersion: v1alpha1\nkind: BrandNewConfig\n", "v1.14.9")


def test_the_document_is_not_known_before() -> None:
    assert problems(DOCUMENT, "v1.13.9") == [
        "1: ImageCacheConfig: Talos v1.13.9 does not support it: "
        "set machine.features.imageCache.localEnabled instead"
    ]


@pytest.mark.parametrize("value", ["true", "false"])
def test_both_is_an_error(value: str) -> None:
    assert problems(f"{GUIDE.replace('true', value)}---\n{DOCUMENT}") == [
        "19: the image cache is set twice: machine.features.imageCache.localEnabled "
        "and ImageCacheConfig: local.enabled"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["1: contains no documents"]),
        ("---\n---\n", ["1: contains no documents"]),
        (
            f"{DOCUMENT}---\n{DOCUMENT}",
            ["7: ImageCacheConfig: is a duplicate of the document at line 1"],
        ),
        (
            f"{GUIDE}---\nmachine: {{}}",
            ["15: machine configuration: is a duplicate of the document at line 1"],
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n---\nfoo: 1\n---\n- a\n---\ntext\n",
            [
                "1: Pod: is not a document of a Talos machine configuration",
                "5: machine configuration: is not a document of a Talos machine configuration",
                "7: machine configuration: is not a document of a Talos machine configuration",
                "9: machine configuration: is not a document of a Talos machine configuration",
            ],
        ),
        ("machine: 5", ["1: machine configuration: machine: is not a mapping"]),
        (
            "machine:\n  features: [imageCache]\n",
            ["2: machine configuration: machine.features: is not a mapping"],
        ),
        (
            "machine: {features: {imageCache: true}}",
            ["1: machine configuration: machine.features.imageCache: is not a mapping"],
        ),
        (
            "machine:\n features:\n  imageCache:\n   localEnabled: 'true'\n   enabled: true\n",
            [
                "4: machine configuration: machine.features.imageCache.localEnabled: "
                "is not true or false",
                "5: machine configuration: machine.features.imageCache.enabled: "
                "unknown field (did you mean localEnabled?)",
            ],
        ),
        (
            DOCUMENT.replace("local:", "locals:"),
            ["4: ImageCacheConfig: locals: unknown field (did you mean local?)"],
        ),
        (
            DOCUMENT.replace("enabled: true", "enabled: 1"),
            ["5: ImageCacheConfig: local.enabled: is not true or false"],
        ),
    ],
)
def test_what_is_wrong_and_at_which_line(text: str, found: list[str]) -> None:
    assert problems(text) == found


def test_all_that_is_wrong_is_told_at_once_by_line() -> None:
    text = f"{GUIDE.replace('true', 'maybe').replace('2GB', '2XB')}---\n{DOCUMENT}"
    found = problems(text)
    assert [each.partition(":")[0] for each in found] == ["4", "12", "13", "19"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("machine: {\n", "m.yaml: line 2: "),
        ("a: 1\na: 2\n", "m.yaml: line 2: key 'a' is given twice"),
        ("machine: &a [*a]", "is inside its own anchor"),
        ("machine: " + "[" * 500, "nests deeper"),
        ("machine: !!python/object:os.system {}", "could not determine a constructor"),
        ("\0", "m.yaml: not YAML"),
    ],
)
def test_what_is_no_yaml(text: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert problem in caught.value.message


def test_what_strangers_write_is_told_in_lines_of_bounded_length() -> None:
    name = "IMAGECACHE\\n" + "x" * 10**6
    text = volume(minSize="9" * 10**5, **{f"k{n}": 1 for n in range(1000)})
    found = problems(text.replace("IMAGECACHE", f'"{name}"'))
    assert 20 <= len(found) <= 30
    assert all(len(line) < 700 and "\n" not in line for line in found)


KEYS = st.sampled_from(
    [
        *("apiVersion", "kind", "name", "provisioning", "diskSelector", "match", "minSize", "grow"),
        *("maxSize", "machine", "features", "imageCache", "localEnabled", "local", "enabled"),
        *("mount", "volumeType", "<<", "type", "install", "image"),
    ]
)
SCALARS = st.sampled_from(
    [
        *("v1alpha1", "VolumeConfig", "ImageCacheConfig", "IMAGECACHE", "system_disk", "1GiB"),
        *("-1GiB", "50%", "x", "", True, False, None, 0, -1, 1.5, 10**400),
    ]
)
VALUES = st.recursive(
    SCALARS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(
    st.lists(st.dictionaries(KEYS, VALUES, max_size=6).map(yaml.safe_dump), max_size=3).map(
        "---\n".join
    )
)
def test_any_documents_are_read_or_told_to_be_wrong(text: str) -> None:
    with contextlib.suppress(ImagerError):
        read(text)
    with contextlib.suppress(ImagerError):
        read(text, "v1.9.0")


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: {}\n",
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\n{}: 1\n",
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: CRI\nprovisioning: {{minSize: {}}}\n",
        "machine: {{features: {{imageCache: {{localEnabled: {}}}}}}}\n",
    ],
)
@pytest.mark.parametrize("number", ["0x" + "f" * 6000, "1" * 6000])
def test_numbers_too_long_to_be_shown(text: str, number: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text.format(number))
    assert len(caught.value.message) < 800


@given(st.text(max_size=200))
def test_any_text_is_read_or_told_to_be_wrong(text: str) -> None:
    with contextlib.suppress(ImagerError):
        read(text)
