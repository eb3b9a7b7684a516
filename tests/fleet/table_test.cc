#include "src/fleet/table.h"

#include <gmock/gmock.h>

#include "src/fleet/outcome.h"
#include "src/fleet/plot.h"
#include "tests/fleet/fleet_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

FleetOutput output() {
  FleetOutput out{"gptq", "out/a", 1'234'567, 4.25, {}, {}, {}, {}, {}};
  out.perplexity = 10.5;
  out.reference_perplexity = 10;
  out.kl = 0.02;
  out.kl_error = 0.001;
  return out;
}

TEST(FleetGatesTest, AreLimitsThatAreKeptAtTheirValue) {
  FleetGates gates;
  EXPECT_THAT(failed_gates(output(), gates), IsEmpty());
  gates = {0.0501, 0.02, 1'234'567};
  EXPECT_THAT(failed_gates(output(), gates), IsEmpty());
  gates = {0.0499, 0.0199, 1'234'566};
  EXPECT_THAT(failed_gates(output(), gates), SizeIs(3));
}

TEST(FleetGatesTest, FailWithoutFigures) {
  FleetOutput unknown = output();
  unknown.perplexity.reset();
  unknown.kl.reset();
  EXPECT_THAT(failed_gates(unknown, {1.0, 1.0, {}}), SizeIs(2));
  unknown = output();
  unknown.perplexity = std::numeric_limits<double>::quiet_NaN();
  unknown.kl = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(failed_gates(unknown, {1.0, 1.0, {}}), SizeIs(2));
}

class FleetTable : public ::testing::Test {
 protected:
  FleetJob job_{"fam", "1b", "int4", "org/<m>", "out/a", {}};
  FleetSpec spec_{"night & day", "out", "state", {}};

  std::vector<FleetJobView> views(JobState state, std::vector<FleetOutput> outputs = {}) const {
    FleetRecord record;
    record.state = state;
    record.attempts = 2;
    record.exit_code = 3;
    record.message = "a | b\n<c>";
    record.seconds = 3725;
    record.node_seconds = 7200;
    record.outputs = std::move(outputs);
    return {{job_, record, ""}};
  }
};

TEST_F(FleetTable, HasARowForEachOutput) {
  FleetOutput large = output();
  large.bytes = 9'000'000;
  job_.settings.gates.max_size = 2'000'000;
  const auto all = views(JobState::kDone, {output(), large});
  const auto rows = fleet_rows(all);
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].state, "done");
  EXPECT_EQ(rows[1].state, "gate");
  EXPECT_EQ(verdict(all), ExitCode::kGate);
  EXPECT_EQ(fleet_summary(rows), "1 done, 1 gate");
  const FleetCells cells = fleet_cells(rows[0]);
  EXPECT_EQ(cells.size, "1.23 MB");
  EXPECT_EQ(cells.rise, "+5.00 %");
  EXPECT_EQ(cells.time, "1:02 h");
  EXPECT_EQ(cells.node_hours, "2.000");
}

TEST_F(FleetTable, SaysWhatFailed) {
  const auto all = views(JobState::kFailed);
  const auto rows = fleet_rows(all);
  EXPECT_EQ(verdict(all), ExitCode::kInput);
  EXPECT_THAT(fleet_markdown(spec_, rows), HasSubstr("failed (3): a \\| b <c>"));
  const std::string html = fleet_html(spec_, rows);
  EXPECT_THAT(html, HasSubstr("failed (3): a | b\n&lt;c&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<c>")));
  EXPECT_THAT(html, HasSubstr("night &amp; day"));
  EXPECT_THAT(html, Not(HasSubstr("http-equiv")));
  EXPECT_EQ(fleet_json(spec_, rows)["rows"][0]["exit_code"], 3);
}

TEST_F(FleetTable, RefreshesWhileJobsRun) {
  const auto all = views(JobState::kRunning);
  EXPECT_THAT(fleet_html(spec_, fleet_rows(all)), HasSubstr("http-equiv=\"refresh\""));
  EXPECT_THAT(fleet_cells(fleet_rows(all)[0]).state, HasSubstr("watched by nobody"));
}

TEST_F(FleetTable, PlotsOutputsWithFigures) {
  FleetOutput exact = output();
  exact.kl = 0;  // cannot be on a logarithmic axis
  const auto all = views(JobState::kDone, {output(), exact});
  const std::string html = fleet_html(spec_, fleet_rows(all));
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, Not(HasSubstr("nan")));
  EXPECT_THAT(html, Not(HasSubstr("inf")));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
}

TEST(Plot, SurvivesASinglePoint) {
  const std::vector<PlotPoint> one = {{4.0, 0.0, "a", "t"}};
  const std::string svg = scatter_svg(one, "x", "y", false);
  EXPECT_THAT(svg, HasSubstr("<circle"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace mpiquant
