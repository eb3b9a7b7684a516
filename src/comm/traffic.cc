#include "src/comm/traffic.h"

namespace mpiquant {

std::string_view name_of(CommOp op) {
  constexpr std::array<std::string_view, kCommOps> kNames = {"barrier",    "broadcast",  "reduce", "all-reduce", "gather",
                                                             "all-gather", "all-to-all", "send",   "receive"};
  return kNames[static_cast<std::size_t>(op)];
}

Traffic& Traffic::operator+=(const Traffic& other) {
  for (std::size_t i = 0; i < kCommOps; ++i) {
    rows[i].calls += other.rows[i].calls;
    rows[i].sent += other.rows[i].sent;
    rows[i].received += other.rows[i].received;
  }
  return *this;
}

}  // namespace mpiquant
