// Self-attention by rows of tokens against the way with features first: one layer, one input, the switch alone differs.
#include <gtest/gtest.h>

#include <cmath>

#include "core/kernel_set.h"
#include "core/ops/dropout.h"
#include "core/ops/pointwise.h"
#include "layers/attention.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

Tensor random_input(const Shape& shape, std::uint64_t seed) {
  return random_uniform(shape, -1, 1, {seed, 77}, DType::f32, kCpu);
}

std::vector<double> numbers(const Tensor& x) { return x.to(kCpu).to(DType::f64).to_vector<double>(); }

double relative_error(const Tensor& got, const Tensor& want) {
  const std::vector<double> a = numbers(got), b = numbers(want);
  double wrong = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) wrong += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
  return size > 0 ? std::sqrt(wrong / size) : 1e9;
}

/// Puts a device's kernels back.
class KernelsKept {
 public:
  explicit KernelsKept(Device device) : device_(device), kept_(allowed_kernels(device)) {}
  ~KernelsKept() { set_allowed_kernels(device_, kept_); }
  void token_rows(bool on) const {
    KernelSet set = kept_;
    set.token_rows = on;
    set_allowed_kernels(device_, set);
  }

 private:
  Device device_;
  KernelSet kept_;
};

struct Case {
  std::int64_t features = 256, heads = 2, t = 150, batch = 2;
  bool sparse = false, causal = false, pending = false;
  bool falls_back = false;  // to features first: heads too narrow
};

/// The output and the gradients of the input and of every parameter, by name.
std::vector<std::pair<std::string, Tensor>> run(SelfAttention& layer, const Case& c, Device device, bool bf16 = true) {
  const DType dtype = bf16 ? DType::bf16 : DType::f32;
  const Var x(random_input({c.features, c.batch * c.t}, 5).to(DType::bf16).to(dtype).to(device), true);
  RandomStream random(5, 3);
  ForwardContext context{.training = true, .random = &random, .bf16 = bf16};
  for (Parameter* p : layer.parameters()) p->var().clear_grad();
  Var y;
  if (c.pending) {
    const Pending pending = layer.pending(x, 0.2, context);
    EXPECT_TRUE(pending.bias.defined());
    y = dropout(add_bias(pending.h, pending.bias), pending.p, pending.key);
  } else {
    y = layer.forward(x, context);
  }
  backward(y, random_input(y.shape(), 6).to(DType::bf16).to(dtype).to(device));
  std::vector<std::pair<std::string, Tensor>> all{{"output", y.data()}, {"input", x.grad()}};
  for (Parameter* p : layer.parameters()) all.emplace_back(p->name(), p->grad());
  return all;
}

void compare(const Case& c, Device device) {
  RandomStream stream(1, 1);
  Init init{stream, DType::f32};
  AttentionOptions options{.features = c.features, .heads = c.heads, .sequence_length = c.t, .dropout = 0.2};
  std::vector<TopologyPtr> patterns;
  for (std::int64_t h = 0; h < c.heads; ++h) patterns.push_back(causal_band(c.t, 20 + 40 * h));
  if (c.causal)
    options.dense = DenseAttention::fused;
  else
    options.patterns = std::make_shared<AttentionPatterns>(patterns);
  SelfAttention layer(options, init);
  unsigned seed = 1;
  for (Parameter* p : layer.parameters()) {
    if (p->shape().rank() == 2 && c.sparse) p->retopologize(random_topology(c.features, c.features, 0.5, seed++));
    if (p->shape().rank() == 1)  // no rounding: it is one error in every token, which a sum would keep
      p->assign(random_input({c.features}, seed++).to(DType::bf16).to(DType::f32), nullptr);
  }
  layer.to(device);
  const KernelsKept kernels(device);
  kernels.token_rows(false);
  const auto want = run(layer, c, device);
  kernels.token_rows(true);
  const auto got = run(layer, c, device), exact = run(layer, c, device, false);
  ASSERT_EQ(got.size(), want.size());
  bool same = true;
  for (std::size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE(got[i].first + (c.sparse ? ", sparse" : ", dense") + (c.causal ? ", causal" : ""));
    same = same && numbers(got[i].second) == numbers(want[i].second);
    ASSERT_TRUE(got[i].second.dtype() == want[i].second.dtype() && got[i].second.shape() == want[i].second.shape());
    if (got[i].first == "key.bias") continue;  // 0 but for rounding: a softmax does not see it
    // The sums are equal; q, k, v and dx are rounded once where they were twice. What bf16
    // costs against f32 is no more than twice what it was, also where a gradient is a difference of nearly equal sums.
    EXPECT_LT(relative_error(got[i].second, exact[i].second),
              2 * relative_error(want[i].second, exact[i].second) + 2e-3);
  }
  EXPECT_EQ(same, c.falls_back) << "both ways make the same bits only where they are one";
  EXPECT_EQ(numbers(run(layer, c, device)[1].second), numbers(got[1].second)) << "on a second run";
}

TEST(TokenRowsOnCuda, AgreeWithFeaturesFirst) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  const Device cuda = devices()[1];
  if (!allowed_kernels(cuda).fused_attention) GTEST_SKIP() << "no fused attention on this device";
  for (const bool sparse : {false, true}) {
    compare({.sparse = sparse}, cuda);
    compare({.sparse = sparse, .causal = true}, cuda);
    compare({.batch = 1, .sparse = sparse, .pending = true}, cuda);
    compare({.features = 128, .heads = 4, .t = 37, .batch = 3, .sparse = sparse}, cuda);  // odd lengths
    compare({.features = 64, .heads = 4, .t = 37, .sparse = sparse, .falls_back = true}, cuda);
  }
}

}  // namespace
}  // namespace lacuna
