// States that must be refused, by name, with the way out.
#include <limits>

#include "tests/train/interop/state_testing.h"

namespace lacuna::interop {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  const char* name;
  Tensors tensors;
  std::vector<std::string> parts;  // of the message
  std::map<std::string, std::string> metadata = {};
  std::vector<std::string> rules = {};
};

Tensors changed(Tensors tensors, const std::string& name, const Tensor& tensor) {
  tensors[name] = tensor;
  return tensors;
}

Tensors without(Tensors tensors, const std::string& name) {
  tensors.erase(name);
  return tensors;
}

class InteropRefusals : public InteropState {
 protected:
  void expect_refusals(const std::vector<Case>& cases) {
    for (const Case& c : cases) {
      const std::string message = refusal(c.tensors, c.metadata, c.rules);
      for (const std::string& part : c.parts)
        EXPECT_NE(message.find(part), std::string::npos) << c.name << ": '" << part << "' is not in: " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
};

TEST_F(InteropRefusals, RefusesPatternsThatAreNone) {
  expect_refusals({
      {"nothing", Tensors{}, {"holds no weights"}},
      {"no column indices", without(csr_tensors(), "weight.col_indices"), {"'weight.col_indices' is missing"}},
      {"no offsets", without(csr_tensors(), "weight.crow_indices"), {"'weight.crow_indices' is missing"}},
      {"no values", without(csr_tensors(), "weight.values"), {"'weight.values' is missing", "crow_indices"}},
      {"no mask", without(pruned_tensors(), "weight_mask"), {"'weight_mask' is missing", "weight_orig"}},
      {"no original", without(pruned_tensors(), "weight_orig"), {"'weight_orig' is missing"}},
      {"CSR and dense", changed(csr_tensors(), "weight", f32({1}, {1})), {"'weight'", "twice"}},
      {"mask and dense", changed(pruned_tensors(), "weight", f32({1}, {1})), {"'weight'", "twice"}},
      {"columns fall", changed(csr_tensors(), "weight.col_indices", i64({3, 1, 0, 1, 2})), {"'weight'", "CSR"}},
      {"column twice", changed(csr_tensors(), "weight.col_indices", i64({1, 1, 0, 1, 2})), {"'weight'", "CSR"}},
      {"column past the model's",
       changed(csr_tensors(), "weight.col_indices", i64({1, 7, 0, 1, 2})),
       {"[3, 8]", "[3, 4]"}},
      {"column past 31 bits",
       changed(csr_tensors(), "weight.col_indices", i64({1, 1ll << 40, 0, 1, 2})),
       {"1099511627776", "2147483647"}},
      {"column below 0", changed(csr_tensors(), "weight.col_indices", i64({-1, 3, 0, 1, 2})), {"holds -1"}},
      {"narrow column below 0", changed(csr_tensors(), "weight.col_indices", i32({-1, 3, 0, 1, 2})), {"CSR"}},
      {"indices are real", changed(csr_tensors(), "weight.col_indices", f32({1, 3, 0, 1, 2}, {5})), {"i32 or i64"}},
      {"indices are a matrix",
       changed(csr_tensors(), "weight.crow_indices", Tensor::zeros({2, 2}, DType::i64)),
       {"one axis"}},
      {"offsets fall", changed(csr_tensors(), "weight.crow_indices", i64({0, 3, 2, 5})), {"CSR"}},
      {"offsets begin late", changed(csr_tensors(), "weight.crow_indices", i64({1, 2, 2, 5})), {"CSR"}},
      {"offsets end early", changed(csr_tensors(), "weight.crow_indices", i64({0, 2, 2, 4})), {"CSR"}},
      {"offsets empty", changed(csr_tensors(), "weight.crow_indices", i64({})), {"rows + 1"}},
  });
}

TEST_F(InteropRefusals, RefusesValuesAndMasksThatAreNone) {
  expect_refusals({
      {"values too few", changed(csr_tensors(), "weight.values", f32({1, 2, 3, 4}, {4})), {"one entry per nonzero"}},
      {"values are integers", changed(csr_tensors(), "weight.values", i64({1, 2, 3, 4, 5})), {"i64", "must be f32"}},
      {"shape elsewhere says otherwise", csr_tensors(), {"CSR"}, {{"lacuna_shapes", "{\"weight\": [3, 3]}"}}},
      {"shapes no JSON", csr_tensors(), {"metadata is malformed"}, {{"lacuna_shapes", "{"}}},
      {"shapes negative", csr_tensors(), {"metadata is malformed"}, {{"lacuna_shapes", "{\"weight\": [-3, 4]}"}}},
      {"mask of another shape",
       changed(pruned_tensors(), "weight_mask", f32({1, 0, 1}, {3})),
       {"[3, 4]", "[3]", "one shape"}},
      {"mask of fractions",
       changed(pruned_tensors(), "weight_mask", Tensor::full({3, 4}, 0.5, DType::f32)),
       {"0.5", "0 or 1"}},
      {"mask of NaN",
       changed(pruned_tensors(), "weight_mask", Tensor::full({3, 4}, kNan, DType::f32)),
       {"nan", "finite"}},
      {"mask of integers",
       changed(pruned_tensors(), "weight_mask", Tensor::zeros({3, 4}, DType::i64)),
       {"weight_mask", "i64"}},
      {"weight of integers", changed(dense_tensors(), "bias", i64({1, 2, 3})), {"'bias' is i64"}},
      {"weight of NaN", changed(dense_tensors(), "bias", f32({1, kNan, 3}, {3})), {"'bias'", "element 1", "finite"}},
      {"f64 past f32",
       changed(dense_tensors(), "bias", Tensor::full({3}, 1e300, DType::f64)),
       {"'bias'", "inf", "as f32"}},
  });
}

TEST_F(InteropRefusals, RefusesWhatIsNotTheModels) {
  expect_refusals({
      {"parameter missing",
       without(dense_tensors(), "bias"),
       {"parameter 'bias' [3] is missing", "--map 'FILE_NAME=bias'"}},
      {"buffer missing", without(dense_tensors(), "norm.running_mean"), {"buffer 'norm.running_mean'", "missing"}},
      {"misspelt", changed(without(dense_tensors(), "bias"), "biass", f32({1, 2, 3}, {3})), {"did you mean 'biass'?"}},
      {"one too many",
       changed(dense_tensors(), "extra.weight", f32({1}, {1})),
       {"'extra.weight' [1] belongs to nothing", "--map 'extra.weight='"}},
      {"other shape",
       changed(dense_tensors(), "dense", f32({1, 2, 3, 4}, {2, 2})),
       {"'dense' has shape [2, 2]", "has [2, 3]", "config"}},
      {"transposed",
       changed(dense_tensors(), "weight", Tensor::zeros({4, 3}, DType::f32)),
       {"[4, 3]", "[3, 4]", "--map 'weight=weight^T'"}},
      {"other shape of a buffer", changed(dense_tensors(), "norm.running_mean", f32({1, 2}, {2})), {"[2]", "[3]"}},
      {"bias as a matrix", changed(dense_tensors(), "bias", Tensor::zeros({3, 3}, DType::f32)), {"[3, 3]", "[3]"}},
      {"two of one name", dense_tensors(), {"'dense'", "both be named 'dense'"}, {}, {"weight=dense"}},
      {"a vector turned", dense_tensors(), {"'bias' cannot be turned"}, {}, {"bias=bias^T"}},
      {"columns unknown, turned", csr_tensors(), {"how many columns"}, {}, {"weight=weight^T"}},
  });
}

}  // namespace
}  // namespace lacuna::interop
