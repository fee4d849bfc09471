#!/usr/bin/env bash
# Configures and builds.   scripts/build.sh BUILD_DIR [cmake options ...]   TARGETS="lacuna" limits what is built.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1; shift
# A CUDA toolkit off the PATH, where its installer puts it, is found too.
if ! command -v nvcc >/dev/null && [ -x /usr/local/cuda/bin/nvcc ]; then export PATH=/usr/local/cuda/bin:$PATH; fi
echo "build: configuring $build"
cmake -S . -B "$build" -G Ninja "$@" >"$build.configure.log" 2>&1 || { cat "$build.configure.log"; exit 1; }
grep "Lacuna:" "$build.configure.log" | sed "s/^-- //"
rm -f "$build.configure.log"
echo "build: compiling with $(nproc) jobs"
# shellcheck disable=SC2086
cmake --build "$build" -j "$(nproc)" ${TARGETS:+--target $TARGETS} -- --quiet
