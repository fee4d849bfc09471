#include "kernels/sum_parts/sum_parts.h"

namespace lacuna::kernels {

template <class T>
void sum_parts(CpuStream, const T* parts, std::int64_t count, std::int64_t n, T* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (std::int64_t s = 0; s < count; ++s) sum += static_cast<double>(parts[s * n + i]);
    out[i] = static_cast<T>(sum);
  }
}

template void sum_parts<float>(CpuStream, const float*, std::int64_t, std::int64_t, float*);
template void sum_parts<double>(CpuStream, const double*, std::int64_t, std::int64_t, double*);

}  // namespace lacuna::kernels
