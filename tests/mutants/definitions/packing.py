"""Breaks of what caches are packed in: folders of the tree, archives, and what is no cache."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FOLDERS = "tests/unit/test_cache_folders.py"
_ARCHIVES = "tests/unit/test_cache_archives.py"
_CACHE_FOLDERS_ORACLE = "tests/oracle/test_cache_folders_oracle.py"
_IMAGECACHE_DEFAULTS = "tests/unit/test_imagecache_defaults.py"
_MACHINECONFIG_CHECK = "tests/unit/test_machineconfig_check.py"

MUTANTS = (
    Mutant(
        "an image by digest alone has no folder reference",
        "imager/cache/paths.py",
        "sorted({*tree.folders, *references})",
        "sorted({*tree.folders})",
        f"{_FOLDERS}::test_a_repository_has_the_folder_reference",
    ),
    Mutant(
        "folders stand behind what is in them",
        "imager/content/tar.py",
        "for path in sorted(tree.folders))",
        "for path in sorted(tree.folders, reverse=True))",
        f"{_FOLDERS}::test_a_layer_unpacks_without_making_parents",
    ),
    Mutant(
        "folders in a tar can be written by their owner alone",
        "imager/content/tar.py",
        "root.folder_modes.get(path, FOLDER_MODE)",
        "root.folder_modes.get(path, 0o700)",
        f"{_FOLDERS}::test_a_layer_unpacks_without_making_parents",
    ),
    Mutant(
        "a layer has no folders",
        "imager/cache/plan.py",
        "plan_tar(tree, timestamp=TIMESTAMP)\n    content, head",
        "plan_tar(replace(tree, entries={}), timestamp=TIMESTAMP)\n    content, head",
        f"{_FOLDERS}::test_a_layer_unpacks_without_making_parents",
    ),
    Mutant(
        "a pushed tree has no folders",
        "imager/cache/publish.py",
        "plan_tar(tree, timestamp=TIMESTAMP).content",
        "plan_tar(type(tree)(tree.files, {}, frozenset()), timestamp=TIMESTAMP).content",
        f"{_FOLDERS}::test_a_push_has_the_folders",
    ),
    Mutant(
        "an old layout is pushed without folders",
        "imager/cache/publish.py",
        "if not opened.lacking:",
        "if True:",
        f"{_FOLDERS}::test_a_push_has_the_folders",
    ),
    Mutant(
        "a flat tree has the folders of its files alone",
        "imager/cache/write.py",
        "for name in plan.tree.folders:",
        "for name in {file.path.rpartition('/')[0] for file in plan.tree.files}:",
        f"{_FOLDERS}::test_a_flat_tree_has_its_folders",
    ),
    Mutant(
        "pruning leaves a layer without folders",
        "imager/cache/edit.py",
        "return self.takes_out or bool(self.folders_added)",
        "return self.takes_out",
        f"{_FOLDERS}::test_pruning_nothing_adds_the_folders",
    ),
    Mutant(
        "an addition leaves a layer without folders",
        "imager/cache/edit.py",
        "bool(added or opened.lacking)",
        "bool(added)",
        f"{_FOLDERS}::test_adding_what_is_there_adds_the_folders",
    ),
    Mutant(
        "a machine's volume has the folders of its files alone",
        "imager/node/sync.py",
        "for folder in tree.folders:",
        "for folder in ():",
        f"{_FOLDERS}::test_a_copy_into_a_volume_has_the_folders",
    ),
    Mutant(
        "a layer that is compressed in a tar is looked for at the start of the tar",
        "imager/content/tar_source.py",
        "StreamRange(place.path, codec, 0, place.offset, blob.size)",
        "StreamRange(place.path, codec, 0, 0, blob.size)",
        f"{_ARCHIVES}::test_a_plain_tar_may_have_a_compressed_layer",
    ),
    Mutant(
        "a layer in a tar is looked for at the start of the tar",
        "imager/content/tar_source.py",
        "start = source.offset",
        "start = 0",
        f"{_ARCHIVES}::test_a_tar_is_the_cache_that_is_in_it",
    ),
    Mutant(
        "the configuration of a cache in a compressed archive is not checked",
        "imager/cache/tars.py",
        "elif Digest.of(kept) != config.digest:",
        "elif not kept:",
        f"{_ARCHIVES}::test_a_damaged_configuration_is_found_when_an_archive_is_opened",
    ),
    Mutant(
        "the configuration of a cache in a tar is not checked",
        "imager/cache/tars.py",
        "            image.fetch_blob(config, Discard())\n",
        "            pass\n",
        f"{_ARCHIVES}::test_a_damaged_configuration_is_found_when_an_archive_is_opened",
    ),
    Mutant(
        "an archive has several caches without a word",
        "imager/cache/tars.py",
        "if folder and len(found) > 1:",
        "if False:",
        f"{_ARCHIVES}::test_two_caches_in_a_tar_are_refused",
    ),
    Mutant(
        "an archive of docker save is an image",
        "imager/cache/tars.py",
        "if files.has(_DOCKER_INDEX):",
        "if False:",
        f"{_ARCHIVES}::test_an_archive_of_docker_save",
    ),
    Mutant(
        "an image's layer without manifests is a damaged cache",
        "imager/cache/tars.py",
        'if not any(file.path.startswith(f"{_MANIFESTS}/") for file in tree.files):',
        "if False:",
        f"{_ARCHIVES}::test_an_ordinary_image",
    ),
    Mutant(
        "any archive is replaced by --force",
        "imager/cache/write.py",
        "return any(_MARKS.intersection",
        "return any(_MARKS or",
        f"{_ARCHIVES}::test_what_an_archive_may_replace",
    ),
    Mutant(
        "the digest of an archive's layer counts what stands before it",
        "imager/cache/write.py",
        "_file_digest(path, start=made.plan.packing.head)",
        "_file_digest(path)",
        f"{_ARCHIVES}::test_an_archive_is_made_as_planned",
    ),
    Mutant(
        "a layer of an archive of Talos makes the archive a compressed one",
        "imager/cache/edit.py",
        "ArchiveFormat.packed(opened.packed)",
        "ArchiveFormat.packed(opened.codec)",
        f"{_ARCHIVES}::test_an_archive_of_talos_is_pruned_to_a_plain_layer",
    ),
    Mutant(
        "the size of a cache is that of its layer",
        "imager/cli/creation_text.py",
        '"size": gathered.size,',
        '"size": plan.packing.size,',
        f"{_CACHE_FOLDERS_ORACLE}::test_a_cache_has_one_size",
    ),
    Mutant(
        "images are listed by their names",
        "imager/cli/cache_text.py",
        "(-each.size, str(each.reference))",
        "str(each.reference)",
        f"{_CACHE_FOLDERS_ORACLE}::test_the_largest_images_are_listed_first",
    ),
    Mutant(
        "a build for a Talos without image caches takes one",
        "imager/app/build_target.py",
        "    if profile.input.image_cache is not None:\n        require_image_cache(version)\n",
        "",
        "tests/unit/test_image_cache_since.py::test_every_output_refuses",
    ),
    Mutant(
        "the factory's installer is that of older releases too",
        "imager/talos/versions.py",
        "_FACTORY_SINCE = (1, 14)",
        "_FACTORY_SINCE = (1, 13)",
        f"{_IMAGECACHE_DEFAULTS}::test_a_release",
    ),
    Mutant(
        "a release that lists no installer has none",
        "imager/talos/default_images.py",
        "    if not lists_installer:\n        yield installer\n",
        "",
        f"{_IMAGECACHE_DEFAULTS}::test_a_release",
    ),
    Mutant(
        "a document of a later release does not name an installer",
        "imager/talos/components.py",
        '            ImageSetting("UnattendedInstallConfig", "installer.image"),\n',
        "",
        f"{_MACHINECONFIG_CHECK}::test_the_document_of_an_installation_names_an_installer",
    ),
    Mutant(
        "a temporary file is closed while a cache lies in it",
        "imager/oci/plainfile.py",
        "    weakref.finalize(path, os.close, descriptor)\n",
        "    os.close(descriptor)\n",
        f"{_ARCHIVES}::test_a_tar_and_the_layer_in_it_may_be_compressed",
    ),
    Mutant(
        "a compressed tar with a compressed layer becomes a plain one",
        "imager/cache/edit.py",
        "ArchiveFormat.packed(opened.packed)",
        "ArchiveFormat.packed(None)",
        f"{_ARCHIVES}::test_an_archive_of_talos_is_pruned_to_a_plain_layer",
    ),
    Mutant(
        "a temporary file is never closed",
        "imager/oci/plainfile.py",
        "    weakref.finalize(path, os.close, descriptor)\n",
        "",
        f"{_ARCHIVES}::test_temporary_files_go_with_the_cache",
    ),
)
