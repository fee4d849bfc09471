// What numbers of a stored type are computed and summed in.
#pragma once

#include <type_traits>

namespace lacuna::kernels {

/// f32 for types narrower than that, else the type itself. What stands beside such numbers (gains, biases, statistics,
/// gradients of parameters) is of this type too.
template <class T>
using wide_t = std::conditional_t<sizeof(T) < sizeof(float), float, std::remove_const_t<T>>;

}  // namespace lacuna::kernels
