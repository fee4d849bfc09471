// What arrives is what was sent, however far the host runs ahead and whatever shapes follow one another.
#include "core/upload.h"

#include <gtest/gtest.h>

#include "core/ops/pointwise.h"
#include "core/random.h"

namespace lacuna {
namespace {

TEST(Uploader, BatchesArriveWholeAndInOrder) {
  for (const Device device : devices()) {
    Uploader uploader(device);
    std::vector<Tensor> sent, seen;
    for (std::uint64_t i = 0; i < 30; ++i) {
      const std::int64_t columns = i % 7 == 6 ? 300 : 4000;  // a short batch now and then
      const Tensor inputs = random_uniform({50, columns}, -1, 1, {i, 1}, DType::f32, kCpu);
      const Tensor targets = random_uniform({columns}, -1, 1, {i, 2}, DType::f32, kCpu);
      const Tensor x = uploader.upload(inputs), y = uploader.upload(targets);
      EXPECT_TRUE(x.device() == device && x.shape() == inputs.shape());
      Tensor work = scale(x, 2);
      for (int k = 0; k < 20; ++k) work = scale(work, k % 2 == 0 ? 0.5 : 2.0);  // the device falls behind
      seen.push_back(work);
      seen.push_back(scale(y, 2));
      sent.push_back(inputs);
      sent.push_back(targets);
    }
    for (std::size_t i = 0; i < seen.size(); ++i)
      ASSERT_EQ(seen[i].to_vector<float>(), scale(sent[i], 2).to_vector<float>()) << "upload " << i;
  }
}

TEST(Uploader, HandsThroughWhatIsThere) {
  for (const Device device : devices()) {
    Uploader uploader(device);
    const Tensor there = random_uniform({50, 3}, -1, 1, {1, 1}, DType::f32, device);
    EXPECT_EQ(uploader.upload(there).raw(), there.raw());
  }
}

}  // namespace
}  // namespace lacuna
