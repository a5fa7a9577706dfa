# Everything is installed into .venv. `make install PYTHON=python3.12` chooses another Python (3.10 or later).
PYTHON ?= python3
PY := .venv/bin/python
# pip need not compile to bytecode all that it installs: Python compiles what it imports, once. Images for containers often forbid it to
# keep that, and then each start of a tool takes three times as long.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(PY) -m pip --disable-pip-version-check install --no-compile -c requirements/constraints.txt
# The setup of mmcv compiles its operators wherever it can import torch. In a build apart from .venv it cannot, and takes seconds. What it needs
# there is constrained too; pip from 25.3 on reads the second name.
APART = PIP_CONSTRAINT="$(CURDIR)/$(1)" PIP_BUILD_CONSTRAINT="$(CURDIR)/$(1)"
# The compiler of mmcv's operators looks for ninja on PATH. What pip has kept is the package without them.
BUILD_OPS := MAX_JOBS=$${MAX_JOBS:-$$(nproc)} PATH="$(CURDIR)/.venv/bin:$$PATH" $(PIP) --no-build-isolation --no-cache-dir

ORIGINAL_PIP := .venv-openmmlab/bin/python -m pip --disable-pip-version-check install --no-compile -c requirements/constraints.txt
# Ultralytics and MMPretrain need torchvision, which the main environment must not have: they get one of their own.
PYX := .venv-extras/bin/python
PIPX := $(PYX) -m pip --disable-pip-version-check install --no-compile -c .venv-extras/constraints.txt

DEMO := configs/demo/mask_rcnn_van_lska_t_scenes_pretrained.py
DEMO_WORK := work_dirs/demo

.DEFAULT_GOAL := help
.PHONY: help install install-compiled demo test test-compiled test-without-kernels test-sanitized test-openmmlab install-extras test-extras wheel lint clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-22s%s\n", $$1, $$2}' Makefile

WORKS := 'import mmlska, mmcv.ops; from mmlska.ops.cpu.backend import PROBLEM; print(PROBLEM or "the C++ kernels are built")'

install: .venv/.installed ## create .venv with torch, mmcv, mmdet, mmseg and this package (editable)

.venv/.installed: setup.py $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo 'mmlska needs Python 3.10 or later; name one: make install PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements/build.txt -r requirements/runtime.txt
	@# The kernels of this package compile meanwhile. Of the two cv2 that come along the headless one has to win: the other needs
	@# libGL, which a server lacks.
	$(PY) setup.py --quiet build_ext --inplace > .venv/kernels.log 2>&1 & \
	  $(call APART,requirements/constraints.txt) $(PIP) -r requirements/onedl.txt -r requirements/dev.txt \
	  && $(PIP) --no-deps --force-reinstall opencv-python-headless; status=$$?; wait; exit $$status
	@# Without kernels: pip would compile them once more.
	MMLSKA_BUILD_KERNELS=0 $(PIP) --no-build-isolation -e .
	@# What pip has kept of mmcv may have been compiled for another torch.
	$(PY) -c $(WORKS) || { $(call APART,requirements/constraints.txt) $(PIP) --no-cache-dir --no-deps --force-reinstall onedl-mmcv && $(PY) -c $(WORKS); }
	@# What the tools import is compiled to bytecode here, not at the first training.
	@$(PY) -W ignore -c 'import mmdet.apis, mmseg.apis' > /dev/null
	@touch $@

install-compiled: install ## compile mmcv's own operators into .venv too; takes minutes and needs a C++ compiler
	@$(PY) -c 'import mmcv._ext' 2>/dev/null || { command -v "$${CXX:-c++}" >/dev/null \
	  && test -f "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"; } \
	  || { echo 'the operators of mmcv need a C++ compiler and the headers of Python; on Debian: apt install build-essential python3-dev' >&2; exit 1; }
	$(PIP) -r requirements/compile.txt
	$(PY) -c 'import mmcv._ext' 2>/dev/null || $(BUILD_OPS) --no-deps --force-reinstall onedl-mmcv
	$(PY) -c 'import mmcv._ext'

demo: install ## train Mask R-CNN on generated scenes from the weights in the package, test it, draw its predictions
	$(PY) tools/make_scenes.py "$${MMLSKA_DATA:-data}/scenes"
	$(PY) tools/train.py $(DEMO) --work-dir $(DEMO_WORK)
	$(PY) tools/test.py $(DEMO) "$$(cat $(DEMO_WORK)/last_checkpoint)" --work-dir $(DEMO_WORK) --show-dir $(DEMO_WORK)/overlays
	@echo 'A picture, with labels on the left and predictions on the right: $(DEMO_WORK)/overlays/000011.png'
	@echo 'Next: train on your own photos and labels: $(PY) tools/train.py configs/mask_rcnn_van_lska_t.py --data DIR (docs/own_data.md)'

test: install ## run the whole test suite
	@# Two processes of one thread each: most tests work on small tensors or start tools, which a second thread does not speed up.
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

test-compiled: install-compiled ## run the tests of what mmcv's operators do on its compiled ones
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile tests/mmcv_ops tests/engine/test_hooks.py tests/tools/test_train_test.py

WITHOUT_KERNELS := build/without-kernels

test-without-kernels: install ## run the tests of the operators and of what uses them on a copy that lacks the C++ kernels
	rm -rf $(WITHOUT_KERNELS) && mkdir -p $(WITHOUT_KERNELS)
	cp -R conftest.py pyproject.toml README.md model-index.yml configs docs mmlska mmlska_command.py scripts tests tools $(WITHOUT_KERNELS)
	rm -f $(WITHOUT_KERNELS)/mmlska/*/_kernels.* $(WITHOUT_KERNELS)/mmlska/ops/cpu/_kernels.*
	cd $(WITHOUT_KERNELS) && $(CURDIR)/$(PY) -c 'from mmlska.ops.cpu.backend import PROBLEM; from mmlska.mmcv_ops.backends import KERNELS; print(PROBLEM); raise SystemExit(not PROBLEM or KERNELS.available())'
	@# Doctests are off: with folders as arguments they would collect several files named conftest.
	cd $(WITHOUT_KERNELS) && PYTHONPATH="$$PWD" OMP_NUM_THREADS=1 $(CURDIR)/$(PY) -m pytest -o addopts=-ra -n 2 --dist loadfile \
	  --ignore tests/ops/test_triton.py tests/ops tests/mmcv_ops tests/models tests/benchmark tests/infer tests/classification

SANITIZED := build/sanitized
# What the sanitizer replaces must be there before Python; leaks would be Python's own.
SANITIZED_PY := LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libstdc++.so)" \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONPATH=$(SANITIZED) $(PY)

test-sanitized: install ## run random calls of the C++ operators under AddressSanitizer and UndefinedBehaviorSanitizer
	rm -rf $(SANITIZED)
	MMLSKA_BUILD_KERNELS=sanitized $(PY) setup.py --quiet build_ext --build-lib $(SANITIZED) --build-temp $(SANITIZED)/temp
	touch $(SANITIZED)/mmlska/__init__.py && find mmlska/ops mmlska/native -name '*.py' -exec cp --parents {} $(SANITIZED) \;
	@# Once for each instruction set that mmlska.ops has.
	for level in default avx2 avx512; do \
	  ATEN_CPU_CAPABILITY=$$level $(SANITIZED_PY) tests/ops/random_cases.py || exit 1; \
	done
	$(SANITIZED_PY) tests/mmcv_ops/random_calls.py

test-openmmlab: .venv-openmmlab/.installed ## train, save, resume and test on OpenMMLab's original packages, in a .venv-openmmlab of their own
	.venv-openmmlab/bin/python -m pytest tests/engine tests/models tests/weights tests/tools/test_train_test.py

.venv-openmmlab/.installed: setup.py $(wildcard requirements/*.txt)
	$(PYTHON) -m venv .venv-openmmlab
	$(ORIGINAL_PIP) -r requirements/build.txt -r requirements/compile.txt -r requirements/runtime.txt
	@echo 'Next: the operators of the original mmcv, compiled once: 6 to 10 minutes on two cores.'
	MMCV_WITH_OPS=1 MAX_JOBS=$${MAX_JOBS:-$$(nproc)} PATH="$(CURDIR)/.venv-openmmlab/bin:$$PATH" \
	  $(ORIGINAL_PIP) --no-build-isolation -r requirements/openmmlab.txt
	$(ORIGINAL_PIP) --no-deps --force-reinstall opencv-python-headless
	.venv-openmmlab/bin/python -c 'import mmcv.ops'
	$(ORIGINAL_PIP) --no-build-isolation -r requirements/dev.txt -e .
	@touch $@

install-extras: .venv-extras/.installed ## create .venv-extras with torchvision, Ultralytics, MMPretrain and this package

.venv-extras/.installed: setup.py requirements/extras.txt requirements/constraints.txt requirements/constraints_extras.txt
	$(PYTHON) -m venv .venv-extras
	@grep -v '^torchvision' requirements/constraints.txt | cat - requirements/constraints_extras.txt > .venv-extras/constraints.txt
	@# torch first and alone, so that torchvision takes the build that is there.
	$(PIPX) torch 'setuptools<81' wheel
	$(call APART,.venv-extras/constraints.txt) $(PIPX) -r requirements/extras.txt opencv-python opencv-python-headless
	$(PIPX) --no-deps --force-reinstall opencv-python-headless
	$(PIPX) --no-build-isolation --no-deps -e .
	@touch $@

test-extras: install-extras ## run the tests of the Ultralytics plug-in and of the classifiers
	$(PYX) -m pytest tests_extras mmlska/yolo tests/test_other_projects.py

wheel: install ## build a wheel for this Python and this torch into dist/, on Linux a manylinux one
	rm -rf build/wheel build/lib* dist && mkdir -p dist
	$(PY) -m pip --disable-pip-version-check wheel --no-build-isolation --no-deps --wheel-dir build/wheel .
	test -x build/auditwheel/bin/auditwheel || { $(PYTHON) -m venv build/auditwheel && \
	  build/auditwheel/bin/pip --disable-pip-version-check install -r requirements/wheel.txt; }
	@# torch brings its own libraries and OpenMP; a second OpenMP would run threads of its own. A wheel without kernels needs no repair.
	case $$(ls build/wheel) in \
	  *linux_*) PATH="$(CURDIR)/build/auditwheel/bin:$$PATH" auditwheel repair --exclude 'libtorch*.so' --exclude libc10.so \
	    --exclude libgomp.so.1 --wheel-dir dist build/wheel/*.whl ;; \
	  *) mv build/wheel/*.whl dist ;; \
	esac

lint: install ## check style, format and configs
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) scripts/check_configs.py

clean: ## remove the environments, build output, caches and work_dirs with the models trained there; data stays
	rm -rf .venv .venv-openmmlab .venv-extras build dist mmlska.egg-info mmlska/.mim work_dirs .pytest_cache .ruff_cache .hypothesis
	find configs mmlska tests $(wildcard scripts tests_extras) tools -name __pycache__ -prune -exec rm -rf {} +
