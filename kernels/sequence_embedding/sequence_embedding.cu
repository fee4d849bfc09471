// Tiles of 64 features x 64 columns through shared memory: tables are read, and the positions' gradient written, along
// features; activations along columns; both 16 bytes at a time, which is also what one draw of dropout serves. Sizes and
// addresses that do not allow it take an element a thread.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/bf16_pack.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/dropout/word_dropout.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sequence_embedding/sequence_embedding.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kSide = 64;  // features and columns of a tile

cudaStream_t handle_of(const CudaStream& stream) { return static_cast<cudaStream_t>(stream.handle); }

/// How T lies in a tile, [column][word]: a word of two bf16 features, or of one f32.
template <class T>
struct Packing {
  static constexpr int kPack = 16 / sizeof(T);    // columns moved at once
  static constexpr int kInWord = 4 / sizeof(T);   // features of a word
  static constexpr int kWords = kSide / kInWord;  // of a column
  static constexpr int kStride = kWords + 1;      // spreads columns over the banks
  static constexpr int kLanes = kSide / kPack;    // threads along columns
  static constexpr int kWordsAtOnce = kThreads / kLanes;
  static constexpr int kShift = sizeof(T) == 2 ? 4 : 2;  // words that half of the lanes are off, for the banks

  /// Place of a column's word in the tile.
  static __device__ __forceinline__ int at(int column, int word) {
    return column * kStride + (word ^ (column & kSide / 2 ? kShift : 0));
  }
};

__device__ __forceinline__ std::uint32_t pair_bf16(float low, float high) {
  std::uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ __forceinline__ float low_bf16(std::uint32_t word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_bf16(std::uint32_t word) { return __uint_as_float(word & 0xffff0000u); }

/// Words of four adjacent features' sums.
__device__ __forceinline__ void sum_words(const float4& a, const float4& b, std::uint32_t (&words)[2]) {
  const std::uint32_t a0 = pair_bf16(a.x, a.y), a1 = pair_bf16(a.z, a.w);
  const std::uint32_t b0 = pair_bf16(b.x, b.y), b1 = pair_bf16(b.z, b.w);
  words[0] = pair_bf16(low_bf16(a0) + low_bf16(b0), high_bf16(a0) + high_bf16(b0));
  words[1] = pair_bf16(low_bf16(a1) + low_bf16(b1), high_bf16(a1) + high_bf16(b1));
}
__device__ __forceinline__ void sum_words(const float4& a, const float4& b, std::uint32_t (&words)[4]) {
  words[0] = __float_as_uint(a.x + b.x), words[1] = __float_as_uint(a.y + b.y);
  words[2] = __float_as_uint(a.z + b.z), words[3] = __float_as_uint(a.w + b.w);
}

/// And back.
__device__ __forceinline__ float4 four_of(const std::uint32_t (&words)[2]) {
  return make_float4(low_bf16(words[0]), high_bf16(words[0]), low_bf16(words[1]), high_bf16(words[1]));
}
__device__ __forceinline__ float4 four_of(const std::uint32_t (&words)[4]) {
  return make_float4(__uint_as_float(words[0]), __uint_as_float(words[1]), __uint_as_float(words[2]),
                     __uint_as_float(words[3]));
}

/// 16 bytes of adjacent columns of the feature `part` of a word.
__device__ __forceinline__ void columns_of(const std::uint32_t (&words)[8], int part, float (&values)[8]) {
#pragma unroll
  for (int v = 0; v < 8; ++v) values[v] = part == 0 ? low_bf16(words[v]) : high_bf16(words[v]);
}
__device__ __forceinline__ void columns_of(const std::uint32_t (&words)[4], int, float (&values)[4]) {
#pragma unroll
  for (int v = 0; v < 4; ++v) values[v] = __uint_as_float(words[v]);
}
__device__ __forceinline__ uint4 pack_of(const float (&values)[8]) { return pack_bf16(values); }
__device__ __forceinline__ uint4 pack_of(const float (&values)[4]) {
  return make_uint4(__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
                    __float_as_uint(values[3]));
}
__device__ __forceinline__ void unpack(const uint4& pack, float (&values)[8]) { unpack_bf16(pack, values); }
__device__ __forceinline__ void unpack(const uint4& pack, float (&values)[4]) {
  values[0] = __uint_as_float(pack.x), values[1] = __uint_as_float(pack.y);
  values[2] = __uint_as_float(pack.z), values[3] = __uint_as_float(pack.w);
}

/// Grid: (tiles of columns, tiles of features). kPack divides n, 4 divides d.
template <class T>
__global__ void __launch_bounds__(kThreads) sequence_embedding_kernel(const SequenceEmbedding<T> c) {
  using P = Packing<T>;
  __shared__ std::uint32_t tile[kSide * P::kStride];
  const std::int64_t column0 = std::int64_t{blockIdx.x} * kSide;
  const int feature0 = static_cast<int>(blockIdx.y) * kSide;
  constexpr int kQuads = kSide / 4, kColumns = kThreads / kQuads, kPasses = kSide / kColumns,
                kWordsOfFour = 4 / P::kInWord;
  {
    const int quad = threadIdx.x % kQuads, line = threadIdx.x / kQuads;
    const std::int64_t feature = feature0 + quad * 4;
    const std::int64_t position0 = column0 < c.length ? column0 : column0 % c.length;
    float4 a[kPasses] = {}, b[kPasses] = {};
    std::int64_t token[kPasses];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const std::int64_t column = column0 + pass * kColumns + line;
      token[pass] = column < c.n ? c.tokens[column] : -1;
    }
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int off = pass * kColumns + line;
      if (column0 + off >= c.n || feature >= c.d) continue;
      std::int64_t position = position0 + off;
      if (position >= c.length) position %= c.length;
      b[pass] = *reinterpret_cast<const float4*>(c.positions + position * c.d + feature);
      if (token[pass] >= 0 && token[pass] < c.vocab)
        a[pass] = *reinterpret_cast<const float4*>(c.table + token[pass] * c.d + feature);
    }
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      std::uint32_t words[kWordsOfFour];
      sum_words(a[pass], b[pass], words);
#pragma unroll
      for (int w = 0; w < kWordsOfFour; ++w) tile[P::at(pass * kColumns + line, quad * kWordsOfFour + w)] = words[w];
    }
  }
  const WordDropout drop(c.dropout);
  __syncthreads();
  const int lane = threadIdx.x % P::kLanes, line = threadIdx.x / P::kLanes;
  const std::int64_t column = column0 + lane * P::kPack;
  if (column >= c.n) return;
#pragma unroll
  for (int word = line; word < P::kWords; word += P::kWordsAtOnce) {
    std::uint32_t words[P::kPack];
#pragma unroll
    for (int v = 0; v < P::kPack; ++v) words[v] = tile[P::at(lane * P::kPack + v, word)];
#pragma unroll
    for (int part = 0; part < P::kInWord; ++part) {
      const std::int64_t feature = feature0 + word * P::kInWord + part;
      if (feature >= c.d) continue;
      float values[P::kPack];
      columns_of(words, part, values);
      drop(values, feature * c.n + column);
      *reinterpret_cast<uint4*>(c.out + feature * c.n + column) = pack_of(values);
    }
  }
}

/// Grid: (tiles of a sequence's positions, tiles of features); the sequences one after another. kPack divides length, 4
/// divides d.
template <class T>
__global__ void __launch_bounds__(kThreads) sequence_embedding_gradient_kernel(const SequenceEmbeddingGradient<T> c) {
  using P = Packing<T>;
  __shared__ std::uint32_t tile[kSide * P::kStride];
  const std::int64_t position0 = std::int64_t{blockIdx.x} * kSide;
  const int feature0 = static_cast<int>(blockIdx.y) * kSide;
  constexpr int kQuads = kSide / 4, kColumns = kThreads / kQuads, kPasses = kSide / kColumns,
                kWordsOfFour = 4 / P::kInWord;
  constexpr int kTurns = P::kWords / P::kWordsAtOnce;
  const int lane = threadIdx.x % P::kLanes, line = threadIdx.x / P::kLanes;
  const int quad = threadIdx.x % kQuads, row = threadIdx.x / kQuads;
  const std::int64_t position = position0 + lane * P::kPack;
  const WordDropout drop(c.dropout);
  float4 sums[kPasses] = {};
  for (std::int64_t begin = 0; begin < c.n; begin += c.length) {
    const std::int64_t column = begin + position;
    uint4 packs[kTurns][P::kInWord] = {};
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn)
#pragma unroll
      for (int part = 0; part < P::kInWord; ++part) {
        const std::int64_t feature = feature0 + (turn * P::kWordsAtOnce + line) * P::kInWord + part;
        if (position < c.length && feature < c.d)
          packs[turn][part] = *reinterpret_cast<const uint4*>(c.dout + feature * c.n + column);
      }
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      std::uint32_t words[P::kPack];
#pragma unroll
      for (int part = 0; part < P::kInWord; ++part) {
        const std::int64_t feature = feature0 + (turn * P::kWordsAtOnce + line) * P::kInWord + part;
        uint4& pack = packs[turn][part];
        if (drop.active()) {
          float values[P::kPack];
          unpack(pack, values);
          drop(values, feature * c.n + column);
          pack = pack_of(values);
        }
        if (c.dsum != nullptr && position < c.length && feature < c.d)
          *reinterpret_cast<uint4*>(c.dsum + feature * c.n + column) = pack;
      }
      const std::uint32_t first[4] = {packs[turn][0].x, packs[turn][0].y, packs[turn][0].z, packs[turn][0].w};
      if constexpr (P::kInWord == 1) {
#pragma unroll
        for (int v = 0; v < 4; ++v) words[v] = first[v];
      } else {
        const uint4& other = packs[turn][P::kInWord - 1];
        const std::uint32_t second[4] = {other.x, other.y, other.z, other.w};
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          words[2 * v] = __byte_perm(first[v], second[v], 0x5410);
          words[2 * v + 1] = __byte_perm(first[v], second[v], 0x7632);
        }
      }
#pragma unroll
      for (int v = 0; v < P::kPack; ++v) tile[P::at(lane * P::kPack + v, turn * P::kWordsAtOnce + line)] = words[v];
    }
    __syncthreads();
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      std::uint32_t words[kWordsOfFour];
#pragma unroll
      for (int w = 0; w < kWordsOfFour; ++w) words[w] = tile[P::at(pass * kColumns + row, quad * kWordsOfFour + w)];
      const float4 four = four_of(words);
      sums[pass].x += four.x, sums[pass].y += four.y, sums[pass].z += four.z, sums[pass].w += four.w;
    }
    __syncthreads();
  }
  const std::int64_t feature = feature0 + quad * 4;
  if (feature >= c.d) return;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const std::int64_t l = position0 + pass * kColumns + row;
    if (l < c.length) *reinterpret_cast<float4*>(c.dpositions + l * c.d + feature) = sums[pass];
  }
}

/// An element a thread, for sizes and addresses that the kernels above do not take. Grid: (columns, features).
template <class T>
__global__ void __launch_bounds__(kThreads) sequence_embedding_elements_kernel(const SequenceEmbedding<T> c) {
  const std::int64_t j = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (j >= c.n) return;
  const std::int64_t token = c.tokens[j], position = j % c.length;
  const WordDropout drop(c.dropout);
  for (std::int64_t f = blockIdx.y; f < c.d; f += gridDim.y) {
    const T entry = static_cast<T>(token >= 0 && token < c.vocab ? c.table[token * c.d + f] : 0.0f);
    const T sum =
        static_cast<T>(static_cast<float>(entry) + static_cast<float>(static_cast<T>(c.positions[position * c.d + f])));
    float value[1] = {static_cast<float>(sum)};
    drop(value, f * c.n + j);
    c.out[f * c.n + j] = static_cast<T>(value[0]);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    sequence_embedding_gradient_elements_kernel(const SequenceEmbeddingGradient<T> c) {
  const std::int64_t l = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (l >= c.length) return;
  const WordDropout drop(c.dropout);
  for (std::int64_t f = blockIdx.y; f < c.d; f += gridDim.y) {
    float sum = 0;
    for (std::int64_t j = l; j < c.n; j += c.length) {
      float value[1] = {static_cast<float>(c.dout[f * c.n + j])};
      drop(value, f * c.n + j);
      const T kept = static_cast<T>(value[0]);
      if (c.dsum != nullptr) c.dsum[f * c.n + j] = kept;
      sum += static_cast<float>(kept);
    }
    c.dpositions[l * c.d + f] = sum;
  }
}

/// Grid: (kPack columns a thread, tokens of the table). kPack divides n.
template <class T, int kPack>
__global__ void __launch_bounds__(kThreads)
    one_hot_kernel(const std::int32_t* tokens, std::int64_t vocab, std::int64_t n, T* out) {
  const std::int64_t j = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kPack;
  if (j >= n) return;
  std::int32_t own[kPack];
#pragma unroll
  for (int v = 0; v < kPack; ++v) own[v] = tokens[j + v];
  for (std::int64_t token = blockIdx.y; token < vocab; token += gridDim.y) {
    Pack<T, kPack> hot;
#pragma unroll
    for (int v = 0; v < kPack; ++v) hot.v[v] = static_cast<T>(own[v] == token ? 1.0f : 0.0f);
    store_pack<kPack>(out + token * n + j, hot);
  }
}

bool aligned16(std::initializer_list<const void*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(),
                     [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; });
}

unsigned blocks_of(std::int64_t items, int each) { return static_cast<unsigned>((items + each - 1) / each); }
unsigned y_blocks_of(std::int64_t items) { return static_cast<unsigned>(std::min<std::int64_t>(items, 65535)); }

}  // namespace

template <class T>
void sequence_embedding(CudaStream stream, const SequenceEmbedding<T>& c) {
  if (c.d == 0 || c.n == 0) return;
  if (c.n % Packing<T>::kPack == 0 && c.d % 4 == 0 && c.d <= 65535 * kSide &&
      aligned16({c.table, c.positions, c.out})) {
    sequence_embedding_kernel<T>
        <<<dim3(blocks_of(c.n, kSide), blocks_of(c.d, kSide)), kThreads, 0, handle_of(stream)>>>(c);
  } else {
    sequence_embedding_elements_kernel<T>
        <<<dim3(blocks_of(c.n, kThreads), y_blocks_of(c.d)), kThreads, 0, handle_of(stream)>>>(c);
  }
  LACUNA_CUDA_LAUNCHED("sequence_embedding");
}

template <class T>
void sequence_embedding_gradient(CudaStream stream, const SequenceEmbeddingGradient<T>& c) {
  if (c.d == 0 || c.length == 0) return;
  if (c.length % Packing<T>::kPack == 0 && c.d % 4 == 0 && c.d <= 65535 * kSide &&
      aligned16({c.dout, c.dsum, c.dpositions})) {
    sequence_embedding_gradient_kernel<T>
        <<<dim3(blocks_of(c.length, kSide), blocks_of(c.d, kSide)), kThreads, 0, handle_of(stream)>>>(c);
  } else {
    sequence_embedding_gradient_elements_kernel<T>
        <<<dim3(blocks_of(c.length, kThreads), y_blocks_of(c.d)), kThreads, 0, handle_of(stream)>>>(c);
  }
  LACUNA_CUDA_LAUNCHED("sequence_embedding_gradient");
}

template <class T>
void one_hot(CudaStream stream, const std::int32_t* tokens, std::int64_t vocab, std::int64_t n, T* out) {
  if (vocab == 0 || n == 0) return;
  constexpr int kPack = Packing<T>::kPack;
  const bool packed = n % kPack == 0 && aligned16({out});
  const auto kernel = packed ? one_hot_kernel<T, kPack> : one_hot_kernel<T, 1>;
  const unsigned across = blocks_of(packed ? n / kPack : n, kThreads);
  const auto rows = static_cast<unsigned>(std::clamp<std::int64_t>(vocab / 4, 1, 4096));
  kernel<<<dim3(across, rows), kThreads, 0, handle_of(stream)>>>(tokens, vocab, n, out);
  LACUNA_CUDA_LAUNCHED("one_hot");
}

#define LACUNA_INSTANTIATE(T)                                                                    \
  template void sequence_embedding<T>(CudaStream, const SequenceEmbedding<T>&);                  \
  template void sequence_embedding_gradient<T>(CudaStream, const SequenceEmbeddingGradient<T>&); \
  template void one_hot<T>(CudaStream, const std::int32_t*, std::int64_t, std::int64_t, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
