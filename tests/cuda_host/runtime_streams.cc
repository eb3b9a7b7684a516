// Streams and events of CUDA's runtime, on the host.
#include <cuda_runtime.h>

#include "tests/cuda_host/streams.h"

using mpiquant::cuda_host::Streams;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
  *stream = Streams::all().make();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Streams::all().destroy(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Streams::all().drain(stream);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  Streams::all().drain(nullptr);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->reached) Streams::all().enqueue(stream, [reached = event->reached] { return *reached; });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->reached = std::make_shared<bool>(false);
  Streams::all().enqueue(stream, [reached = event->reached] { return *reached = true; });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (!event->reached) return cudaSuccess;
  bool reached = false;
  Streams::all().nudge();
  Streams::all().locked([&] { reached = *event->reached; });
  return reached ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::shared_ptr<bool> reached = event->reached;
  if (reached) Streams::all().run_until(nullptr, [&] { return *reached; });
  return cudaSuccess;
}
