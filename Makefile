# A fresh clone and Python 3.11 or newer are enough: `make demo` installs into .venv and trains a network.

PYTHON ?= python3
VENV ?= .venv
# PyTorch, against which results are compared, is large: `make test PEERS=` does without it and skips those tests.
PEERS ?= ,peers

BIN := $(VENV)/bin
CXX_FILES := $(shell find csrc cuda -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)
# What the package is made of: after a change in any of it, it is installed again (only what changed is compiled).
PACKAGE := pyproject.toml CMakeLists.txt cuda/emulator/CMakeLists.txt $(CXX_FILES) $(wildcard cmake/* bench/*.py) \
  $(shell find python -type f -not -name '*.so' -not -name '*.pyc' 2>/dev/null)

# The CUDA compiler: the one that `make nvcc` installed here, else the machine's. Where there is one, `make test` builds the
# CUDA kernels too; they are tested on an emulator, which needs neither. It builds them for one architecture, for that is
# enough to see that they compile and what machine code becomes of them; where there is a GPU, so that it can run them.
NVCC = $(firstword $(wildcard $(VENV)/lib/python3*/site-packages/nvidia/cu13/bin/nvcc) $(shell command -v nvcc))

CLANG := $(shell command -v clang++)

CUDA_ARCHS ?= $(if $(wildcard /dev/nvidiactl),,90a-real)

.PHONY: help demo test test-full cuda-all sanitize sanitize-address sanitize-thread fuzz lint format stubs bench docs nvcc gpu-tree \
  gpu-check clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo       train a network on handwritten digits in front of you'
	@echo 'make test       run the tests (PEERS= to do without PyTorch)'
	@echo 'make test-full  the tests that take minutes: every float32 through exp, log, tanh, ..., on each instruction set; CUDA'
	@echo '                kernels for all architectures; a thousand kills; with clang, make fuzz'
	@echo 'make sanitize   tests of the CPU under sanitizers: address, undefined, thread (the first time, it compiles for 15 minutes)'
	@echo 'make fuzz       hostile inputs for files, indices and arguments, a minute each (FUZZ_SECONDS=60); needs clang'
	@echo 'make lint       clang-format, ruff, mypy, stubs up to date'
	@echo 'make format     apply clang-format and ruff'
	@echo 'make stubs      write the types of the extension module'
	@echo 'make bench      measure everything against NumPy, PyTorch and ONNX Runtime, rewrite the tables (about 6 minutes)'
	@echo 'make docs       build the documentation into docs/_build/html'
	@echo 'make nvcc       install a CUDA compiler into .venv, for a machine that has none'
	@echo 'make gpu-tree   compile everything that a machine with a Hopper GPU needs, for its Python (PYTHON=python3.12), to carry it there'
	@echo 'make gpu-check  on a machine with a GPU: build, probe, test, measure and sanitize the CUDA backend (at most 11 minutes and the'
	@echo '                build; CHECK=--no-build uses what `make gpu-tree` made, CHECK=--dry-run goes through it on the emulator)'
	@echo 'make clean      remove the environment and everything built'

demo: $(VENV)/installed
	$(BIN)/fastnn train

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

test-full: $(VENV)/installed-test $(if $(NVCC),cuda-all) $(if $(CLANG),fuzz)
	$(BIN)/python -m pytest -m full -s

# The CUDA library for every architecture that a package holds or can hold; its machine code is checked by `make test-full`.
cuda-all: $(VENV)/tools
	CUDACXX=$(abspath $(NVCC)) $(BIN)/cmake -G Ninja -S . -B build/cuda/all -DFASTNN_CUDA=on -DFASTNN_CUDA_BLACKWELL=ON \
	  -DPython_EXECUTABLE=$(abspath $(BIN))/python -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	$(BIN)/cmake --build build/cuda/all --target fastnn_cuda

# One build folder and one way to run for each; pytest's options go into PYTEST_ADDOPTS, an instruction set into FASTNN_ISA.
# Reports pass by pytest: --capture=sys leaves them on the terminal.
# The interpreter leaks, so leaks are not looked for. Its small objects come from malloc, for borrowed memory is checked too.
sanitize: sanitize-address sanitize-thread
sanitize-address: SANITIZERS = address,undefined
sanitize-address: RUNTIME = libasan.so
sanitize-address: RUN = ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc
sanitize-address: TESTS = ops rows conv matmul pool norm tensor indexing autograd in_place functions optim random io aliasing elementwise \
  losses
sanitize-thread: SANITIZERS = thread
sanitize-thread: RUNTIME = libtsan.so
sanitize-thread: RUN = TSAN_OPTIONS=halt_on_error=1:suppressions=tests/tsan.supp
sanitize-thread: TESTS = determinism process threads ops
sanitize-thread: SELECT = -k 'determinism or on_one_model or that_change or in_one_thread or number_of_threads or second_thread'
sanitize-address sanitize-thread: sanitize-%: $(VENV)/installed-test
	$(call BUILD_SANITIZED,$*)
	$(BIN)/cmake --build build/sanitize/$* --target training_loop
	$(RUN) build/sanitize/$*/training_loop 2
	$(RUN) LD_PRELOAD="$$($(CXX) -print-file-name=$(RUNTIME)) $$($(CXX) -print-file-name=libstdc++.so)" \
	  PYTHONPATH=build/sanitize/$*/site $(BIN)/python -m pytest --capture=sys $(TESTS:%=tests/test_%.py) $(SELECT)

# The extension, and a package beside it, in build/sanitize/NAME.
define BUILD_SANITIZED
	$(BIN)/cmake -G Ninja -S . -B build/sanitize/$1 -DFASTNN_SANITIZE=$(SANITIZERS) -DFASTNN_TESTS=ON $(COMPILER) \
	  -DPython_EXECUTABLE=$(abspath $(BIN))/python -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	$(BIN)/cmake --build build/sanitize/$1 --target _C
	rm -rf build/sanitize/$1/site && mkdir build/sanitize/$1/site && cp -r python/fastnn build/sanitize/$1/site
	cp build/sanitize/$1/_C*.so build/sanitize/$1/site/fastnn
endef

# libFuzzer comes with clang, and Atheris brings it to Python. What is found stays in build/fuzz; an input that fails is named
# there, and by its bytes in the output.
FUZZ_SECONDS ?= 60
fuzz: SANITIZERS = fuzzer-no-link,address,undefined
fuzz: COMPILER = -DCMAKE_CXX_COMPILER=$(CLANG) -DFASTNN_ISAS=native
fuzz: $(VENV)/installed-test
	@test -n "$(CLANG)" || { echo 'make fuzz needs clang++ (on Debian and Ubuntu: apt install clang)'; exit 1; }
	@$(INSTALL) 'atheris>=3'
	$(call BUILD_SANITIZED,fuzz)
	set -e; for target in files indexing ops; do \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=512 PYTHONPATH=build/sanitize/fuzz/site \
	  LD_PRELOAD="$$(echo $(VENV)/lib/python3*/site-packages/asan_with_fuzzer.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  $(BIN)/python tests/fuzz/run.py $$target build/fuzz/$$target -artifact_prefix=build/fuzz/ -max_total_time=$(FUZZ_SECONDS) \
	    -timeout=60 -rss_limit_mb=0 -verbosity=0 -print_final_stats=1; \
	done

lint: $(VENV)/installed-lint
	@echo clang-format --dry-run
	@$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/make_stubs.py --check
	$(BIN)/python tools/make_op_table.py --check

format: $(VENV)/installed-lint
	@echo clang-format -i
	@$(BIN)/clang-format -i $(CXX_FILES)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: $(VENV)/installed
	$(BIN)/python tools/make_stubs.py
	$(BIN)/python tools/make_op_table.py

docs: EXTRAS = images,progress,docs
docs: $(VENV)/tools
	@$(INSTALL) --no-build-isolation $(OPTIONS) '.[$(EXTRAS)]'
	$(BIN)/sphinx-build -q -b html docs docs/_build/html

bench: $(VENV)/installed-test
	$(BIN)/python -m bench run --table

nvcc: | $(BIN)/python
	@$(INSTALL) $(foreach p,nvcc crt runtime cccl,'nvidia-cuda-$p==13.0.*') 'nvidia-nvvm==13.0.*'
	@ln -sfn lib "$$(echo $(VENV)/lib/python3*/site-packages/nvidia/cu13)/lib64"  # where nvcc looks

# build/gpu-tree, by an environment of that Python's own; VARIANTS='NAME=OPTIONS ...' of nvcc are compiled beside, for comparison.
GPU_VENV = build/gpu/venv-$(notdir $(PYTHON))
gpu-tree:
	@$(MAKE) --no-print-directory VENV=$(GPU_VENV) $(GPU_VENV)/tools
	CUDACXX=$(abspath $(NVCC)) $(GPU_VENV)/bin/python -m tools.gpu_check tree $(foreach v,$(VARIANTS),--variant '$v')

# tools/gpu_check has the options; "first" and "second" are its two calls.
gpu-check:
	$(PYTHON) -m tools.gpu_check $(CHECK)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# ---- the environment ---------------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "fastnn needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) -m venv failed (on Debian and Ubuntu: apt install python3-venv)"; rm -rf $(VENV); exit 1; }

# Not isolated: the build tools stay where they are, so the next build compiles only what changed.
$(VENV)/tools: | $(BIN)/python
	@$(INSTALL) 'scikit-build-core>=0.10' 'pybind11>=3.1' 'cmake>=3.25' ninja
	@touch $@

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
EXTRAS = images,progress

# Until there are tests to run, this machine's instruction set is enough. They need all, and reuse what was compiled.
ISAS = $(if $(wildcard $(VENV)/installed-test),all,native)
OPTIONS = --config-settings=cmake.define.FASTNN_ISAS=$(ISAS)

$(VENV)/installed-test: EXTRAS = images,progress,test$(PEERS)
$(VENV)/installed-test: ISAS = all
$(VENV)/installed-test: OPTIONS += --config-settings=cmake.define.FASTNN_TESTS=ON \
  $(if $(NVCC),--config-settings=cmake.define.FASTNN_CUDA=on '--config-settings=cmake.define.FASTNN_CUDA_ARCHS=$(CUDA_ARCHS)')
$(VENV)/installed-test: export CUDACXX = $(NVCC)
$(VENV)/installed-lint: EXTRAS = images,progress,lint
$(VENV)/installed $(VENV)/installed-test $(VENV)/installed-lint: $(PACKAGE) | $(VENV)/tools
	@echo 'installing fastnn into $(VENV) (the first time, it compiles for a few minutes)'
	@$(INSTALL) --no-build-isolation $(OPTIONS) '.[$(EXTRAS)]'
	@touch $@ $(VENV)/installed
