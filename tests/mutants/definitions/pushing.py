"""Breaks of pushing."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UPLOAD = "tests/unit/test_oci_upload.py"
_PUSH = "tests/unit/test_oci_push.py"

MUTANTS = (
    Mutant(
        "the query of a session's Location is lost",
        "imager/oci/upload.py",
        "return follow(response.url, target) if target else None",
        'return follow(response.url, target.partition("?")[0]) if target else None',
        f"{_UPLOAD}::test_chunks",
    ),
    Mutant(
        "a broken upload is begun anew at once",
        "imager/oci/upload.py",
        "_Session(url, has, session.chunk)\n",
        "None\n",
        f"{_UPLOAD}::test_bytes_the_registry_did_not_keep_are_sent_again",
    ),
    Mutant(
        "an upload goes on where we stood, not where the registry stands",
        "imager/oci/upload.py",
        "_Session(url, has, session.chunk)\n",
        "_Session(url, session.offset, session.chunk)\n",
        f"{_UPLOAD}::test_a_broken_chunk_is_taken_up_where_it_broke",
    ),
    Mutant(
        "sessions are begun for ever",
        "imager/oci/upload.py",
        "if self._sessions > 1 + self._target.client.patience.retries:",
        "if self._sessions > 1000:",
        f"{_UPLOAD}::test_sessions_are_not_begun_for_ever",
    ),
    Mutant(
        "a damaged blob is completed",
        "imager/oci/blobreader.py",
        "self._hash.hexdigest() != self.blob.digest.hex",
        "not self._hash.hexdigest()",
        f"{_UPLOAD}::test_a_damaged_blob_is_not_completed",
    ),
    Mutant(
        "bytes that are sent again are hashed again",
        "imager/oci/blobreader.py",
        "self._count(data[max(self.reached - start, 0) :])",
        "self._count(data)",
        f"{_UPLOAD}::test_bytes_the_registry_did_not_keep_are_sent_again",
    ),
    Mutant(
        "a chunk goes wherever a redirect leads",
        "imager/oci/httptransport.py",
        "if status not in _RESENDING or here != host:",
        "if status not in _RESENDING:",
        f"{_UPLOAD}::test_nothing_is_sent_on_to_another_host",
    ),
    Mutant(
        "a session elsewhere gets the password",
        "imager/oci/logins.py",
        "sent = self._known.get(_key(route)) if route.is_own else None",
        "sent = self._known.get(_key(route))",
        f"{_UPLOAD}::test_the_password_does_not_go_to_a_session_elsewhere",
    ),
    Mutant(
        "the token for reading is used to write",
        "imager/oci/routing.py",
        "return PULL if self.request.method in READING else PUSH",
        "return PULL",
        f"{_UPLOAD}::test_a_token_for_reading_and_one_for_writing",
    ),
    Mutant(
        "the image is put before what it names",
        "imager/oci/push.py",
        "plan.manifests if plan.attached else plan.manifests[:-1]:",
        "reversed(plan.manifests):",
        f"{_PUSH}::test_several_entries_are_an_index_with_the_layouts_own_bytes",
    ),
    Mutant(
        "a changed manifest is not noticed",
        "imager/oci/attach.py",
        "if manifest.digest.contradicts(stated):",
        "if not manifest.digest:",
        f"{_PUSH}::test_a_manifest_that_the_registry_changes_is_told",
    ),
    Mutant(
        "what a push is refused for is not told",
        "imager/oci/failures.py",
        "said = _said(response)",
        'said = ""',
        f"{_UPLOAD}::test_the_words_of_the_registry_are_told",
    ),
)
