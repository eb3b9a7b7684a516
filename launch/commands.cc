#include <array>

#include "launch/command.h"

namespace mpiquant {
namespace {

constexpr std::array<Command, 3> kCommands = {{
    {"quantize", "quantize a model and write repositories and GGUF files", &run_quantize},
    {"calibrate", "tokenize calibration text once, into a store that quantize re-uses", &run_calibrate},
    {"evaluate", "perplexity of a model or output, and its distance from a reference", &run_evaluate},
}};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace mpiquant
