"""Breaks of how options and profiles are taken, and what results say."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PARSING = "tests/unit/test_cli_parsing.py"
_LISTS = "tests/unit/test_image_lists.py"
_RESULTS = "tests/unit/test_build_results.py"
_WORKSPACE = "tests/unit/test_workspace.py"
_CLI_NAMING = "tests/unit/test_cli_naming.py"
_TALOS = "tests/unit/test_talos_profiles.py"

MUTANTS = (
    Mutant(
        "an archive is read as a list of images",
        "imager/support/inputs.py",
        'if "\\0" in text:',
        'if "\\1" in text:',
        "tests/unit/test_textinput.py::test_what_is_not_text",
    ),
    Mutant(
        "the disk size in profiles that Talos prints is refused as too small",
        "imager/image/disk.py",
        "is_grown = target.disk_size == _printed_size(target) < minimum",
        "is_grown = False",
        "tests/oracle/test_output_disk.py::test_the_size_that_talos_prints_for_none_is_no_choice",
    ),
    Mutant(
        "a second value of an option wins in silence",
        "imager/cli/parsing.py",
        "if not collects and self.dest in state.opts:",
        "if collects and self.dest in state.opts:",
        f"{_PARSING}::test_a_second_value_is_refused",
    ),
    Mutant(
        "an option with an empty value is taken for one left out",
        "imager/cli/parsing.py",
        'if self.takes_value and value == "":',
        'if self.takes_value and value == " ":',
        f"{_PARSING}::test_an_empty_value_is_refused",
    ),
    Mutant(
        "an option without its value does not name its command",
        "imager/cli/parsing.py",
        "error.ctx = error.ctx or ctx",
        "error.ctx = error.ctx",
        f"{_PARSING}::test_a_missing_value_names_the_command",
    ),
    Mutant(
        "=false turns a boolean option on",
        "imager/cli/parsing.py",
        "else not option.const",
        "else option.const",
        f"{_PARSING}::test_what_is_taken",
    ),
    Mutant(
        "a misspelt path is pulled from Docker Hub",
        "imager/cache/lists.py",
        "if _is_pinned(text) or _names_source(text):",
        "if text:",
        f"{_LISTS}::test_a_name_without_a_tag_is_no_reference",
    ),
    Mutant(
        "a second list of images replaces the first",
        "imager/cache/lists.py",
        "for source in lists:\n",
        "for source in lists[-1:]:\n",
        f"{_LISTS}::test_lists_merge_in_their_order_without_duplicates",
    ),
    Mutant(
        "nothing is said of a release newer than the rules",
        "imager/talos/version.py",
        "if self.numbers[:2] <= NEWEST_RULES:",
        "if self.numbers:",
        "tests/unit/test_version.py::test_a_release_newer_than_the_rules_has_one",
    ),
    Mutant(
        "a kind of a release newer than the table is refused",
        "imager/talos/config/document.py",
        "if version is None or version.numbers[:2] <= NEWEST_KINDS:",
        "if True:",
        "tests/unit/test_machineconfig.py::test_kinds_newer_than_the_table",
    ),
    Mutant(
        "a table has a release newer than it says",
        "imager/talos/version.py",
        "NEWEST_KINDS = (1, 14)",
        "NEWEST_KINDS = (1, 13)",
        "tests/unit/test_version.py::test_no_table_is_newer_than_it_says",
    ),
    Mutant(
        "a wrong IMAGER_ASSETS is passed over",
        "imager/bootassets/find.py",
        "for place in [Path(named)] if named else asset_places(given):",
        "for place in asset_places(given):",
        "tests/unit/test_locate.py::test_a_wrong_folder_in_the_environment_is_refused",
    ),
    Mutant(
        "the trial default is not called that",
        "imager/bootassets/identity.py",
        "return (assets.path(asset).parent / RECORD).is_file()",
        "return (assets.path(asset) / RECORD).is_file()",
        f"{_RESULTS}::test_the_trial_default_is_called_that",
    ),
    Mutant(
        "a file that came meanwhile is replaced in spite of --no-clobber",
        "imager/support/atomic.py",
        "    if clobber:\n",
        "    if clobber or temporary:\n",
        f"{_WORKSPACE}::test_a_file_that_came_meanwhile_is_not_replaced",
    ),
    Mutant(
        "folders that were made stay when a build fails",
        "imager/support/folders.py",
        "                each.rmdir()",
        "                each.stat()",
        f"{_WORKSPACE}::test_those_that_were_made_go_when_the_block_fails",
    ),
    Mutant(
        "a link is replaced by an output",
        "imager/image/destination.py",
        '    stat.S_IFLNK: "a symbolic link",\n',
        "",
        "tests/unit/test_destination.py::test_what_is_no_file_is_refused_by_name",
    ),
    Mutant(
        "a dry run does not look at the space",
        "imager/cli/build.py",
        "            planned.check_space()\n",
        "",
        "tests/fault/test_output_errors.py::test_a_dry_run_says_that_there_is_too_little_space",
    ),
    Mutant(
        "a dry run of cache-create does not look at the space",
        "imager/cli/images.py",
        "        check_space(plan)\n",
        "",
        f"{_RESULTS}::test_a_cache_that_does_not_fit_is_told_in_a_dry_run",
    ),
    Mutant(
        "an error of a list names YAML's key for an option's value",
        "imager/cli/naming.py",
        "return rest[0] >= len(written)",
        "return rest[0] > len(written)",
        f"{_CLI_NAMING}::test_lists_of_options_come_after_those_of_yaml",
    ),
    Mutant(
        "errors of a build name YAML's keys whatever was given",
        "imager/cli/naming.py",
        "            error.message, error.hint = self.text(error.message), self.text(error.hint)\n",
        "",
        f"{_CLI_NAMING}::test_errors_of_a_build",
    ),
    Mutant(
        "a repeated kernel argument replaces the first",
        "imager/talos/cmdline.py",
        "parameters.setdefault(name, []).extend(values)",
        "parameters[name] = values",
        "tests/unit/test_cmdline.py::test_a_repeated_argument_stands_beside_the_first",
    ),
    Mutant(
        "a cache that is left out is not mentioned",
        "imager/profile/leftout.py",
        "if profile.input.image_cache and not kind.is_medium:",
        "if profile.input.image_cache and kind.is_medium:",
        f"{_TALOS}::test_what_no_medium_has",
    ),
    Mutant(
        "a boot asset that is not where the profile says is looked for elsewhere",
        "imager/bootassets/named.py",
        "if path == INSTALLED / arch.name / asset.value and not path.is_file()",
        "if not path.is_file()",
        f"{_TALOS}::test_a_path_of_the_users_own_is_not_passed_over",
    ),
    Mutant(
        "YAML 1.1's off is no word",
        "imager/profile/validators.py",
        'return "off" if value is False else value',
        "return value",
        "tests/unit/test_profile_model.py::test_off_is_a_word_as_in_yaml_1_2",
    ),
    Mutant(
        "a key without a value is a value",
        "imager/profile/load.py",
        "        if value is not None\n",
        "        if key\n",
        f"{_TALOS}::test_keys_without_a_value_count_as_left_out",
    ),
)
