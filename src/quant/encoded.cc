#include "src/quant/encoded.h"

#include <array>
#include <cstring>

#include "src/base/error.h"

namespace mpiquant {
namespace {

using Head = std::array<std::int64_t, 6>;

static_assert(sizeof(GroupParams) == 8);

// Negative when a product or sum does not fit.
std::int64_t total_bytes(std::int64_t rows, std::int64_t cols, std::int64_t groups) {
  std::int64_t codes = 0, params = 0, loss = 0, total = static_cast<std::int64_t>(sizeof(Head));
  if (rows < 0 || cols < 0 || groups < 0 || __builtin_mul_overflow(rows, cols, &codes) ||
      __builtin_mul_overflow(rows, groups, &params) ||
      __builtin_mul_overflow(params, std::int64_t{sizeof(GroupParams)}, &params) ||
      __builtin_mul_overflow(rows, std::int64_t{sizeof(double)}, &loss) || __builtin_add_overflow(total, codes, &total) ||
      __builtin_add_overflow(total, params, &total) || __builtin_add_overflow(total, loss, &total))
    return -1;
  return total;
}

template <typename T>
std::byte* put(std::byte* at, const T& values) {
  const auto bytes = std::as_bytes(std::span(values));
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  return at + bytes.size();
}

template <typename T>
const std::byte* get(const std::byte* at, T& values) {
  const auto bytes = std::as_writable_bytes(std::span(values));
  if (!bytes.empty()) std::memcpy(bytes.data(), at, bytes.size());
  return at + bytes.size();
}

}  // namespace

std::int64_t encoded_bytes(const CodecSpec& codec, std::int64_t rows, std::int64_t cols) {
  return total_bytes(rows, cols, codec.groups(cols));
}

std::vector<std::byte> to_bytes(const EncodedRows& rows) {
  const std::int64_t groups = rows.rows == 0 ? 0 : static_cast<std::int64_t>(rows.params.size()) / rows.rows;
  const std::int64_t total = total_bytes(rows.rows, rows.cols, groups);
  const std::size_t held =
      sizeof(Head) + rows.codes.size() + rows.params.size() * sizeof(GroupParams) + rows.loss.size() * sizeof(double);
  expect(total >= 0 && static_cast<std::size_t>(total) == held, "encoded rows [{},{}] with {} bytes", rows.rows, rows.cols, held);
  std::vector<std::byte> out(held);
  const Head head{rows.row_begin, rows.rows, rows.cols, groups, rows.scale_underflows, rows.scale_overflows};
  put(put(put(put(out.data(), head), rows.codes), rows.params), rows.loss);
  return out;
}

EncodedRows encoded_from_bytes(std::span<const std::byte> bytes) {
  Head head{};
  check(bytes.size() >= sizeof head, ExitCode::kEnvironment,
        "a message of {} bytes is no part of a linear (ranks disagree) run again", bytes.size());
  const std::byte* at = get(bytes.data(), head);
  const auto [row_begin, rows, cols, groups, underflows, overflows] = head;
  const std::int64_t total = total_bytes(rows, cols, groups);
  check(total >= 0 && static_cast<std::size_t>(total) == bytes.size(), ExitCode::kEnvironment,
        "a message of {} bytes is no part [{},{}] of a linear (ranks disagree) run again", bytes.size(), rows, cols);
  EncodedRows out{row_begin, rows, cols, {}, {}, {}, underflows, overflows, {}};
  out.codes.resize(static_cast<std::size_t>(rows * cols));
  out.params.resize(static_cast<std::size_t>(rows * groups));
  out.loss.resize(static_cast<std::size_t>(rows));
  get(get(get(at, out.codes), out.params), out.loss);
  return out;
}

}  // namespace mpiquant
