#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/fleet/spec.h"
#include "src/fleet/yaml_fields.h"

namespace mpiquant {

// What is read from one place of a fleet file: the file, its folder, and what it may name.
struct FleetFile {
  std::string path;
  std::filesystem::path folder;
  const FleetCatalog& catalog;
};

// Keys of a job's settings, to be known wherever settings are read.
std::vector<std::string> settings_keys();

// Lays the settings found in `fields` over `settings`: an option replaces the one of its name, a gate the one of its name.
void apply_settings(const FleetFile& file, const YamlFields& fields, FleetSettings& settings);

// A path of the file, absolute; names of data sets ("hf:…") stay as they are.
std::string absolute_path(const FleetFile& file, const std::string& path);

}  // namespace mpiquant
