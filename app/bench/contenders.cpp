#include <algorithm>
#include <cmath>

#include "app/bench/contender.h"
#include "core/ops/densify.h"
#include "core/visit.h"
#include "kernels/runtime/bf16.h"

namespace lacuna::bench {

const char* to_string(Kind kind) { return kind == Kind::ours ? "ours" : kind == Kind::sparse ? "sparse" : "dense"; }

std::vector<Contender> contenders() {
  std::vector<Contender> list;
  add_lacuna(list);
  add_dense(list);
  add_eigen_sparse(list);
#if LACUNA_HAS_CUDA
  add_cusparse(list);
  add_cublaslt_bf16(list);
#endif
  return list;
}

std::vector<Tensor> dense_buffers(const Problem& p) {
  const Shape shape = p.batch == 1 ? Shape{p.m, p.k} : Shape{p.batch, p.m, p.k};
  const double bytes = static_cast<double>(shape.numel()) * static_cast<double>(size_of(dtype_of(p.precision)));
  const double wanted = std::ceil(2 * static_cast<double>(p.pool->cache_bytes()) / std::max(bytes, 1.0));
  const int copies = static_cast<int>(std::clamp(wanted, 1.0, static_cast<double>(p.rotation)));
  std::vector<Tensor> list;
  for (int i = 0; i < copies; ++i) list.push_back(Tensor::empty(shape, dtype_of(p.precision), p.device));
  return list;
}

std::vector<Tensor> densified(const Problem& p) {
  std::vector<Tensor> list = dense_buffers(p);
  if (p.precision != Precision::bf16) {
    list[0] = densify({p.operand(0, 0), p.topology(0)});
  } else {  // through f32 on the host: exact, since the values are bf16 already
    const float* from = p.host_operand(0, 0);
    const std::vector<float> values(from, from + p.nnz * p.batch);
    const Tensor dense = densify({Tensor::from(values, p.operand_shape(0)), p.pattern});
    const Tensor rounded = Tensor::empty(dense.shape(), DType::bf16);
    std::transform(dense.data<float>(), dense.data<float>() + dense.numel(), static_cast<Bf16*>(rounded.raw()),
                   to_bf16);
    list[0].copy_from(rounded);
  }
  for (std::size_t i = 1; i < list.size(); ++i) list[i].copy_from(list[0]);
  return list;
}

}  // namespace lacuna::bench
