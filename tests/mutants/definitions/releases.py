"""Breaks of what comes with an output: bills, provenance, checksums and signatures."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_RELEASE = "imager/app/release"
_TESTS = "tests/oracle/test_release.py"

MUTANTS = (
    Mutant(
        "a file of the cache has no source",
        f"{_RELEASE}/bill.py",
        "        if images or inputs:",
        "        if inputs:",
        f"{_TESTS}::test_both_bills_have_every_file_of_the_iso_and_its_source",
    ),
    Mutant(
        "second names of files are left out of the bills",
        f"{_RELEASE}/bill.py",
        "(*plan.regions, *plan.aliases)",
        "plan.regions",
        f"{_TESTS}::test_both_bills_have_every_file_of_the_iso_and_its_source",
    ),
    Mutant(
        "the provenance lists no images of the cache",
        f"{_RELEASE}/provenance.py",
        "        for image in self.images:",
        "        for image in ():",
        f"{_TESTS}::test_the_provenance_is_about_the_output_and_names_all_inputs",
    ),
    Mutant(
        "the provenance publishes an embedded configuration",
        f"{_RELEASE}/provenance.py",
        "    if embedded:",
        "    if not embedded:",
        f"{_TESTS}::test_no_secret_is_published",
    ),
    Mutant(
        "the envelope's type is not signed",
        f"{_RELEASE}/bundle.py",
        "len(kind), kind, len(statement), statement)",
        "0, b'', len(statement), statement)",
        f"{_TESTS}::test_cosign_has_judged_these_signatures",
    ),
    Mutant(
        "a build drops the sums of others",
        f"{_RELEASE}/sums.py",
        "{**_lines(path), **{",
        "{**{",
        f"{_TESTS}::test_builds_share_the_list_of_sums",
    ),
    Mutant(
        "files appear before the output is whole",
        "imager/image/write.py",
        "files = {path: others.enter_context(atomic_file(path)) for path in _paths(beside)}",
        "files = {path: os.open(path, os.O_CREAT | os.O_WRONLY) for path in _paths(beside)}",
        f"{_TESTS}::test_nothing_is_left_of_a_build_that_fails",
    ),
    Mutant(
        "the SHA-256 beside a bmap leaves out holes",
        "imager/formats/bmap.py",
        "for data in zeros(piece) if isinstance(piece, int) else (piece,):",
        "for data in () if isinstance(piece, int) else (piece,):",
        f"{_TESTS}::test_all_files_are_there_and_the_sums_are_right",
    ),
)
