#!/usr/bin/env bash
# From a fresh clone to a sparse network: installs packages, builds, trains a byte-level Transformer sparse and dense on
# the C++ standard library's headers, and prints what that cost and gave. Safe to run again; offline once packages are there.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "quickstart 1/3: packages"
./scripts/install_dependencies.sh
echo "quickstart 2/3: build"
# Without a GPU to run on, compiling the CUDA kernels would only cost time.
cuda=OFF
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then cuda=AUTO; fi
TARGETS=lacuna ./scripts/build.sh build-quickstart -DLACUNA_CUDA=$cuda -DLACUNA_BUILD_TESTS=OFF
echo "quickstart 3/3: training"
exec ./build-quickstart/lacuna compare configs/quickstart.yaml
