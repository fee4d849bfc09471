#!/usr/bin/env bash
# Builds everything for the CPU with AddressSanitizer and UndefinedBehaviorSanitizer and runs every test.
#   scripts/sanitize.sh [ctest options ...]
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/install_dependencies.sh
./scripts/build.sh build-sanitize -DLACUNA_CUDA=OFF -DLACUNA_SANITIZE=address,undefined
echo "sanitize: running"
# oneDNN and the OpenMP runtime keep what they allocate once until the end: not our leaks, and not what is looked for here.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
ctest --test-dir build-sanitize --output-on-failure -j "$(nproc)" "$@"
