// Kernels that come up before the ones ahead of them are done (kernels/common/dependent_launch.cuh) change no bit: a
// whole network, launch by launch and captured, with them and without.
#include <gtest/gtest.h>

#include "core/captured_step.h"
#include "core/kernel_set.h"
#include "models/mobilenet.h"
#include "tests/layers/module_check.h"

namespace lacuna {
namespace {

std::unique_ptr<Module> network(Device device, bool sparse) {
  MobilenetConfig config;
  config.width = 0.25;
  config.image_size = 64;  // maps of 32 x 32 down to 2 x 2: every way the depthwise kernels share channels
  config.num_classes = 10;
  RandomStream random(3);
  auto model = std::make_unique<Mobilenet>(config, 3, Init{random});
  if (sparse) make_sparse(*model);
  model->to(device);
  model->prepare_for_inference();
  return model;
}

Tensor forward(Module& model, const Tensor& x, bool bf16) {
  ForwardContext context{.bf16 = bf16};
  return model.forward(Var(x), context).data();
}

TEST(DependentLaunch, ChangesNoBit) {
  for (const Device device : devices()) {
    const KernelSet all = allowed_kernels(device);
    for (const bool sparse : {false, true}) {
      for (const bool bf16 : {false, true}) {
        const auto model = network(device, sparse);
        const Tensor x = random_uniform({3, 64 * 64}, -1, 1, {4, 4}, DType::f32, device);
        std::vector<double> expected;
        for (const bool early : {false, true}) {
          KernelSet set = all;
          set.dependent_launch = early && all.dependent_launch;
          set_allowed_kernels(device, set);
          const auto values = [](const Tensor& t) { return t.to(kCpu).to(DType::f64).to_vector<double>(); };
          for (int i = 0; i < 5; ++i) {
            const std::vector<double> got = values(forward(*model, x, bf16));
            if (expected.empty()) expected = got;
            ASSERT_EQ(got, expected) << "eager, early " << early << ", sparse " << sparse << ", bf16 " << bf16;
          }
          Tensor out;
          CapturedStep step(device, make_recorder(device));
          for (int i = 0; i < 8; ++i) {
            if (!step.is_captured()) out = Tensor();
            step.run([&] { out = forward(*model, x, bf16); });
            ASSERT_EQ(values(out), expected) << "run " << i << ", early " << early << ", sparse " << sparse;
          }
          if (device.is_cuda()) {
            EXPECT_TRUE(step.is_captured()) << step.refusal();
          }
        }
        EXPECT_GT(*std::max_element(expected.begin(), expected.end()), 0);
      }
    }
    set_allowed_kernels(device, all);
  }
}

}  // namespace
}  // namespace lacuna
