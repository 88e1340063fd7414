"""Breaks of `imager config`, and of what a node reads of a machine configuration."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SELECTOR = "tests/unit/test_selector.py"
_READ = "tests/unit/test_machineconfig.py"
_UNITS = "tests/unit/test_units.py"
_CHECK = "tests/unit/test_machineconfig_check.py"
_CONFIG_ERRORS = "tests/fault/test_config_errors.py"
_TALOS_BUNDLE = "tests/oracle/test_talos_bundle.py"

MUTANTS = (
    Mutant(
        "a selector whose type is known at its evaluation alone is right",
        "imager/talos/config/cel.py",
        'if kind != "BOOL":',
        'if kind not in ("BOOL", "DYN"):',
        f"{_SELECTOR}::test_invalid_expressions_and_where",
    ),
    Mutant(
        "a release has the fields of later ones",
        "imager/talos/config/cel.py",
        "if version.at_least(*FIELDS_SINCE.get(name, (0, 0)))",
        "if version",
        f"{_SELECTOR}::test_fields_that_a_release_lacks",
    ),
    Mutant(
        "a bracket in a glob is special",
        "imager/talos/config/cel.py",
        'pattern.replace("[", "[[]")',
        "pattern",
        f"{_SELECTOR}::test_globs",
    ),
    Mutant(
        "the place of a problem is counted without escapes",
        "imager/support/yamldocs.py",
        """_ESCAPE.match(source, position) if style == '"' else None""",
        "None",
        f"{_READ}::test_the_place_of_a_problem_in_an_expression",
    ),
    Mutant(
        "any kind of document is right",
        "imager/talos/config/document.py",
        "if since is None and kind:",
        "if False:",
        f"{_READ}::test_unknown_kinds",
    ),
    Mutant(
        "a letter alone is a unit of an option's size",
        "imager/support/units.py",
        "if unit and unit.lower() in _PREFIXES:",
        "if False:",
        f"{_UNITS}::test_a_letter_alone_is_two_sizes",
    ),
    Mutant(
        "a size has no commas",
        "imager/support/units.py",
        'number.replace(",", "")',
        "number",
        f"{_UNITS}::test_sizes_people_write",
    ),
    Mutant(
        "a merged key is taken for the mapping's own",
        "imager/support/yamldocs.py",
        "for key, value in reversed(node.value)",
        "for key, value in node.value",
        f"{_READ}::test_anchors_and_merged_keys",
    ),
    Mutant(
        "both ways to turn the cache on are right",
        "imager/talos/config/document.py",
        "if len(places) > 1:",
        "if len(places) > 2:",
        f"{_READ}::test_both_is_an_error",
    ),
    Mutant(
        "a negative limit is what is used, not what is left",
        "imager/talos/config/sizes.py",
        "SizeLimit(-size, 100) if is_negative",
        "SizeLimit(size) if is_negative",
        f"{_READ}::test_limits_that_depend_on_the_disk",
    ),
    Mutant(
        "a mount of the cache's volume is right",
        "imager/talos/config/volumes.py",
        '(IMAGE_CACHE, "mount"): (1, 14),',
        "",
        f"{_READ}::test_fields_that_the_volume_may_not_have",
    ),
    Mutant(
        "a volume just too small is large enough",
        "imager/app/check_config.py",
        "volume.max_size.size < sized.volume_size",
        "volume.max_size.size < sized.volume_size - 1048576",
        f"{_CHECK}::test_a_cache_that_does_not_fit",
    ),
    Mutant(
        "a cache that is turned off is right",
        "imager/app/check_config.py",
        "if not settings.enabled and not is_wrong and",
        "if False and",
        f"{_CHECK}::test_a_cache_that_is_turned_off",
    ),
    Mutant(
        "a cache without a volume is right",
        "imager/talos/config/doubts.py",
        "if settings.enabled and not has_document:",
        "if False:",
        f"{_CHECK}::test_a_cache_without_a_volume",
    ),
    Mutant(
        "a relative size of the cache's volume is what it is elsewhere",
        "imager/talos/config/doubts.py",
        "if config.volume is None or config.volume.max_size.is_fixed:",
        "if True:",
        f"{_CHECK}::test_a_relative_size_of_the_volume",
    ),
    Mutant(
        "--strict lets warnings pass",
        "imager/app/check_config.py",
        "if wanted.strict and checked.warnings:",
        "if False:",
        f"{_CONFIG_ERRORS}::test_strict",
    ),
    Mutant(
        "a worker needs a control plane",
        "imager/talos/config/required_images.py",
        '_CONTROL_PLANES = ("controlplane", "init")',
        '_CONTROL_PLANES = ("controlplane", "init", "worker")',
        f"{_CHECK}::test_a_worker_needs_what_it_pulls_for_itself",
    ),
    Mutant(
        "the volume has no room",
        "imager/talos/config/patch.py",
        "size + size // 5",
        "size",
        f"{_CHECK}::test_a_volume_is_too_small_whatever_else_is_wrong_with_it",
    ),
    Mutant(
        "a component's version loses the v of its tag",
        "imager/talos/bundles.py",
        'prefix or ("v" if tag.startswith("v") else "")',
        "prefix",
        f"{_TALOS_BUNDLE}::test_other_versions",
    ),
    Mutant(
        "the list of a lower layer is taken",
        "imager/talos/bundles.py",
        "for layer in reversed(layers):",
        "for layer in layers:",
        f"{_TALOS_BUNDLE}::test_a_release",
    ),
    Mutant(
        "the node imports what it does not have",
        "imager/talos/config/document.py",
        "from imager.talos.config.kinds import KINDS\n",
        "from imager.talos.config.kinds import KINDS\nimport imager.profile.model\n",
        "tests/unit/test_imports.py::test_a_node_needs_only_its_own_wheels",
    ),
    Mutant(
        "what may be a mistake is left out beside what is one",
        "imager/app/check_config.py",
        "raise invalid_config(source, problems, warnings=warnings, hint=hint)",
        "raise invalid_config(source, problems, hint=hint)",
        f"{_CONFIG_ERRORS}::test_warnings_beside_problems",
    ),
)
