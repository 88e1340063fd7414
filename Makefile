# Everything starts here: `make demo`, `make test`, `make help`.

PYTHON ?= python3
ARCH   ?= amd64
OUT    ?= _out

VENV   := .venv
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
CODE   := imager tests

# Where the boot assets are that demo and tests use.
export IMAGER_ASSETS ?= $(CURDIR)/.cache/assets

BUILD_PACKAGES     := python3-venv e2fsprogs apt ca-certificates
DEMO_PACKAGES      := $(BUILD_PACKAGES) docker-registry skopeo mmdebstrap uidmap
BOOT_PACKAGES      := $(BUILD_PACKAGES) qemu-system-x86 ovmf zstd
TEST_PACKAGES      := $(DEMO_PACKAGES) $(BOOT_PACKAGES) apache2-utils binutils dosfstools \
                      faketime fdisk gdisk mtools openssl strace umoci xorriso
CONTAINER_PACKAGES := $(TEST_PACKAGES) docker.io iptables

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install assets demo boot-iso boot-disk fmt lint type check unit test test-quick \
        test-boot test-container test-mutants bench image clean packages-%

help: ## Show what can be made.
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- what everything else needs ---------------------------------------------------------------

packages-build:     PACKAGES = $(BUILD_PACKAGES)
packages-demo:      PACKAGES = $(DEMO_PACKAGES)
packages-boot:      PACKAGES = $(BOOT_PACKAGES)
packages-test:      PACKAGES = $(TEST_PACKAGES)
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

$(VENV)/installed: pyproject.toml | packages-build
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "imager needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

install: $(VENV)/installed ## Install imager and its development tools into .venv.

ASSET_CODE := $(wildcard imager/bootassets/*.py imager/bootassets/witness/*)
$(IMAGER_ASSETS)/$(ARCH)/sources.json: $(ASSET_CODE) | $(VENV)/installed
	$(BIN)/imager assets fetch --arch $(ARCH) --folder $(IMAGER_ASSETS)
	touch $@

assets: $(IMAGER_ASSETS)/$(ARCH)/sources.json ## Fetch the default boot assets.

# --- demo -------------------------------------------------------------------------------------

demo: packages-demo assets ## From nothing to a bootable ISO and disk with real images in them.
	$(BIN)/python -m tests.demo --output $(OUT) $(if $(IMAGES),--images $(IMAGES))

boot-iso: packages-boot install ## Boot the ISO in QEMU, as a CD.
	$(BIN)/python -m tests.qemu $(OUT)/metal-$(ARCH).iso

boot-disk: packages-boot install ## Boot the raw disk in QEMU.
	$(BIN)/python -m tests.qemu $(OUT)/metal-$(ARCH).raw

# --- checks and tests -------------------------------------------------------------------------

fmt: install ## Format the code.
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: install ## Check style and layout.
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

type: install ## Check types.
	$(BIN)/mypy

check: lint type

unit: install ## Run the unit tests alone.
	$(BIN)/pytest -n 2 -q tests/unit

test-quick: check packages-test assets ## Run all tests but those that boot.
	$(BIN)/pytest -n 2 -q -m 'not boot and not container'

test-boot: packages-test assets ## Boot every output on its media in QEMU.
	$(BIN)/pytest -n 2 -q -m boot

test: test-quick test-boot ## Lint, types, unit, oracle, repro, fault and boot tests.

test-container: packages-container install ## Build the container and use it in a Docker engine.
	$(SUDO) $(BIN)/pytest -q -m container -p no:cacheprovider

test-mutants: install assets ## Show that the tests notice one-line breaks of the code.
	$(BIN)/python -m tests.mutants

bench: packages-test assets ## Measure speed and memory against cat, sha256sum and others.
	$(BIN)/python -m tests.bench

image: ## Build the container image.
	docker build --tag imager .

clean: ## Remove what was built; keeps downloads.
	rm -rf build dist $(OUT)
