// A report.json.
#include "src/run/report_file.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) {
  const ReportFile report = read_report(fuzz_file("report.json", data));
  to_text(report);
  to_html(report);
}
