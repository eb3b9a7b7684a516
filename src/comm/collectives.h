#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/comm/communicator.h"

namespace mpiquant {

// Blocking helpers made of a communicator's operations; collective over all its ranks.

template <Reducible T>
T sum_over(Communicator& comm, T value) {
  comm.all_reduce_sum(std::span<T>(&value, 1));
  return value;
}
template <Reducible T>
T max_over(Communicator& comm, T value) {
  comm.all_reduce_max(std::span<T>(&value, 1));
  return value;
}

// The root's text on every rank.
std::string broadcast_string(Communicator& comm, std::string text, int root);
// Every rank's bytes (of any length), by rank, on every rank.
std::vector<std::vector<std::byte>> all_gather_bytes(Communicator& comm, std::span<const std::byte> mine);
// The same at the root; empty elsewhere.
std::vector<std::vector<std::byte>> gather_bytes(Communicator& comm, std::span<const std::byte> mine, int root);
std::vector<std::string> all_gather_strings(Communicator& comm, std::string_view mine);

// An error that every rank of a communicator knows. If that is all ranks of a job, it is printed once, and MPI may be finalized
// after it.
class AgreedError : public Error {
 public:
  AgreedError(ExitCode code, const std::string& message, int rank, const Communicator& comm)
      : Error(code, message), rank_(rank), ranks_(comm.size()), is_mine_(comm.rank() == rank) {}
  int rank() const noexcept { return rank_; }         // where it happened, in the communicator
  int ranks() const noexcept { return ranks_; }       // that know it
  bool is_mine() const noexcept { return is_mine_; }  // it happened here

 private:
  int rank_, ranks_;
  bool is_mine_;
};

// Returns on every rank if no rank brings an error; else throws, on every rank, the error of the lowest rank that has one.
void agree(Communicator& comm, const std::optional<Error>& mine = std::nullopt);

// What `work` throws, as a value: an Error as it is, memory exhaustion as an environment error, any other std::exception as an
// internal one.
template <typename Work>
std::optional<Error> attempt(Work&& work) {
  try {
    std::forward<Work>(work)();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ExitCode::kEnvironment, "out of memory (an allocation was refused) use more ranks or a node with more memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return Error(ExitCode::kEnvironment, fmt::format("{} (it is needed here) check the path and its permissions", error.what()));
  } catch (const std::exception& error) {
    return Error(ExitCode::kInternal, error.what());
  }
}

}  // namespace mpiquant
