#include "app/bench/dlmc.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"

namespace lacuna::bench {

namespace fs = std::filesystem;

namespace {

SmtxFile describe_file(const fs::path& path) {
  SmtxFile file{path, "smtx", "", path.stem().string()};
  std::vector<std::string> parts;
  for (const fs::path& part : path.lexically_normal()) parts.push_back(part.string());
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (parts[i] != "transformer" && parts[i] != "rn50") continue;
    file.family = parts[i];
    file.method = i + 2 < parts.size() ? parts[i + 1] : "";
    file.name.clear();
    for (std::size_t j = i; j + 1 < parts.size(); ++j) file.name += parts[j] + "/";
    file.name += path.stem().string();
  }
  return file;
}

}  // namespace

std::vector<SmtxFile> find_smtx(const std::vector<std::string>& paths) {
  std::vector<fs::path> found;
  for (const std::string& text : paths) {
    std::error_code error;
    const fs::path path(text);
    if (!fs::exists(path, error)) {
      throw DataError("smtx",
                      fmt::format("{}: no such file or folder; --smtx takes .smtx files and folders of them", text));
    }
    if (!fs::is_directory(path, error)) {
      found.push_back(path);
      continue;
    }
    const std::size_t before = found.size();
    try {
      for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
        if (entry.is_regular_file() && entry.path().extension() == ".smtx") found.push_back(entry.path());
      }
    } catch (const fs::filesystem_error& failure) {
      throw DataError("smtx", fmt::format("{}: {}; the whole folder must be readable", text, failure.what()));
    }
    if (found.size() == before)
      throw DataError("smtx", fmt::format("{}: no .smtx files below it; at least one is needed", text));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  std::vector<SmtxFile> files;
  for (const fs::path& path : found) files.push_back(describe_file(path));
  return files;
}

std::vector<std::int64_t> paper_columns(const std::string& family, const std::string& layer) {
  if (family == "transformer") return {256, 2048};
  if (family != "rn50") return {};
  constexpr std::int64_t kPixels[] = {12544, 3136, 784, 196, 49};  // after the stem, and of groups 1 to 4
  if (layer == "initial_conv") return {kPixels[0]};
  if (layer == "final_dense") return {kPixels[4]};
  // "...block_group_projection_block_group3" and "...block_group3_4_1": the group's digit follows the last "block_group".
  const std::size_t at = layer.rfind("block_group");
  if (!layer.starts_with("bottleneck_") || at == std::string::npos || at + 11 >= layer.size()) return {};
  const int group = layer[at + 11] - '0';
  if (group < 1 || group > 4) return {};
  const bool first_block = layer.find("block_group_projection_") != std::string::npos;
  const bool before_stride = first_block && group > 1 && layer.starts_with("bottleneck_1_");
  return {kPixels[before_stride ? group - 1 : group]};
}

}  // namespace lacuna::bench
