"""Document the exit codes, environment variables and files of all commands.

The manual page imager(1) and the reference in docs/ are generated from this module.
"""

from __future__ import annotations

from imager.cli.help import Section

EXIT_CODES = Section(
    "Exit status",
    {
        "0": "Success.",
        "1": (
            "An answer, not an error: the caches of `cache-diff` differ, or `node doctor` found "
            "a problem."
        ),
        "2": "Invalid input: options, a profile, a list, a file, a damaged cache.",
        "3": "Valid input that is not supported.",
        "4": (
            "The machine: no permission, no space, a folder that cannot be made. A missing "
            "permission is always 4: for an input, an output, a socket or a device."
        ),
        "5": "An external tool, a mirror or a registry failed.",
        "6": "Reading or writing failed part-way.",
        "70": "A bug in `imager`. Include the lines before the error in a bug report.",
        "129, 130, 143": (
            "The terminal was closed (SIGHUP), the run was interrupted (SIGINT) or terminated "
            "(SIGTERM). `cache-serve` and `node run` do not exit on SIGHUP: they look for changes "
            "at once."
        ),
        "141": "The reader of standard output closed it, as in a pipe to head(1).",
    },
)

ENVIRONMENT = Section(
    "Environment",
    {
        "IMAGER_ASSETS": "Folder of boot assets: searched first, and filled by `assets fetch`.",
        "IMAGER_DEBIAN_MIRROR": "Debian mirror of `assets fetch`; see --mirror.",
        "IMAGER_KEY_PASSPHRASE": "Passphrase of private keys, both new and existing ones.",
        "IMAGER_REGISTRY_AUTH": "Logins for registries, separated by blanks; see --registry-auth.",
        "DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR": (
            "Where `docker login` and `podman login` keep credentials."
        ),
        "SSL_CERT_FILE": "CA certificates to trust instead of the system's.",
        "HTTP_PROXY, HTTPS_PROXY, NO_PROXY": "Proxies for registries.",
        "SOURCE_DATE_EPOCH": (
            "The time in outputs, in seconds since 1970. Default: a fixed time, never the clock."
        ),
        "TMPDIR": "An existing folder for scratch files. Default: /tmp.",
        "XDG_CACHE_HOME": "The user's cache. Default: ~/.cache.",
        "NO_COLOR, FORCE_COLOR": "Never or always print in color; NO_COLOR wins.",
        "CI, TERM": "With CI set or TERM=dumb, progress is printed in plain lines.",
        "COLUMNS": "The width of the terminal, for help and progress.",
    },
)

FILES = Section(
    "Files",
    {
        "/usr/install/ARCH": (
            "Boot assets in a container image that is made for building, such as Talos's imager."
        ),
        "~/.cache/imager/assets/ARCH": (
            "Boot assets of `assets fetch`. Its file `sources.json` records the packages that "
            "they were made of. Those of `--flavor node` are in `assets/node/ARCH`."
        ),
        "~/.cache/imager/packages": (
            "Downloads of `assets fetch`: Debian packages and Python wheels by their SHA-256, and "
            "the cached part of the node's root file system. `assets clean` removes "
            "them."
        ),
        "/secureboot": "Keys for SecureBoot; `--secureboot-dir` names another folder.",
        "./_out, /out": "Outputs: /out if it exists.",
        ".NAME.*.partial": (
            "An unfinished output beside its final path, locked by its writer. The next run "
            "removes or resumes that of a killed run."
        ),
        "TMPDIR/.imager-UID.*.partial": (
            "The scratch folder of a run, locked in the same way. The user's next run removes "
            "those of killed runs."
        ),
        "/run/imager/image-cache.json": "The status that `node run` writes.",
    },
)
