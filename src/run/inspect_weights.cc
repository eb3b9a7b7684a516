#include <algorithm>
#include <array>
#include <optional>

#include "src/run/inspect.h"

namespace mpiquant {
namespace {

// The pieces of one module: all tensors whose names begin with its own and a separator.
class Module {
 public:
  Module(const TensorSource& source, std::string prefix, const Json& quantization)
      : source_(source), prefix_(std::move(prefix)), quantization_(quantization) {}

  const TensorEntry* find(std::string_view piece) const { return source_.find(prefix_ + std::string(piece)); }
  std::int64_t configured_bits() const {
    if (!quantization_.is_object() || !quantization_.contains("bits") || !quantization_["bits"].is_number_integer()) return 0;
    return quantization_["bits"].get<std::int64_t>();
  }
  const TensorSource& source() const { return source_; }

 private:
  const TensorSource& source_;
  std::string prefix_;
  const Json& quantization_;
};

using Count = std::optional<std::int64_t>;

bool is_matrix(const TensorEntry* entry) { return entry != nullptr && entry->shape.size() == 2; }

Count product(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return a < 0 || b < 0 || __builtin_mul_overflow(a, b, &out) ? std::nullopt : Count(out);
}

// GPTQ packs along the rows of [in, out], AWQ along its columns: the scales [groups, out] tell them apart.
Count packed_words(const TensorEntry& words, const Module& module) {
  const TensorEntry* scales = module.find("scales");
  if (!is_matrix(&words) || !is_matrix(scales)) return std::nullopt;
  if (scales->shape[1] != words.shape[1]) return product(words.shape[0], scales->shape[1]);
  if (const TensorEntry* order = module.find("g_idx"); order != nullptr && order->shape.size() == 1)
    return product(order->shape[0], words.shape[1]);
  const std::int64_t bits = module.configured_bits();
  if (bits < 1 || bits > 16 || words.shape[0] > words.bytes) return std::nullopt;
  return product(words.shape[0] * 32 / bits, words.shape[1]);
}

// compressed-tensors: words beside a tensor with the two extents, or bytes of two 4-bit codes.
Count packed_weight(const TensorEntry& packed, const Module& module) {
  if (!is_matrix(&packed)) return std::nullopt;
  if (packed.dtype == DType::kU8) return product(packed.bytes, 2);
  const TensorEntry* shape = module.find("weight_shape");
  if (shape == nullptr || shape->dtype != DType::kI64 || shape->shape != Shape{2}) return std::nullopt;
  std::array<std::int64_t, 2> extents{};
  module.source().read_raw(shape->name, 0, std::as_writable_bytes(std::span(extents)));
  // No code is shorter than one bit.
  if (extents[0] != packed.shape[0] || extents[1] < 0 || extents[1] / 32 > packed.shape[1]) return std::nullopt;
  return product(extents[0], extents[1]);
}

// A weight that is stored in few bits as it is, or bitsandbytes' bytes of two 4-bit codes.
Count narrow_weight(const TensorEntry& weight, const Module& module) {
  if (module.find("weight.absmax") != nullptr) return product(weight.bytes, 2);
  const bool narrow = weight.dtype == DType::kI8 || weight.dtype_name.starts_with("F8_") || weight.dtype_name.starts_with("F4") ||
                      weight.dtype_name.starts_with("F6_");
  return narrow && weight.shape.size() >= 2 ? Count(element_count(weight.shape)) : std::nullopt;
}

Count stored_codes(const TensorEntry& codes, const Module&) { return element_count(codes.shape); }
Count nibble_pairs(const TensorEntry& blocks, const Module&) {
  return blocks.dtype == DType::kU8 ? product(blocks.bytes, 2) : std::nullopt;
}

struct Rule {
  std::string_view main;       // how the name of the tensor with the codes ends
  std::string_view separator;  // after the module's name; pieces begin with what follows
  Count (*weights)(const TensorEntry& entry, const Module& module);
};

constexpr std::array kRules = {
    Rule{".qweight", ".", packed_words},         // GPTQ, AWQ
    Rule{".weight_packed", ".", packed_weight},  // compressed-tensors
    Rule{".weight", ".", narrow_weight},         // int8, FP8, bitsandbytes
    Rule{"._weight_qdata", ".", stored_codes},   // torchao
    Rule{"_blocks", "_", nibble_pairs},          // MXFP4 of gpt-oss
};

}  // namespace

std::vector<QuantizedFact> quantized_tensors(const TensorSource& source, const Json& quantization) {
  std::vector<QuantizedFact> found;
  const std::span<const TensorEntry> all = source.entries();
  for (const TensorEntry& entry : all)
    for (const Rule& rule : kRules) {
      if (!entry.name.ends_with(rule.main)) continue;
      const std::string module = entry.name.substr(0, entry.name.size() - rule.main.size());
      const std::string prefix = module + std::string(rule.separator);
      const Count weights = rule.weights(entry, Module(source, prefix, quantization));
      if (!weights) continue;
      QuantizedFact fact{module, *weights, 0, {}};
      auto piece = std::ranges::lower_bound(all, prefix, {}, &TensorEntry::name);
      for (; piece != all.end() && piece->name.starts_with(prefix); ++piece)
        if (!piece->name.ends_with("bias")) {
          fact.bytes += piece->bytes;
          fact.pieces.push_back(piece->name);
        }
      found.push_back(std::move(fact));
    }
  return found;
}

}  // namespace mpiquant
