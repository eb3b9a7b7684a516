// A library to be preloaded (LD_PRELOAD) that lets one call below the program's file layer fail, once:
//   MPIQUANT_FAULT_CALL   pread, pwrite, fsync, rename, fallocate
//   MPIQUANT_FAULT_AT     which of these calls, from 1 on; calls on files whose path lacks MPIQUANT_FAULT_PATH do not count
//   MPIQUANT_FAULT_KIND   ENOSPC, EIO, EDQUOT, or "short": half of the bytes (pread, pwrite)
// With MPIQUANT_FAULT_COUNT=FILE nothing fails and the number of such calls is written there at the end.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Fault {
  std::string call = variable("MPIQUANT_FAULT_CALL");
  std::string path = variable("MPIQUANT_FAULT_PATH");
  std::string kind = variable("MPIQUANT_FAULT_KIND");
  std::string count_file = variable("MPIQUANT_FAULT_COUNT");
  long at = std::atol(variable("MPIQUANT_FAULT_AT"));
  std::atomic<long> seen{0};

  ~Fault() {
    if (count_file.empty()) return;
    std::FILE* out = std::fopen(count_file.c_str(), "w");
    if (out == nullptr) return;
    std::fprintf(out, "%ld\n", seen.load());
    std::fclose(out);
  }
  bool strikes(const char* name, const std::string& file) {
    if (call != name || file.find(path) == std::string::npos) return false;
    return ++seen == at && count_file.empty();
  }
  bool is_short() const { return kind == "short"; }
  int fail() const {
    errno = kind == "ENOSPC" ? ENOSPC : kind == "EDQUOT" ? EDQUOT : EIO;
    return -1;
  }
};

Fault& fault() {
  static Fault the_fault;
  return the_fault;
}

std::string path_of(int descriptor) {
  char target[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(link.c_str(), target, sizeof(target));
  return length < 0 ? "" : std::string(target, static_cast<std::size_t>(length));
}

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

// A call that moves bytes: fails, or moves half of them.
template <typename Call>
ssize_t transfer(const char* name, int descriptor, std::size_t bytes, Call&& call) {
  if (!fault().strikes(name, path_of(descriptor))) return call(bytes);
  return fault().is_short() ? call(bytes / 2) : fault().fail();
}

}  // namespace

extern "C" {

ssize_t pread64(int descriptor, void* data, std::size_t bytes, off64_t offset) {
  static const auto next = real<decltype(&pread64)>("pread64");
  return transfer("pread", descriptor, bytes, [&](std::size_t n) { return next(descriptor, data, n, offset); });
}
ssize_t pread(int descriptor, void* data, std::size_t bytes, off_t offset) { return pread64(descriptor, data, bytes, offset); }

ssize_t pwrite64(int descriptor, const void* data, std::size_t bytes, off64_t offset) {
  static const auto next = real<decltype(&pwrite64)>("pwrite64");
  return transfer("pwrite", descriptor, bytes, [&](std::size_t n) { return next(descriptor, data, n, offset); });
}
ssize_t pwrite(int descriptor, const void* data, std::size_t bytes, off_t offset) {
  return pwrite64(descriptor, data, bytes, offset);
}

int fsync(int descriptor) {
  static const auto next = real<decltype(&fsync)>("fsync");
  return fault().strikes("fsync", path_of(descriptor)) ? fault().fail() : next(descriptor);
}
int fdatasync(int descriptor) {
  static const auto next = real<decltype(&fdatasync)>("fdatasync");
  return fault().strikes("fsync", path_of(descriptor)) ? fault().fail() : next(descriptor);
}

int rename(const char* from, const char* to) {
  static const auto next = real<decltype(&rename)>("rename");
  return fault().strikes("rename", to) ? fault().fail() : next(from, to);
}

int fallocate(int descriptor, int mode, off_t offset, off_t bytes) {
  static const auto next = real<decltype(&fallocate)>("fallocate");
  return fault().strikes("fallocate", path_of(descriptor)) ? fault().fail() : next(descriptor, mode, offset, bytes);
}
}  // extern "C"
