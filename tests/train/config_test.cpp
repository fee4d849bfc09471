// The YAML binder on a struct that has one member of every kind.
#include "train/config/load.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/errors.h"
#include "train/config/suggest.h"

namespace lacuna {
namespace {

enum class Shade { light, dark };
EnumNames<Shade> enum_names(Shade) { return {{"light", Shade::light}, {"dark", Shade::dark}}; }

struct Limits {
  double low = 0.25;
  double high = 0.75;
  bool operator==(const Limits&) const = default;
};
template <class V>
void describe(Limits& c, V&& v) {
  v("low", c.low, "Lower end", fraction());
  v("high", c.high, "Upper end", probability());
}
void validate(const Limits& c, const ReportProblem& problem) {
  if (c.low > c.high) problem("low", "must not exceed 'high'");
}

struct Circle {
  static constexpr const char* kType = "circle";
  double radius = 1;
  bool operator==(const Circle&) const = default;
};
template <class V>
void describe(Circle& c, V&& v) {
  v("radius", c.radius, "Radius in metres", positive());
}
struct Square {
  static constexpr const char* kType = "square";
  double side = 2;
  std::string file;
  bool operator==(const Square&) const = default;
};
template <class V>
void describe(Square& c, V&& v) {
  v("side", c.side, "Side in metres", positive());
  v("file", c.file, "Texture", required(), non_empty());
}
struct Point {
  static constexpr const char* kType = "point";
  bool operator==(const Point&) const = default;
};
template <class V>
void describe(Point&, V&&) {}

struct Everything {
  bool flag = true;
  int small = 3;
  std::int64_t big = -5;
  std::uint64_t seed = 7;
  double rate = 1e-3;
  std::string text = "plain";
  std::string mode = "fast";
  Shade shade = Shade::dark;
  std::optional<double> maybe;
  std::optional<Limits> maybe_limits;
  Limits limits;
  std::vector<std::int64_t> counts = {1, 2};
  std::vector<std::string> globs;
  std::vector<Limits> ranges;
  std::vector<std::pair<std::string, double>> levels = {{"a.b", 0.5}};
  std::vector<std::pair<std::string, Limits>> named;
  std::variant<Circle, Square, Point> shape;
  std::vector<std::variant<Circle, Point>> shapes;
  bool operator==(const Everything&) const = default;
};
template <class V>
void describe(Everything& c, V&& v) {
  v("flag", c.flag, "A flag");
  v("small", c.small, "A small count", range(0, 10));
  v("big", c.big, "A big count");
  v("seed", c.seed, "A seed");
  v("rate", c.rate, "A rate", positive());
  v("text", c.text, "A text");
  v("mode", c.mode, "A mode", one_of({"fast", "exact"}));
  v("shade", c.shade, "A shade");
  v("maybe", c.maybe, "A number or none", positive());
  v("maybe_limits", c.maybe_limits, "Limits or none");
  v("limits", c.limits, "Limits");
  v("counts", c.counts, "Counts", positive());
  v("globs", c.globs, "Globs");
  v("ranges", c.ranges, "Several limits");
  v("levels", c.levels, "Level of each name", fraction());
  v("named", c.named, "Limits of each name");
  v("shape", c.shape, "A shape");
  v("shapes", c.shapes, "Shapes");
}

Everything load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return config::parse_config<Everything>(text, "x.yaml", overrides);
}

std::string error(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    load(text, overrides);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "(loaded)";
}

TEST(Config, ReadsEveryKind) {
  const Everything c = load(R"(
flag: false
small: 9
big: -9223372036854775808
seed: 18446744073709551615
rate: 2.5e-4
text: 1e-3
mode: "exact"
shade: light
maybe: 4
maybe_limits: {low: 0.5}
limits:
  high: 1
counts: [4, 5, 6]
globs:
  - "**.weight"
  - a b
ranges:
  - low: 0
    high: 0.5
  - {}
levels:
  blocks.*.query: 0.8
  z: 0
named: {n: {low: 0.1}}
shape: {type: square, side: 3, file: f.png}
shapes: [{type: point}, {type: circle, radius: 9}]
)");
  EXPECT_FALSE(c.flag);
  EXPECT_EQ(c.small, 9);
  EXPECT_EQ(c.big, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(c.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(c.rate, 2.5e-4);
  EXPECT_EQ(c.text, "1e-3");
  EXPECT_EQ(c.mode, "exact");
  EXPECT_EQ(c.shade, Shade::light);
  EXPECT_EQ(c.maybe, 4.0);
  EXPECT_EQ(c.maybe_limits, (Limits{0.5, 0.75}));
  EXPECT_EQ(c.limits, (Limits{0.25, 1}));
  EXPECT_EQ(c.counts, (std::vector<std::int64_t>{4, 5, 6}));
  EXPECT_EQ(c.globs, (std::vector<std::string>{"**.weight", "a b"}));
  EXPECT_EQ(c.ranges, (std::vector<Limits>{{0, 0.5}, {}}));
  EXPECT_EQ(c.levels, (std::vector<std::pair<std::string, double>>{{"blocks.*.query", 0.8}, {"z", 0}}));
  EXPECT_EQ(c.named, (std::vector<std::pair<std::string, Limits>>{{"n", {0.1, 0.75}}}));
  EXPECT_EQ(std::get<Square>(c.shape), (Square{3, "f.png"}));
  EXPECT_EQ(c.shapes, (std::vector<std::variant<Circle, Point>>{Point{}, Circle{9}}));
}

TEST(Config, ReadsEveryStyleOfText) {
  EXPECT_EQ(load("text: 'it''s'\n").text, "it's");
  EXPECT_EQ(load("text: ''\n").text, "");
  EXPECT_EQ(load("text: \"a\\\"\\\\\"\n").text, "a\"\\");
  EXPECT_EQ(load("text: \"two\n  lines\"").text, "two lines");
  EXPECT_EQ(load("text: |\n  'a\n  b\n").text, "'a\nb\n");
  EXPECT_EQ(load("{\"text\": \"\\u00e9\", \"small\": 1}").text, "\u00e9");
}

TEST(Config, KeepsDefaultsOfWhatIsNotSaid) { EXPECT_EQ(load("{}"), Everything{}); }

TEST(Config, NamesLineColumnAndNeighbour) {
  EXPECT_EQ(error("flag: true\nlimits:\n  hihg: 1\n"), "x.yaml:3:3: unknown key 'hihg' in 'limits' (did you mean 'high'?)");
  EXPECT_EQ(error("falg: true"), "x.yaml:1:1: unknown key 'falg' (did you mean 'flag'?)");
  EXPECT_EQ(error("low: 0.1"), "x.yaml:1:1: unknown key 'low' (did you mean 'limits.low'?)");
  EXPECT_EQ(error("nothing_alike: 0.1"), "x.yaml:1:1: unknown key 'nothing_alike'");
  EXPECT_EQ(error("ranges: [{low: 0}, {lo: 0}]"), "x.yaml:1:21: unknown key 'lo' in 'ranges.1' (did you mean 'low'?)");
  EXPECT_EQ(error("mode: exat"), "x.yaml:1:7: 'mode' must be one of fast, exact, got 'exat' (did you mean 'exact'?)");
  EXPECT_EQ(error("shade: Dark"), "x.yaml:1:8: 'shade' must be one of light, dark, got 'Dark' (did you mean 'dark'?)");
}

TEST(Config, ReportsEveryProblemAtOnceInTheOrderOfTheFile) {
  const std::string text = error("small: x\nflag: yes\nnope: 1\nlimits: {low: 2}\nsmall: 4\n", {"rate=0", "zzz"});
  EXPECT_EQ(text,
            "x.yaml:1:8: 'small' must be an integer, got 'x'\n"
            "x.yaml:2:7: 'flag' must be true or false, got 'yes'\n"
            "x.yaml:3:1: unknown key 'nope'\n"
            "x.yaml:4:15: 'limits.low' must be in [0, 1), got '2'\n"
            "x.yaml:5:1: duplicate key 'small' (first given in line 1)\n"
            "override 'zzz': must read KEY=VALUE, as in training.steps=1000\n"
            "override 'rate=0': 'rate' must be > 0, got '0'");
}

TEST(Config, RefusesWrongTypesAndRanges) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"big: 1.5", "1:6: 'big' must be an integer, got '1.5'"},
      {"big: 1e6", "'big' must be an integer, got '1e6' (write 1000000)"},
      {"big: 9223372036854775808", "an integer from -9223372036854775808 to 9223372036854775807, got '9223372036854775808'"},
      {"big: 0x10", "must be an integer, got '0x10'"},
      {"big: 010", "must be an integer without leading zeros, got '010'"},
      {"big: \"3\"", "must be an integer, got '3' in quotes"},
      {"big:", "must be an integer, got nothing"},
      {"big: [1]", "must be an integer, got a list"},
      {"big: {a: 1}", "must be an integer, got a section"},
      {"small: 99999999999", "an integer from -2147483648 to 2147483647"},
      {"small: 11", "'small' must be in [0, 10], got '11'"},
      {"seed: -1", "'seed' must be an integer >= 0, got '-1'"},
      {"rate: .nan", "'rate' must be a finite number, got '.nan'"},
      {"rate: nan", "'rate' must be a finite number, got 'nan'"},
      {"rate: -.inf", "'rate' must be a finite number"},
      {"rate: inf", "'rate' must be a finite number"},
      {"rate: 1e999", "'rate' must be a number that fits a double"},
      {"rate: 1,5", "'rate' must be a number, got '1,5'"},
      {"rate: 1e-3x", "'rate' must be a number"},
      {"flag: 1", "must be true or false, got '1'"},
      {"text: [a]", "'text' must be text, got a list"},
      {"text: ~", "'text' must be text, got nothing"},
      {"limits: 3", "'limits' must be a section of keys, got '3'"},
      {"limits:", "'limits' must be a section of keys, got nothing; leave it out for its defaults"},
      {"counts: 3", "'counts' must be a list, got '3' (write [3])"},
      {"counts: [1, 0]", "1:13: 'counts.1' must be > 0, got '0'"},
      {"counts: {a: 1}", "'counts' must be a list, got a section"},
      {"levels: [1]", "'levels' must be a section of names and values, got a list"},
      {"levels: {a: 1, a: 0}", "1:13: 'levels.a' must be in [0, 1), got '1'\nx.yaml:1:16: duplicate key 'a' in 'levels'"},
      {"levels: {a.b: 1}", "'levels.\"a.b\"' must be in [0, 1)"},
      {"maybe: -1", "'maybe' must be > 0, got '-1'"},
      {"shape: circle", "'shape' must be a section with a 'type' (circle, square, point), got 'circle'"},
      {"shape: {type: cirle, wrong: 1}", "1:15: 'shape.type' must be one of circle, square, point, got 'cirle' (did you mean 'circle'?)"},
      {"shape: {type: circle, side: 1}", "1:23: unknown key 'side' in 'shape' of type 'circle' (a key of type square)"},
      {"shape: {tpye: circle}", "unknown key 'tpye' in 'shape' of type 'circle' (did you mean 'type'?)"},
      {"shape: {type: square}", "1:8: missing required key 'file' in 'shape'"},
      {"shape: {type: square, file: ''}", "'shape.file' must not be empty"},
      {"limits: {low: 0.9}", "1:15: 'limits.low' must not exceed 'high'"},
      {"limits: {high: 0.1}", "1:9: 'limits.low' must not exceed 'high'"},
      {"- 1", "1:1: must be a section of keys ('key: value' lines), got a list"},
      {"hello", "got 'hello'"},
      {"# nothing", "got nothing"},
      {"  \n", "x.yaml: is empty"},
      {"a: &x 1", "1:4: anchors and aliases are not supported"},
      {"limits: *x", "x.yaml:1:9: "},
      {"<<: {flag: true}", "1:1: merge keys ('<<') are not supported"},
      {"big: !!int 3", "YAML tags ('tag:yaml.org,2002:int') are not supported"},
      {"[a, b]: 1", "a key must be a word"},
      {"? {a: 1}\n: 2", "a key must be a word"},
      {"~: 1", "a key must be a word"},
      {"flag: true\n---\nflag: true", "a second YAML document begins"},
      {"flag: true\n\tsmall: 3", "x.yaml:2:1: not valid YAML: "},
      {"text: \"open", "not valid YAML: "},
      {"text: \"open\n", "x.yaml:1:7: not valid YAML: the quote that opens here is never closed"},
      {"text: 'it''s\nflag: true\n", "x.yaml:1:7: not valid YAML: the quote that opens here is never closed"},
      {"text: \"a\\\"\n", "x.yaml:1:7: not valid YAML: the quote that opens here is never closed"},
      {"flag: true\n  small: 3", "x.yaml:2:8: not valid YAML: "},
      {std::string("flag: tr\0ue", 11), "x.yaml:1:9: control character 0x00: this is not a text file"},
      {"\nflag: \xff", "x.yaml:2:7: byte 0xff is not UTF-8: this is not a text file"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_NE(error(text).find(expected), std::string::npos) << text << "\n  gave     " << error(text) << "\n  expected " << expected;
  }
}

TEST(Config, DeeplyNestedInputIsRefused) {
  EXPECT_NE(error("text: " + std::string(100000, '[')).find("x.yaml:1:"), std::string::npos);
  EXPECT_NE(error("text: " + std::string(100000, '{')).find("x.yaml:1:"), std::string::npos);
}

TEST(Config, Overrides) {
  const Everything c = load("counts: [1, 2]\nlimits: {low: 0}\nmaybe: 3\nlevels: {a.b: 0.1}\n",
                            {"counts.1=9", "limits.high=0.5", "limits.high=0.6", "maybe=null", "shape={type: square, file: a=b}", "text='x y'",
                             "levels.\"a.b\"=0.2", "maybe_limits.low=0.1", "shape.side=4"});
  EXPECT_EQ(c.counts, (std::vector<std::int64_t>{1, 9}));
  EXPECT_EQ(c.limits, (Limits{0, 0.6}));
  EXPECT_FALSE(c.maybe.has_value());
  EXPECT_EQ(std::get<Square>(c.shape), (Square{4, "a=b"}));
  EXPECT_EQ(c.text, "x y");
  EXPECT_EQ(c.levels, (std::vector<std::pair<std::string, double>>{{"a.b", 0.2}}));
  EXPECT_EQ(c.maybe_limits, (Limits{0.1, 0.75}));
  // The faulty value of the file is gone, so only what is wrong now is reported.
  EXPECT_EQ(load("small: x", {"small=4"}).small, 4);
  EXPECT_EQ(error("{}", {"limits.hgih=1"}), "override 'limits.hgih=1': unknown key 'hgih' in 'limits' (did you mean 'high'?)");
  EXPECT_EQ(error("flag: true", {"flag.x=1"}), "override 'flag.x=1': 'flag' is the value 'true', not a section");
  EXPECT_EQ(error("counts: [1]", {"counts.1=2"}), "override 'counts.1=2': 'counts' is a list of 1, it has no entry '1'");
  EXPECT_EQ(error("{}", {"=1"}), "override '=1': must read KEY=VALUE, as in training.steps=1000");
  EXPECT_EQ(error("{}", {"small="}), "override 'small=': 'small' must be an integer, got nothing");
  EXPECT_NE(error("{}", {"text='x"}).find("override 'text='x': not valid YAML: "), std::string::npos);
}

TEST(Config, ResolvedConfigReadsBackIdentical) {
  Everything c;
  c.rate = 0.1 + 0.2;
  c.big = std::numeric_limits<std::int64_t>::max();
  c.maybe = 1e-310;
  c.maybe_limits = Limits{0.1, 0.2};
  c.ranges = {{0.1, 0.2}, {0.3, 0.4}};
  c.named = {{"with: colon", {}}, {"*", {0.5, 0.6}}, {"", {}}};
  c.shape = Square{5, "x"};
  c.shapes = {Point{}, Circle{2}};
  for (const std::string text : {"", "true", "null", "~", "1.0", "- a", "*star", "# no", "a: b", "new\nline", "tab\t", "quote\" \\ '", "é", "\x01", " pad "}) {
    c.text = text;
    c.globs = {text, "b", text};
    for (const bool comments : {false, true}) {
      const std::string yaml = config::write_config(c, comments);
      EXPECT_EQ(load(yaml), c) << yaml;
      EXPECT_EQ(config::write_config(load(yaml), comments), yaml);
    }
  }
  const std::string defaults = config::write_config(Everything{});
  EXPECT_EQ(load(defaults), Everything{}) << defaults;
  EXPECT_NE(defaults.find("rate: 0.001\n"), std::string::npos);
}

TEST(Config, Explain) {
  EXPECT_EQ(config::explain_config<Everything>("rate"), "rate: number, > 0, default 0.001\n    A rate\n");
  EXPECT_EQ(config::explain_config<Everything>("mode"), "mode: text, one of fast, exact, default fast\n    A mode\n");
  EXPECT_EQ(config::explain_config<Everything>("shape.file"),
            "shape.file: text, not empty, required  [with shape.type: square]\n    Texture\n");
  EXPECT_EQ(config::explain_config<Everything>("ranges.0.low"), "ranges.low: number, in [0, 1), default 0.25\n    Lower end\n");
  EXPECT_EQ(config::explain_config<Everything>("shape.type"), "shape: section of type circle, square, point, default type circle\n    A shape\n");
  const std::string all = config::explain_config<Everything>();
  for (const char* part : {"flag: true or false", "limits.high", "shape.radius", "shapes.radius", "named.low", "maybe_limits.low"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part;
  }
  const auto unknown = [](const std::string& key) -> std::string {
    try {
      return config::explain_config<Everything>(key);
    } catch (const ConfigError& e) {
      return e.what();
    }
  };
  EXPECT_EQ(unknown("limits.lwo"), "unknown key 'limits.lwo' (did you mean 'limits.low'?)");
  EXPECT_EQ(unknown("radius"), "unknown key 'radius' (did you mean 'shape.radius'?)");
  EXPECT_EQ(unknown("."), "unknown key '.'");
}

TEST(Config, Files) {
  const auto refusal = [](const std::string& file) -> std::string {
    try {
      config::load_config<Everything>(file);
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "(loaded)";
  };
  const auto directory = std::filesystem::path(testing::TempDir()) / "lacuna_config_test";
  std::filesystem::create_directories(directory);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(directory / name, std::ios::binary) << text;
    return (directory / name).string();
  };
  const std::string folder = directory.string(), empty = write("empty.yaml", ""), huge = write("huge.yaml", "#" + std::string(1 << 20, 'x'));
  EXPECT_EQ(refusal(folder + "/none.yaml"), folder + "/none.yaml: no such file");
  EXPECT_EQ(refusal(folder), folder + ": is a directory; a YAML file is expected");
  EXPECT_EQ(refusal(empty), empty + ": is empty");
  EXPECT_EQ(refusal(huge), huge + ": is larger than 1 MB; this is not a config");
  EXPECT_EQ(refusal(write("good.yaml", "\xEF\xBB\xBF# with a byte order mark\r\nflag: false\r\n")), "(loaded)");
  std::filesystem::remove_all(directory);
}

TEST(Config, EditDistance) {
  EXPECT_EQ(config::edit_distance("sparsty", "sparsity"), 1);
  EXPECT_EQ(config::edit_distance("hgih", "high"), 1);
  EXPECT_EQ(config::edit_distance("", "abc"), 3);
  EXPECT_EQ(config::nearest("Batch-Size", {"batch_size", "steps"}), "batch_size");
  EXPECT_EQ(config::nearest("x", {"y", "lr"}), "");
}

}  // namespace
}  // namespace lacuna
