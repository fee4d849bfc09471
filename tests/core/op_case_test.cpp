// The harness must be able to fail: ops with one planted fault each.
#include "tests/core/op_case.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "core/ops/pointwise.h"

namespace lacuna {
namespace {

/// The messages of the failures that check() reports.
std::string failures_of(const OpCase& op_case) {
  testing::TestPartResultArray results;
  {
    const testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
    check(op_case);
  }
  std::string text;
  for (int i = 0; i < results.size(); ++i) {
    if (results.GetTestPartResult(i).failed()) text += results.GetTestPartResult(i).message();
  }
  return text;
}

OpCase doubling() {
  return {.name = "doubling", .inputs = {random_input({5, 9}, 1)},
          .run = [](const std::vector<Var>& v) { return scale(v[0], 2); },
          .reference = [](const std::vector<Tensor>& t) { return scale(t[0], 2); }};
}

TEST(OpCase, PassesWhatIsRight) { EXPECT_EQ(failures_of(doubling()), ""); }

TEST(OpCase, SeesAWrongResult) {
  OpCase c = doubling();
  c.run = [](const std::vector<Var>& v) { return scale(v[0], 2.001); };
  EXPECT_NE(failures_of(c).find("cpu f32"), std::string::npos);
}

TEST(OpCase, SeesAWrongGradient) {
  OpCase c = doubling();
  c.run = [](const std::vector<Var>& v) {
    return record("doubling", scale(v[0].data(), 2), {v[0]},
                  [](const Tensor& dc, Grads& grads) { grads.add(0, scale(dc, 2.001)); });
  };
  EXPECT_NE(failures_of(c).find("central differences"), std::string::npos);
}

TEST(OpCase, SeesAMissingGradient) {
  OpCase c = doubling();
  c.run = [](const std::vector<Var>& v) {
    return record("doubling", scale(v[0].data(), 2), {v[0]}, [](const Tensor&, Grads&) {});
  };
  EXPECT_NE(failures_of(c).find("got no gradient"), std::string::npos);
}

TEST(OpCase, SeesABf16ResultThatIsTooCoarse) {
  OpCase c = doubling();
  c.bf16_roundings = 1;
  EXPECT_EQ(failures_of(c), "");
  c.run = [](const std::vector<Var>& v) { return scale(v[0], v[0].data().dtype() == DType::bf16 ? 2.02 : 2); };
  const std::string failures = failures_of(c);
  EXPECT_NE(failures.find("cpu bf16"), std::string::npos);
  EXPECT_EQ(failures.find("cpu f32"), std::string::npos);
}

TEST(OpCase, SeesAnElementThatIsNotWritten) {
  OpCase c = doubling();
  c.check_gradient = false;
  c.run = [](const std::vector<Var>& v) {
    const Tensor whole = scale(v[0].data(), 2);
    const Tensor out = Tensor::empty_like(whole);
    out.slice(0, 4).copy_from(whole.slice(0, 4));  // the last row is forgotten
    return Var(out);
  };
  EXPECT_NE(failures_of(c).find("over poisoned memory"), std::string::npos);
}

TEST(OpCase, SeesBitsThatChange) {
  OpCase c = doubling();
  int calls = 0;
  c.run = [&calls](const std::vector<Var>& v) { return scale(v[0], 2 + 1e-13 * (calls++ % 2)); };
  EXPECT_NE(failures_of(c).find("a second run gave other bits"), std::string::npos);
}

TEST(OpCase, SeesAnInputThatIsOverwritten) {
  OpCase c = doubling();
  c.run = [](const std::vector<Var>& v) {
    const Var out = scale(v[0], 2);
    v[0].data().slice(0, 1).zero();
    return out;
  };
  EXPECT_NE(failures_of(c).find("was overwritten"), std::string::npos);
}

TEST(OpCase, RefusesAComparisonOfZeros) {
  OpCase c = doubling();
  c.inputs = {Tensor::zeros({5, 9}, DType::f64)};
  EXPECT_NE(failures_of(c).find("proves nothing"), std::string::npos);
}

}  // namespace
}  // namespace lacuna
