// Building patterns: from CSR arrays, from masks, from other patterns. Counts are checked before anything is allocated.
#include <fmt/format.h>

#include <limits>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/topology.h"
#include "core/visit.h"
#include "kernels/topology/topology.h"

namespace lacuna {

namespace {

constexpr std::int64_t kMaxCount = std::numeric_limits<std::int32_t>::max();

void check_extents(const char* where, std::int64_t rows, std::int64_t cols) {
  if (rows < 0 || cols < 0) {
    throw ShapeError(where,
                     fmt::format("a pattern of {} rows and {} columns; extents must not be negative", rows, cols));
  }
  if (rows > kMaxCount - 1 || cols > kMaxCount) {
    throw IndexError(where,
                     fmt::format("a pattern of {} rows and {} columns; 32-bit indices reach 2^31 - 1", rows, cols));
  }
}

void check_nnz(const char* where, std::int64_t rows, std::int64_t cols, std::int64_t nnz) {
  if (nnz > kMaxCount) {
    throw IndexError(where,
                     fmt::format("{} entries in a [{}, {}] pattern; 32-bit indices reach 2^31 - 1", nnz, rows, cols));
  }
}

void check_offsets(const std::vector<std::int32_t>& offsets, std::int64_t rows, std::int64_t nnz) {
  if (offsets.front() != 0) {
    throw IndexError("from_csr", fmt::format("row_offsets[0] is {}; must be 0", offsets.front()));
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::size_t i = static_cast<std::size_t>(r);
    if (offsets[i + 1] < offsets[i]) {
      throw IndexError("from_csr", fmt::format("row_offsets falls from {} to {} at row {}; must never fall", offsets[i],
                                               offsets[i + 1], r));
    }
  }
  if (offsets.back() != nnz) {
    throw IndexError(
        "from_csr", fmt::format("row_offsets[{}] is {}; must be the number of entries, {}", rows, offsets.back(), nnz));
  }
}

void check_columns(const std::vector<std::int32_t>& offsets, const std::vector<std::int32_t>& columns,
                   std::int64_t cols) {
  for (std::size_t r = 0; r + 1 < offsets.size(); ++r) {
    for (std::int32_t i = offsets[r]; i < offsets[r + 1]; ++i) {
      const std::int32_t column = columns[static_cast<std::size_t>(i)];
      if (column < 0 || column >= cols) {
        throw IndexError("from_csr",
                         fmt::format("column {} in row {} (entry {}); must be in [0, {})", column, r, i, cols));
      }
      if (i > offsets[r] && columns[static_cast<std::size_t>(i) - 1] >= column) {
        throw IndexError("from_csr",
                         fmt::format("columns {} then {} in row {} (entry {}); must ascend strictly within a row",
                                     columns[static_cast<std::size_t>(i) - 1], column, r, i));
      }
    }
  }
}

Tensor scratch_of(std::size_t bytes, Device device) {
  return Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
}

}  // namespace

TopologyPtr Topology::from_csr(std::int64_t rows, std::int64_t cols, Tensor row_offsets, Tensor col_indices) {
  OpScope scope("from_csr");
  check_extents("from_csr", rows, cols);
  if (row_offsets.dtype() != DType::i32 || col_indices.dtype() != DType::i32) {
    throw DtypeError("from_csr", fmt::format("row_offsets is {}, col_indices is {}; both must be i32",
                                             describe(row_offsets), describe(col_indices)));
  }
  if (row_offsets.shape() != Shape{rows + 1} || col_indices.rank() != 1) {
    throw ShapeError("from_csr", fmt::format("row_offsets is {}, col_indices is {}; must be [{}] and [nnz]",
                                             describe(row_offsets), describe(col_indices), rows + 1));
  }
  if (row_offsets.device() != col_indices.device()) {
    throw DeviceError("from_csr", fmt::format("row_offsets is {}, col_indices is {}; must be on one device",
                                              describe(row_offsets), describe(col_indices)));
  }
  check_nnz("from_csr", rows, cols, col_indices.numel());
  const std::vector<std::int32_t> offsets = row_offsets.to_vector<std::int32_t>();
  check_offsets(offsets, rows, col_indices.numel());
  check_columns(offsets, col_indices.to_vector<std::int32_t>(), cols);
  return std::make_shared<const Topology>(rows, cols, std::move(row_offsets), std::move(col_indices));
}

TopologyPtr Topology::from_mask(const Tensor& mask) {
  OpScope scope("from_mask");
  if (mask.dtype() != DType::u8) throw DtypeError("from_mask", fmt::format("mask is {}; must be u8", describe(mask)));
  if (mask.rank() != 2) throw ShapeError("from_mask", fmt::format("mask is {}; must be [rows, cols]", describe(mask)));
  const std::int64_t rows = mask.dim(0), cols = mask.dim(1);
  const Device device = mask.device();
  check_extents("from_mask", rows, cols);
  Tensor offsets = Tensor::empty({rows + 1}, DType::i32, device);
  Tensor columns;
  visit_device("from_mask", device, [&](auto stream) {
    const auto* bytes = mask.data<std::uint8_t>();
    std::int64_t nnz = 0;
    {
      Tensor scratch = scratch_of(kernels::mask_offsets_scratch_bytes(stream, rows, cols), device);
      nnz = kernels::mask_offsets(stream, bytes, rows, cols, offsets.data<std::int32_t>(), scratch.raw());
    }
    check_nnz("from_mask", rows, cols, nnz);
    columns = Tensor::empty({nnz}, DType::i32, device);
    kernels::mask_columns(stream, bytes, rows, cols, offsets.data<std::int32_t>(), columns.data<std::int32_t>());
  });
  return std::make_shared<const Topology>(rows, cols, std::move(offsets), std::move(columns));
}

TopologyPtr Topology::full(std::int64_t rows, std::int64_t cols, Device device) {
  OpScope scope("full");
  check_extents("full", rows, cols);
  check_nnz("full", rows, cols, rows * cols);  // each is below 2^31, so the product fits
  Tensor offsets = Tensor::empty({rows + 1}, DType::i32);
  Tensor columns = Tensor::empty({rows * cols}, DType::i32);
  auto* offset = offsets.data<std::int32_t>();
  auto* column = columns.data<std::int32_t>();
  for (std::int64_t r = 0; r <= rows; ++r) offset[r] = static_cast<std::int32_t>(r * cols);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) column[r * cols + c] = static_cast<std::int32_t>(c);
  }
  return std::make_shared<const Topology>(rows, cols, offsets.to(device), columns.to(device));
}

TopologyPtr Topology::subset(const Tensor& keep) const {
  OpScope scope("subset");
  if (keep.dtype() != DType::u8) throw DtypeError("subset", fmt::format("keep is {}; must be u8", describe(keep)));
  if (keep.shape() != Shape{nnz_}) {
    throw ShapeError("subset", fmt::format("keep is {}; must be [{}], one byte per entry", describe(keep), nnz_));
  }
  if (keep.device() != device()) {
    throw DeviceError("subset",
                      fmt::format("keep is {}; must be on the pattern's {}", describe(keep), to_string(device())));
  }
  Tensor offsets = Tensor::empty({rows_ + 1}, DType::i32, device());
  Tensor columns;
  visit_device("subset", device(), [&](auto stream) {
    const auto* bytes = keep.data<std::uint8_t>();
    const auto* old_offsets = row_offsets_.data<std::int32_t>();
    std::int64_t nnz = 0;
    {
      Tensor scratch = scratch_of(kernels::subset_offsets_scratch_bytes(stream, rows_, nnz_), device());
      nnz =
          kernels::subset_offsets(stream, bytes, rows_, nnz_, old_offsets, offsets.data<std::int32_t>(), scratch.raw());
    }
    columns = Tensor::empty({nnz}, DType::i32, device());
    kernels::subset_columns(stream, bytes, rows_, old_offsets, col_indices_.data<std::int32_t>(),
                            offsets.data<std::int32_t>(), columns.data<std::int32_t>());
  });
  return std::make_shared<const Topology>(rows_, cols_, std::move(offsets), std::move(columns));
}

TopologyPtr Topology::to(Device device) const {
  if (device == this->device()) return shared_from_this();
  return std::make_shared<const Topology>(rows_, cols_, row_offsets_.to(device), col_indices_.to(device));
}

}  // namespace lacuna
