// The wire format by hand-made bytes, and graphs of weights that are not the config's. That graphs compute what they should is
// tests/app/interop_torch.py's to show.
#include "app/interop/onnx_graph.h"

#include <gtest/gtest.h>

#include "app/interop/onnx_model.h"
#include "core/errors.h"

namespace lacuna {
namespace {

using namespace std::string_literals;

template <class Fill>
std::string bytes_of(Fill&& fill) {
  ProtoMessage message;
  fill(message);
  return message.text();
}

TEST(ProtoMessage, EncodesAsTheFormatsDescriptionDoes) {  // protobuf.dev, "Encoding"
  EXPECT_EQ(bytes_of([](ProtoMessage& m) { m.integer(1, 150); }), "\x08\x96\x01");
  EXPECT_EQ(bytes_of([](ProtoMessage& m) { m.bytes(2, "testing"); }), "\x12\x07testing");
  EXPECT_EQ(bytes_of([](ProtoMessage& m) { m.integer(1, 0); }), "\x08\x00"s);
  EXPECT_EQ(bytes_of([](ProtoMessage& m) { m.integer(1, -2); }), "\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
  EXPECT_EQ(bytes_of([](ProtoMessage& m) { m.real(2, 1.0f); }), "\x15\x00\x00\x80\x3f"s);
  EXPECT_EQ(bytes_of([](ProtoMessage& m) { m.integer(20, 7); }), "\xa0\x01\x07");  // a field number of two bytes
  EXPECT_EQ(bytes_of([](ProtoMessage& m) {
              ProtoMessage inner;
              inner.integer(1, 150);
              m.message(3, inner);
            }),
            "\x1a\x03\x08\x96\x01");
}

interop::State mlp_state() {
  interop::State state{"here", {}, {}};
  const auto add = [&](const std::string& name, const Shape& shape) {
    state.tensors[name] = {shape, Tensor::full(shape, 0.5, DType::f32), nullptr};
  };
  add("layers.0.weight", {6, 8});
  add("layers.0.bias", {6});
  add("layers.1.weight", {10, 6});
  add("layers.1.bias", {10});
  return state;
}

std::string refusal(const std::string& model, const interop::State& state) {
  const RunConfig config =
      parse_run_config("name: x\noptimizer: {type: adam}\ntraining: {steps: 2}\nmodel: " + model + "\ndata: {type: " +
                           (model.find("transformer") != std::string::npos ? "synthetic_tokens" : "synthetic") + "}\n",
                       "x");
  try {
    onnx_model(config, state);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(OnnxModel, RefusesWeightsThatAreNotTheConfigs) {
  EXPECT_EQ(refusal("{type: mlp, hidden: [6]}", mlp_state()), "(accepted)");
  EXPECT_NE(refusal("{type: mlp, hidden: [6, 6]}", mlp_state()).find("'layers.2.weight' is missing"),
            std::string::npos);
  interop::State state = mlp_state();
  state.tensors["layers.1.weight"] = state.tensors["layers.0.weight"];
  const std::string shapes = refusal("{type: mlp, hidden: [6]}", state);
  EXPECT_NE(shapes.find("'layers.1.weight' has shape [6, 8]"), std::string::npos) << shapes;
  EXPECT_NE(shapes.find("[-1, 6]"), std::string::npos) << shapes;
  EXPECT_NE(refusal("{type: mobilenet_v1}", mlp_state()).find("'stem.weight' is missing"), std::string::npos);
  EXPECT_NE(refusal("{type: transformer}", mlp_state()).find("'embedding."), std::string::npos);
}

}  // namespace
}  // namespace lacuna
