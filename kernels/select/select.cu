// Selection on CUDA by radix: three histograms of 11, 11 and 10 bits find the k-th largest key without a sort or a wait
// for the host; a count of its equals per block then says which of them are kept. Only integers are added atomically,
// so the result has no order to depend on.
#include <algorithm>

#include <cub/block/block_scan.cuh>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/select/select.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kBins = 2048;
constexpr int kScanThreads = 1024;
constexpr int kChunk = 4096;  // scores whose equals are counted together
constexpr int kDigits[] = {11, 11, 10};

using Count = unsigned long long;

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

/// What is known of the k-th largest key.
struct State {
  Count remaining;       // its rank, from 1, among the keys that share its digits so far
  std::uint32_t prefix;  // those digits, in place; at the end the key itself
  std::uint32_t known;   // which bits they are
};

/// An unsigned integer that orders as the scores do: NaN lowest, -0 equal to +0.
__device__ __forceinline__ std::uint32_t sortable(float x) {
  if (isnan(x)) return 0u;  // below -infinity, whose key is not 0
  if (x == 0.0f) return 0x80000000u;
  const std::uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__global__ void __launch_bounds__(kScanThreads) start(State* state, Count* histogram, Count k) {
  for (int i = threadIdx.x; i < kBins; i += kScanThreads) histogram[i] = 0;
  if (threadIdx.x == 0) *state = {k, 0u, 0u};
}

/// histogram[d] += keys with the state's prefix and digit d.
__global__ void __launch_bounds__(kThreads)
    count_digits(const float* __restrict__ scores, std::int64_t n, const State* __restrict__ state, int shift,
                 unsigned digit_mask, Count* histogram) {
  __shared__ unsigned local[kBins];
  for (int i = threadIdx.x; i < kBins; i += kThreads) local[i] = 0;
  __syncthreads();
  const std::uint32_t prefix = state->prefix, known = state->known;
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
#pragma unroll 4
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) {
    const std::uint32_t key = sortable(scores[i]);
    if ((key & known) == prefix) atomicAdd(&local[(key >> shift) & digit_mask], 1u);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kBins; i += kThreads) {
    if (local[i] != 0) atomicAdd(&histogram[i], Count{local[i]});
  }
}

/// Extends the prefix by the digit in which the wanted rank falls, and clears the histogram for the next one.
__global__ void __launch_bounds__(kScanThreads)
    pick_digit(State* state, int shift, unsigned digit_mask, Count* histogram) {
  using Scan = cub::BlockScan<Count, kScanThreads, cub::BLOCK_SCAN_WARP_SCANS>;
  __shared__ typename Scan::TempStorage storage;
  const Count wanted = state->remaining;
  Count counts[kBins / kScanThreads], above[kBins / kScanThreads];
#pragma unroll
  for (int j = 0; j < kBins / kScanThreads; ++j) {
    const int bin = kBins - 1 - (static_cast<int>(threadIdx.x) * (kBins / kScanThreads) + j);  // largest digit first
    counts[j] = histogram[bin];
    histogram[bin] = 0;
  }
  Scan(storage).ExclusiveSum(counts, above);
  __syncthreads();  // all have read the state
#pragma unroll
  for (int j = 0; j < kBins / kScanThreads; ++j) {
    const unsigned bin = kBins - 1 - (threadIdx.x * (kBins / kScanThreads) + j);
    if (above[j] < wanted && wanted <= above[j] + counts[j]) {  // exactly one bin of all
      state->prefix |= bin << shift;
      state->known |= digit_mask << shift;
      state->remaining = wanted - above[j];
    }
  }
}

/// equals[c] = scores of chunk c whose key is the k-th largest.
__global__ void __launch_bounds__(kThreads)
    count_equals(const float* __restrict__ scores, std::int64_t n, const State* __restrict__ state,
                 std::uint32_t* __restrict__ equals) {
  const std::uint32_t key = state->prefix;
  const std::int64_t base = std::int64_t{blockIdx.x} * kChunk;
  int count = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < kChunk; i += kThreads) {
    // The barrier's count would need all threads in the loop: kChunk is a multiple of kThreads.
    count += __syncthreads_count(base + i < n && sortable(scores[base + i]) == key);
  }
  if (threadIdx.x == 0) equals[blockIdx.x] = static_cast<std::uint32_t>(count);
}

/// before[c] = equals in the chunks before c; one block.
__global__ void __launch_bounds__(kScanThreads)
    scan_equals(const std::uint32_t* __restrict__ equals, std::int64_t chunks, Count* __restrict__ before) {
  using Scan = cub::BlockScan<Count, kScanThreads, cub::BLOCK_SCAN_WARP_SCANS>;
  __shared__ typename Scan::TempStorage storage;
  Count running = 0;
  for (std::int64_t base = 0; base < chunks; base += kScanThreads) {
    const std::int64_t c = base + threadIdx.x;
    Count exclusive, total;
    Scan(storage).ExclusiveSum(c < chunks ? Count{equals[c]} : Count{0}, exclusive, total);
    if (c < chunks) before[c] = running + exclusive;
    running += total;
    __syncthreads();
  }
}

/// Keeps every key above the k-th largest, and the first `remaining` of those that equal it.
__global__ void __launch_bounds__(kThreads)
    keep_scores(const float* __restrict__ scores, std::int64_t n, const State* __restrict__ state,
                const Count* __restrict__ before, std::uint8_t* __restrict__ keep) {
  __shared__ int warp_equals[kThreads / kWarp];
  const std::uint32_t threshold = state->prefix;
  const Count allowed = state->remaining;
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const std::int64_t base = std::int64_t{blockIdx.x} * kChunk;
  Count rank = before[blockIdx.x];  // equals before this round
  for (int i = threadIdx.x; i < kChunk; i += kThreads) {
    const bool inside = base + i < n;
    const std::uint32_t key = inside ? sortable(scores[base + i]) : 0u;
    const bool equal = inside && key == threshold;
    const unsigned ballot = __ballot_sync(0xffffffffu, equal);
    if (lane == 0) warp_equals[warp] = __popc(ballot);
    __syncthreads();
    int earlier = __popc(ballot & ((1u << lane) - 1)), total = 0;
#pragma unroll
    for (unsigned w = 0; w < kThreads / kWarp; ++w) {
      if (w < warp) earlier += warp_equals[w];
      total += warp_equals[w];
    }
    if (inside) keep[base + i] = key > threshold || (equal && rank + earlier < allowed);
    rank += total;
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) magnitude_kernel(const float* x, std::int64_t n, float* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) out[i] = fabsf(x[i]);
}

std::int64_t chunks_of(std::int64_t n) { return (n + kChunk - 1) / kChunk; }

}  // namespace

// Scratch: State in 256 bytes, the histogram, before[chunks], equals[chunks].
template <class T>
std::size_t top_k_scratch_bytes(CudaStream, std::int64_t n) {
  return 256 + kBins * sizeof(Count) + static_cast<std::size_t>(chunks_of(n)) * (sizeof(Count) + sizeof(std::uint32_t));
}

template <class T>
void top_k_mask(CudaStream stream, const T* scores, std::int64_t n, std::int64_t k, std::uint8_t* keep, void* scratch) {
  if (n == 0) return;
  if (k <= 0 || k >= n) {
    LACUNA_CUDA_CHECK(cudaMemsetAsync(keep, k > 0 ? 1 : 0, static_cast<std::size_t>(n), cuda(stream)));
    return;
  }
  const auto chunks = static_cast<unsigned>(chunks_of(n));
  auto* state = static_cast<State*>(scratch);
  auto* histogram = reinterpret_cast<Count*>(static_cast<char*>(scratch) + 256);
  Count* before = histogram + kBins;
  auto* equals = reinterpret_cast<std::uint32_t*>(before + chunks);

  start<<<1, kScanThreads, 0, cuda(stream)>>>(state, histogram, static_cast<Count>(k));
  LACUNA_CUDA_LAUNCHED("top_k start");
  const auto blocks =
      static_cast<unsigned>(std::min<std::int64_t>(chunks, std::int64_t{std::max(stream.multiprocessors, 1)} * 8));
  int shift = 32;
  for (const int digit : kDigits) {
    shift -= digit;
    const unsigned mask = (1u << digit) - 1;
    count_digits<<<blocks, kThreads, 0, cuda(stream)>>>(scores, n, state, shift, mask, histogram);
    LACUNA_CUDA_LAUNCHED("top_k count_digits");
    pick_digit<<<1, kScanThreads, 0, cuda(stream)>>>(state, shift, mask, histogram);
    LACUNA_CUDA_LAUNCHED("top_k pick_digit");
  }
  count_equals<<<chunks, kThreads, 0, cuda(stream)>>>(scores, n, state, equals);
  LACUNA_CUDA_LAUNCHED("top_k count_equals");
  scan_equals<<<1, kScanThreads, 0, cuda(stream)>>>(equals, chunks, before);
  LACUNA_CUDA_LAUNCHED("top_k scan_equals");
  keep_scores<<<chunks, kThreads, 0, cuda(stream)>>>(scores, n, state, before, keep);
  LACUNA_CUDA_LAUNCHED("top_k keep_scores");
}

template <class T>
void magnitude(CudaStream stream, const T* x, std::int64_t n, T* out) {
  if (n == 0) return;
  magnitude_kernel<<<static_cast<unsigned>((n + kThreads - 1) / kThreads), kThreads, 0, cuda(stream)>>>(x, n, out);
  LACUNA_CUDA_LAUNCHED("magnitude");
}

#define LACUNA_INSTANTIATE(T)                                                                              \
  template std::size_t top_k_scratch_bytes<T>(CudaStream, std::int64_t);                                  \
  template void top_k_mask<T>(CudaStream, const T*, std::int64_t, std::int64_t, std::uint8_t*, void*);    \
  template void magnitude<T>(CudaStream, const T*, std::int64_t, T*);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
