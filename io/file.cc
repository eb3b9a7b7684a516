#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "src/base/error.h"
#include "src/base/hash.h"

namespace mpiquant {
namespace {

// What a person can do about an errno.
const char* advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT: return "free space or choose another file system, then start again";
    case EACCES:
    case EPERM:
    case EROFS: return "choose a place this user may use";
    case EMFILE:
    case ENFILE: return "raise the limit of open files (ulimit -n)";
    case ENOENT:
    case ENOTDIR: return "check the path";
    default: return "check the file system and resume";
  }
}

[[noreturn]] void io_error(const char* action, const std::string& path, int error, ExitCode code = ExitCode::kEnvironment) {
  fail(code, "cannot {} {} ({}) {}", action, path, std::generic_category().message(error), advice(error));
}

int open_descriptor(const char* action, const std::string& path, int flags) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  const bool absent = errno == ENOENT || errno == ENOTDIR;
  if (descriptor < 0) io_error(action, path, errno, absent && (flags & O_CREAT) == 0 ? ExitCode::kInput : ExitCode::kEnvironment);
  return descriptor;
}

// The offset as the system's type, after a check that [offset, offset + size) is a range.
off_t checked_offset(const std::string& path, std::int64_t offset, std::size_t size) {
  std::int64_t end = 0;
  expect(offset >= 0 && !__builtin_add_overflow(offset, size, &end), "bytes at {} + {} of {} are no range", offset, size, path);
  return static_cast<off_t>(offset);
}

template <typename Hash>
std::string hash_file(const std::string& path) {
  const File file = File::open_read(path);
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(file.size(), kReadBytes)));
  Hash hash;
  for (std::int64_t at = 0; at < file.size(); at += kReadBytes) {
    const std::span<std::byte> piece(buffer.data(), static_cast<std::size_t>(std::min(kReadBytes, file.size() - at)));
    file.read_at(at, piece);
    hash.update(piece);
  }
  return hash.hex();
}

}  // namespace

File File::open_read(const std::string& path) {
  // Without O_NONBLOCK a named pipe would wait for a writer before it can be refused.
  File file(path, open_descriptor("open", path, O_RDONLY | O_NONBLOCK), 0);
  struct stat facts {};
  if (::fstat(file.descriptor_, &facts) != 0) io_error("examine", path, errno);
  check(S_ISREG(facts.st_mode), ExitCode::kInput, "{} is not a regular file (it is read at offsets) copy it to a file first",
        path);
  file.size_ = facts.st_size;
  return file;
}

File File::open_write(const std::string& path) {
  File file(path, open_descriptor("open for writing", path, O_RDWR), 0);
  struct stat facts {};
  if (::fstat(file.descriptor_, &facts) != 0) io_error("examine", path, errno);
  file.size_ = facts.st_size;
  return file;
}

File File::create(const std::string& path, std::int64_t bytes) {
  expect(bytes >= 0, "{} cannot have {} bytes", path, bytes);
  File file(path, open_descriptor("create", path, O_RDWR | O_CREAT | O_TRUNC), bytes);
  if (bytes == 0) return file;
  int result = 0;
  do {
    result = ::fallocate(file.descriptor_, 0, 0, bytes);
  } while (result != 0 && errno == EINTR);
  // The system call and not posix_fallocate, which writes the whole file where reserving is not supported.
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) io_error("reserve space for", path, errno);
  if (result != 0 && ::ftruncate(file.descriptor_, bytes) != 0) io_error("set the size of", path, errno);
  return file;
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(std::exchange(other.size_, 0)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::read_at(std::int64_t offset, std::span<std::byte> out) const {
  off_t at = checked_offset(path_, offset, out.size());
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) io_error("read", path_, errno);
    check(got > 0, ExitCode::kInput, "{} ends before byte {} (it is truncated) fetch it again", path_,
          static_cast<std::int64_t>(at) + static_cast<std::int64_t>(out.size()));
    at += got;
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

void File::write_at(std::int64_t offset, std::span<const std::byte> bytes) {
  off_t at = checked_offset(path_, offset, bytes.size());
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), at);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) io_error("write", path_, put < 0 ? errno : ENOSPC);
    at += put;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void File::sync() {
  if (::fsync(descriptor_) != 0) io_error("sync", path_, errno);
}

void File::close() {
  // Not repeated on EINTR: Linux has released the descriptor by then.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) io_error("close", path_, errno);
}

PathKind path_kind(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return PathKind::kNothing;
    io_error("examine", path, errno);
  }
  if (S_ISREG(facts.st_mode)) return PathKind::kFile;
  return S_ISDIR(facts.st_mode) ? PathKind::kDirectory : PathKind::kOther;
}

std::vector<std::string> list_directory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(path, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  if (error) io_error("list", path, error.value());
  std::ranges::sort(names);
  return names;
}

std::string read_text_file(const std::string& path, std::int64_t max_bytes) {
  const File file = File::open_read(path);
  check(file.size() <= max_bytes, ExitCode::kInput, "{} has {} bytes (at most {} are read) split it", path, file.size(),
        max_bytes);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void write_text_file(const std::string& path, std::string_view text) {
  File file = File::create(path, 0);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.close();
}

void replace_text_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".partial";
  try {
    File file = File::create(temporary, 0);
    file.write_at(0, std::as_bytes(std::span(text)));
    file.sync();
    file.close();
    rename_into_place(temporary, path);
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void remove_if_empty(const std::string& folder) { ::rmdir(folder.c_str()); }

void sync_directory(const std::string& path) {
  const int descriptor = open_descriptor("open", path, O_RDONLY | O_DIRECTORY);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some network file systems cannot sync a directory; they make renames durable themselves.
  if (error != 0 && error != EINVAL && error != ENOTSUP) io_error("sync", path, error);
}

void rename_into_place(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) io_error("rename a finished file to", to, errno);
  const std::string parent = std::filesystem::path(to).parent_path().string();
  sync_directory(parent.empty() ? "." : parent);
}

std::string hash_file_sha256(const std::string& path) { return hash_file<Sha256>(path); }
std::string hash_file_xxh3(const std::string& path) { return hash_file<Xxh3>(path); }

}  // namespace mpiquant
