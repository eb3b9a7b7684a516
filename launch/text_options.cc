#include "launch/text_options.h"

#include <algorithm>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/comm/collectives.h"
#include "src/text/tokenizer.h"

namespace mpiquant {
namespace {

Samples windows_of(const std::vector<std::int32_t>& ids, std::size_t length, std::size_t most) {
  Samples samples;
  for (std::size_t at = 0; at + length <= ids.size() && samples.size() < most; at += length)
    samples.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(at), ids.begin() + static_cast<std::ptrdiff_t>(at + length));
  return samples;
}

}  // namespace

options::options_description text_options() {
  options::options_description group("Calibration");
  group.add_options()                                                                        //
      ("calibration", options::value<std::vector<std::string>>()->composing(), "text file")  //
      ("nsamples", options::value<std::int64_t>()->default_value(128), "number of samples")  //
      ("seqlen", options::value<std::int64_t>()->default_value(2048), "tokens of a sample");
  return group;
}

Calibration read_calibration(const options::variables_map& values, const ModelInput& model, Communicator& world) {
  Calibration out;
  collectively(world, [&] {
    const auto tokenizer = Tokenizer::load(model.directory);
    std::string text;
    for (const std::string& file : values["calibration"].as<std::vector<std::string>>()) text += read_text_file(file);
    const auto length = std::min(values["seqlen"].as<std::int64_t>(), model.spec.context);
    out.samples = windows_of(tokenizer->encode(text, false), static_cast<std::size_t>(length),
                             static_cast<std::size_t>(values["nsamples"].as<std::int64_t>()));
    out.record = {{"text", sha256_hex(text)}, {"tokenizer", tokenizer->content_hash()}, {"samples", out.samples.size()}};
  });
  return out;
}

options::options_description window_options() {
  options::options_description group("Text");
  group.add_options()                                                                        //
      ("text", options::value<std::string>(), "text file to score")                          //
      ("window", options::value<std::int64_t>()->default_value(2048), "tokens of a window")  //
      ("max-windows", options::value<std::int64_t>()->default_value(0), "score at most so many; 0: all");
  return group;
}

Samples read_windows(const options::variables_map& values, const ModelInput& model, Communicator& world) {
  Samples windows;
  collectively(world, [&] {
    const std::string directory = values.count("tokenizer") != 0 ? values["tokenizer"].as<std::string>() : model.directory;
    const auto most = values["max-windows"].as<std::int64_t>();
    windows = windows_of(Tokenizer::load(directory)->encode(read_text_file(values["text"].as<std::string>()), false),
                         static_cast<std::size_t>(values["window"].as<std::int64_t>()),
                         most > 0 ? static_cast<std::size_t>(most) : SIZE_MAX);
  });
  return windows;
}

}  // namespace mpiquant
