"""Breaks of publishing and fetching outputs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TESTS = "tests/unit/test_publish.py"

_ATTACH = "attach(target, plan.manifests[0].digest, plan.attached)"
_TAG = "put_manifest(target, plan.root, reference.tag or plan.root.digest)"

MUTANTS = (
    Mutant(
        "a published file may have any name",
        "imager/app/publish.py",
        "if not is_title(path.name):",
        "if not path.name:",
        f"{_TESTS}::test_what_cannot_be_published",
    ),
    Mutant(
        "outdated checksums are published",
        "imager/image/published.py",
        "if listed.get(name, digest) != digest:",
        "if name not in listed:",
        f"{_TESTS}::test_what_cannot_be_published",
    ),
    Mutant(
        "what lies beside an output is one more output",
        "imager/app/publish.py",
        "outputs = [path for path in given if path not in beside]",
        "outputs = given",
        f"{_TESTS}::test_everything_comes_back",
    ),
    Mutant(
        "a registry is expected to list referrers",
        "imager/oci/attach.py",
        "if unlisted:",
        "if unlisted and not subject:",
        f"{_TESTS}::test_a_registry_without_referrers",
    ),
    Mutant(
        "the list of referrers is begun anew",
        "imager/oci/attach.py",
        'if each.text("digest") not in added and not _is_for(each, platform)',
        'if each.text("digest") in added',
        f"{_TESTS}::test_a_registry_without_referrers",
    ),
    Mutant(
        "a platform is there twice",
        "imager/oci/attach.py",
        "and not _is_for(each, platform)",
        "",
        f"{_TESTS}::test_platforms_share_a_name",
    ),
    Mutant(
        "the tag is put before what is attached",
        "imager/oci/push.py",
        f"{_ATTACH}\n    {_TAG}",
        f"{_TAG}\n    {_ATTACH}",
        f"{_TESTS}::test_a_registry_without_referrers",
    ),
    Mutant(
        "a name may appear twice",
        "imager/oci/artifact.py",
        "if len(paths) != files or",
        "if",
        f"{_TESTS}::test_names_that_lead_elsewhere",
    ),
    Mutant(
        "a file is written into any folder",
        "imager/app/fetch.py",
        "if len(file.path.parts) > 1:",
        "if not file.path.parts:",
        f"{_TESTS}::test_names_that_lead_elsewhere",
    ),
    Mutant(
        "any attached file is fetched",
        "imager/app/fetch.py",
        "            if name in allowed:",
        "            if name:",
        f"{_TESTS}::test_only_files_named_after_an_output_are_attached",
    ),
    Mutant(
        "what is attached to another artifact is fetched",
        "imager/app/attached.py",
        "if subject_of(manifest) == self.subject and",
        "if",
        f"{_TESTS}::test_a_list_of_another_artifacts_referrers_is_not_believed",
    ),
    Mutant(
        "one of two attached files is chosen",
        "imager/app/fetch.py",
        "    if len(newest) > 1:",
        "    if not newest:",
        f"{_TESTS}::test_only_files_named_after_an_output_are_attached",
    ),
    Mutant(
        "the oldest attached file of a name is fetched",
        "imager/app/fetch.py",
        "    last = max(time for time, _ in files)",
        "    last = min(time for time, _ in files)",
        f"{_TESTS}::test_the_newest_of_several_attached_files_is_fetched[True]",
    ),
    Mutant(
        "what is published again is dated again",
        "imager/app/publish.py",
        "        time = last if is_same else datetime.now(UTC)",
        "        time = datetime.now(UTC)",
        f"{_TESTS}::test_the_newest_of_several_attached_files_is_fetched[True]",
    ),
    Mutant(
        "an existing file is known by its size",
        "imager/cache/files.py",
        "if status.st_size == blob.size and Digest.of_file(path) == blob.digest:",
        "if status.st_size == blob.size:",
        f"{_TESTS}::test_existing_files",
    ),
    Mutant(
        "an existing file is replaced unasked",
        "imager/cache/files.py",
        "if not self.force:",
        "if False:",
        f"{_TESTS}::test_existing_files",
    ),
    Mutant(
        "a fetch begins anew",
        "imager/cache/files.py",
        "return keep_for_resume(folder, used_space(folder), error, reporter)",
        "return False",
        "tests/fault/test_publish_resume.py::test_a_fetch_that_was_ended_is_resumed",
    ),
)
