#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mpiquant {

using Amounts = std::map<std::string, std::int64_t>;

// What report.json says of one rank. Phases and amounts are open sets of names.
struct ReportedRank {
  std::map<std::string, double> seconds;  // by phase
  Amounts bytes;                          // by phase, where they are stated so
  Amounts amounts;                        // tokens, rows_swept, bytes_read, peak_memory …
};

struct ReportedTensor {
  std::string module;
  std::string codec;
  double error = 0;
  double damp_percent = 0;
  std::int64_t damp_retries = 0;
  std::int64_t dead_columns = 0;
  std::int64_t clamped_scales = 0;
  std::string outputs;  // labels of those that hold it
};

// report.json of a run's work folder.
struct ReportFile {
  double seconds = 0;
  std::string model;
  std::string output;
  std::int64_t stages = 1;
  std::int64_t replicas = 1;
  std::vector<ReportedRank> ranks;
  std::vector<Amounts> plan;  // by rank, empty when it is not stated
  std::vector<ReportedTensor> tensors;
  std::vector<std::string> fallbacks;

  // All phases, the longest first (by seconds of all ranks).
  std::vector<std::string> phases() const;
};

// Reads report.json, or the one in a work folder. Anything else is an input error that names the key.
ReportFile read_report(const std::string& path);

// Largest over mean; 1 when there is nothing.
double balance(const std::vector<double>& values);

// The number after "layers." in a module's name, -1 outside of layers.
std::int64_t layer_of(const std::string& module);

std::string to_text(const ReportFile& report);
// A page that needs nothing but itself: tables and inline SVG.
std::string to_html(const ReportFile& report);

}  // namespace mpiquant
