#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "src/plan/plan.h"

namespace mpiquant {

// A linear of one form of the model in one codec.
struct Conversion {
  CodecSpec codec;
  std::vector<std::string> transforms;

  bool operator==(const Conversion&) const = default;
};
// Distinct conversions of each linear, by module; linears that stay dense everywhere are absent.
std::map<std::string, std::vector<Conversion>> conversions_by_module(const std::vector<OutputSpec>& outputs);
// Forms of the model that outputs have: as it is stored, rotated.
int count_forms(const std::vector<OutputSpec>& outputs);
// True if the recipe rounds to nearest without a search, and every output that stores one of these linears packs rows: then no
// linear is needed as a whole.
bool converts_by_rows(const Recipe& recipe, const ModelSpec& model, const std::vector<OutputSpec>& outputs,
                      std::span<const BlockSpec> blocks);
// Bytes that each module's pieces take over all outputs.
std::map<std::string, std::int64_t> bytes_by_module(const std::vector<std::vector<FilePlan>>& files);

// Costs of each rank of a plan whose work is already shared out (plan.costs is not read).
std::vector<RankCost> rank_costs(const PlanInput& input, const Plan& plan);

}  // namespace mpiquant
