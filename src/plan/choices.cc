#include "src/plan/choices.h"

#include <charconv>

#include "src/base/error.h"

namespace mpiquant {

std::int64_t parse_bytes(const std::string& text, const std::string& name) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  std::int64_t scale = 0;
  if (unit.empty()) scale = 1;
  if (unit == "KB" || unit == "K") scale = 1'000;
  if (unit == "MB" || unit == "M") scale = 1'000'000;
  if (unit == "GB" || unit == "G") scale = 1'000'000'000;
  check(error == std::errc() && scale > 0 && value > 0 && !__builtin_mul_overflow(value, scale, &value), ExitCode::kUsage,
        "{} = \"{}\" is no size (bytes are counted) give a number, or one with KB, MB or GB, as in 5GB", name, text);
  return value;
}

void check_values(const RunChoices& choices) {
  check_recipe_values(choices.recipe);
  const CalibrationChoice& calibration = choices.calibration;
  check(calibration.cut.nsamples >= 1, ExitCode::kUsage, "nsamples = {} is too few (Hessians need samples) give at least 1",
        calibration.cut.nsamples);
  check(calibration.cut.seqlen >= 1, ExitCode::kUsage, "seqlen = {} is too short (a sample holds tokens) give at least 1",
        calibration.cut.seqlen);
  check(!calibration.field.empty(), ExitCode::kUsage, "field is empty (text is looked up under its name) give a name");
  check(!calibration.python.empty(), ExitCode::kUsage, "python is empty (a program is started by it) give a name or path");
}

void check_choices(const RunChoices& choices) {
  check_values(choices);
  check_recipe(choices.recipe);
  const CalibrationChoice& calibration = choices.calibration;
  check(calibration.ids.empty() || (calibration.files.empty() && calibration.texts.empty()), ExitCode::kUsage,
        "calibration is given both as token ids and as text (one of them would have no effect) keep one");
}

}  // namespace mpiquant
