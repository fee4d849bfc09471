// Selection: which of a weight's stored entries stay, by score; and scores.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/parameter.h"
#include "core/random.h"
#include "pruning/granularity.h"

namespace lacuna {

/// Score of each stored entry of a parameter, laid out as its value; the largest are kept.
using Score = std::function<Tensor(const Parameter&)>;

/// |w|; Han et al. 2015, Zhu & Gupta 2017.
Score magnitude_score();
/// Uniform random; layer i of step t always scores the same.
Score random_score(RandomStream& random);
/// |w * dL/dw| (Lee et al., SNIP, 2019, section 4.1; their normalisation does not change the order). The gradient must be
/// there. Throws ValueError.
Score sensitivity_score();

/// Entries that sparsity `s` leaves of `n`: round((1 - s) n), and all of them at s = 0.
std::int64_t kept_entries(double sparsity, std::int64_t n);

/// u8 per stored entry: 1 in the `kept` best units by mean score (n_m: the `kept` best of each group), ties to the lower
/// index (row-major). What a unit lacks already stays absent.
Tensor keep_mask(const Parameter& parameter, const Tensor& scores, std::int64_t kept, const Granularity& granularity);

/// Keeps exactly `kept` units of a parameter, and moves value and optimizer state onto the smaller topology; a dense
/// parameter becomes CSR. `kept` past what is stored keeps all. The gradient is dropped. Throws ShapeError.
void prune_parameter(Parameter& parameter, const Tensor& scores, std::int64_t kept,
                     const Granularity& granularity = {});

/// One threshold over all parameters together; exactly `kept` units remain in total. Not for n_m.
void prune_globally(const std::vector<Parameter*>& parameters, const Score& score, std::int64_t kept,
                    const Granularity& granularity = {});

}  // namespace lacuna
