#include "src/comm/mailbox_comm.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <utility>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr int kCollectiveTag = -1;

template <typename T>
void fold_as(std::span<std::byte> into, std::span<const std::byte> from, ReduceOp op) {
  for (std::size_t at = 0; at < into.size(); at += sizeof(T)) {
    T a;
    T b;
    std::memcpy(&a, into.data() + at, sizeof(T));
    std::memcpy(&b, from.data() + at, sizeof(T));
    const T result = op == ReduceOp::kSum ? static_cast<T>(a + b) : std::max(a, b);
    std::memcpy(into.data() + at, &result, sizeof(T));
  }
}

void fold(const Elements& into, std::span<const std::byte> from, ReduceOp op) {
  const std::span bytes(into.data, into.bytes());
  switch (into.element) {
    case Element::kInt64: return fold_as<std::int64_t>(bytes, from, op);
    case Element::kUint64: return fold_as<std::uint64_t>(bytes, from, op);
    case Element::kFloat: return fold_as<float>(bytes, from, op);
    case Element::kDouble: return fold_as<double>(bytes, from, op);
  }
}

void copy(std::span<const std::byte> from, std::span<std::byte> into) {
  if (!from.empty() && from.data() != into.data()) std::memcpy(into.data(), from.data(), from.size());
}

std::shared_ptr<const std::vector<std::byte>> copy_of(std::span<const std::byte> bytes) {
  return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
}

}  // namespace

void Mailbox::post(const Envelope& envelope, Letter letter) {
  const std::lock_guard lock(mutex_);
  expect_open();
  letters_.emplace(envelope, std::move(letter));
}

std::optional<Letter> Mailbox::take(const Envelope& envelope) {
  const std::lock_guard lock(mutex_);
  const auto found = letters_.find(envelope);
  if (found == letters_.end()) {
    expect_open();
    return std::nullopt;
  }
  Letter letter = std::move(found->second);
  letters_.erase(found);
  return letter;
}

void Mailbox::close(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (!closed_) closed_ = reason;
}

void Mailbox::expect_open() const {
  check(!closed_.has_value(), ExitCode::kEnvironment, "the group of ranks is broken ({})", closed_.value_or(""));
}

std::int64_t Mailbox::group_number(std::int64_t parent, std::uint64_t split, int color) {
  const std::lock_guard lock(mutex_);
  return groups_.try_emplace({parent, split, color}, static_cast<std::int64_t>(groups_.size()) + 1).first->second;
}

// One operation of one rank: it has posted what it sends, and takes what it waits for in the order named.
class MailboxComm::Exchange final : public PendingState {
 public:
  using Use = std::function<void(std::span<const std::byte>)>;

  Exchange(std::shared_ptr<Mailbox> mailbox, CommOp op, Envelope envelope)
      : mailbox_(std::move(mailbox)), op_(op), envelope_(envelope) {}

  void post(int to, std::shared_ptr<const std::vector<std::byte>> bytes) {
    Envelope envelope = envelope_;
    envelope.to = to;
    mailbox_->post(envelope, {op_, std::move(bytes)});
  }

  void await(int from, std::size_t bytes, Use use) {
    Envelope envelope = envelope_;
    envelope.to = envelope.from;
    envelope.from = from;
    awaited_.push_back({envelope, bytes, std::move(use)});
  }

  bool advance() override {
    while (next_ < awaited_.size()) {
      const Awaited& awaited = awaited_[next_];
      const std::optional<Letter> letter = mailbox_->take(awaited.envelope);
      if (!letter) return false;
      const CommOp wanted = op_ == CommOp::kReceive ? CommOp::kSend : op_;
      expect(letter->op == wanted && letter->bytes->size() == awaited.bytes,
             "ranks differ in what they do: rank {} does a {} of {} bytes, rank {} a {} of {}", awaited.envelope.to, name_of(op_),
             awaited.bytes, awaited.envelope.from, name_of(letter->op), letter->bytes->size());
      awaited.use(*letter->bytes);
      ++next_;
    }
    return true;
  }

  void abandon() noexcept override {
    mailbox_->close(fmt::format("rank {} gave up a {} that had not ended", envelope_.from, name_of(op_)));
  }

 private:
  struct Awaited {
    Envelope envelope;
    std::size_t bytes;
    Use use;
  };

  std::shared_ptr<Mailbox> mailbox_;
  CommOp op_;
  Envelope envelope_;
  std::vector<Awaited> awaited_;
  std::size_t next_ = 0;
};

std::shared_ptr<MailboxComm::Exchange> MailboxComm::next_exchange(CommOp op) {
  return std::make_shared<Exchange>(mailbox_, op, Envelope{group_.number, rank(), rank(), kCollectiveTag, collectives_++});
}

std::unique_ptr<Communicator> MailboxComm::do_split(int color, int key) {
  std::vector<std::array<int, 2>> answers(static_cast<std::size_t>(size()));
  const std::array<int, 2> mine = {color, key};
  const std::vector<std::size_t> counts(answers.size(), sizeof(mine));
  all_gather_v(bytes_of(mine), counts, bytes_of(answers));
  std::vector<std::pair<int, int>> members;  // key, rank here
  for (int r = 0; r < size(); ++r) {
    const auto& answer = answers[static_cast<std::size_t>(r)];
    if (answer[0] == color) members.emplace_back(answer[1], r);
  }
  std::sort(members.begin(), members.end());
  const auto place = std::find(members.begin(), members.end(), std::pair(key, rank()));
  const MailboxGroup group{mailbox_->group_number(group_.number, splits_++, color), static_cast<int>(place - members.begin()),
                           static_cast<int>(members.size())};
  return std::make_unique<MailboxComm>(mailbox_, group, options());
}

std::shared_ptr<PendingState> MailboxComm::do_barrier() {
  auto exchange = next_exchange(CommOp::kBarrier);
  for (int r = 0; r < size(); ++r) {
    exchange->post(r, copy_of({}));
    exchange->await(r, 0, [](std::span<const std::byte>) {});
  }
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_broadcast(std::span<std::byte> data, int root) {
  auto exchange = next_exchange(CommOp::kBroadcast);
  if (rank() == root) {
    const auto bytes = size() > 1 ? copy_of(data) : nullptr;
    for (int r = 0; r < size(); ++r)
      if (r != root) exchange->post(r, bytes);
  } else {
    exchange->await(root, data.size(), [data](std::span<const std::byte> from) { copy(from, data); });
  }
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_reduce(Elements data, ReduceOp op, int root) {
  auto exchange = next_exchange(CommOp::kReduce);
  if (rank() != root) {
    exchange->post(root, copy_of({data.data, data.bytes()}));
    return exchange;
  }
  for (int r = 0; r < size(); ++r)
    if (r != root) exchange->await(r, data.bytes(), [data, op](std::span<const std::byte> from) { fold(data, from, op); });
  return exchange;
}

// Every rank folds all contributions, its own too, in the order of ranks, so that all get the same bits.
std::shared_ptr<PendingState> MailboxComm::do_all_reduce(Elements data, ReduceOp op) {
  auto exchange = next_exchange(CommOp::kAllReduce);
  const auto bytes = copy_of({data.data, data.bytes()});
  for (int r = 0; r < size(); ++r) {
    exchange->post(r, bytes);
    exchange->await(r, data.bytes(), [data, op, r](std::span<const std::byte> from) {
      if (r == 0) {
        copy(from, {data.data, data.bytes()});
      } else {
        fold(data, from, op);
      }
    });
  }
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts,
                                                           std::span<std::byte> all) {
  auto exchange = next_exchange(CommOp::kAllGather);
  const auto bytes = size() > 1 ? copy_of(mine) : nullptr;
  for (int r = 0; r < size(); ++r) {
    const std::span<std::byte> place = all.first(counts[static_cast<std::size_t>(r)]);
    all = all.subspan(place.size());
    if (r == rank()) {
      copy(mine, place);
    } else {
      exchange->post(r, bytes);
      exchange->await(r, place.size(), [place](std::span<const std::byte> from) { copy(from, place); });
    }
  }
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts,
                                                       std::span<std::byte> all, int root) {
  auto exchange = next_exchange(CommOp::kGather);
  if (rank() != root) {
    exchange->post(root, copy_of(mine));
    return exchange;
  }
  for (int r = 0; r < size(); ++r) {
    const std::span<std::byte> place = all.first(counts[static_cast<std::size_t>(r)]);
    all = all.subspan(place.size());
    if (r == rank()) {
      copy(mine, place);
    } else {
      exchange->await(r, place.size(), [place](std::span<const std::byte> from) { copy(from, place); });
    }
  }
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_all_to_all_v(std::span<const std::byte> give,
                                                           std::span<const std::size_t> give_counts, std::span<std::byte> get,
                                                           std::span<const std::size_t> get_counts) {
  auto exchange = next_exchange(CommOp::kAllToAll);
  for (int r = 0; r < size(); ++r) {
    const std::span<const std::byte> given = give.first(give_counts[static_cast<std::size_t>(r)]);
    const std::span<std::byte> place = get.first(get_counts[static_cast<std::size_t>(r)]);
    give = give.subspan(given.size());
    get = get.subspan(place.size());
    if (r == rank()) {
      copy(given, place);
    } else {
      exchange->post(r, copy_of(given));
      exchange->await(r, place.size(), [place](std::span<const std::byte> from) { copy(from, place); });
    }
  }
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_send(std::span<const std::byte> data, int peer, int tag) {
  const Envelope envelope{group_.number, rank(), peer, tag, sent_[{peer, tag}]++};
  auto exchange = std::make_shared<Exchange>(mailbox_, CommOp::kSend, envelope);
  exchange->post(peer, copy_of(data));
  return exchange;
}

std::shared_ptr<PendingState> MailboxComm::do_recv(std::span<std::byte> data, int peer, int tag) {
  const Envelope envelope{group_.number, rank(), rank(), tag, received_[{peer, tag}]++};
  auto exchange = std::make_shared<Exchange>(mailbox_, CommOp::kReceive, envelope);
  exchange->await(peer, data.size(), [data](std::span<const std::byte> from) { copy(from, data); });
  return exchange;
}

}  // namespace mpiquant
