"""Breaks of what the command line takes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_OPTIONS = "tests/unit/test_cli_options.py"
_WORKSPACE = "tests/unit/test_workspace.py"

MUTANTS = (
    Mutant(
        "a command has its shared options last",
        "imager/cli/options.py",
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
        "from imager.support.inputs import input_name\n",
        "from imager.profile import load as load\nfrom imager.support.inputs import input_name\n",
        "tests/unit/test_imports.py::test_help_needs_neither_libraries_nor_the_network",
    ),
    Mutant(
        "a plan shows what a manifest says to a terminal",
        "imager/cli/render.py",
        'return printable("\\n".join(lines))\n\n\ndef files_text',
        'return "\\n".join(lines)\n\n\ndef files_text',
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
)
