#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "src/run/report_file.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kReport = R"({"seconds": 12.5, "model": "<b>&\"m'", "output": "out", "stages": 1, "replicas": 2,
  "ranks": [{"seconds": {"forward": 3.0, "wait": 1.0}, "tokens": 600, "bytes_read": 1000000, "peak_memory": 90},
            {"seconds": {"forward": 5.0, "sweep": 0.5}, "tokens": 400, "bytes_read": 1000000, "peak_memory": 80}],
  "plan": [{"tokens": 500, "bytes_read": 1000000, "memory": 100}, {"tokens": 500, "bytes_read": 1000000, "memory": 100}],
  "outputs": [{"label": "gptq"}, {"label": "turned"}],
  "tensors": [{"module": "lm_head", "codec": "int4g64", "error": 7.0, "damp_percent": 0.01, "outputs": [0, 1]},
              {"module": "model.layers.10.mlp.up_proj", "codec": "int4g64", "error": 0.25, "damp_percent": 0.02, "damp_retries": 1},
              {"module": "model.layers.2.mlp.up_proj", "codec": "int4g64", "error": 1.25, "scale_underflows": 2, "scale_overflows": 3}],
  "fallbacks": ["model.layers.10.mlp.up_proj: more damping", "a\u001b[31m <script>"]})";

class Report : public testing::Test {
 protected:
  ReportFile read(const std::string& text) const {
    std::ofstream(folder_ / "report.json", std::ios::binary) << text;
    return read_report(folder_.path());
  }
  std::string refusal(const std::string& text) const {
    const Error error = error_of([&] { read(text); });
    EXPECT_EQ(error.code(), ExitCode::kInput);
    return error.what();
  }

  TemporaryFolder folder_;
};

TEST_F(Report, Reads) {
  const ReportFile report = read(kReport);
  EXPECT_EQ(report.ranks.size(), 2U);
  EXPECT_THAT(report.phases(), ElementsAre("forward", "wait", "sweep"));
  EXPECT_EQ(report.tensors.front().module, "model.layers.2.mlp.up_proj");  // by layer, what is in none at the end
  EXPECT_EQ(report.tensors.front().clamped_scales, 5);
  EXPECT_EQ(report.tensors.back().module, "lm_head");
  EXPECT_EQ(report.tensors.back().outputs, "gptq, turned");
  EXPECT_DOUBLE_EQ(balance({3, 5}), 1.25);
  EXPECT_DOUBLE_EQ(balance({0, 0}), 1);
}

TEST_F(Report, Tables) {
  const std::string text = to_text(read(kReport));
  EXPECT_THAT(text, HasSubstr("forward   4.000  5.000   rank 1      1.25   3.000   5.000"));
  EXPECT_THAT(text, HasSubstr("12.5 s on 2 ranks, 1 stage of 2 replicas"));
  EXPECT_THAT(text, AllOf(HasSubstr("85.0 %"), HasSubstr("2 fallbacks"), HasSubstr("more damping"), Not(HasSubstr("\x1b"))));
}

TEST_F(Report, ThePageIsSelfContainedAndQuotesWhatItIsGiven) {
  const std::string page = to_html(read(kReport));
  EXPECT_THAT(page, AllOf(HasSubstr("<svg"), HasSubstr("rank 1, forward: 5.000 s"), HasSubstr("1.250e+00")));
  EXPECT_THAT(page, AllOf(HasSubstr("&lt;b&gt;&amp;&quot;m&#39;"), HasSubstr("&lt;script&gt;")));
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("http")), Not(HasSubstr("<b>")), Not(HasSubstr("\x1b"))));
}

TEST_F(Report, OldAndEmptyReports) {
  const ReportFile report = read(R"({"ranks": [{}]})");
  EXPECT_THAT(to_text(report), HasSubstr("no fallbacks"));
  EXPECT_THAT(to_html(report), HasSubstr("</html>"));
}

TEST_F(Report, Refusals) {
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("no \"ranks\""));
  EXPECT_THAT(refusal(R"({"ranks": 3})"), HasSubstr("\"ranks\" is not a list"));
  EXPECT_THAT(refusal(R"({"ranks": []})"), HasSubstr("tells of no rank"));
  EXPECT_THAT(refusal(R"({"ranks": [3]})"), HasSubstr("a rank is not a JSON object"));
  EXPECT_THAT(refusal(R"({"ranks": [{"seconds": {"read": "x"}}]})"), HasSubstr("\"read\" is not a number"));
  EXPECT_THAT(refusal(R"({"ranks": [{"tokens": 18446744073709551615}]})"), HasSubstr("\"tokens\" is not a whole number"));
  EXPECT_THAT(refusal(R"({"ranks": [{"tokens": -1}]})"), HasSubstr("\"tokens\" is not a whole number"));
  EXPECT_THAT(refusal(R"({"ranks": [{}], "ranks": [{}]})"), HasSubstr("twice"));
  EXPECT_THAT(refusal(R"({"ranks": [{}], "fallbacks": [1]})"), HasSubstr("fallback is not a string"));
  EXPECT_THAT(refusal(R"({"ranks": [{}], "tensors": [{"module": "m", "outputs": [0]}]})"), HasSubstr("output 0 of 0"));
  EXPECT_THAT(refusal(R"({"ranks": [{}], "tensors": [{"module": 1}]})"), HasSubstr("\"module\" is not a string"));
}

}  // namespace
}  // namespace mpiquant
