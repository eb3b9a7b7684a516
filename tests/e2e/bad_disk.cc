// A library to be preloaded: disks as nobody wants them. Below the folder that MPIQUANT_TEST_FULL_DISK names no space can be
// reserved and nothing written; below that of MPIQUANT_TEST_LYING_DISK one byte of the header of model files is another one.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace {

std::string path_of(int descriptor) {
  std::string path(4096, '\0');
  const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path.data(), path.size());
  return path.substr(0, length > 0 ? static_cast<std::size_t>(length) : 0);
}

// Whether the file is below the folder that the variable names.
bool is_in(const char* variable, int descriptor) {
  const char* folder = std::getenv(variable);
  return folder != nullptr && path_of(descriptor).rfind(folder, 0) == 0;
}

bool is_full(int descriptor) { return is_in("MPIQUANT_TEST_FULL_DISK", descriptor); }

bool lies(int descriptor) {
  const std::string path = path_of(descriptor);
  const auto ends = [&path](const std::string& with) { return path.size() > with.size() && path.ends_with(with); };
  return is_in("MPIQUANT_TEST_LYING_DISK", descriptor) && (ends(".safetensors") || ends(".gguf"));
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
  const auto write = reinterpret_cast<Call>(dlsym(RTLD_NEXT, "pwrite"));
  constexpr size_t kByte = 12;  // of safetensors' JSON, of GGUF's number of tensors
  if (offset != 0 || size <= kByte || !lies(descriptor)) return write(descriptor, data, size, offset);
  std::string other(static_cast<const char*>(data), size);
  other[kByte] = static_cast<char>(other[kByte] ^ 0x55);
  return write(descriptor, other.data(), size, offset);
}

}  // extern "C"
