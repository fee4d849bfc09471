#include <cstring>

#include "kernels/store/store.h"

namespace lacuna::kernels {

void store(CpuStream, const void* host, std::size_t bytes, void* target) { std::memcpy(target, host, bytes); }

}  // namespace lacuna::kernels
