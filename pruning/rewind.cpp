#include "pruning/rewind.h"

namespace lacuna {
namespace {

constexpr const char* kSlot = "rewind";

}  // namespace

void keep_for_rewinding(const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) p->slots()[kSlot] = p->value().clone();
}

void rewind(const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) {
    const auto kept = p->slots().find(kSlot);
    if (kept == p->slots().end()) continue;
    const Tensor values = kept->second;
    p->value().copy_from(values);
    p->slots().clear();
    p->slots()[kSlot] = values;
  }
}

void forget_rewinding(const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) p->slots().erase(kSlot);
}

}  // namespace lacuna
