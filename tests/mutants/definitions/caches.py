"""Breaks of the image cache: what is in it, where it is read from and that it is whole."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DAMAGE = "tests/unit/test_imagecache_open_damage.py"
_IMAGECACHE_CACHE = "tests/unit/test_imagecache_cache.py"
_IMAGECACHE_TRANSFER = "tests/unit/test_imagecache_transfer.py"

MUTANTS = (
    Mutant(
        "a tag is not compared with its digest copy",
        "imager/cache/load.py",
        "if copy not in manifests:",
        "if not manifests:",
        f"{_DAMAGE}::test_a_tag_that_is_damaged",
    ),
    Mutant(
        "a manifest may differ from its digest",
        "imager/cache/load.py",
        "if reference.digest not in (None, manifest.digest):",
        "if False:",
        f"{_DAMAGE}::test_a_digest_copy_that_is_damaged",
    ),
    Mutant(
        "the size of a blob is not compared",
        "imager/cache/cache.py",
        "elif file.content.size != blob.size:",
        "elif file.content.size < 0:",
        f"{_IMAGECACHE_CACHE}::test_a_blob_of_another_size_than_its_manifest_says",
    ),
    Mutant(
        "a blob that is missing goes unnoticed",
        "imager/cache/cache.py",
        "if file is None:",
        "if file is None and blob is None:",
        f"{_DAMAGE}::test_a_blob_that_is_missing",
    ),
    Mutant(
        "blobs of a compressed cache are not compared",
        "imager/content/digests.py",
        "for check in checks if check.source is not None]",
        "for check in checks if isinstance(check.source, FileRange)]",
        f"{_DAMAGE}::test_a_blob_that_is_damaged",
    ),
    Mutant(
        "a manifest is read again when it is copied",
        "imager/cache/load.py",
        "content = Content.of_bytes(manifest.raw)",
        "content = file.content",
        f"{_DAMAGE}::test_manifests_are_copied_as_they_were_checked",
    ),
    Mutant(
        "a configuration is told twice when it is damaged",
        "imager/cache/cache.py",
        "if digest not in self.damaged",
        "if digest",
        "tests/unit/test_cache_verify.py::test_every_damaged_file_is_told",
    ),
    Mutant(
        "an image of another platform goes unnoticed",
        "imager/cache/cache.py",
        "and (own.os, own.architecture) != wanted",
        "and own.os != wanted[0]",
        f"{_IMAGECACHE_CACHE}::test_an_image_of_another_platform",
    ),
    Mutant(
        "blobs come to the place of another one",
        "imager/cache/resume.py",
        "FileSink(landing.descriptor, landing.offset + known, work)",
        "FileSink(landing.descriptor, known, work)",
        f"{_IMAGECACHE_TRANSFER}::test_each_blob_comes_to_its_place",
    ),
    Mutant(
        "blobs are fetched one after another",
        "imager/support/workers.py",
        "with worker_pool(jobs, what) as pool:",
        "with worker_pool(1, what) as pool:",
        f"{_IMAGECACHE_TRANSFER}::test_as_many_at_a_time_as_jobs",
    ),
    Mutant(
        "two images may have one name",
        "imager/cache/contents.py",
        "if self.manifests.setdefault(manifest_path(name), raw) != raw:",
        "if not self.manifests.setdefault(manifest_path(name), raw):",
        "tests/unit/test_imagecache_gather.py::test_a_name_is_of_one_image",
    ),
    Mutant(
        "required images may be missing",
        "imager/cache/cache.py",
        "if missing:\n            raise IncompleteCacheError(",
        "if not missing and missing:\n            raise IncompleteCacheError(",
        f"{_IMAGECACHE_CACHE}::test_required_images_that_are_missing_are_listed_by_name",
    ),
    Mutant(
        "the layer's own digest is never checked",
        "imager/cache/verify.py",
        "checks = (*cache.containers, *cache.checks)",
        "checks = cache.checks",
        f"{_DAMAGE}::test_a_layer_with_damage_outside_of_blobs_and_manifests",
    ),
    Mutant(
        "files that are part of no image are copied",
        "imager/cache/load.py",
        "                ignored += 1\n                continue\n",
        "                ignored += 1\n",
        f"{_DAMAGE}::test_a_layer_with_damage_outside_of_blobs_and_manifests",
    ),
    Mutant(
        "any entry of a layout's index will do",
        "imager/cache/opened.py",
        'if platform and (platform.os, platform.architecture) == ("linux", arch.name):',
        "if platform:",
        "tests/unit/test_imagecache_open.py::test_no_image_for_the_arch",
    ),
    Mutant(
        "links in a tree are followed",
        "imager/content/folder.py",
        "if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):",
        "if not (entry.is_file() or entry.is_dir()):",
        f"{_DAMAGE}::test_links_in_a_tree_are_refused",
    ),
    Mutant(
        "a port is not written for vfat",
        "imager/cache/paths.py",
        'registry = re.sub(r":([0-9]+)$", r"_\\1_", reference.registry)',
        "registry = reference.registry",
        "tests/unit/test_imagecache_tree.py::test_places_have_their_references",
    ),
    Mutant(
        "a blob's images are named without their tags",
        "imager/cache/blobnames.py",
        "self._images.setdefault(digest, images)",
        "self._images[digest] = images",
        "tests/unit/test_blobnames.py::test_tags_come_first",
    ),
    Mutant(
        "a blob of an index's image has no name",
        "imager/cache/blobnames.py",
        "entries = document.manifests if isinstance(document, Index) else ()",
        "entries = ()",
        "tests/unit/test_blobnames.py::test_the_parts_of_an_index",
    ),
)
