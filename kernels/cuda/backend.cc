#include "kernels/cuda/backend.h"

#include <algorithm>

#include "src/base/error.h"

namespace mpiquant::cuda {

CudaStream& cuda_stream(Stream& stream) {
  auto* mine = dynamic_cast<CudaStream*>(&stream);
  expect(mine != nullptr, "a stream of another backend");
  return *mine;
}

void expect_device(ConstMatrix x) { expect(x.space == MemSpace::kDevice, "a host matrix in a device operation"); }

CudaBackend::CudaBackend(const CudaOptions& options) : options_(options), pool_(options.streams) {
  check_cuda(cudaSetDevice(options.device), "cudaSetDevice");
  check_cuda(cudaFree(nullptr), "the first use of the GPU");  // so that a GPU that cannot be used is refused here
}

std::string CudaBackend::identity() const {
  cudaDeviceProp device{};
  check_cuda(cudaGetDeviceProperties(&device, options_.device), "cudaGetDeviceProperties");
  int runtime = 0, solver = 0;
  check_cuda(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  check_cusolver(cusolverGetVersion(&solver), "cusolverGetVersion");
  return fmt::format(
      "cuda kernels 1, {}, compute capability {}.{}, products in {}, factor in {}{}, runtime {}, cublasLt {}, cusolver {}",
      device.name, device.major, device.minor, to_string(options_.compute), options_.double_factor ? "float64" : "float32",
      options_.plain_tiles ? ", plain tiles" : "", runtime, cublasLtGetVersion(), solver);
}

DeviceMemory& CudaBackend::memory() {
  std::call_once(memory_once_, [this] { memory_ = std::make_shared<DeviceMemory>(options_.device, options_.memory); });
  return *memory_;
}

BackendBuffer CudaBackend::allocate_host(std::size_t bytes) {
  PinnedOwner memory;
  {
    const std::lock_guard lock(pinned_->mutex);
    if (const auto found = pinned_->free.find(bytes); found != pinned_->free.end()) {
      memory = std::move(found->second);
      pinned_->free.erase(found);
    }
  }
  if (!memory) {
    check_cuda(cudaSetDevice(options_.device), "cudaSetDevice");
    memory = allocate_pinned(std::max<std::size_t>(bytes, 1));
  }
  return {memory.release(), bytes, MemSpace::kHost, [pinned = pinned_, bytes](std::byte* data) {
            const std::lock_guard lock(pinned->mutex);
            pinned->free.emplace(bytes, PinnedOwner(data));
          }};
}

// With what the streams need for themselves, and an eighth for gaps between places of different sizes.
std::size_t CudaBackend::region_for(std::size_t bytes) const {
  const auto streams = static_cast<std::size_t>(std::max(options_.streams, kHessianStreams));
  return bytes + bytes / 8 + (Products::kWorkspace + (std::size_t{1} << 20)) * streams;
}

bool CudaBackend::has_room(std::size_t bytes) {
  if (memory_) return region_for(bytes) <= memory_->bytes() + Arena::kAlignment;
  const std::size_t free = free_bytes(options_.device);
  return region_for(bytes) <= (options_.memory == 0 ? free : std::min(free, options_.memory));
}

void CudaBackend::reserve(std::size_t bytes) {
  const std::size_t all = region_for(bytes);
  if (!memory_) options_.memory = std::max(all, options_.memory);
  const std::size_t held = memory().bytes();
  check(held + Arena::kAlignment >= all, ExitCode::kUsage,
        "the work needs {} MB on the GPU, which gives {} MB (it would stop in the middle) use more ranks, fewer samples, or a "
        "GPU with more memory",
        all >> 20, held >> 20);
}

CudaBackend::Lease::Lease(CudaBackend& backend, Take take) : backend_(backend) {
  check_cuda(cudaSetDevice(backend.options_.device), "cudaSetDevice");
  DeviceMemory& memory = backend.memory();
  {
    const std::lock_guard lock(backend.mutex_);
    if (backend.idle_.empty()) {
      backend.streams_.push_back(std::make_unique<CudaStream>(static_cast<int>(backend.streams_.size()), memory));
      backend.idle_.push_back(backend.streams_.back().get());
    }
    stream_ = backend.idle_.back();
    backend.idle_.pop_back();
  }
  if (take == Take::kTurn) turn_.emplace(memory, stream_->number(), stream_->get());
}

CudaBackend::Lease::~Lease() {
  if (!turn_) cudaStreamSynchronize(stream_->get());  // an error shows in the next checked call
  turn_.reset();
  const std::lock_guard lock(backend_.mutex_);
  backend_.idle_.push_back(stream_);
}

void CudaBackend::for_each(std::int64_t count, const std::function<void(Stream&, std::int64_t)>& body) {
  pool_.for_each(count, [&](std::int64_t i) {
    const Lease lease(*this, Take::kTurn);
    body(lease.stream(), i);
    lease.stream().synchronize();
  });
}

}  // namespace mpiquant::cuda
