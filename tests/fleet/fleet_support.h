#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "src/base/error.h"
#include "src/fleet/spec.h"

namespace mpiquant {

// A folder of its own that goes away with it.
class TestFolder {
 public:
  TestFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() / fmt::format("mpiquant-fleet-{}-{}", test->name(), ::getpid());
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string path(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }

 private:
  std::filesystem::path path_;
};

inline FleetCatalog test_catalog() {
  FleetCatalog catalog;
  catalog.quantize_options = {
      {"bits", {}}, {"group-size", {}}, {"mse", {true, false}}, {"rule", {false, true}}, {"calibration", {false, true}}};
  catalog.evaluate_options = {{"text", {false, true}}, {"ids", {}}, {"window", {}}, {"max-windows", {}}};
  catalog.recipe_names = {"gptq-int4"};
  catalog.recipe_file = [](const std::string&) { return std::optional<std::string>(); };
  return catalog;
}

}  // namespace mpiquant
