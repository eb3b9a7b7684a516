#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/container.h"
#include "io/manifest.h"
#include "src/base/json.h"
#include "src/run/job.h"
#include "src/run/record.h"

namespace mpiquant {

// Tensors whose conversion was not as asked: more damping, clamped scales.
std::vector<std::string> fallbacks(const std::vector<TensorRecord>& records);

// The facts of one output's tensors for mpiquant.json.
Json tensor_facts(const std::vector<TensorRecord>& records, std::size_t output);

// Writes everything of an output but its tensors into its folder, and SHA256SUMS over all of it. sums: of this rank's part of
// the tensors' files. Collective over the job.
void complete_output(Job& job, const std::filesystem::path& folder, const OutputSpec& output, const RunFacts& facts,
                     FileSums sums, const std::vector<std::string>& notes);

}  // namespace mpiquant
