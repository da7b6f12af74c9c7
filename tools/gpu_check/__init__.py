"""Shows on a machine with a GPU that the CUDA backend works there, and how fast: `make gpu-check`, docs/cuda.md.

Needs no network: Python with NumPy and pytest, PyTorch as the peer, ncu and compute-sanitizer where they are. Two calls, so
that each fits a short loan of a machine:

    python -m tools.gpu_check first     one product, the probe, ceilings, tests, benchmarks, kernels under the profiler
    python -m tools.gpu_check second    forced tiles and splits, variants of the library, compute-sanitizer

Every row is a line of JSON in the output folder as soon as it is measured. A row that hangs costs seconds; an error that
the device does not recover from costs a process. `--dry-run` goes through all of it on the emulator, mistakes included.
"""
