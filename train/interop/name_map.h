// Pairs of names: how a file of another framework calls what Lacuna calls otherwise.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lacuna::interop {

/// Which side of a rule a given name is on.
enum class MapSide {
  file,    ///< the other framework's names: importing looks these up
  lacuna,  ///< Lacuna's names: exporting looks these up
};

struct MappedName {
  std::string name;        ///< "" = leave the tensor out
  bool transpose = false;  ///< the two sides hold a matrix and its transpose
};

/// Rules `file name = lacuna name`, the same for both directions. `*` stands for any characters but '.', `**` for any; both
/// sides have the same wildcards in the same order, and what one matched is put in for the other. `^T` behind the right
/// side says that the file holds the matrix transposed. An empty side leaves the tensor out. The first rule that matches
/// counts. Strict: a rule that no name matched is an error.
class NameMap {
 public:
  /// One rule. `where` ("--map", "x.map:3") begins messages. Throws ConfigError.
  void add(const std::string& rule, const std::string& where);
  /// A rule per line; empty lines and lines that begin with '#' are skipped. Throws ConfigError naming file and line,
  /// DataError when the file cannot be read.
  void add_file(const std::filesystem::path& path);

  /// What the other side calls `name`; nothing when no rule matches. Marks the rule as used.
  std::optional<MappedName> find(const std::string& name, MapSide side);
  /// Whether importing leaves the file's tensor `name` out; marks the rule as used if so.
  bool leaves_out(const std::string& name);
  /// Throws ConfigError for the first rule that matched none of `names`, all that were looked up.
  void require_used(const std::vector<std::string>& names, MapSide side) const;

 private:
  struct Rule {
    std::string file, lacuna, where;
    bool transpose = false;
    bool used = false;
  };
  std::vector<Rule> rules_;
};

/// How PyTorch calls a parameter of modules named as Lacuna's: a norm's `gain` is `weight`; a bare table (an embedding's
/// `tokens`) is an nn.Embedding's `tokens.weight`; `weight`, `bias` and running statistics stay.
std::string torch_name(const std::string& name);

}  // namespace lacuna::interop
