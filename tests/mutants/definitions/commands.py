"""Breaks of what the command line takes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_OPTIONS = "tests/unit/test_cli_options.py"
_WORKSPACE = "tests/unit/test_workspace.py"

MUTANTS = (
    Mutant(
        "a command has its shared options last",
        "imager/cli/declare.py",
        "inspect.Signature(list(parameters()))",
        "inspect.Signature(sorted(parameters(), key=lambda each: each.name))",
        f"{_OPTIONS}::test_the_others_stay_where_they_were",
    ),
    Mutant(
        "no retries are taken for none given",
        "imager/oci/settings.py",
        "if self.retries is None else",
        "if not self.retries else",
        f"{_OPTIONS}::test_no_retries_are_told_from_none_given",
    ),
    Mutant(
        "every command loads what reads profiles",
        "imager/cli/build.py",
        "from imager.cli.lock import Locked\n",
        "from imager.cli.lock import Locked\nfrom imager.profile import load as load\n",
        "tests/unit/test_imports.py::test_help_needs_neither_libraries_nor_the_network",
    ),
    Mutant(
        "every command loads all others",
        "imager/cli/commands.py",
        "        self._make = make\n",
        "        made = make()\n        self._make = lambda: made\n",
        "tests/unit/test_imports.py::test_help_needs_neither_libraries_nor_the_network",
    ),
    Mutant(
        "every build loads what signs",
        "imager/app/build_target.py",
        "    if not (profile.secureboot or profile.input.secureboot):\n        return None\n",
        "",
        "tests/unit/test_imports.py::test_a_plain_build_needs_neither_keys_nor_registries",
    ),
    Mutant(
        "every build loads what speaks to registries",
        "imager/cli/build.py",
        "registries.given()",
        "registries.settings()",
        "tests/unit/test_imports.py::test_a_plain_build_needs_neither_keys_nor_registries",
    ),
    Mutant(
        "no retries are taken for no option of registries",
        "imager/cli/options.py",
        "None if self == type(self)() else self.settings()",
        "self.settings() if any(asdict(self).values()) else None",
        "tests/unit/test_cli_options.py::test_no_retries_are_told_from_none_given",
    ),
    Mutant(
        "importing the package loads modules",
        "imager/__init__.py",
        '__version__ = "0.1.0"\n',
        '__version__ = "0.1.0"\nimport imager.support.errors\n',
        "tests/unit/test_api.py::test_the_package_alone_loads_nothing",
    ),
    Mutant(
        "a use case needs the command line",
        "imager/app/profiles.py",
        "from imager.cache.location import CacheLocation\n",
        "import typer as typer\nfrom imager.cache.location import CacheLocation\n",
        "tests/unit/test_api.py::test_no_use_case_needs_typer",
    ),
    Mutant(
        "a folder that exists is taken for a reference",
        "imager/oci/location.py",
        "if Path(text).exists():",
        "if Path(text).is_file():",
        "tests/unit/test_cache_place.py::test_a_path_that_exists_wins",
    ),
    Mutant(
        "a dry run of cache-prune writes",
        "imager/app/edit_cache.py",
        "if pruning.changes and not dry_run:",
        "if pruning.changes:",
        "tests/unit/test_cli_results.py::test_changes_of_a_cache",
    ),
    Mutant(
        "a plan shows what a manifest says to a terminal",
        "imager/cli/options.py",
        'typer.echo(printable("\\n".join(text(*args, **kwargs))))',
        'typer.echo("\\n".join(text(*args, **kwargs)))',
        "tests/fault/test_cache_errors.py::test_a_platform_cannot_speak_to_the_terminal_in_a_plan",
    ),
    Mutant(
        "text is read without a bound",
        "imager/support/inputs.py",
        "if len(text) > limit:",
        "if not limit:",
        "tests/unit/test_textinput.py::test_what_is_too_large",
    ),
    Mutant(
        "the files of a folder are not waited for before the rename",
        "imager/support/atomic.py",
        "each.result()",
        "del each",
        f"{_WORKSPACE}::test_a_folder_whose_files_cannot_be_flushed_does_not_appear",
    ),
    Mutant(
        "folders in a folder are not flushed",
        "imager/support/atomic.py",
        "for root, _ in walked]",
        "for root, _ in walked[:1]]",
        f"{_WORKSPACE}::test_a_folder_is_flushed_with_all_in_it_before_it_is_renamed",
    ),
    # Kinds of errors.
    Mutant(
        "a class without a remedy is a kind of error",
        "imager/support/errors.py",
        'if "remedy" in vars(cls) and "id" not in vars(cls):',
        'if "id" not in vars(cls):',
        "tests/unit/test_explain.py::test_an_error_has_the_id_of_the_nearest_kind",
    ),
    Mutant(
        "a missing permission has the id of the file that it is missing for",
        "imager/support/errors.py",
        "    if is_denied(error):\n        return PermissionDeniedError\n",
        "",
        "tests/unit/test_explain.py::test_an_error_of_the_system_has_the_kind_of_its_exit_code",
    ),
    Mutant(
        "a failed command prints no JSON",
        "imager/cli/commands.py",
        'if ctx.params.get("json_output") and not',
        "if not ctx.params and not",
        "tests/unit/test_explain.py::test_an_error_names_its_kind_and_explain_explains_it",
    ),
)
