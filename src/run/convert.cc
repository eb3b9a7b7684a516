#include "src/run/convert.h"

#include <algorithm>
#include <cstring>

#include "src/quant/encoded.h"
#include "src/run/timed.h"

namespace mpiquant {

BlockConverter::BlockConverter(Job& job, const Recipe& recipe, const std::vector<OutputSpec>& outputs,
                               std::optional<std::size_t> propagated, OutputFiles& files, KeepCodes keep_codes,
                               RankReport& report)
    : job_(job),
      recipe_(recipe),
      outputs_(outputs),
      propagated_(propagated),
      files_(files),
      keep_codes_(std::move(keep_codes)),
      report_(report) {}

std::vector<BlockConverter::Variant> BlockConverter::variants_of(const LinearSpec& linear) const {
  std::vector<Variant> variants;
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    const auto& linears = outputs_[o].linears;
    const auto choice =
        std::find_if(linears.begin(), linears.end(), [&](const LinearChoice& c) { return c.linear.module == linear.module; });
    if (choice == linears.end()) continue;
    auto variant = std::find_if(variants.begin(), variants.end(), [&](const Variant& v) { return v.codec == choice->codec; });
    if (variant == variants.end()) variant = variants.insert(variants.end(), Variant{choice->codec, {}, false});
    variant->outputs.push_back(o);
    if (propagated_ == o) variant->propagated = true;
  }
  // The propagated one last: its decoded rows may take the place of the weights that the others are made from.
  std::stable_partition(variants.begin(), variants.end(), [](const Variant& variant) { return !variant.propagated; });
  return variants;
}

std::map<std::string, CodecSpec> BlockConverter::propagated_codecs(const LayerSpec& layer) const {
  std::map<std::string, CodecSpec> codecs;
  for (const BlockSpec& block : layer.blocks)
    for (const LinearSpec& linear : block.linears)
      for (const Variant& variant : variants_of(linear))
        if (variant.propagated) codecs[linear.module] = variant.codec;
  return codecs;
}

bool BlockConverter::converts(const BlockSpec& block) const {
  return std::any_of(block.linears.begin(), block.linears.end(),
                     [this](const LinearSpec& linear) { return !variants_of(linear).empty(); });
}

void BlockConverter::convert(const BlockSpec& block, const BlockPlan& plan, std::span<const ConstMatrix> weights,
                             const Factor* factor, std::int64_t tokens, std::span<const Matrix> decoded) {
  Communicator& group = *job_.grid.group;
  const Method& method = find_method(recipe_.method);
  for (std::size_t l = 0; l < block.linears.size(); ++l) {
    const LinearSpec& linear = block.linears[l];
    std::vector<const PartPlan*> mine;
    for (const PartPlan& part : plan.parts)
      if (part.linear == static_cast<int>(l) && part.replica == group.rank()) mine.push_back(&part);
    for (const Variant& variant : variants_of(linear)) {
      std::vector<EncodedRows> encoded(mine.size());
      std::vector<std::byte> message;
      timed_collectively(group, report_, "sweep", [&] {
        job_.backend.for_each(static_cast<std::int64_t>(mine.size()), [&](Stream& stream, std::int64_t i) {
          const PartPlan& part = *mine[static_cast<std::size_t>(i)];
          EncodedRows& rows = encoded[static_cast<std::size_t>(i)];
          rows = method.convert(job_.backend, stream, weights[l].row_range(part.row_begin, part.row_begin + part.rows), factor,
                                variant.codec, part.row_begin);
          report_.marks.mark();
        });
        for (EncodedRows& rows : encoded) {
          report_.rows_swept += rows.rows;
          const std::vector<std::byte> bytes = to_bytes(rows);
          message.insert(message.end(), bytes.begin(), bytes.end());
          rows = {};
        }
      });

      // Parts travel to the writer, or to everybody when their decoded rows are the weights from here on.
      const bool to_all = variant.propagated && !decoded.empty();
      const int writer = plan.writers[l];
      std::vector<std::vector<std::byte>> messages;
      {
        const PhaseTimer timer(report_, "gather");
        messages = to_all ? all_gather_bytes(group, message) : gather_bytes(group, message, writer);
      }
      message = {};
      timed_collectively(group, report_, "write", [&] {
        if (messages.empty()) return;
        std::vector<EncodedRows> parts;
        std::vector<std::span<const std::byte>> rest(messages.begin(), messages.end());
        for (const PartPlan& part : plan.parts) {
          if (part.linear != static_cast<int>(l)) continue;
          auto& sender = rest[static_cast<std::size_t>(part.replica)];
          const auto size = static_cast<std::size_t>(encoded_bytes(variant.codec, part.rows, linear.cols));
          expect(size <= sender.size(), "{}: a message from replica {} is too short", linear.module, part.replica);
          parts.push_back(encoded_from_bytes(sender.first(size)));
          sender = sender.subspan(size);
        }
        if (to_all) {
          const std::vector<std::int32_t> g_idx = group_index(variant.codec, factor, linear.cols);
          job_.backend.for_each(static_cast<std::int64_t>(parts.size()), [&](Stream& stream, std::int64_t i) {
            const EncodedRows& rows = parts[static_cast<std::size_t>(i)];
            job_.backend.decode(stream, rows, variant.codec, g_idx,
                                decoded[l].row_range(rows.row_begin, rows.row_begin + rows.rows));
          });
        }
        if (group.rank() == writer) finish(linear, variant, std::move(parts), factor, tokens);
      });
    }
  }
}

// On the writer: the whole linear out of its parts, recorded and written to every output of the variant.
void BlockConverter::finish(const LinearSpec& linear, const Variant& variant, std::vector<EncodedRows> parts,
                            const Factor* factor, std::int64_t tokens) {
  EncodedLinear whole{variant.codec, linear.rows, linear.cols, {}, {}, group_index(variant.codec, factor, linear.cols)};
  whole.codes.reserve(static_cast<std::size_t>(linear.rows * linear.cols));
  whole.params.reserve(static_cast<std::size_t>(linear.rows * variant.codec.groups(linear.cols)));
  TensorRecord record;
  record.module = linear.module;
  record.codec = to_string(variant.codec);
  record.outputs = variant.outputs;
  std::int64_t next_row = 0;
  for (EncodedRows& rows : parts) {
    expect(rows.row_begin == next_row, "{}: rows from {} are missing", linear.module, next_row);
    next_row += rows.rows;
    whole.codes.insert(whole.codes.end(), rows.codes.begin(), rows.codes.end());
    whole.params.insert(whole.params.end(), rows.params.begin(), rows.params.end());
    for (const double loss : rows.loss) record.error += loss;
    record.scale_underflows += rows.scale_underflows;
    record.scale_overflows += rows.scale_overflows;
    rows = {};
  }
  expect(next_row == linear.rows, "{}: {} of {} rows arrived", linear.module, next_row, linear.rows);
  if (factor != nullptr) {
    record.error *= 2.0 / static_cast<double>(tokens);  // the sweep's loss is half the error, of the sum over tokens
    record.damp_percent = factor->damp_percent;
    record.damp_retries = factor->retries;
    record.dead_columns = std::count(factor->dead.begin(), factor->dead.end(), 1);
  }
  for (const std::size_t output : variant.outputs) files_.write_linear(output, linear.module, whole);
  if (variant.propagated && keep_codes_) keep_codes_(linear.module, whole);
  records_.push_back(std::move(record));
}

}  // namespace mpiquant
