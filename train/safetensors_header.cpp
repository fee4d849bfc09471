#include "train/safetensors_header.h"

#include <algorithm>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lacuna::safetensors {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr StoredDtype kStoredDtypes[] = {
    {"F32", 4, DType::f32, false}, {"F64", 8, DType::f64, false}, {"BF16", 2, DType::bf16, false},
    {"I32", 4, DType::i32, false}, {"I64", 8, DType::i64, false}, {"U8", 1, DType::u8, false},
    {"F16", 2, DType::f32, true},  {"BOOL", 1, DType::u8, true},
};
constexpr const char* kMetadata = "__metadata__";
constexpr std::int64_t kMaxElements = std::int64_t{1} << 60;  // so that bytes fit in 64 bits, 8 per element

/// Printable and short, whatever the file holds.
std::string quoted(const std::string& text) {
  const std::string shown = text.size() > 120 ? text.substr(0, 120) + "..." : text;
  return Json(shown).dump(-1, ' ', true, Json::error_handler_t::replace);
}

/// Parses JSON; refuses what nlohmann lets pass or takes badly: repeated keys and needless depth.
Json parse_json(const std::string& file, const std::string& text) {
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > 8) throw fault(file, "the header's JSON is nested more than 8 deep");
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key && !open_objects.back().insert(parsed.get<std::string>()).second) {
      throw fault(file,
                  fmt::format("the header names {} twice; names must be unique", quoted(parsed.get<std::string>())));
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception& error) {
    throw fault(file, fmt::format("the header is not JSON ({}); it must be a JSON object", error.what()));
  }
}

std::map<std::string, std::string> parse_metadata(const std::string& file, const Json& json) {
  if (!json.is_object()) throw fault(file, "__metadata__ is not a JSON object of strings");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) throw fault(file, fmt::format("__metadata__ entry {} is not a string", quoted(key)));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

const StoredDtype* parse_dtype(const std::string& file, const std::string& name, const Json& json, bool foreign) {
  std::string known;
  for (const StoredDtype& stored : kStoredDtypes) {
    if (stored.foreign && !foreign) continue;
    if (json.is_string() && json.get<std::string>() == stored.name) return &stored;
    known += (known.empty() ? "" : ", ") + std::string(stored.name);
  }
  throw tensor_fault(file, name,
                     fmt::format("dtype {} is none of {}",
                                 quoted(json.is_string() ? json.get<std::string>() : json.dump()), known));
}

Shape parse_shape(const std::string& file, const std::string& name, const Json& json) {
  if (!json.is_array()) throw tensor_fault(file, name, "shape is not a list");
  if (json.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
    throw tensor_fault(file, name, fmt::format("shape has {} axes; at most {} are read", json.size(), Shape::kMaxRank));
  }
  Shape shape;
  std::int64_t product = 1;  // zeros counted as ones: [0, 2^62, 2^62] is nonsense too
  for (const Json& extent : json) {
    if (!extent.is_number_unsigned()) {
      throw tensor_fault(file, name, fmt::format("shape {} holds something else than counts", json.dump()));
    }
    const std::uint64_t value = extent.get<std::uint64_t>();
    if (value > static_cast<std::uint64_t>(kMaxElements / product)) {
      throw tensor_fault(file, name, fmt::format("the product of shape {} overflows", json.dump()));
    }
    product *= std::max<std::int64_t>(static_cast<std::int64_t>(value), 1);
    shape.push_back(static_cast<std::int64_t>(value));
  }
  return shape;
}

Entry parse_entry(const std::string& file, const std::string& name, const Json& json, std::uint64_t data_bytes,
                  bool foreign) {
  if (!json.is_object()) throw tensor_fault(file, name, "its header entry is not a JSON object");
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!json.contains(key)) throw tensor_fault(file, name, fmt::format("its header entry lacks '{}'", key));
  }
  if (json.size() != 3)
    throw tensor_fault(file, name, "its header entry has keys beside dtype, shape and data_offsets");
  Entry entry{name, parse_dtype(file, name, json["dtype"], foreign), parse_shape(file, name, json["shape"])};
  const Json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    throw tensor_fault(file, name, fmt::format("data_offsets {} are not two counts", offsets.dump()));
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes) {
    throw tensor_fault(
        file, name,
        fmt::format("data_offsets [{}, {}] are outside of the file's {} bytes of data (is it truncated?)", entry.begin,
                    entry.end, data_bytes));
  }
  const std::uint64_t expected = static_cast<std::uint64_t>(entry.shape.numel()) * entry.stored->bytes;
  if (entry.end - entry.begin != expected) {
    throw tensor_fault(file, name,
                       fmt::format("{}{} takes {} bytes, but data_offsets [{}, {}] hold {}", entry.stored->name,
                                   to_string(entry.shape), expected, entry.begin, entry.end, entry.end - entry.begin));
  }
  return entry;
}

/// Tensors must cover the data exactly: each byte belongs to one.
void check_tiling(const std::string& file, const std::vector<Entry>& entries, std::uint64_t data_bytes) {
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < covered)
      throw tensor_fault(
          file, entry.name,
          fmt::format("its data begins at {}, inside of the tensor before it, which ends at {}", entry.begin, covered));
    if (entry.begin > covered)
      throw tensor_fault(
          file, entry.name,
          fmt::format("its data begins at {}, but the tensor before it ends at {}: a hole", entry.begin, covered));
    covered = entry.end;
  }
  if (covered != data_bytes) {
    throw fault(file,
                fmt::format("{} bytes follow the last tensor's end at {}; nothing may", data_bytes - covered, covered));
  }
}

}  // namespace

const StoredDtype* stored_dtype(DType dtype) {
  for (const StoredDtype& stored : kStoredDtypes) {
    if (stored.dtype == dtype && !stored.foreign) return &stored;
  }
  throw DtypeError("safetensors", fmt::format("{}; must be a dtype that the format has", to_string(dtype)));
}

std::string format_header(const Header& header) {
  OrderedJson metadata = OrderedJson::object();
  metadata["checksum"] = "xxh64:" + std::string(kChecksumDigits, '0');
  for (const auto& [key, value] : header.metadata) metadata[key] = value;
  OrderedJson json = OrderedJson::object();
  json[kMetadata] = std::move(metadata);
  for (const Entry& entry : header.entries) {
    OrderedJson shape = OrderedJson::array();
    for (std::int64_t extent : entry.shape) shape.push_back(extent);
    json.push_back({entry.name,
                    {{"dtype", entry.stored->name},
                     {"shape", std::move(shape)},
                     {"data_offsets", {entry.begin, entry.end}}}});
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

Header parse_header(const std::string& file, const std::string& text, std::uint64_t data_bytes, bool foreign) {
  if (text.empty() || text.front() != '{')
    throw fault(file, "the header does not begin with '{'; this is not a safetensors file");
  const Json json = parse_json(file, text);
  if (!json.is_object()) throw fault(file, "the header is not a JSON object");
  Header header;
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadata) {
      header.metadata = parse_metadata(file, value);
    } else {
      header.entries.push_back(parse_entry(file, name, value, data_bytes, foreign));
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_tiling(file, header.entries, data_bytes);
  return header;
}

CheckpointError fault(const std::string& file, const std::string& what) {
  return CheckpointError("safetensors", fmt::format("'{}': {}", file, what));
}

CheckpointError tensor_fault(const std::string& file, const std::string& tensor, const std::string& what) {
  return CheckpointError("safetensors", fmt::format("'{}': tensor {}: {}", file, quoted(tensor), what));
}

}  // namespace lacuna::safetensors
