#include "launch/run_options.h"

#include <unistd.h>

#include <cmath>
#include <iostream>

#include "launch/option_values.h"
#include "launch/stop_signals.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr const char* kRestart = "auto";

Restart parse_restart(const std::string& text) {
  if (text == "auto") return Restart::kAuto;
  if (text == "never") return Restart::kNever;
  check(text == "require", ExitCode::kUsage, "--restart {} is unknown (known: auto, never, require)", text);
  return Restart::kRequire;
}

}  // namespace

options::options_description run_options() {
  options::options_description group("Restart");
  group.add_options()  //
      ("restart", hinted({.placeholder = "WHEN", .choices = {"auto", "never", "require"}, .fallback = kRestart}),
       "auto: go on where an interrupted run of this output was; never: begin anew; require: fail if there is nothing to go on "
       "with")  //
      ("checkpoint-overhead", options::value<double>()->default_value(0.03, "0.03")->value_name("X"),
       "part of the time that saving hidden states may take; they save a resumed run from repeating layers")  //
      ("checkpoint-dir", folder_value(),
       "node-local folder where state is written first; it is copied to the work folder in the background")  //
      ("hang-timeout", options::value<double>()->default_value(600, "600")->value_name("SECONDS"),
       "seconds without a sign of life of a rank after which the job ends with code 6");
  add_switch(
      group, "allow-mixed",
      "accept ranks, and an interrupted run, with other processors or libraries, whose products differ in the last bits: the "
      "output then depends on which rank does what");
  add_switch(group, "keep-hessians", "keep the Hessians in the work folder, to make other outputs from them later");
  group.add_options()  //
      ("hessians", folder_value(),
       "folder of Hessians that --keep-hessians made: other bits, groups and formats without calibration")  //
      ("hessian-sums", hinted({.placeholder = "TYPE", .choices = {"int64", "f32"}, .fallback = "int64"}),
       "how ranks add their Hessians: int64 is exact; f32 halves what travels, and results depend on the number of ranks");
  return group;
}

void apply_run_options(const options::variables_map& values, Communicator& world, QuantizeRequest& request) {
  request.restart = parse_restart(values.count("restart") == 0 ? kRestart : values["restart"].as<std::string>());
  request.commit.overhead = values["checkpoint-overhead"].as<double>();
  check(std::isfinite(request.commit.overhead) && request.commit.overhead >= 0, ExitCode::kUsage,
        "--checkpoint-overhead {} (it is a part of the run's time) give a number from 0 on", request.commit.overhead);
  if (values.count("checkpoint-dir") != 0) request.commit.local_dir = values["checkpoint-dir"].as<std::string>();
  request.allow_mixed = switch_value(values, "allow-mixed", false);
  request.keep_hessians = switch_value(values, "keep-hessians", false);
  if (values.count("hessians") != 0) request.hessians = values["hessians"].as<std::string>();
  check(!request.allow_mixed || (!request.keep_hessians && request.hessians.empty()), ExitCode::kUsage,
        "--allow-mixed with kept Hessians (what they serve must have the kernel set that made them) leave one of the two away");
  if (values.count("hessian-sums") != 0) {
    const std::string sums = values["hessian-sums"].as<std::string>();
    check(sums == "int64" || sums == "f32", ExitCode::kUsage,
          "--hessian-sums {} (ranks add their Hessians in it) use int64 or f32", sums);
    request.sums = sums == "f32" ? HessianSums::kF32 : HessianSums::kInt64;
  }
  const double hang = values["hang-timeout"].as<double>();
  check(std::isfinite(hang) && hang >= 1 && hang <= 1e6, ExitCode::kUsage,
        "--hang-timeout {} (it is a number of seconds) give one from 1 to 1000000", hang);
  request.hang_timeout = std::chrono::duration<double>(hang);
  world.set_timeout(std::chrono::duration_cast<Timeout>(request.hang_timeout));
  request.on_hang = [rank = world.rank()](double seconds) {
    std::cerr
        << fmt::format(
               "mpiquant: error: rank {} shows no sign of life since {:.0f} s (a file system or a device hangs) look at the "
               "node and start the same command again, or raise --hang-timeout",
               rank, seconds)
        << std::endl;
    _exit(static_cast<int>(ExitCode::kEnvironment));
  };
  watch_stop_signals();
  request.commit.stop_wanted = stop_signal_came;
}

}  // namespace mpiquant
