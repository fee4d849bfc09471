#include "train/config/load.h"

namespace lacuna::config {

void load_into(const Value& value, const std::string& text, const std::string& file,
               const std::vector<std::string>& overrides) {
  Node root = parse(text, file);
  std::vector<Problem> problems;
  apply_overrides(root, overrides, problems);
  read(value, root, problems);
  throw_problems(std::move(problems), file);
}

}  // namespace lacuna::config
