#include "pruning/method.h"

#include <array>
#include <utility>

#include "core/errors.h"

namespace lacuna {

std::unique_ptr<Method> make_method(const std::string& name) {
  using Make = std::unique_ptr<Method> (*)();
  constexpr std::array<std::pair<const char*, Make>, 8> kMethods{{{"static", make_static},
                                                                  {"magnitude", make_magnitude},
                                                                  {"random", make_random},
                                                                  {"one_shot", make_one_shot},
                                                                  {"set", make_set},
                                                                  {"rigl", make_rigl},
                                                                  {"snip", make_snip},
                                                                  {"acdc", make_acdc}}};
  if (name == "none") return nullptr;
  for (const auto& [known, make] : kMethods)
    if (name == known) return make();
  throw ConfigKeyError("pruning.method", "'" + name + "' is no method");
}

}  // namespace lacuna
