// The Deep Learning Matrix Collection: which .smtx files there are, and with how many columns the paper multiplies them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lacuna::bench {

struct SmtxFile {
  std::filesystem::path path;
  std::string family;  ///< "transformer", "rn50", or "smtx" where the path tells neither
  std::string method;  ///< the folder below the family ("magnitude_pruning"), or ""
  std::string name;    ///< family/method/sparsity/layer, or the file's name
};

/// Files as given, and all *.smtx below folders, sorted by path. Throws DataError when a path does not exist or a folder
/// holds none.
std::vector<SmtxFile> find_smtx(const std::vector<std::string>& paths);

/// Columns of B as the paper multiplies a layer (section II; batch 1).
///   transformer  256 and 2048
///   rn50         H * W of the layer's output at 224 x 224 input, one of 12544, 3136, 784, 196, 49
///   else         none
/// ResNet-50 layers are told by name (`layer`, the file's stem):
///   initial_conv                                     112 x 112
///   bottleneck_*_block_group{1,2,3,4}_*              56 x 56, 28 x 28, 14 x 14, 7 x 7
///   bottleneck_*_block_group_projection_block_group{g}   the first block of group g: its 3 x 3, its last 1 x 1 and its shortcut
///                                                    (bottleneck_2, _3, _projection) as group g; its first 1 x 1
///                                                    (bottleneck_1) runs before the stride, on group g - 1's pixels
///   final_dense                                      1 pixel per image; taken with 49, the smallest of the paper's N
/// A name that fits none gives none.
std::vector<std::int64_t> paper_columns(const std::string& family, const std::string& layer);

}  // namespace lacuna::bench
