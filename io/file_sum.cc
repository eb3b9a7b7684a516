#include "io/file_sum.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "io/file.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr auto kBlock = static_cast<std::int64_t>(Sha256::kBlockBytes);

}  // namespace

FileSum::FileSum(std::string name, std::string path, std::int64_t bytes)
    : name_(std::move(name)), path_(std::move(path)), bytes_(bytes) {}

std::int64_t FileSum::advance(std::int64_t end) { return read_to(std::min(end, bytes_) / kBlock * kBlock); }

std::int64_t FileSum::read_to(std::int64_t end) {
  const std::int64_t begin = summed_;
  if (end <= begin) return 0;
  const File file = File::open_read(path_);
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(end - begin, kReadBytes)));
  while (summed_ < end) {
    const std::span<std::byte> piece(buffer.data(), static_cast<std::size_t>(std::min(kReadBytes, end - summed_)));
    file.read_at(summed_, piece);
    sum_.update(piece);
    summed_ += static_cast<std::int64_t>(piece.size());
  }
  return end - begin;
}

std::string FileSum::finish() {
  read_to(bytes_);
  return sum_.hex();
}

std::string FileSum::saved(std::int64_t summed, std::string_view state) const {
  const std::string check = xxh3_hex(fmt::format("{} {} {} {}", name_, bytes_, summed, state));
  return fmt::format("{} {} {}", summed, state, check);
}

std::string FileSum::save() const { return saved(summed_, sum_.state()); }

bool FileSum::restore(std::string_view text) {
  std::int64_t summed = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), summed);
  if (error != std::errc() || summed <= summed_ || summed > bytes_ || summed % kBlock != 0) return false;
  const std::size_t space = std::min(static_cast<std::size_t>(end - text.begin()) + 1, text.size());
  const std::string_view state = text.substr(space, text.find(' ', space) - space);
  if (saved(summed, state) != text || state.size() != sum_.state().size()) return false;
  sum_ = Sha256(state, static_cast<std::uint64_t>(summed));
  summed_ = summed;
  return true;
}

}  // namespace mpiquant
