#include "src/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr double kDefaultTheta = 10000.0;  // of Transformers, when a config states none

float power(double base, float exponent) { return static_cast<float>(std::pow(base, static_cast<double>(exponent))); }

// base^(2 i / head_dim), the wavelength of pair i over 2 pi.
std::vector<float> wave_numbers(double theta, std::int64_t head_dim) {
  std::vector<float> waves(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < waves.size(); ++i)
    waves[i] = power(theta, static_cast<float>(2 * i) / static_cast<float>(head_dim));
  return waves;
}

// Llama 3.1: long waves are stretched by the factor, short ones kept, those between interpolated.
float llama3_frequency(const RopeSpec& rope, float inverse) {
  const double context = static_cast<double>(rope.original_context);
  const float wavelength = (1.0F / inverse) * static_cast<float>(2 * std::numbers::pi);
  const float low = static_cast<float>(context / rope.low_freq_factor),
              high = static_cast<float>(context / rope.high_freq_factor);
  const float factor = static_cast<float>(rope.factor);
  if (wavelength > low) return inverse / factor;
  if (wavelength < high) return inverse;
  const float smooth = ((1.0F / wavelength) * static_cast<float>(context) - static_cast<float>(rope.low_freq_factor)) /
                       static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  return (1.0F - smooth) * inverse / factor + smooth * inverse;
}

double yarn_mscale(double scale, double mscale) { return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

float yarn_attention_scaling(const RopeSpec& rope) {
  if (rope.attention_factor) return static_cast<float>(*rope.attention_factor);
  const double mscale = rope.mscale.value_or(0), all_dim = rope.mscale_all_dim.value_or(0);
  if (mscale != 0 && all_dim != 0)
    return static_cast<float>(yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, all_dim));
  return static_cast<float>(yarn_mscale(rope.factor, 1));
}

// YaRN (arXiv 2309.00071): a ramp over the dimensions from extrapolated (short waves) to interpolated frequencies.
std::vector<float> yarn_frequencies(const RopeSpec& rope, std::int64_t head_dim) {
  const double dim = static_cast<double>(head_dim);
  const auto turning_dim = [&](double rotations) {
    return dim * std::log(static_cast<double>(rope.original_context) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = turning_dim(rope.beta_fast), high = turning_dim(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  std::vector<float> inverse = wave_numbers(rope.theta, head_dim);
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    const float extrapolated = 1.0F / inverse[i], interpolated = 1.0F / (static_cast<float>(rope.factor) * inverse[i]);
    const float ramp = std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0F, 1.0F);
    const float keep = 1.0F - ramp;
    inverse[i] = interpolated * (1.0F - keep) + extrapolated * keep;
  }
  return inverse;
}

RopeType rope_type(const ConfigReader& rope) {
  const char* key = rope.has("rope_type") ? "rope_type" : "type";
  const std::string name = rope.text(key).value_or("default");
  if (name == "default") return RopeType::kDefault;
  if (name == "linear") return RopeType::kLinear;
  if (name == "llama3") return RopeType::kLlama3;
  if (name == "yarn") return RopeType::kYarn;
  rope.unsupported(key, "default, linear, llama3, yarn");
}

// Null or 0 means the default, as in Transformers.
double nonzero_or(const ConfigReader& rope, const char* key, double unset) {
  const double value = rope.number(key).value_or(0);
  return value != 0 ? rope.positive(key) : unset;
}

void read_yarn(const ConfigReader& reader, std::int64_t context, RopeSpec& rope) {
  check(reader.contains("factor"), ExitCode::kInput, "{}: the key 'factor' is missing (yarn cannot be built without it)",
        reader.where());
  rope.factor = reader.has("factor") ? reader.positive("factor")
                                     : static_cast<double>(context) / static_cast<double>(rope.original_context);
  rope.beta_fast = nonzero_or(reader, "beta_fast", 32);
  rope.beta_slow = nonzero_or(reader, "beta_slow", 1);
  rope.attention_factor = reader.number("attention_factor");
  rope.mscale = reader.number("mscale");
  rope.mscale_all_dim = reader.number("mscale_all_dim");
  rope.truncate = reader.flag_or("truncate", true);
}

void read_scaling(const ConfigReader& config, const ConfigReader& reader, std::int64_t context, RopeSpec& rope) {
  rope.type = rope_type(reader);
  if (reader.number("partial_rotary_factor").value_or(1) != 1) reader.unsupported("partial_rotary_factor", "1");
  if (rope.type == RopeType::kLinear || rope.type == RopeType::kLlama3) rope.factor = reader.positive("factor");
  if (rope.type == RopeType::kLlama3 || rope.type == RopeType::kYarn) {
    const ConfigReader& owner = config.has("original_max_position_embeddings") ? config : reader;  // Transformers' priority
    rope.original_context = owner.size_or("original_max_position_embeddings", context);
  }
  if (rope.type == RopeType::kLlama3) {
    rope.low_freq_factor = reader.positive("low_freq_factor");
    rope.high_freq_factor = reader.positive("high_freq_factor");
    check(rope.high_freq_factor > rope.low_freq_factor, ExitCode::kInput,
          "{}: high_freq_factor = {} must be above low_freq_factor = {}", reader.where(), rope.high_freq_factor,
          rope.low_freq_factor);
  }
  if (rope.type == RopeType::kYarn) read_yarn(reader, context, rope);
}

}  // namespace

RopeSpec read_rope(const ConfigReader& config, std::int64_t context) {
  if (config.number("partial_rotary_factor").value_or(1) != 1) config.unsupported("partial_rotary_factor", "1");
  RopeSpec rope;
  rope.theta = config.has("rope_theta") ? config.positive("rope_theta") : kDefaultTheta;
  // rope_scaling wins where both are set, as in Transformers.
  const char* key = config.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (const auto reader = config.object(key)) {
    for (const Json& value : *config.find(key))
      if (value.is_object()) config.unsupported(key, "one set of parameters for all layers");
    if (reader->has("rope_theta")) rope.theta = reader->positive("rope_theta");
    read_scaling(config, *reader, context, rope);
  }
  check(rope.theta > 1, ExitCode::kInput, "{}: rope_theta = {} must be above 1", config.where(), rope.theta);
  return rope;
}

RopeFrequencies rope_frequencies(const RopeSpec& rope, std::int64_t head_dim) {
  if (rope.type == RopeType::kYarn) return {yarn_frequencies(rope, head_dim), yarn_attention_scaling(rope)};
  RopeFrequencies result{wave_numbers(rope.theta, head_dim), 1};
  for (float& value : result.inverse) {
    value = 1.0F / value;
    if (rope.type == RopeType::kLinear) value /= static_cast<float>(rope.factor);
    if (rope.type == RopeType::kLlama3) value = llama3_frequency(rope, value);
  }
  return result;
}

RopeTables rope_tables(const RopeSpec& rope, std::int64_t head_dim, std::int64_t positions) {
  const RopeFrequencies frequencies = rope_frequencies(rope, head_dim);
  RopeTables tables{positions, {}, {}};
  tables.cos.reserve(frequencies.inverse.size() * static_cast<std::size_t>(positions));
  tables.sin.reserve(tables.cos.capacity());
  for (std::int64_t position = 0; position < positions; ++position)
    for (const float inverse : frequencies.inverse) {
      const double angle = static_cast<double>(static_cast<float>(position) * inverse);  // rounded to fp32 before cos, as there
      tables.cos.push_back(static_cast<float>(std::cos(angle)) * frequencies.attention_scaling);
      tables.sin.push_back(static_cast<float>(std::sin(angle)) * frequencies.attention_scaling);
    }
  return tables;
}

}  // namespace mpiquant
