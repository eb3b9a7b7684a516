#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "src/comm/communicator.h"

namespace mpiquant {

// Names one message: the group, the ranks in it, the tag (-1 for collectives), and how many came before it with the same of
// these.
struct Envelope {
  std::int64_t group;
  int from;
  int to;
  int tag;
  std::uint64_t sequence;

  auto operator<=>(const Envelope&) const = default;
};

struct Letter {
  CommOp op;  // what the sender took part in; the receiver checks that it does the same
  std::shared_ptr<const std::vector<std::byte>> bytes;
};

// The messages under way between the ranks of one process. A message is a copy, so no rank touches another one's buffers.
class Mailbox {
 public:
  void post(const Envelope& envelope, Letter letter);
  // The message, if it is there. Throws an environment error once the mailbox is closed.
  std::optional<Letter> take(const Envelope& envelope);
  // Ends all present and future waits with this reason; the first reason stays.
  void close(const std::string& reason);
  // The number of the group that the split-th split of `parent` makes for `color`; the same for all ranks that ask.
  std::int64_t group_number(std::int64_t parent, std::uint64_t split, int color);

 private:
  void expect_open() const;  // with the mutex held

  std::mutex mutex_;
  std::map<Envelope, Letter> letters_;
  std::optional<std::string> closed_;
  std::map<std::tuple<std::int64_t, std::uint64_t, int>, std::int64_t> groups_;
};

struct MailboxGroup {
  std::int64_t number;
  int rank;
  int size;
};

// A group of ranks within one process that exchange messages through a mailbox: the threads of a test, or one rank alone.
class MailboxComm final : public Communicator {
 public:
  MailboxComm(std::shared_ptr<Mailbox> mailbox, MailboxGroup group, const CommOptions& options)
      : Communicator(options), mailbox_(std::move(mailbox)), group_(group) {}

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }

 private:
  class Exchange;

  std::unique_ptr<Communicator> do_split(int color, int key) override;
  std::shared_ptr<PendingState> do_barrier() override;
  std::shared_ptr<PendingState> do_broadcast(std::span<std::byte> data, int root) override;
  std::shared_ptr<PendingState> do_reduce(Elements data, ReduceOp op, int root) override;
  std::shared_ptr<PendingState> do_all_reduce(Elements data, ReduceOp op) override;
  std::shared_ptr<PendingState> do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts,
                                                std::span<std::byte> all) override;
  std::shared_ptr<PendingState> do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts,
                                            std::span<std::byte> all, int root) override;
  std::shared_ptr<PendingState> do_all_to_all_v(std::span<const std::byte> give, std::span<const std::size_t> give_counts,
                                                std::span<std::byte> get, std::span<const std::size_t> get_counts) override;
  std::shared_ptr<PendingState> do_send(std::span<const std::byte> data, int peer, int tag) override;
  std::shared_ptr<PendingState> do_recv(std::span<std::byte> data, int peer, int tag) override;

  // The exchange of the next collective.
  std::shared_ptr<Exchange> next_exchange(CommOp op);

  std::shared_ptr<Mailbox> mailbox_;
  MailboxGroup group_;
  std::uint64_t collectives_ = 0;
  std::uint64_t splits_ = 0;
  std::map<std::pair<int, int>, std::uint64_t> sent_;      // by peer and tag
  std::map<std::pair<int, int>, std::uint64_t> received_;  // by peer and tag
};

}  // namespace mpiquant
