// Name maps: globs with captures, both directions, and what is refused.
#include "train/interop/name_map.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "tests/train/temporary_directory.h"

namespace lacuna::interop {
namespace {

NameMap map_of(const std::vector<std::string>& rules) {
  NameMap map;
  for (const std::string& rule : rules) map.add(rule, "--map");
  return map;
}

std::string found(NameMap map, const std::string& name, MapSide side = MapSide::file) {
  const auto result = map.find(name, side);
  if (!result) return "(none)";
  return result->name + (result->transpose ? "^T" : "");
}

TEST(NameMap, PutsInWhatWildcardsMatched) {
  const NameMap map = map_of({"encoder.*.w=blocks.*.weight", "top.**=**", "a*b*=x.*.y.*"});
  EXPECT_EQ(found(map, "encoder.12.w"), "blocks.12.weight");
  EXPECT_EQ(found(map, "encoder.1.2.w"), "(none)");  // one star does not cross a dot
  EXPECT_EQ(found(map, "top.a.b.c"), "a.b.c");
  EXPECT_EQ(found(map, "a1b2"), "x.1.y.2");
  EXPECT_EQ(found(map, "ab"), "x..y.");
  EXPECT_EQ(found(map, "abc.d"), "(none)");
}

TEST(NameMap, GoesBothWays) {
  const NameMap map = map_of({"net.*.kernel = blocks.*.weight^T", "spare =", "= unsaved"});
  EXPECT_EQ(found(map, "net.3.kernel"), "blocks.3.weight^T");
  EXPECT_EQ(found(map, "blocks.3.weight", MapSide::lacuna), "net.3.kernel^T");
  EXPECT_EQ(found(map, "spare"), "");
  EXPECT_EQ(found(map, "unsaved", MapSide::lacuna), "");
  EXPECT_EQ(found(map, "unsaved"), "(none)");
  EXPECT_EQ(found(map, "", MapSide::lacuna), "(none)");
}

TEST(NameMap, TheFirstRuleThatMatchesCounts) {
  EXPECT_EQ(found(map_of({"bn.weight=norm.gain", "bn.*=norm.*"}), "bn.weight"), "norm.gain");
  EXPECT_EQ(found(map_of({"bn.weight=norm.gain", "bn.*=norm.*"}), "bn.bias"), "norm.bias");
}

TEST(NameMap, RefusesRulesThatNothingMatched) {
  NameMap map = map_of({"bais=bias", "=only_for_export"});
  try {
    map.require_used({"bias", "weight"}, MapSide::file);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("'bais=bias'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("did you mean 'bias'?"), std::string::npos) << error.what();
  }
  map.find("bais", MapSide::file);
  map.require_used({"bais"}, MapSide::file);
}

TEST(NameMap, RefusesBrokenRules) {
  for (const auto& [rule, part] : std::vector<std::pair<std::string, std::string>>{
           {"weight", "one '='"},
           {"a=b=c", "one '='"},
           {"=", "both sides are empty"},
           {" = ", "both sides are empty"},
           {"a.*=b", "same wildcards"},
           {"a.*=b.**", "same wildcards"},
           {"a.*.**=b.**.*", "same wildcards"},
           {"a ***=b", "blank"},
           {"***=***", "wildcard is"},
           {"a^T=b", "'^T' stands last"},
           {"=b^T", "left out"},
           {"a=^T", "left out"},
       }) {
    try {
      map_of({rule});
      ADD_FAILURE() << "accepted: " << rule;
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << rule << ": " << error.what();
    }
  }
}

TEST(NameMap, FilesHaveRulesAndCommentsAndLines) {
  TemporaryDirectory directory;
  std::ofstream(directory / "good.map") << "# torch = here\n\n  a.* = b.*  \r\nc = d^T\n";
  NameMap map;
  map.add_file(directory / "good.map");
  EXPECT_EQ(found(map, "a.x"), "b.x");
  EXPECT_EQ(found(map, "c"), "d^T");
  std::ofstream(directory / "bad.map") << "# torch = here\na = b\nc d\n";
  try {
    map.add_file(directory / "bad.map");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("bad.map:3: 'c d'"), std::string::npos) << error.what();
  }
  EXPECT_THROW(map.add_file(directory / "absent.map"), DataError);
}

TEST(NameMap, CallsParametersAsPyTorchDoes) {
  EXPECT_EQ(torch_name("blocks.0.attention_norm.gain"), "blocks.0.attention_norm.weight");
  EXPECT_EQ(torch_name("embedding.tokens"), "embedding.tokens.weight");
  EXPECT_EQ(torch_name("layers.0.weight"), "layers.0.weight");
  EXPECT_EQ(torch_name("stem_norm.running_var"), "stem_norm.running_var");
}

}  // namespace
}  // namespace lacuna::interop
