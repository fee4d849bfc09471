#!/usr/bin/env bash
# Builds everything and runs every test. Safe to run again; works offline once the packages are there.
#   scripts/test.sh [ctest options ...]        e.g. scripts/test.sh -R spmm
# LACUNA_DATA_DIR=DIR lets the tests that need real data sets run (see docs/data.md). Tests for CUDA are shown as skipped where
# there is no device.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/install_dependencies.sh
./scripts/build.sh build ${LACUNA_CMAKE_OPTIONS:-}
echo "test: running"
ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
