#include "src/comm/collectives.h"

#include <cstdint>
#include <numeric>

namespace mpiquant {
namespace {

std::vector<std::size_t> gather_counts(Communicator& comm, std::size_t mine) {
  static_assert(sizeof(std::size_t) == sizeof(std::uint64_t));
  std::vector<std::size_t> counts(static_cast<std::size_t>(comm.size()), 0);
  counts[static_cast<std::size_t>(comm.rank())] = mine;
  const std::vector<std::size_t> widths(counts.size(), sizeof(std::size_t));
  comm.all_gather_v(bytes_of(std::span<const std::size_t>(&mine, 1)), widths, bytes_of(counts));
  return counts;
}

std::vector<std::vector<std::byte>> cut(std::span<const std::byte> all, std::span<const std::size_t> counts) {
  std::vector<std::vector<std::byte>> pieces;
  pieces.reserve(counts.size());
  for (const std::size_t count : counts) {
    pieces.emplace_back(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    all = all.subspan(count);
  }
  return pieces;
}

}  // namespace

std::string broadcast_string(Communicator& comm, std::string text, int root) {
  std::uint64_t length = text.size();
  comm.broadcast(bytes_of(std::span(&length, 1)), root);
  text.resize(length);
  comm.broadcast(bytes_of(text), root);
  return text;
}

std::vector<std::vector<std::byte>> all_gather_bytes(Communicator& comm, std::span<const std::byte> mine) {
  const std::vector<std::size_t> counts = gather_counts(comm, mine.size());
  std::vector<std::byte> all(std::accumulate(counts.begin(), counts.end(), std::size_t{0}));
  comm.all_gather_v(mine, counts, all);
  return cut(all, counts);
}

std::vector<std::vector<std::byte>> gather_bytes(Communicator& comm, std::span<const std::byte> mine, int root) {
  const std::vector<std::size_t> counts = gather_counts(comm, mine.size());
  std::vector<std::byte> all;
  if (comm.rank() == root) all.resize(std::accumulate(counts.begin(), counts.end(), std::size_t{0}));
  comm.gather_v(mine, counts, all, root);
  if (comm.rank() != root) return {};
  return cut(all, counts);
}

std::vector<std::string> all_gather_strings(Communicator& comm, std::string_view mine) {
  std::vector<std::string> texts;
  for (const std::vector<std::byte>& bytes : all_gather_bytes(comm, std::as_bytes(std::span(mine))))
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return texts;
}

void agree(Communicator& comm, const std::optional<Error>& mine) {
  // The maximum of size − rank over the ranks that failed names the lowest of them; 0 if there is none.
  const std::int64_t vote = max_over<std::int64_t>(comm, mine ? comm.size() - comm.rank() : 0);
  if (vote == 0) return;
  const int root = comm.size() - static_cast<int>(vote);
  std::int64_t code = mine ? static_cast<std::int64_t>(mine->code()) : 0;
  comm.broadcast(bytes_of(std::span(&code, 1)), root);
  const std::string message = broadcast_string(comm, mine ? mine->what() : "", root);
  throw AgreedError(static_cast<ExitCode>(code), message, root, comm);
}

}  // namespace mpiquant
