#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "src/base/error.h"
#include "src/comm/staged_comm.h"

namespace mpiquant {

// Another backend's operations on "device" buffers: pages that cannot be read or written while no operation works on them, so
// that host code which touches them dies. Host memory given where a device buffer belongs is an internal error.
class GuardedBackend final : public Backend {
 public:
  // memory: bytes of the "device", as far as reserve() knows; free: that there are indeed.
  explicit GuardedBackend(std::unique_ptr<Backend> inner, std::size_t memory = std::size_t{1} << 40,
                          std::size_t free = std::size_t{1} << 40)
      : inner_(std::move(inner)), regions_(std::make_shared<Regions>()), memory_(memory), free_(free) {}

  MemSpace space() const override { return MemSpace::kDevice; }
  std::string identity() const override { return inner_->identity(); }
  BackendBuffer allocate(std::size_t bytes) override {
    constexpr std::size_t kPage = 4096;
    const std::size_t size = (bytes / kPage + 1) * kPage;
    void* data = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(data != MAP_FAILED, "mmap of {} bytes", size);
    const std::lock_guard lock(regions_->mutex);
    if (regions_->used + bytes > free_) {
      ::munmap(data, size);
      fail(ExitCode::kEnvironment, "the device is out of memory");
    }
    regions_->by_start[static_cast<const std::byte*>(data)] = {size, 0};
    regions_->used += bytes;
    regions_->most = std::max(regions_->most, regions_->used);
    return {static_cast<std::byte*>(data), bytes, MemSpace::kDevice, [regions = regions_, size, bytes](std::byte* start) {
              const std::lock_guard inner_lock(regions->mutex);
              regions->used -= bytes;
              regions->by_start.erase(start);
              ::munmap(start, size);
            }};
  }
  void reserve(std::size_t bytes) override {
    check(bytes <= memory_, ExitCode::kUsage, "the work needs {} bytes on the device, which has {}", bytes, memory_);
    reserved_ = bytes;
  }
  bool has_room(std::size_t bytes) override { return roomy_ && bytes <= memory_; }
  // As if there were room for the work alone, whatever it is asked.
  void without_room() { roomy_ = false; }
  // For communicators of its memory (staged_comm.h).
  DeviceAccess access() {
    DeviceAccess out;
    out.is_device = [regions = regions_](const void* data) {
      const std::lock_guard lock(regions->mutex);
      return regions->holds(static_cast<const std::byte*>(data));
    };
    out.allocate_host = [](std::size_t bytes) {
      return std::shared_ptr<std::byte>(new std::byte[bytes], std::default_delete<std::byte[]>());
    };
    out.to_host = [this](std::span<const std::byte> from, std::byte* to) {
      run({reinterpret_cast<const float*>(from.data())}, [&] { std::ranges::copy(from, to); });
    };
    out.to_device = [this](const std::byte* from, std::span<std::byte> to) {
      run({reinterpret_cast<const float*>(to.data())}, [&] { std::copy_n(from, to.size(), to.data()); });
    };
    return out;
  }
  std::size_t reserved() const { return reserved_; }
  std::size_t most_used() const { return regions_->most; }
  void for_each(std::int64_t count, const std::function<void(Stream&, std::int64_t)>& body) override {
    inner_->for_each(count, body);
  }

  void upload(Stream& s, std::span<const float> host, Matrix out) override {
    run({out.data}, [&] { inner_->upload(s, host, in(out)); });
  }
  void download(Stream& s, ConstMatrix x, std::span<float> host) override {
    run({x.data}, [&] { inner_->download(s, in(x), host); });
  }
  void copy(Stream& s, ConstMatrix x, Matrix y) override {
    run({x.data, y.data}, [&] { inner_->copy(s, in(x), in(y)); });
  }
  void linear(Stream& s, ConstMatrix x, ConstMatrix w, const float* bias, Matrix y) override {
    run({x.data, w.data, bias, y.data}, [&] { inner_->linear(s, in(x), in(w), bias, in(y)); });
  }
  void rms_norm(Stream& s, ConstMatrix x, const float* weight, float eps, Matrix y) override {
    run({x.data, weight, y.data}, [&] { inner_->rms_norm(s, in(x), weight, eps, in(y)); });
  }
  void add(Stream& s, ConstMatrix x, Matrix y) override {
    run({x.data, y.data}, [&] { inner_->add(s, in(x), in(y)); });
  }
  void rotary(Stream& s, Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos,
              ConstMatrix sin) override {
    run({x.data, cos.data, sin.data}, [&] { inner_->rotary(s, in(x), head_dim, lengths, in(cos), in(sin)); });
  }
  void attention(Stream& s, ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape,
                 std::span<const std::int64_t> lengths, Matrix out) override {
    run({q.data, k.data, v.data, out.data}, [&] { inner_->attention(s, in(q), in(k), in(v), shape, lengths, in(out)); });
  }
  void silu_gate(Stream& s, ConstMatrix gate, ConstMatrix up, Matrix out) override {
    run({gate.data, up.data, out.data}, [&] { inner_->silu_gate(s, in(gate), in(up), in(out)); });
  }

  float diagonal_max(Stream& s, ConstMatrix x) override {
    float out = 0;
    run({x.data}, [&] { out = inner_->diagonal_max(s, in(x)); });
    return out;
  }
  void hessian_add(std::span<const ConstMatrix> units, int exponent, std::span<std::int64_t> sum) override {
    std::vector<const float*> data;
    std::vector<ConstMatrix> views;
    for (const ConstMatrix& unit : units) {
      data.push_back(unit.data);
      views.push_back(in(unit));
    }
    run(data, [&] { inner_->hessian_add(views, exponent, sum); });
  }
  // The factor's triangle is on the device, as on a GPU.
  Factor factor(std::span<const float> hessian, std::int64_t cols, const FactorOptions& options) override {
    Factor out = inner_->factor(hessian, cols, options);
    out.device_upper = std::make_shared<BackendBuffer>(allocate(out.upper.size() * sizeof(float)));
    run({floats(*out.device_upper)}, [&] { std::ranges::copy(out.upper, values<float>(*out.device_upper).begin()); });
    out.upper = {};
    return out;
  }
  BackendBuffer hessian_zeros(std::int64_t cols) override {
    BackendBuffer sum = allocate(static_cast<std::size_t>(cols * (cols + 1) / 2) * sizeof(std::int64_t));
    run({floats(sum)}, [&] { std::fill_n(sum.data(), sum.bytes(), std::byte{}); });
    return sum;
  }
  void hessian_add_to(std::span<const ConstMatrix> units, int exponent, const BackendBuffer& sum) override {
    run({floats(sum)}, [&] { hessian_add(units, exponent, values<std::int64_t>(sum)); });
  }
  BackendBuffer hessian_rounded(const BackendBuffer& sum, int exponent) override {
    BackendBuffer out = allocate(sum.bytes() / 2);
    run({floats(sum), floats(out)}, [&] {
      std::ranges::transform(values<std::int64_t>(sum), values<float>(out).begin(),
                             [&](std::int64_t value) { return std::ldexp(static_cast<float>(value), -exponent); });
    });
    return out;
  }
  Factor factor_packed(const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options) override {
    Factor out;
    run({floats(packed)}, [&] { out = factor(values<float>(packed), cols, options); });
    return out;
  }
  // A factor as the inner backend takes it.
  Factor on_host(const Factor& factor) {
    Factor out = factor;
    if (out.device_upper)
      run({floats(*out.device_upper)}, [&] {
        const std::span<float> all = values<float>(*out.device_upper);
        out.upper.assign(all.begin(), all.end());
      });
    return out;
  }
  EncodedRows sweep(Stream& s, const SweepTask& task) override {
    EncodedRows out;
    const Factor factor = on_host(*task.factor);
    run({task.weight.data}, [&] { out = inner_->sweep(s, {in(task.weight), &factor, task.codec}); });
    out.resident = std::make_shared<int>(0);  // as a GPU, that keeps its codes
    return out;
  }
  std::int64_t group_rows() const override { return 300; }
  EncodedRows encode(Stream& s, ConstMatrix weight, const CodecSpec& codec) override {
    EncodedRows out;
    run({weight.data}, [&] { out = inner_->encode(s, in(weight), codec); });
    return out;
  }
  void decode(Stream& s, const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx,
              Matrix out) override {
    run({out.data}, [&] { inner_->decode(s, rows, codec, g_idx, in(out)); });
  }

 private:
  struct Region {
    std::size_t bytes;
    int users;  // operations at work
  };
  struct Regions {
    std::mutex mutex;
    std::map<const std::byte*, Region> by_start;
    std::size_t used = 0, most = 0;  // bytes

    bool holds(const std::byte* data) const {
      const auto at = by_start.upper_bound(data);
      return at != by_start.begin() && data < std::prev(at)->first + std::prev(at)->second.bytes;
    }
  };

  static const float* floats(const BackendBuffer& buffer) { return reinterpret_cast<const float*>(buffer.data()); }
  template <typename T>
  static std::span<T> values(const BackendBuffer& buffer) {
    return {reinterpret_cast<T*>(buffer.data()), buffer.bytes() / sizeof(T)};
  }

  template <typename T>
  static BasicMatrix<T> in(BasicMatrix<T> x) {
    expect(x.space == MemSpace::kDevice, "a host matrix in a device operation");
    x.space = MemSpace::kHost;
    return x;
  }

  // Opens the buffers that hold the pointers (null ones are skipped) while body runs.
  template <typename Body>
  void run(const std::vector<const float*>& pointers, const Body& body) {
    const Use use(*regions_, pointers);
    body();
  }

  class Use {
   public:
    Use(Regions& regions, const std::vector<const float*>& pointers) : regions_(regions) {
      const std::lock_guard lock(regions_.mutex);
      for (const float* pointer : pointers) {
        if (pointer == nullptr) continue;
        const auto at = regions_.by_start.upper_bound(reinterpret_cast<const std::byte*>(pointer));
        expect(regions_.holds(reinterpret_cast<const std::byte*>(pointer)), "host memory in a device operation");
        held_.push_back(std::prev(at)->first);
        change(held_.back(), 1, PROT_READ | PROT_WRITE);
      }
    }
    ~Use() {
      const std::lock_guard lock(regions_.mutex);
      for (const std::byte* start : held_) change(start, -1, PROT_NONE);
    }
    Use(const Use&) = delete;

   private:
    void change(const std::byte* start, int by, int protection) {
      Region& region = regions_.by_start.at(start);
      region.users += by;
      if (region.users == (by > 0 ? 1 : 0)) ::mprotect(const_cast<std::byte*>(start), region.bytes, protection);
    }
    Regions& regions_;
    std::vector<const std::byte*> held_;
  };

  std::unique_ptr<Backend> inner_;
  std::shared_ptr<Regions> regions_;
  std::size_t memory_, free_, reserved_ = 0;
  bool roomy_ = true;
};

}  // namespace mpiquant
