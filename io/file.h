#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mpiquant {

inline constexpr std::int64_t kReadBytes = std::int64_t{4} << 20;  // of a file read from one end to the other, at a time

// An open regular file, read and written at offsets (pread, pwrite; never mapped). Every failure is an Error that names the file:
// a missing or short input is an input error, everything else an environment error.
class File {
 public:
  // Opens an existing regular file for reading.
  static File open_read(const std::string& path);
  // Opens an existing file for reading and writing at offsets; its size stays as it is.
  static File open_write(const std::string& path);
  // Creates (or empties) a file of `bytes` zero bytes for reading and writing. Space is reserved where the file system can, so
  // that a full disk is found here and not after hours.
  static File create(const std::string& path, std::int64_t bytes);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();  // closes without a check; call close() on files that were written

  const std::string& path() const { return path_; }
  std::int64_t size() const { return size_; }  // bytes, when it was opened or created

  // Fills `out` from `offset`; a range that is not wholly inside the file is an input error. Any thread.
  void read_at(std::int64_t offset, std::span<std::byte> out) const;
  // Writes all of `bytes` at `offset`. Any thread, on disjoint ranges.
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);
  void sync();
  void close();

 private:
  File(std::string path, int descriptor, std::int64_t size) : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

  std::string path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

enum class PathKind : std::uint8_t { kNothing, kFile, kDirectory, kOther };
// What a path leads to, through symbolic links. A path that cannot be examined is an environment error.
PathKind path_kind(const std::string& path);
// Names of the entries of a directory, sorted.
std::vector<std::string> list_directory(const std::string& path);

inline constexpr std::int64_t kMaxTextBytes = std::int64_t{1} << 30;

// The whole content of a file; longer than max_bytes is an input error.
std::string read_text_file(const std::string& path, std::int64_t max_bytes = kMaxTextBytes);
// Writes a file in place; not synced.
void write_text_file(const std::string& path, std::string_view text);
// Replaces `path` as a whole: a reader sees the old or the new text, also after a power failure.
void replace_text_file(const std::string& path, std::string_view text);

// Makes the entries of a directory durable.
// Removes a folder in which nothing is; anything else stays.
void remove_if_empty(const std::string& folder);

void sync_directory(const std::string& path);
// Makes a synced file appear under its final name: rename, then sync of the directory. Both are on one file system.
void rename_into_place(const std::string& from, const std::string& to);

// Hashes of a file's bytes, lower-case hexadecimal (64 and 32 digits).
std::string hash_file_sha256(const std::string& path);
std::string hash_file_xxh3(const std::string& path);

}  // namespace mpiquant
