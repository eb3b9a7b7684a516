#include <iostream>

#include "io/file.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "src/base/log.h"
#include "src/comm/collectives.h"
#include "src/run/report_file.h"

namespace mpiquant {

CommandPage report_page() {
  OptionGroup job{"Report", {}};
  job.options.add_options()("html", file_value(), "also write a page with plots, which needs no other file");
  return {"mpiquant report FILE [OPTIONS]",
          "Prints report.json of a run's work folder (OUTPUT.work unless --work-dir said otherwise): seconds and amounts of each "
          "rank "
          "and phase, balance, error and damping of each tensor, every fallback. FILE may be the folder.",
          {job, common_group()},
          {{"tables here, plots for a browser", "mpiquant report OUT.work --html report.html"}},
          {}};
}

void run_report(CommandContext& context) {
  Communicator& world = context.world;
  const CommandPage page = report_page();
  std::string text;
  agree(world, attempt([&] {
          const options::variables_map values = parse(context.arguments, page.all(), {"file"}, "report");
          if (help_wanted(values, "report", page, world.rank())) return;
          apply_common(values, world.rank());
          check(values.count("file") != 0, ExitCode::kUsage, "FILE is missing (see mpiquant report --help)");
          if (world.rank() != 0) return;
          const ReportFile report = read_report(values["file"].as<std::string>());
          text = to_text(report);
          if (values.count("html") == 0) return;
          const std::string html = values["html"].as<std::string>();
          replace_text_file(html, to_html(report));
          info_line("{} is written", html);
        }));
  std::cout << text << std::flush;
}

}  // namespace mpiquant
