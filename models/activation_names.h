// How configs spell the activations.
#pragma once

#include "core/field.h"
#include "kernels/runtime/views.h"

namespace lacuna {

inline EnumNames<Activation> enum_names(Activation) { return {{"relu", Activation::relu}, {"gelu", Activation::gelu}}; }

}  // namespace lacuna
