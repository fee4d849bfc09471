#!/usr/bin/env bash
# Runs what launches CUDA kernels under compute-sanitizer, in a CUDA build with a GPU: every kernel variant at least once, tests
# that only repeat left out. A finding ends it with exit code 1.
#   scripts/sanitize_cuda.sh [BUILD] [TOOL ...]        BUILD: build-cuda; TOOL: memcheck racecheck initcheck synccheck
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-cuda}
tools=("${@:2}")
[ ${#tools[@]} -gt 0 ] || tools=(memcheck)
export LACUNA_SHORT_TESTS=1 OMP_WAIT_POLICY=passive

sanitize() { # tool program arguments...
  local start=$SECONDS
  echo "sanitize_cuda: $*"
  compute-sanitizer --tool "$1" --error-exitcode 1 --print-limit 20 "${@:2}" > "$log" 2>&1 ||
    { grep '^=========' "$log" | head -n 200; tail -n 60 "$log"; echo "sanitize_cuda: FAILED: $*"; exit 1; }
  grep -E '\[  (PASSED|SKIPPED) \].*tests?[.,]|ERROR SUMMARY|RACECHECK SUMMARY' "$log" || true
  echo "sanitize_cuda: $((SECONDS - start)) s"
}
log=$(mktemp)
out=$(mktemp -d)
trap 'rm -rf "$log" "$out"' EXIT

for tool in "${tools[@]}"; do
  # initcheck does not see what the copy engine stores (cuBLASLt's results, bf16_product's): cleared results it sees. And it
  # checks a graph's copies when the graph is launched, before its kernels have run.
  export LACUNA_CLEAR_PRODUCTS=$([ "$tool" = initcheck ] && echo 1 || echo 0)
  graphs=$([ "$tool" = initcheck ] && echo ':CapturedStepOnCuda.*' || true)
  # Left out: a test that makes the CUDA runtime refuse a capture; the tools report the refused calls.
  sanitize "$tool" "$build/tests/test_core" \
    --gtest_filter="-CapturedStepOnCuda.AStepThatWaitsIsRefusedAndRunsAllTheSame$graphs"
  sanitize "$tool" "$build/tests/test_kernels" --gtest_filter='*Cuda*:SpmmTensor.*:Bf16Product.*'
  sanitize "$tool" "$build/tests/test_pruning" \
    --gtest_filter='Growth.*:Units.*:*OnCuda/magnitude:*OnCuda/rigl:*OnCuda/set:*OnCuda/acdc:*OnCuda/snip'
  sanitize "$tool" "$build/tests/test_train" --gtest_filter='*Cuda*:InteropOnEveryDevice.*'
  sanitize "$tool" "$build/tests/test_models" --gtest_filter='*Cuda*'
done
sanitize memcheck "$build/lacuna" doctor  # every route of SpMM and SDDMM
# Graphs, cuSPARSE and cuBLASLt are other people's code: memory errors alone are looked for there.
sanitize memcheck "$build/lacuna" bench kernels --device cuda --m 256 --n 64 --pattern uniform --sparsity 0.9 \
  --op spmm --op spmm_transposed --op sddmm --op sparse_softmax --budget-ms 1 --out "$out/bench"
echo "sanitize_cuda: nothing found"
