#include "core/kernel_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"

namespace lacuna {

namespace {

struct Named {
  const char* name;
  bool KernelSet::*member;
};

constexpr Named kKernels[] = {
    {"spmm_panel", &KernelSet::spmm_panel},     {"spmm_tensor", &KernelSet::spmm_tensor},
    {"sddmm_tensor", &KernelSet::sddmm_tensor}, {"sddmm_groups", &KernelSet::sddmm_groups},
    {"half_product", &KernelSet::half_product}, {"fused_attention", &KernelSet::fused_attention},
    {"bf16_product", &KernelSet::bf16_product}, {"gemm_parts", &KernelSet::gemm_parts},
    {"token_rows", &KernelSet::token_rows},     {"dependent_launch", &KernelSet::dependent_launch},
};

}  // namespace

KernelSet without(KernelSet set, const std::string& names) {
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t comma = std::min(names.find(',', begin), names.size());
    std::string name = names.substr(begin, comma - begin);
    begin = comma + 1;
    std::erase(name, ' ');
    if (name.empty()) continue;
    bool found = false;
    for (const Named& kernel : kKernels) {
      if (name != kernel.name) continue;
      set.*kernel.member = false;
      found = true;
    }
    if (!found) {
      std::string known;
      for (const Named& kernel : kKernels) known += fmt::format("{}{}", known.empty() ? "" : ", ", kernel.name);
      throw ValueError("kernels",
                       fmt::format("'{}' is no kernel that can be switched off; must be of {}", name, known));
    }
  }
  return set;
}

std::string names_off(const KernelSet& set) {
  std::string names;
  for (const Named& kernel : kKernels) {
    if (set.*kernel.member) continue;
    if (!names.empty()) names += ',';
    names += kernel.name;
  }
  return names;
}

}  // namespace lacuna
