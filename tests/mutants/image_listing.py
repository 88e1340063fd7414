"""Breaks of `imager images list`."""

from __future__ import annotations

from tests.mutants.definitions import Mutant

_LISTING = ("tests/unit/test_image_listing.py",)
_YAML = ("tests/unit/test_yamldocs.py",)
_PLACES = "tests/unit/test_image_listing_places.py"
_LIKENESS = "tests/unit/test_image_likeness.py"
_GAPS = "tests/unit/test_image_listing_gaps.py"


def _mutant(what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(what, f"imager/imagecache/{file}", old, new, (test,))


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
        "imager/imagecache/scan.py",
        '"containers", "initContainers", ',
        '"containers", ',
        (f"{_PLACES}::test_short_names_count_in_all_fields_of_pods",),
    ),
    Mutant(
        "image volumes are not looked at",
        "imager/imagecache/scan.py",
        'elif key == "volumes" and',
        'elif key == "volume" and',
        (f"{_PLACES}::test_short_names_count_in_all_fields_of_pods",),
    ),
    Mutant(
        "schemas name images",
        "imager/imagecache/objects.py",
        'if kind == "CustomResourceDefinition":',
        'if kind == "CRD":',
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
    _mutant(
        "lists of images in a folder are not read",
        "manifestfiles.py",
        "|image.*\\.(?:txt|list)",
        "",
        f"{_PLACES}::test_lists_in_a_folder_are_read",
    ),
    _mutant(
        "the lines of a text in a document are those of its first",
        "manifesttext.py",
        "return self.line + offset if self.advances else self.line",
        "return self.line",
        f"{_PLACES}::test_values_of_config_maps_that_are_suspected",
    ),
    _mutant(
        "a key given twice is not told",
        "manifesttext.py",
        "self._repeated.append((key.value, line, earlier[0]))",
        "pass",
        f"{_PLACES}::test_a_repeated_key_is_a_warning_in_manifests_alone",
    ),
    _mutant(
        "a key given twice in a machine configuration is taken",
        "documents.py",
        "_of_repeated(key, is_strict=is_strict)",
        "_of_repeated(key, is_strict=False)",
        f"{_PLACES}::test_a_repeated_key_is_a_warning_in_manifests_alone",
    ),
    _mutant(
        "what a key given twice had before is lost",
        "documents.py",
        "for each in scan(key.dropped, place, Rules())",
        "for each in ()",
        f"{_PLACES}::test_a_repeated_key_is_a_warning_in_manifests_alone",
    ),
    _mutant(
        "JSON is loaded as it is",
        "manifesttext.py",
        "_JSON_TOKEN.sub(_yaml_token, each) for each in documents",
        "each for each in documents",
        f"{_PLACES}::test_lines_of_json_are_those_of_the_file",
    ),
    _mutant(
        "secrets are not decoded",
        "objects.py",
        "decoded[key] = decoded_text(item)",
        "decoded[key] = item",
        f"{_PLACES}::test_values_of_secrets",
    ),
    _mutant(
        "Istio's auto is an image",
        "scan.py",
        "if value == _AUTO:",
        'if value == "":',
        f"{_PLACES}::test_what_istio_replaces_is_no_image",
    ),
    _mutant(
        "an option before a value does not name it",
        "scan.py",
        'before.startswith("-") and "=" not in before',
        'before.startswith("=")',
        f"{_PLACES}::test_arguments_and_variables_that_are_certain",
    ),
    _mutant(
        "complete references in texts are not listed",
        "scan.py",
        "        if seen.is_complete:",
        "        if not seen.is_complete:",
        f"{_PLACES}::test_values_of_config_maps_that_are_certain",
    ),
    _mutant(
        "policies run what they name",
        "objects.py",
        "yield unsure(found, _OF_POLICY) if rules.is_policy else found",
        "yield found",
        f"{_PLACES}::test_custom_resources_that_are_suspected",
    ),
    _mutant(
        "an empty file is passed over",
        "documents.py",
        "if not loaded.problem and all(each.value is None for each in loaded.documents):",
        "if False:",
        f"{_PLACES}::test_what_is_not_understood_is_told",
    ),
    _mutant(
        "documents in texts have no bound",
        "documents.py",
        "budget.values -= loaded.size",
        "budget.values -= 0",
        f"{_PLACES}::test_documents_in_texts_are_bounded",
    ),
    _mutant(
        "a port is a tag",
        "likeness.py",
        "    if tag.isdecimal():\n",
        "    if tag == '':\n",
        f"{_LIKENESS}::test_others",
    ),
    _mutant(
        "comments have images",
        "textimages.py",
        'code = COMMENT.sub("", line)',
        "code = line",
        f"{_LIKENESS}::test_texts_have_images_in_lines_without_comments",
    ),
    _mutant(
        "official images have ports for tags",
        "officialimages.py",
        "tag != _HTTP and bool(_TAG.fullmatch(tag))",
        "True",
        f"{_LIKENESS}::test_others",
    ),
    _mutant(
        "names of official images are not known",
        "likeness.py",
        "    if is_official_image(name, tag):\n",
        "    if tag == '':\n",
        f"{_GAPS}::test_short_names_in_containers_are_suspected",
    ),
    _mutant(
        "addresses are suspected",
        "scan.py",
        "elif says_address(name) and likeness.is_address(text):",
        "elif text == '':",
        f"{_GAPS}::test_addresses_are_not",
    ),
    _mutant(
        "a stage of a Dockerfile is an image",
        "textimages.py",
        "        stages.add(stage)",
        "        stages.discard(stage)",
        f"{_LIKENESS}::test_dockerfiles",
    ),
    _mutant(
        "values with variables are passed over",
        "textimages.py",
        "    if rendered and _has_variable(rendered[1]):",
        "    if rendered and not rendered[1]:",
        f"{_LIKENESS}::test_lines_of_scripts_and_templates",
    ),
    _mutant(
        "parts in fields of their own are certain",
        "composed.py",
        "if isinstance(found, ImageField) and not is_certain:",
        "if isinstance(found, ImageField) and not found:",
        f"{_GAPS}::test_images_of_several_fields_that_are_suspected",
    ),
    _mutant(
        "a past revision of a Helm release is listed",
        "objects.py",
        "_PAST if release.is_past else",
        "_PAST if not release else",
        f"{_GAPS}::test_a_past_revision_of_a_helm_release_is_suspected",
    ),
    _mutant(
        "compressed values have no bound",
        "encoded.py",
        "    if decompressor.unconsumed_tail:",
        "    if decompressor.unused_data:",
        f"{_GAPS}::test_a_compressed_value_that_blows_up_is_reported",
    ),
    _mutant(
        "Hauler's registry is not taken",
        "objects.py",
        "found if has_registry(found.value) else",
        "found if found.value else",
        f"{_GAPS}::test_hauler_has_a_registry_for_names_without_one",
    ),
    _mutant(
        "the source of an entry is lost without a word",
        "otherfiles.py",
        "entry.name == entry.reference:\n        return (image,)",
        "entry.name:\n        return (image,)",
        f"{_GAPS}::test_lists_have_the_entries_of_cache_create",
    ),
    _mutant(
        "the second JSON document moves a line",
        "manifesttext.py",
        'before.replace("\\n", "", 1) if documents',
        "before if documents",
        f"{_GAPS}::test_json_documents_one_after_the_other",
    ),
    _mutant(
        "strict takes warnings",
        "listing.py",
        "if strict and self.warnings:",
        "if strict and self.problems:",
        f"{_LISTING[0]}::test_strict_refuses_what_is_not_certain",
    ),
    Mutant(
        "one problem hides the others",
        "imager/imagecache/listing.py",
        "return tuple(images), problems",
        "return tuple(images), problems[:1]",
        _LISTING,
    ),
)
