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
  const std::int64_t block = rotated_ != nullptr ? rotated_->source->row_block(tensor) : source_.row_block(tensor);
  const int replicas = job_.grid.group->size();
  return {first_row(rows, block, replica, replicas), first_row(rows, block, replica + 1, replicas)};
}

LayerLoader::Rows LayerLoader::read_forward(const LinearSpec& linear, const std::string& tensor) const {
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

std::vector<float> LayerLoader::turned(const std::string& tensor, Range range, std::vector<float> stored) const {
  rotated_->rotated->turn(tensor, range.begin, range.end, stored);
  return stored;
}

template <typename Value>
Forms<Value> LayerLoader::as_forms(Value stored, Value rotated) const {
  if (turns_) std::swap(stored, rotated);
  return {std::move(stored), std::move(rotated)};
}

LayerLoader::RowForms LayerLoader::read_mine(const LinearSpec& linear) const {
  const bool head = linear.role == Role::kHead;
  if (rotated_ == nullptr) return {read_forward(linear, head ? model_.head_weight() : linear.weight()), std::nullopt};
  const Range range = range_of(linear.weight(), linear.rows, job_.grid.group->rank());
  Rows stored, rotated;
  stored.values.resize(static_cast<std::size_t>((range.end - range.begin) * linear.cols));
  load_rows(*stored_->source, head ? stored_->spec.head_weight() : linear.weight(), linear.cols, range.begin, range.end,
            stored.values);
  rotated.values = turned(linear.weight(), range, stored.values);
  return as_forms(std::move(stored), std::move(rotated));
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
    std::vector<RowForms> all;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) all.push_back(read_mine(linear));
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

LayerWeights LayerLoader::begin(const LayerSpec& layer, std::span<const float> vectors) {
  LayerWeights weights;
  collectively(*job_.grid.group, [&] {
    weights = allocate_layer(layer, model_.hidden, job_.backend);
    set_vectors(layer, vectors, job_.backend, weights);
  });
  return weights;
}

std::vector<float> LayerLoader::turned_vectors(const LayerSpec& layer, std::vector<float> stored) const {
  std::span<float> rest = stored;
  const auto turn = [&](const std::string& tensor, std::int64_t size) {
    rotated_->rotated->turn(tensor, 0, size, rest.first(static_cast<std::size_t>(size)));
    rest = rest.subspan(static_cast<std::size_t>(size));
  };
  for_vectors(layer, model_.hidden, turn);
  return stored;
}

Forms<LayerWeights> LayerLoader::begin(const LayerSpec& layer, bool both) {
  const int reader = static_cast<int>(layer.index % job_.grid.group->size());
  const TensorSource& source = both ? *stored_->source : source_;
  std::vector<float> vectors = read_for_all(reader, [&] { return read_vectors(source, layer, model_.hidden); });
  if (!both) return {begin(layer, vectors), std::nullopt};
  const std::vector<float> rotated = turned_vectors(layer, vectors);
  const Forms<std::vector<float>> forms = as_forms(std::move(vectors), rotated);
  LayerWeights forward = begin(layer, forms.forward);
  return {std::move(forward), begin(layer, *forms.other)};
}

Forms<LayerWeights> LayerLoader::load(const LayerSpec& layer) {
  Forms<LayerWeights> weights = begin(layer, rotated_ != nullptr);
  std::vector<RowForms> ahead;
  collectively(*job_.grid.group, [&] {
    if (ahead_.valid() && ahead_layer_ == layer.index) ahead = ahead_.get();
  });
  std::size_t next = 0;
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l) {
      const LinearSpec& linear = layer.blocks[b].linears[l];
      RowForms mine;
      collectively(*job_.grid.group, [&] { mine = ahead.empty() ? read_mine(linear) : std::move(ahead[next++]); });
      share(linear.weight(), mine.forward, weights.forward.blocks[b][l]);
      if (weights.other) share(linear.weight(), *mine.other, weights.other->blocks[b][l]);
    }
  return weights;
}

LayerWeights LayerLoader::load_one(const LayerSpec& layer, const std::function<Rows(const LinearSpec& linear)>& read) {
  LayerWeights weights = std::move(begin(layer, false).forward);
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l) {
      const LinearSpec& linear = layer.blocks[b].linears[l];
      Rows mine;
      collectively(*job_.grid.group, [&] { mine = read(linear); });
      share(linear.weight(), mine, weights.blocks[b][l]);
    }
  return weights;
}

LayerWeights LayerLoader::load_forward(const LayerSpec& layer) {
  return load_one(layer, [this](const LinearSpec& linear) { return read_forward(linear, linear.weight()); });
}

LayerWeights LayerLoader::load_decoded(const LayerSpec& layer, CodesReader& codes,
                                       const std::map<std::string, CodecSpec>& codecs) {
  return load_one(layer, [&](const LinearSpec& linear) {
    const auto codec = codecs.find(linear.module);
    if (codec == codecs.end()) return read_forward(linear, linear.weight());
    Rows mine;
    const Range range = range_of(linear.weight(), linear.rows, job_.grid.group->rank());
    mine.values.resize(static_cast<std::size_t>((range.end - range.begin) * linear.cols));
    if (mine.values.empty()) return mine;
    BackendBuffer rows = job_.backend.allocate(mine.values.size() * sizeof(float));
    const Matrix decoded = rows.matrix(range.end - range.begin, linear.cols);
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) {
      codes.decode_rows(job_.backend, stream, linear.module, codec->second, range.begin, decoded);
      job_.backend.download(stream, decoded, mine.values);
    });
    return mine;
  });
}

VectorWeights LayerLoader::vector_of(std::span<const float> values) {
  const std::int64_t size = std::ssize(values);
  VectorWeights vector;
  collectively(*job_.grid.group, [&] {
    vector = {job_.backend.allocate(values.size_bytes()), size};
    job_.backend.for_each(
        1, [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, values, vector.buffer.matrix(1, size)); });
  });
  return vector;
}

Forms<VectorWeights> LayerLoader::load_final_norm() {
  const TensorSource& source = rotated_ != nullptr ? *stored_->source : source_;
  std::vector<float> values = read_for_all(0, [&] {
    std::vector<float> out(static_cast<std::size_t>(model_.hidden));
    load_rows(source, model_.final_norm, 1, 0, model_.hidden, out);
    return out;
  });
  if (rotated_ == nullptr) return {vector_of(values), std::nullopt};
  const std::vector<float> rotated = turned(model_.final_norm, {0, model_.hidden}, values);
  const Forms<std::vector<float>> forms = as_forms(std::move(values), rotated);
  VectorWeights forward = vector_of(forms.forward);
  return {std::move(forward), vector_of(*forms.other)};
}

Forms<LinearWeights> LayerLoader::load_head() {
  const LinearSpec& head = model_.head;
  const auto room = [&] {
    return LinearWeights{
        job_.backend.allocate(static_cast<std::size_t>(head.rows * head.cols) * sizeof(float)), head.rows, head.cols, {}};
  };
  Forms<LinearWeights> weights;
  RowForms mine;
  collectively(*job_.grid.group, [&] {
    weights.forward = room();
    if (rotated_ != nullptr) weights.other = room();
    mine = read_mine(head);
  });
  share(head.weight(), mine.forward, weights.forward);
  if (weights.other) share(head.weight(), *mine.other, *weights.other);
  return weights;
}

}  // namespace mpiquant
