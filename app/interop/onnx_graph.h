// An ONNX model under construction, written in protobuf's wire format without its library.
//
// Field numbers are those of onnx.proto (ONNX IR version 8, operator set 17).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace lacuna {

/// A protobuf message: fields are appended, in any order, to its bytes.
class ProtoMessage {
 public:
  void integer(int field, std::int64_t value);
  void real(int field, float value);
  void bytes(int field, std::string_view value);
  void message(int field, const ProtoMessage& value) { bytes(field, value.bytes_); }
  const std::string& text() const { return bytes_; }

 private:
  void varint(std::uint64_t value);
  std::string bytes_;
};

/// An axis with its extent, or with a name when that is free ("batch").
struct OnnxAxis {
  std::int64_t extent = 0;
  std::string name;
};

/// An attribute of a node.
struct OnnxAttribute {
  OnnxAttribute(std::string n, std::int64_t value);
  OnnxAttribute(std::string n, double value);
  OnnxAttribute(std::string n, const std::vector<std::int64_t>& values);
  std::string name;
  ProtoMessage message;
};

enum class OnnxType : std::uint8_t { f32 = 1, i64 = 7, boolean = 9 };  ///< TensorProto.DataType

class OnnxGraph {
 public:
  explicit OnnxGraph(std::string name) : name_(std::move(name)) {}

  /// Constants; return their name. f32 tensors of any shape, on the CPU.
  std::string constant(const std::string& name, const Tensor& value);
  std::string integers(const std::string& name, const std::vector<std::int64_t>& values, const Shape& shape);
  std::string booleans(const std::string& name, const std::vector<std::uint8_t>& truths, const Shape& shape);
  std::string scalar(const std::string& name, double value);

  /// A node with one output, called `name`; returns it.
  std::string node(const std::string& name, const std::string& op, const std::vector<std::string>& inputs,
                   const std::vector<OnnxAttribute>& attributes = {});

  void input(const std::string& name, OnnxType type, const std::vector<OnnxAxis>& axes);
  void output(const std::string& name, OnnxType type, const std::vector<OnnxAxis>& axes);

  /// The whole model file. Throws DataError past the 2 GiB that a protobuf may hold.
  std::string model() const;

 private:
  std::string constant(const std::string& name, OnnxType type, const Shape& shape, std::string_view raw);

  std::string name_;
  ProtoMessage graph_;
};

}  // namespace lacuna
