#include "src/text/spm_model.h"

#include <gmock/gmock.h>

#include "tests/text/text_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// pieces: "a" (score 1.5, normal) and "b" (control); trainer: BPE; normalizer: no dummy prefix.
const std::string kModel(
    "\x0a\x08\x0a\x01"
    "a\x15\x00\x00\xc0\x3f"
    "\x0a\x05\x0a\x01"
    "b\x18\x03"
    "\x12\x02\x18\x02"
    "\x1a\x02\x18\x00",
    25);

TEST(SpmModel, Fields) {
  const SpmModel model = parse_spm_model(kModel, "m");
  EXPECT_THAT(model.pieces, ElementsAre("a", "b"));
  EXPECT_THAT(model.scores, ElementsAre(1.5F, 0.0F));
  EXPECT_THAT(model.types, ElementsAre(TokenType::kNormal, TokenType::kControl));
  EXPECT_EQ(model.kind, TokenizerKind::kSentencePieceBpe);
  EXPECT_FALSE(model.add_dummy_prefix);
}

TEST(SpmModel, EveryTruncationInsideAFieldIsRefused) {
  int refused = 0;
  for (std::size_t size = 0; size < kModel.size(); ++size) {
    const bool boundary = size == 10 || size == 17 || size == 21;
    if (boundary) continue;
    EXPECT_THAT(message_of(ExitCode::kInput, [&] { parse_spm_model(kModel.substr(0, size), "m"); }), HasSubstr("m ")) << size;
    ++refused;
  }
  EXPECT_EQ(refused, 22);
}

TEST(SpmModel, HostileNumbers) {
  const std::string endless(11, '\xff');
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { parse_spm_model(endless, "m"); }), HasSubstr("breaks at byte"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { parse_spm_model("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "m"); }),
              HasSubstr("breaks"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { parse_spm_model(std::string("\x0a\x02\x18\x09", 4), "m"); }),
              HasSubstr("type 9"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { parse_spm_model(kModel + std::string("\x12\x02\x18\x04", 4), "m"); }),
              HasSubstr("type 4"));
}

}  // namespace
}  // namespace mpiquant
