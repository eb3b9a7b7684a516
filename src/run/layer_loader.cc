#include "src/run/layer_loader.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace mpiquant {
namespace {

// First row of a replica's range of `rows`, which begins where a block does.
std::int64_t first_row(std::int64_t rows, std::int64_t block, int replica, int replicas) {
  const std::int64_t blocks = (rows + block - 1) / block;
  return std::min(rows, blocks * replica / replicas * block);
}

// Whether values of 2 bytes are all finite; their exponent is in these bits.
bool all_finite(DType dtype, std::span<const std::byte> bytes) {
  const std::uint16_t exponent = dtype == DType::kBF16 ? 0x7f80 : 0x7c00;
  bool finite = true;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint16_t)) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + at, sizeof bits);
    finite = finite && (bits & exponent) != exponent;
  }
  return finite;
}

}  // namespace

LayerLoader::Range LayerLoader::range_of(const std::string& tensor, std::int64_t rows, int replica) const {
  const std::int64_t block = source_.row_block(tensor);
  const int replicas = job_.grid.group->size();
  return {first_row(rows, block, replica, replicas), first_row(rows, block, replica + 1, replicas)};
}

LayerLoader::Rows LayerLoader::read_mine(const LinearSpec& linear, const std::string& tensor) const {
  const auto [begin, end] = range_of(tensor, linear.rows, job_.grid.group->rank());
  const auto count = static_cast<std::size_t>((end - begin) * linear.cols);
  Rows rows;
  const std::optional<DType> dtype = source_.at(tensor).dtype;
  if (job_.backend.space() == MemSpace::kDevice && (dtype == DType::kBF16 || dtype == DType::kF16)) {
    rows.dtype = *dtype;
    rows.stored = job_.backend.allocate_host(count * sizeof(std::uint16_t));
    const std::span<std::byte> bytes(rows.stored.data(), rows.stored.bytes());
    source_.read_raw(tensor, begin * linear.cols * static_cast<std::int64_t>(sizeof(std::uint16_t)), bytes);
    if (all_finite(rows.dtype, bytes)) return rows;
    rows = {};  // what follows says where
  }
  rows.values.resize(count);
  load_rows(source_, tensor, linear.cols, begin, end, rows.values);
  return rows;
}

void LayerLoader::share(const std::string& tensor, const Rows& mine, LinearWeights& weights) {
  Communicator& group = *job_.grid.group;
  const auto upload = [&](std::span<const std::byte> all) {
    job_.backend.for_each(
        1, [&](Stream& stream, std::int64_t) { job_.backend.upload_values(stream, mine.dtype, all, weights.matrix()); });
  };
  if (group.size() == 1 && mine.dtype != DType::kF32) return upload(mine.bytes());
  const std::size_t width = size_of(mine.dtype);
  std::vector<std::size_t> counts;
  for (int r = 0; r < group.size(); ++r) {
    const auto [begin, end] = range_of(tensor, weights.rows, r);
    counts.push_back(static_cast<std::size_t>((end - begin) * weights.cols) * width);
  }
  const std::size_t count = static_cast<std::size_t>(weights.rows * weights.cols);
  if (mine.dtype != DType::kF32) {
    const BackendBuffer all = job_.backend.allocate_host(count * width);
    const std::span<std::byte> bytes(all.data(), all.bytes());
    group.all_gather_v(mine.bytes(), counts, bytes);
    return upload(bytes);
  }
  const auto upload_floats = [&](std::span<const float> all) {
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, all, weights.matrix()); });
  };
  if (group.size() == 1) return upload_floats(mine.values);
  std::vector<float> host(count);
  group.all_gather_v(mine.bytes(), counts, bytes_of(host));
  upload_floats(host);
}

void LayerLoader::prefetch(const LayerSpec& layer) {
  ahead_layer_ = layer.index;
  ahead_ = std::async(std::launch::async, [this, &layer] {
    std::vector<Rows> all;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) all.push_back(read_mine(linear, linear.weight()));
    return all;
  });
}

std::vector<float> LayerLoader::read_for_all(int reader, const std::function<std::vector<float>()>& read) {
  Communicator& group = *job_.grid.group;
  std::vector<float> values;
  collectively(group, [&] {
    if (group.rank() == reader) values = read();
  });
  std::int64_t count = std::ssize(values);
  group.broadcast(bytes_of(std::span(&count, 1)), reader);
  values.resize(static_cast<std::size_t>(count));
  group.broadcast(bytes_of(values), reader);
  return values;
}

LayerWeights LayerLoader::begin(const LayerSpec& layer) {
  Communicator& group = *job_.grid.group;
  LayerWeights weights;
  collectively(group, [&] { weights = allocate_layer(layer, model_.hidden, job_.backend); });
  const int reader = static_cast<int>(layer.index % group.size());
  const std::vector<float> vectors = read_for_all(reader, [&] { return read_vectors(source_, layer, model_.hidden); });
  collectively(group, [&] { set_vectors(layer, vectors, job_.backend, weights); });
  return weights;
}

LayerWeights LayerLoader::load(const LayerSpec& layer) {
  LayerWeights weights = begin(layer);
  std::vector<Rows> ahead;
  collectively(*job_.grid.group, [&] {
    if (ahead_.valid() && ahead_layer_ == layer.index) ahead = ahead_.get();
  });
  std::size_t next = 0;
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l) {
      const LinearSpec& linear = layer.blocks[b].linears[l];
      Rows mine;
      collectively(*job_.grid.group,
                   [&] { mine = ahead.empty() ? read_mine(linear, linear.weight()) : std::move(ahead[next++]); });
      share(linear.weight(), mine, weights.blocks[b][l]);
    }
  return weights;
}

LayerWeights LayerLoader::load_decoded(const LayerSpec& layer, CodesReader& codes,
                                       const std::map<std::string, CodecSpec>& codecs) {
  Communicator& group = *job_.grid.group;
  LayerWeights weights = begin(layer);
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l) {
      const LinearSpec& linear = layer.blocks[b].linears[l];
      Rows mine;
      collectively(group, [&] {
        const auto codec = codecs.find(linear.module);
        if (codec == codecs.end()) {
          mine = read_mine(linear, linear.weight());
          return;
        }
        const Range range = range_of(linear.weight(), linear.rows, group.rank());
        mine.values.resize(static_cast<std::size_t>((range.end - range.begin) * linear.cols));
        if (mine.values.empty()) return;
        BackendBuffer rows = job_.backend.allocate(mine.values.size() * sizeof(float));
        const Matrix decoded = rows.matrix(range.end - range.begin, linear.cols);
        job_.backend.for_each(1, [&](Stream& stream, std::int64_t) {
          codes.decode_rows(job_.backend, stream, linear.module, codec->second, range.begin, decoded);
          job_.backend.download(stream, decoded, mine.values);
        });
      });
      share(linear.weight(), mine, weights.blocks[b][l]);
    }
  return weights;
}

VectorWeights LayerLoader::load_vector(const std::string& tensor, std::int64_t size) {
  const std::vector<float> values = read_for_all(0, [&] {
    std::vector<float> out(static_cast<std::size_t>(size));
    load_rows(source_, tensor, 1, 0, size, out);
    return out;
  });
  VectorWeights vector;
  collectively(*job_.grid.group, [&] {
    vector = {job_.backend.allocate(static_cast<std::size_t>(size) * sizeof(float)), size};
    job_.backend.for_each(
        1, [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, values, vector.buffer.matrix(1, size)); });
  });
  return vector;
}

LinearWeights LayerLoader::load_linear(const LinearSpec& linear, const std::string& tensor) {
  LinearWeights weights;
  weights.rows = linear.rows;
  weights.cols = linear.cols;
  Rows mine;
  collectively(*job_.grid.group, [&] {
    weights.buffer = job_.backend.allocate(static_cast<std::size_t>(linear.rows * linear.cols) * sizeof(float));
    mine = read_mine(linear, tensor);
  });
  share(tensor, mine, weights);
  return weights;
}

}  // namespace mpiquant
