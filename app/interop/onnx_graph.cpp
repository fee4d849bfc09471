#include "app/interop/onnx_graph.h"

#include <fmt/format.h>

#include <bit>

#include "core/errors.h"

namespace lacuna {

namespace {

constexpr std::int64_t kIrVersion = 8;
constexpr std::int64_t kOperatorSet = 17;  // the first with LayerNormalization

enum WireType : std::uint64_t { kVarint = 0, kBytes = 2, kFixed32 = 5 };
enum AttributeType : std::int64_t { kFloat = 1, kInt = 2, kInts = 7 };  // AttributeProto.AttributeType

std::uint64_t tag(int field, WireType type) { return static_cast<std::uint64_t>(field) << 3 | type; }

ProtoMessage value_info(const std::string& name, OnnxType type, const std::vector<OnnxAxis>& axes) {
  ProtoMessage shape;
  for (const OnnxAxis& axis : axes) {
    ProtoMessage dimension;
    if (axis.name.empty()) {
      dimension.integer(1, axis.extent);  // dim_value
    } else {
      dimension.bytes(2, axis.name);  // dim_param
    }
    shape.message(1, dimension);
  }
  ProtoMessage tensor_type, type_message, info;
  tensor_type.integer(1, static_cast<std::int64_t>(type));
  tensor_type.message(2, shape);
  type_message.message(1, tensor_type);
  info.bytes(1, name);
  info.message(2, type_message);
  return info;
}

}  // namespace

void ProtoMessage::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

void ProtoMessage::integer(int field, std::int64_t value) {
  varint(tag(field, kVarint));
  varint(static_cast<std::uint64_t>(value));
}

void ProtoMessage::real(int field, float value) {
  varint(tag(field, kFixed32));
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(bits >> shift);
}

void ProtoMessage::bytes(int field, std::string_view value) {
  varint(tag(field, kBytes));
  varint(value.size());
  bytes_ += value;
}

// AttributeProto: name 1, f 2, i 3, ints 8, type 20.
OnnxAttribute::OnnxAttribute(std::string n, std::int64_t value) : name(std::move(n)) {
  message.bytes(1, name);
  message.integer(3, value);
  message.integer(20, kInt);
}
OnnxAttribute::OnnxAttribute(std::string n, double value) : name(std::move(n)) {
  message.bytes(1, name);
  message.real(2, static_cast<float>(value));
  message.integer(20, kFloat);
}
OnnxAttribute::OnnxAttribute(std::string n, const std::vector<std::int64_t>& values) : name(std::move(n)) {
  message.bytes(1, name);
  for (const std::int64_t value : values) message.integer(8, value);
  message.integer(20, kInts);
}

std::string OnnxGraph::constant(const std::string& name, OnnxType type, const Shape& shape, std::string_view raw) {
  ProtoMessage tensor;  // TensorProto: dims 1, data_type 2, name 8, raw_data 9 (little-endian)
  for (const std::int64_t extent : shape) tensor.integer(1, extent);
  tensor.integer(2, static_cast<std::int64_t>(type));
  tensor.bytes(8, name);
  tensor.bytes(9, raw);
  graph_.message(5, tensor);
  return name;
}

std::string OnnxGraph::constant(const std::string& name, const Tensor& value) {
  return constant(name, OnnxType::f32, value.shape(),
                  {reinterpret_cast<const char*>(value.data<float>()), value.nbytes()});
}

std::string OnnxGraph::integers(const std::string& name, const std::vector<std::int64_t>& values, const Shape& shape) {
  return constant(name, OnnxType::i64, shape,
                  {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)});
}

std::string OnnxGraph::booleans(const std::string& name, const std::vector<std::uint8_t>& truths, const Shape& shape) {
  return constant(name, OnnxType::boolean, shape, {reinterpret_cast<const char*>(truths.data()), truths.size()});
}

std::string OnnxGraph::scalar(const std::string& name, double value) {
  return constant(name, Tensor::full({}, value, DType::f32));
}

std::string OnnxGraph::node(const std::string& name, const std::string& op, const std::vector<std::string>& inputs,
                            const std::vector<OnnxAttribute>& attributes) {
  ProtoMessage node;  // NodeProto: input 1, output 2, name 3, op_type 4, attribute 5
  for (const std::string& input : inputs) node.bytes(1, input);
  node.bytes(2, name);
  node.bytes(3, name);
  node.bytes(4, op);
  for (const OnnxAttribute& attribute : attributes) node.message(5, attribute.message);
  graph_.message(1, node);
  return name;
}

void OnnxGraph::input(const std::string& name, OnnxType type, const std::vector<OnnxAxis>& axes) {
  graph_.message(11, value_info(name, type, axes));
}

void OnnxGraph::output(const std::string& name, OnnxType type, const std::vector<OnnxAxis>& axes) {
  graph_.message(12, value_info(name, type, axes));
}

std::string OnnxGraph::model() const {
  ProtoMessage graph = graph_;
  graph.bytes(2, name_);
  ProtoMessage operators, model;  // ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8
  operators.bytes(1, "");
  operators.integer(2, kOperatorSet);
  model.integer(1, kIrVersion);
  model.bytes(2, "lacuna");
  model.message(7, graph);
  model.message(8, operators);
  constexpr std::size_t kMost = (std::size_t{1} << 31) - 1;
  if (model.text().size() > kMost)
    throw DataError("onnx", fmt::format("the dense model takes {} bytes; one ONNX file holds at most {}",
                                        model.text().size(), kMost));
  return model.text();
}

}  // namespace lacuna
