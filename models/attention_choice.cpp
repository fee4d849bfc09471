// From the config's attention to the patterns of each layer.
#include <string>

#include "models/transformer.h"

namespace lacuna {

namespace {

// Patterns have a random stream of their own, far from the steps that dropout and initialisation count.
constexpr std::uint64_t kPatternSequences = std::uint64_t{1} << 62;

std::string replaced(std::string text, const std::string& mark, std::int64_t number) {
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark)) {
    text.replace(at, mark.size(), std::to_string(number));
  }
  return text;
}

std::vector<AttentionPatternsPtr> shared(std::int64_t layers, TopologyPtr pattern) {
  return std::vector<AttentionPatternsPtr>(static_cast<std::size_t>(layers),
                                           std::make_shared<AttentionPatterns>(std::vector{std::move(pattern)}));
}

/// Calls make(layer, head) as often as there are patterns to tell apart, and shares the rest.
template <class Make>
std::vector<AttentionPatternsPtr> by_layer_and_head(const TransformerConfig& config, bool per_layer, bool per_head,
                                                    Make make) {
  std::vector<AttentionPatternsPtr> result;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (layer > 0 && !per_layer) {
      result.push_back(result.front());
      continue;
    }
    std::vector<TopologyPtr> patterns;
    for (std::int64_t head = 0; head < (per_head ? config.heads : 1); ++head) patterns.push_back(make(layer, head));
    result.push_back(std::make_shared<AttentionPatterns>(std::move(patterns)));
  }
  return result;
}

struct Chooser {
  const TransformerConfig& config;
  std::uint64_t seed;
  std::int64_t t = config.sequence_length;

  using Result = std::vector<AttentionPatternsPtr>;
  Result operator()(const DenseAttentionConfig&) const { return Result(static_cast<std::size_t>(config.layers)); }
  Result operator()(const DenseMaterialisedConfig&) const { return (*this)(DenseAttentionConfig{}); }
  Result operator()(const CausalBandConfig& c) const { return shared(config.layers, causal_band(t, c.band)); }
  Result operator()(const StridedConfig& c) const { return shared(config.layers, strided(t, c.stride, c.band)); }
  Result operator()(const BandAndRandomConfig& c) const {
    return by_layer_and_head(config, c.per_layer, c.per_head, [&](std::int64_t layer, std::int64_t head) {
      const auto place = (static_cast<std::uint64_t>(layer) << 20) | static_cast<std::uint64_t>(head);
      return band_and_random(t, c.band, c.off_band_sparsity, {seed, kPatternSequences | place});
    });
  }
  Result operator()(const FromFileConfig& c) const {
    const bool per_layer = c.path.find("{layer}") != std::string::npos;
    const bool per_head = c.path.find("{head}") != std::string::npos;
    return by_layer_and_head(config, per_layer, per_head, [&](std::int64_t layer, std::int64_t head) {
      return attention_from_file(replaced(replaced(c.path, "{layer}", layer), "{head}", head), t);
    });
  }
};

}  // namespace

std::vector<AttentionPatternsPtr> make_attention_patterns(const TransformerConfig& config, std::uint64_t seed) {
  return std::visit(Chooser{config, seed}, config.attention);
}

}  // namespace lacuna
