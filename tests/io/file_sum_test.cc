#include "io/file_sum.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "io/file.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

// By OpenSSL's own one-shot interface.
std::string evp_sha256(const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EXPECT_EQ(EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr), 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

class FileSums : public testing::Test {
 protected:
  // More than a chunk, with a last block that is not full.
  FileSums() {
    for (std::size_t i = 0; i < (std::size_t{9} << 20) + 77; ++i) text_ += static_cast<char>(i * i >> 7U);
    write_text_file(path_, text_);
  }
  std::int64_t size() const { return static_cast<std::int64_t>(text_.size()); }
  FileSum sum() const { return {"gptq/model", path_, size()}; }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "file";
  std::string text_;
};

TEST_F(FileSums, InStepsAndAcrossProcessesEqualTheOneShotSum) {
  const std::string expected = evp_sha256(text_);
  EXPECT_EQ(sum().finish(), expected);
  std::int64_t read = 0;
  std::string saved;
  for (std::int64_t end : {std::int64_t{0}, std::int64_t{63}, std::int64_t{64}, std::int64_t{1000}, std::int64_t{999},
                           std::int64_t{5000001}, size() - 1, size()}) {
    FileSum next = sum();
    const bool restored = next.restore(saved);
    EXPECT_EQ(restored, read > 0) << end;
    read += next.advance(end);
    EXPECT_LE(next.summed(), std::max<std::int64_t>(end, 960));
    EXPECT_EQ(next.summed(), read);
    saved = next.save();
  }
  FileSum last = sum();
  ASSERT_TRUE(last.restore(saved));
  EXPECT_GT(last.summed(), size() - 64);
  EXPECT_EQ(last.finish(), expected);
  // Bytes behind the front are not read again: the file may be short of them.
  FileSum front = sum();
  ASSERT_TRUE(front.restore(saved));
  std::string other = text_;
  other[100] = static_cast<char>(other[100] ^ 1);
  write_text_file(path_, other);
  EXPECT_EQ(front.finish(), expected);
  EXPECT_NE(sum().finish(), expected);
}

TEST_F(FileSums, ADamagedOrForeignStateIsRefusedAndSummedFromTheStart) {
  FileSum front = sum();
  front.advance(size());
  const std::string saved = front.save();
  for (std::size_t i = 0; i < saved.size(); ++i) {
    std::string mutant = saved;
    mutant[i] = mutant[i] == '7' ? '8' : '7';
    FileSum other = sum();
    EXPECT_FALSE(other.restore(mutant)) << mutant;
    EXPECT_EQ(other.summed(), 0);
    EXPECT_FALSE(other.restore(saved.substr(0, i)));
  }
  for (const char* text : {"", " ", "64", "64 ", "-64 00 00", "64  ", "128 xyz zyx"}) EXPECT_FALSE(sum().restore(text)) << text;
  EXPECT_FALSE(FileSum("gptq/other", path_, size()).restore(saved));
  EXPECT_FALSE(FileSum("gptq/model", path_, size() + 1).restore(saved));
  EXPECT_FALSE(front.restore(saved));  // no further
  FileSum again = sum();
  EXPECT_TRUE(again.restore(saved));
  EXPECT_EQ(again.finish(), evp_sha256(text_));
}

}  // namespace
}  // namespace mpiquant
