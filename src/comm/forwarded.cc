#include "src/comm/forwarded.h"

#include "src/base/error.h"

namespace mpiquant {
namespace {

template <Reducible T>
Pending start(Communicator& comm, Elements data, ReduceOp op, std::optional<int> root) {
  const std::span values(reinterpret_cast<T*>(data.data), data.count);
  expect(!root || op == ReduceOp::kSum, "a maximum at one rank");
  if (root) return comm.start_reduce_sum<T>(values, *root);
  return op == ReduceOp::kSum ? comm.start_all_reduce_sum<T>(values) : comm.start_all_reduce_max<T>(values);
}

}  // namespace

Pending start_reduction(Communicator& comm, Elements data, ReduceOp op, std::optional<int> root) {
  switch (data.element) {
    case Element::kInt64: return start<std::int64_t>(comm, data, op, root);
    case Element::kUint64: return start<std::uint64_t>(comm, data, op, root);
    case Element::kFloat: return start<float>(comm, data, op, root);
    case Element::kDouble: return start<double>(comm, data, op, root);
  }
  fail(ExitCode::kInternal, "unknown element {}", static_cast<int>(data.element));
}

}  // namespace mpiquant
