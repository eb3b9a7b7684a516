#pragma once

#include <functional>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "src/plan/plan.h"
#include "src/quant/method.h"
#include "src/run/job.h"
#include "src/run/output_files.h"
#include "src/run/record.h"
#include "src/run/report.h"

namespace mpiquant {

// Converts the linears of one block: each replica its parts, in every codec that an output asks for; the parts travel to the
// tensor's writer, and the rows that are propagated to all replicas.
class BlockConverter {
 public:
  // Takes the codes of a linear of the propagated output, on the replica that packed them; maybe in the background, one at a
  // time.
  using KeepCodes = std::function<void(const std::string& module, const EncodedLinear& linear)>;

  // transforms: of the outputs that it converts for, out of all. keep_codes may be empty.
  BlockConverter(Job& job, const Recipe& recipe, const std::vector<OutputSpec>& outputs,
                 const std::vector<std::string>& transforms, std::optional<std::size_t> propagated, OutputFiles& files,
                 KeepCodes keep_codes, RankReport& report);

  // True if some output stores a linear of this block with a codec.
  bool converts(const BlockSpec& block) const;
  // weights: [rows, cols] of each linear on the backend; factor: null for methods without calibration.
  // Decoded rows of the propagated output replace those of `decoded` (which may be `weights`; empty: nothing is propagated).
  // Collective over the replicas.
  void convert(const BlockSpec& block, const BlockPlan& plan, std::span<const ConstMatrix> weights, const Factor* factor,
               std::int64_t tokens, std::span<const Matrix> decoded);

  // Waits for what is packed and written beside the work of a device, and throws what that threw. Before the records are taken.
  void settle();

  // A codec that outputs store a linear in.
  struct Variant {
    CodecSpec codec;
    std::vector<std::size_t> outputs;
    bool propagated = false;
  };
  std::vector<Variant> variants_of(const LinearSpec& linear) const;

  // Of the linears this replica wrote since the last call; and those that were converted elsewhere.
  void add_records(const std::vector<TensorRecord>& records) { records_.insert(records_.end(), records.begin(), records.end()); }
  std::vector<TensorRecord> take_records() { return std::exchange(records_, {}); }
  // Codecs of the propagated output by module, of a layer's linears.
  std::map<std::string, CodecSpec> propagated_codecs(const LayerSpec& layer) const;

 private:
  // A linear in one codec, and what becomes of this replica's parts of it.
  struct Task {
    std::size_t linear;  // index in the block
    Variant variant;
    std::vector<const PartPlan*> mine;
    std::vector<EncodedRows> encoded = {};  // of these
    std::vector<std::byte> message = {};    // the same for other replicas
    bool keeps = false;                     // encoded stays until the linear is finished
  };
  std::vector<Task> tasks_of(const BlockSpec& block, const BlockPlan& plan) const;
  void encode(std::span<Task> tasks, std::span<const ConstMatrix> weights, const Factor* factor);
  std::vector<EncodedRows> assemble(Task& task, const LinearSpec& linear, const BlockPlan& plan,
                                    const std::vector<std::vector<std::byte>>& messages) const;
  // A whole linear on its writer, out of its parts.
  struct Written {
    LinearSpec linear;
    Variant variant;
    std::vector<EncodedRows> parts;
    std::vector<std::int32_t> g_idx;
  };
  void write(Written written);

  Job& job_;
  const Recipe& recipe_;
  const std::vector<OutputSpec>& outputs_;
  const std::vector<std::string>& transforms_;
  std::optional<std::size_t> propagated_;
  OutputFiles& files_;
  KeepCodes keep_codes_;
  RankReport& report_;
  std::vector<TensorRecord> records_;
  std::vector<Written> waiting_;  // of this block, while the backend is a device's
  std::future<void> writing_;     // of the blocks before
};

}  // namespace mpiquant
