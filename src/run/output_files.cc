#include "src/run/output_files.h"

#include "src/base/error.h"

namespace mpiquant {

OutputFiles::OutputFiles(const Plan& plan, const std::vector<OutputSpec>& outputs, const ModelSpec& model,
                         std::vector<std::filesystem::path> folders, int rank)
    : plan_(plan), outputs_(outputs), model_(model), folders_(std::move(folders)), sums_(plan, model, folders_, rank) {
  for (std::size_t o = 0; o < plan_.files.size(); ++o)
    for (std::size_t f = 0; f < plan_.files[o].size(); ++f)
      for (std::size_t t = 0; t < plan_.files[o][f].tensors.size(); ++t) {
        const TensorPlan& tensor = plan_.files[o][f].tensors[t];
        if (!tensor.piece.empty()) pieces_[{o, tensor.source}].emplace_back(f, t);
      }
}

void OutputFiles::create() const {
  for (std::size_t o = 0; o < plan_.files.size(); ++o)
    for (const FilePlan& plan : plan_.files[o]) {
      File file = File::create(folders_[o] / plan.path, plan.bytes);
      file.write_at(0, plan.header);
      file.close();
    }
}

bool OutputFiles::complete() const {
  for (std::size_t o = 0; o < plan_.files.size(); ++o)
    for (const FilePlan& plan : plan_.files[o]) {
      const std::string path = (folders_[o] / plan.path).string();
      if (path_kind(path) != PathKind::kFile || File::open_read(path).size() != plan.bytes) return false;
    }
  return true;
}

File& OutputFiles::open(std::size_t output, std::size_t file) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find({output, file});
  if (found != open_.end()) return found->second;
  return open_.emplace(std::pair{output, file}, File::open_write(folders_[output] / plan_.files[output][file].path))
      .first->second;
}

void OutputFiles::write_linear(std::size_t output, const std::string& module, const EncodedLinear& linear) {
  const auto found = pieces_.find({output, module});
  expect(found != pieces_.end(), "output {} has no pieces of {}", outputs_[output].label, module);
  const Container& container = find_container(outputs_[output].container);
  for (const auto& [f, t] : found->second) {
    const TensorPlan& tensor = plan_.files[output][f].tensors[t];
    std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes));
    container.pack(outputs_[output], model_, tensor, linear, bytes);
    open(output, f).write_at(tensor.offset, bytes);
    bytes_written_ += tensor.bytes;
  }
}

void OutputFiles::write_rows(std::size_t output, const LinearSpec& linear, const CodecSpec& codec, std::int64_t row_begin,
                             std::int64_t rows, std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                             std::vector<std::byte>& buffer) {
  const auto found = pieces_.find({output, linear.module});
  expect(found != pieces_.end(), "output {} has no pieces of {}", outputs_[output].label, linear.module);
  const Container& container = find_container(outputs_[output].container);
  for (const auto& [f, t] : found->second) {
    const TensorPlan& tensor = plan_.files[output][f].tensors[t];
    const std::int64_t row_bytes = tensor.bytes / linear.rows;
    buffer.resize(static_cast<std::size_t>(rows * row_bytes));
    container.pack_part(model_, tensor, codec, rows, codes, params, buffer);
    open(output, f).write_at(tensor.offset + row_begin * row_bytes, buffer);
    bytes_written_ += rows * row_bytes;
  }
}

void OutputFiles::write_slab(const SlabTarget& target, std::int64_t row_begin, std::int64_t row_end, const RowReader& read) {
  const auto o = static_cast<std::size_t>(target.output);
  const TensorPlan& tensor = plan_.tensor_of(target);
  const Container& container = find_container(outputs_[o].container);
  const std::int64_t row_bytes = container.dense_row_bytes(outputs_[o], model_, tensor);
  std::vector<std::byte> bytes(static_cast<std::size_t>((row_end - row_begin) * row_bytes));
  container.write_dense(outputs_[o], model_, tensor, row_begin, row_end, read, bytes);
  open(o, static_cast<std::size_t>(target.file)).write_at(tensor.offset + row_begin * row_bytes, bytes);
  bytes_written_ += static_cast<std::int64_t>(bytes.size());
}

std::vector<File*> OutputFiles::open_files() {
  std::vector<File*> files;
  for (auto& [key, file] : open_) files.push_back(&file);
  return files;
}

void OutputFiles::sync() {
  for (auto& [key, file] : open_) file.sync();
}

void OutputFiles::close() {
  sync();
  for (auto& [key, file] : open_) file.close();
  open_.clear();
}

}  // namespace mpiquant
