// A library to be preloaded: below the folder that MPIQUANT_TEST_FULL_DISK names no space can be reserved and nothing written.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace {

bool is_full(int descriptor) {
  const char* full = std::getenv("MPIQUANT_TEST_FULL_DISK");
  if (full == nullptr) return false;
  std::string path(4096, '\0');
  const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path.data(), path.size());
  return length > 0 && path.substr(0, static_cast<std::size_t>(length)).rfind(full, 0) == 0;
}

}  // namespace

extern "C" {

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
  if (is_full(descriptor)) {
    errno = ENOSPC;
    return -1;
  }
  using Call = int (*)(int, int, off_t, off_t);
  return reinterpret_cast<Call>(dlsym(RTLD_NEXT, "fallocate"))(descriptor, mode, offset, length);
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  if (is_full(descriptor)) {
    errno = ENOSPC;
    return -1;
  }
  using Call = ssize_t (*)(int, const void*, size_t, off_t);
  return reinterpret_cast<Call>(dlsym(RTLD_NEXT, "pwrite"))(descriptor, data, size, offset);
}

}  // extern "C"
