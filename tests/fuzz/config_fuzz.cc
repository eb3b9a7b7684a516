// A config.json.
#include "src/base/json.h"
#include "src/model/config.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) { parse_config(parse_json(data, "config.json"), DType::kF32); }
