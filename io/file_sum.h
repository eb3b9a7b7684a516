#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/hash.h"

namespace mpiquant {

// The SHA-256 of one file that grows from front to back, made while it grows. Its state can be saved and gone on from by another
// process.
class FileSum {
 public:
  // name: what tells the file apart in saved states. bytes: its final size.
  FileSum(std::string name, std::string path, std::int64_t bytes);

  const std::string& name() const { return name_; }
  // Bytes that the sum holds, a multiple of Sha256::kBlockBytes.
  std::int64_t summed() const { return summed_; }
  // Reads on to `end`, or the last whole block before it. What is read must never change again. Returns the bytes read. The file
  // is opened for each call: only then network file systems show what other hosts wrote.
  std::int64_t advance(std::int64_t end);
  // Reads the rest and returns the sum, 64 lower-case digits; once.
  std::string finish();

  // "BYTES STATE CHECK"
  std::string save() const;
  // Goes on from a saved state of the same file. False, changing nothing, for one that is damaged, of another file, or not
  // further than this sum is.
  bool restore(std::string_view saved);

 private:
  std::int64_t read_to(std::int64_t end);
  std::string saved(std::int64_t summed, std::string_view state) const;

  std::string name_, path_;
  std::int64_t bytes_;
  std::int64_t summed_ = 0;
  Sha256 sum_;
};

}  // namespace mpiquant
