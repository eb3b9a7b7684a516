#include "src/run/codes_file.h"

#include "src/base/error.h"

namespace mpiquant {
namespace {

static_assert(sizeof(GroupParams) == 2 * sizeof(float));

std::span<const float> as_floats(std::span<const GroupParams> params) {
  return {reinterpret_cast<const float*>(params.data()), 2 * params.size()};
}

}  // namespace

void write_codes(Hdf5Writer& file, const std::string& module, const EncodedLinear& linear) {
  file.write<std::uint8_t>(module + "/codes", {linear.rows, linear.cols}, linear.codes);
  file.write<float>(module + "/params", {linear.rows, 2 * linear.codec.groups(linear.cols)}, as_floats(linear.params));
  file.write<std::int32_t>(module + "/g_idx", {linear.cols}, linear.g_idx);
}

const Hdf5Reader& CodesReader::open(const std::string& file) {
  const auto found = open_.find(file);
  if (found != open_.end()) return found->second;
  return open_.emplace(file, Hdf5Reader(folder_ + "/" + file)).first->second;
}

void CodesReader::decode_rows(Backend& backend, Stream& stream, const std::string& module, const CodecSpec& codec,
                              std::int64_t row_begin, Matrix out) {
  const std::string& name = files_.at(module);
  const Hdf5Reader& file = open(name);
  const std::int64_t groups = codec.groups(out.cols);
  const Shape codes = file.shape(module + "/codes");
  const Shape params = file.shape(module + "/params");
  check(codes.size() == 2 && codes[1] == out.cols && row_begin + out.rows <= codes[0] && params == Shape{codes[0], 2 * groups} &&
            file.shape(module + "/g_idx") == Shape{out.cols},
        ExitCode::kInput, "{}/{} does not hold the codes of {} (the checkpoint is damaged) begin anew with --restart never",
        folder_, name, module);
  EncodedRows rows;
  rows.row_begin = row_begin;
  rows.rows = out.rows;
  rows.cols = out.cols;
  rows.codes.resize(static_cast<std::size_t>(out.rows * out.cols));
  rows.params.resize(static_cast<std::size_t>(out.rows * groups));
  file.read_rows<std::uint8_t>(module + "/codes", row_begin, rows.codes);
  file.read_rows<float>(module + "/params", row_begin, {reinterpret_cast<float*>(rows.params.data()), 2 * rows.params.size()});
  backend.decode(stream, rows, codec, file.read<std::int32_t>(module + "/g_idx"), out);
}

}  // namespace mpiquant
