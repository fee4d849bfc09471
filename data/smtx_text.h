// Writing sparsity patterns in the .smtx format; data/smtx.h reads it.
#pragma once

#include <string>

#include "core/topology.h"

namespace lacuna {

/// A pattern, on any device, as the text of a .smtx file, spelled as the Deep Learning Matrix Collection does:
/// `rows, cols, nnz`, then row offsets, then column indices, separated by blanks. read_smtx() gives the same pattern.
std::string format_smtx(const Topology& topology);

}  // namespace lacuna
