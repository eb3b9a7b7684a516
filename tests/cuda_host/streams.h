#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

// A step of a stream; true when it has ended. One that waits for others is asked again.
using StreamStep = std::function<bool()>;

struct CUstream_st {
  std::deque<StreamStep> steps;
};
struct CUevent_st {
  std::shared_ptr<bool> reached;  // of the newest record; null: never recorded
};

namespace mpiquant::cuda_host {

// When steps run. kLate: not before somebody waits for their stream, so that a missing wait of the host shows as work that has
// not happened. kCrossed: likewise, but those of the other streams first, so that a missing wait between streams shows. kEarly:
// as soon as they are queued, so that an operand that is written after it was passed on shows.
enum class Order { kLate, kCrossed, kEarly };
Order order();  // MPIQUANT_CUDA_HOST_ORDER: late (also when unset), crossed or early

// The streams of this process. Steps run on the threads that wait, one at a time, in the order of each stream.
class Streams {
 public:
  static Streams& all();

  cudaStream_t make();
  void destroy(cudaStream_t stream);
  void enqueue(cudaStream_t stream, StreamStep step);
  // Runs steps until the stream has none left, or all streams where it is null.
  void drain(cudaStream_t stream);
  // Runs steps of the other streams, too, until the condition holds.
  void run_until(cudaStream_t preferred, const std::function<bool()>& reached);
  // Each stream's next step once.
  void nudge();
  // With nothing running meanwhile.
  void locked(const std::function<void()>& work);

 private:
  static bool advance(cudaStream_t stream);

  std::mutex mutex_;
  std::set<cudaStream_t> streams_;
};

}  // namespace mpiquant::cuda_host
