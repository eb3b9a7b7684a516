#include "src/text/calibration_text.h"

#include <gmock/gmock.h>

#include "tests/text/text_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CalibrationTextTest : public ::testing::Test {
 protected:
  CalibrationText read(const std::string& name, const std::string& content, const std::string& field = "text") {
    write_text_file(folder_ / name, content);
    sources_.files = {folder_ / name};
    sources_.field = field;
    return read_calibration_text(sources_);
  }
  std::string refusal(const std::string& name, const std::string& content, const std::string& field = "text") {
    return message_of(ExitCode::kInput, [&] { read(name, content, field); });
  }

  TemporaryFolder folder_;
  TextSources sources_;
};

TEST_F(CalibrationTextTest, PlainFilesAreOneDocument) {
  EXPECT_THAT(read("a.txt", "one\r\n\ntwo\n").documents, ElementsAre("one\r\n\ntwo\n"));
  EXPECT_THAT(read("a.utf8", "{}").documents, ElementsAre("{}"));
}

TEST_F(CalibrationTextTest, JsonLines) {
  EXPECT_THAT(read("a.jsonl", "{\"text\": \"one\", \"x\": 1}\n\n{\"text\": \"\"}\n\"two\"").documents, ElementsAre("one", "two"));
  EXPECT_THAT(read("a.jsonl", "{\"body\": \"one\"}\r\n", "body").documents, ElementsAre("one"));
}

TEST_F(CalibrationTextTest, Json) {
  EXPECT_THAT(read("a.json", R"([{"text": "one"}, "two"])").documents, ElementsAre("one", "two"));
  EXPECT_THAT(read("a.json", R"({"text": ["one", "two"], "other": 1})").documents, ElementsAre("one", "two"));
  EXPECT_THAT(read("a.json", R"({"text": "one"})").documents, ElementsAre("one"));
}

TEST_F(CalibrationTextTest, FilesThenStrings) {
  sources_.strings = {"s1", "s2"};
  const CalibrationText text = read("a.txt", "file");
  EXPECT_THAT(text.documents, ElementsAre("file", "s1", "s2"));
  EXPECT_EQ(text.sources.at(0).at("name"), "a.txt") << "no folder in a record";
  EXPECT_EQ(text.sources.at(0).at("bytes"), 4);
  EXPECT_EQ(text.sources.at(1).at("documents"), 2);
}

TEST_F(CalibrationTextTest, HashFollowsDocumentsAlone) {
  const std::string hash = read("a.txt", "one").hash;
  EXPECT_EQ(read("b.jsonl", "\"one\"").hash, hash);
  EXPECT_NE(read("a.txt", "two").hash, hash);
  EXPECT_NE(read("a.json", R"(["one", "two"])").hash, read("a.json", R"(["onetwo"])").hash);
  EXPECT_NE(read("a.json", R"(["one", "two"])").hash, read("a.json", R"(["two", "one"])").hash);
}

TEST_F(CalibrationTextTest, WrongInputs) {
  EXPECT_THAT(refusal("a.txt", ""), HasSubstr("is empty"));
  EXPECT_THAT(refusal("a.txt", "ab\xff"), HasSubstr("a.txt is not valid UTF-8 at byte 2"));
  EXPECT_THAT(refusal("a.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}"), HasSubstr("line 2 has no field \"text\""));
  EXPECT_THAT(refusal("a.jsonl", "{\"text\": 1}"), HasSubstr("something else than text"));
  EXPECT_THAT(refusal("a.jsonl", "{\"text\": \"a\"}\n{"), HasSubstr("line 2"));
  EXPECT_THAT(refusal("a.jsonl", "\"\""), HasSubstr("no text"));
  EXPECT_THAT(refusal("a.json", "3"), HasSubstr("neither a list"));
  EXPECT_THAT(refusal("a.json", R"(["a", {"x": 1}])"), HasSubstr("entry 2"));
  EXPECT_THAT(message_of(ExitCode::kUsage, [] { read_calibration_text({}); }), HasSubstr("--calibration"));
  sources_.files = {folder_ / "absent.txt"};
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { read_calibration_text(sources_); }), HasSubstr("absent.txt"));
}

// A stand-in for hf_text.py, run by the shell.
TEST_F(CalibrationTextTest, Helper) {
  sources_.python = "sh";
  sources_.helper = folder_ / "helper.sh";
  sources_.files = {"hf:some/set"};
  sources_.model = "M";
  const auto with_helper = [&](const std::string& script) {
    write_text_file(sources_.helper, script);
    return read_calibration_text(sources_);
  };
  EXPECT_THAT(with_helper("echo '{\"text\": \"'$1 $2 $3 $4'\"}'").documents, ElementsAre("--dataset hf:some/set --field text"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { with_helper("echo '{\"error\": \"no such set\"}'; exit 3"); }),
              HasSubstr("no such set"));
  EXPECT_THAT(message_of(ExitCode::kEnvironment, [&] { with_helper("echo '{\"error\": \"no package\"}'; exit 6"); }),
              HasSubstr("no package"));
  EXPECT_THAT(message_of(ExitCode::kEnvironment, [&] { with_helper("exit 1"); }), HasSubstr("status 1"));
  EXPECT_THAT(message_of(ExitCode::kEnvironment, [&] { with_helper("kill -9 $$"); }), HasSubstr("status 137"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { with_helper("echo nonsense"); }), HasSubstr("line 1"));
  sources_.python = "no-such-interpreter";
  EXPECT_THAT(message_of(ExitCode::kEnvironment, [&] { read_calibration_text(sources_); }), HasSubstr("no-such-interpreter"));
  sources_.helper.clear();
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { read_calibration_text(sources_); }), HasSubstr("hf_text.py"));
}

TEST_F(CalibrationTextTest, ChatsGoThroughTheHelper) {
  sources_.python = "sh";
  sources_.helper = folder_ / "helper.sh";
  sources_.model = "M";
  write_text_file(sources_.helper, "echo '{\"text\": \"'$1 $3 $4'\"}'");
  const std::string chat = R"({"messages": [{"role": "user", "content": "hi"}]})";
  EXPECT_THAT(read("a.jsonl", chat).documents, ElementsAre("--messages --model M"));
  EXPECT_THAT(read("a.json", "[" + chat + "]", "messages").documents, ElementsAre("--messages --model M"));
  EXPECT_THAT(read("a.jsonl", R"({"messages": [], "text": "plain"})").documents, ElementsAre("plain"));
}

}  // namespace
}  // namespace mpiquant
