#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "kernels/gemm/gemm.h"
#include "kernels/pointwise/pointwise.h"

#if LACUNA_HAS_ONEDNN
#include <dnnl.h>
#endif

namespace lacuna::kernels {
namespace {

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using ConstMap = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using Map = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

template <class Left, class Right, class T>
void assign_product(const Left& left, const Right& right, Map<T>& c, bool accumulate) {
  if (accumulate) {
    c.noalias() += left * right;
  } else {
    c.noalias() = left * right;
  }
}

template <class T>
void eigen_gemm(const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c, const GemmOptions<T>& options) {
  const ConstMap<T> left(a.data, a.rows, a.cols, Eigen::OuterStride<>(a.ld));
  const ConstMap<T> right(b.data, b.rows, b.cols, Eigen::OuterStride<>(b.ld));
  Map<T> out(c.data, c.rows, c.cols, Eigen::OuterStride<>(c.ld));
  if (options.transpose_a && options.transpose_b) {
    assign_product(left.transpose(), right.transpose(), out, options.accumulate);
  } else if (options.transpose_a) {
    assign_product(left.transpose(), right, out, options.accumulate);
  } else if (options.transpose_b) {
    assign_product(left, right.transpose(), out, options.accumulate);
  } else {
    assign_product(left, right, out, options.accumulate);
  }
}

template <class T>
void product(const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c, const GemmOptions<T>& options) {
#if LACUNA_HAS_ONEDNN
  if constexpr (std::is_same_v<T, float>) {
    const std::int64_t k = options.transpose_a ? a.rows : a.cols;
    const auto ld = [](std::int64_t value) { return std::max<std::int64_t>(value, 1); };
    const dnnl_status_t status =
        dnnl_sgemm(options.transpose_a ? 'T' : 'N', options.transpose_b ? 'T' : 'N', c.rows, c.cols, k, 1.0f, a.data,
                   ld(a.ld), b.data, ld(b.ld), options.accumulate ? 1.0f : 0.0f, c.data, ld(c.ld));
    if (status == dnnl_success) return;  // what oneDNN declines, Eigen computes
  }
#endif
  eigen_gemm(a, b, c, options);
}

}  // namespace

template <class T, class Out>
void gemm(CpuStream stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
          const GemmOptions<acc_t<T>>& options) {
  if (c.rows == 0 || c.cols == 0) return;
  const std::int64_t k = options.transpose_a ? a.rows : a.cols;
  for (std::int64_t i = 0; i < c.batch; ++i) {
    const Dense<const T> left{a.data + i * a.batch_stride, a.rows, a.cols, a.ld};
    const Dense<const T> right{b.data + i * b.batch_stride, b.rows, b.cols, b.ld};
    const Dense<T> out{c.data + i * c.batch_stride, c.rows, c.cols, c.ld};
    if (k > 0) {
      product(left, right, out, options);
    } else if (!options.accumulate) {
      for (std::int64_t row = 0; row < out.rows; ++row) std::fill_n(out.data + row * out.ld, out.cols, T(0));
    }
    if (options.epilogue.bias != nullptr || options.epilogue.activation != Activation::none) {
      apply_epilogue<T>(stream, {out.data, out.rows, out.cols, out.ld}, options.epilogue, out);
    }
  }
}

template <class T>
void gemm_column_bias(CpuStream stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c,
                      bool transpose_a, bool transpose_b, const T* bias) {
  GemmOptions<T> options;
  options.transpose_a = transpose_a, options.transpose_b = transpose_b;
  gemm<T, T>(stream, a, b, c, options);
  if (bias == nullptr) return;
  for (std::int64_t i = 0; i < c.rows; ++i)
    for (std::int64_t j = 0; j < c.cols; ++j) c.data[i * c.ld + j] += bias[j];
}

template void gemm_column_bias<float>(CpuStream, const Dense<const float>&, const Dense<const float>&,
                                      const Dense<float>&, bool, bool, const float*);
template void gemm_column_bias<double>(CpuStream, const Dense<const double>&, const Dense<const double>&,
                                       const Dense<double>&, bool, bool, const double*);
template void gemm<float, float>(CpuStream, const Dense<const float>&, const Dense<const float>&, const Dense<float>&,
                                 const GemmOptions<float>&);
template void gemm<double, double>(CpuStream, const Dense<const double>&, const Dense<const double>&,
                                   const Dense<double>&, const GemmOptions<double>&);

}  // namespace lacuna::kernels
