#include "src/plan/simulate.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <queue>
#include <utility>
#include <vector>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr double kRequestBytes = 16e6;  // of the file system

struct Action {
  enum class Kind : std::uint8_t {
    kWork,     // items on the rank's threads
    kFiles,    // bytes to or from the file system
    kBehind,   // the same, queued for the background
    kJoin,     // until everything queued before the last mark is done
    kMark,     // what is queued from here on belongs to the next join
    kSend,     // posted
    kReceive,  // posted
    kWait,     // for all that is posted
    kBarrier,
  };
  Kind kind;
  const Step* step = nullptr;
  const HiddenStream* stream = nullptr;
  std::int32_t count = 0;
  int peer = 0;   // rank; or first rank of the group at a barrier
  int group = 0;  // ranks of it
  double bytes = 0;
  bool writes = false;
};

// A server that serves one request after the other.
struct Server {
  double free_at = 0;
  double serve(double now, double duration) { return free_at = std::max(now, free_at) + duration; }
};

// The background requests of a rank, reads and writes apart.
struct Lane {
  std::deque<Action> queue;
  double left = 0;                                           // bytes of the first, negative when its last request is under way
  std::int64_t queued = 0, served = 0, marked = 0, due = 0;  // all, done, up to the last mark and the one before
};

struct Rank {
  std::vector<Action> actions;
  std::size_t next = 0;
  int posted = 0;    // messages not yet matched
  double ready = 0;  // when those that were are through
  bool waiting = false;
  double request_left = 0;  // bytes of the files action under way
  Lane reads, writes;
  bool joining = false;
  Lane& lane(bool of_writes) { return of_writes ? writes : reads; }
  bool joined() const { return reads.served >= reads.due && writes.served >= writes.due; }
  Server out, in;
};

class Simulator {
 public:
  Simulator(const Program& program, const Machine& machine, const Placement& placement)
      : program_(program), machine_(machine), placement_(placement), size_(program.stages * program.replicas) {
    ranks_.resize(static_cast<std::size_t>(size_));
    nodes_.resize(static_cast<std::size_t>((size_ - 1) / placement.per_node) + 1);
    Machine alone = machine;  // the file system's limits are played, not divided
    alone.node_read = alone.node_write = alone.total_read = alone.total_write = 0;
    rates_ = shared_rates(alone, 1, 1, placement.compute);
    for (int r = 0; r < size_; ++r) compile(r);
  }

  Simulation run() {
    for (int r = 0; r < size_; ++r) events_.push({0, r});
    Simulation out;
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      ++out.events;
      out.seconds = std::max(out.seconds, event.time);
      if (event.kind != Event::Kind::kRank)
        serve_behind(event.rank, event.kind == Event::Kind::kWrites, event.time);
      else
        proceed(event.rank, event.time);
    }
    for (const Rank& rank : ranks_) expect(rank.next == rank.actions.size(), "simulation: a rank waits for ever");
    return out;
  }

 private:
  struct Event {
    enum class Kind : std::uint8_t { kRank, kReads, kWrites };
    double time;
    int rank;
    Kind kind = Kind::kRank;
    bool operator>(const Event& other) const { return std::pair(time, rank) > std::pair(other.time, other.rank); }
  };
  struct Node {
    Server out, in, read, write;
  };

  // What a rank does, from its place in the program.
  void compile(int rank) {
    std::vector<Action>& out = ranks_[static_cast<std::size_t>(rank)].actions;
    const int stage = rank / program_.replicas, first = stage * program_.replicas;
    const StageProgram& mine = program_.stage[static_cast<std::size_t>(stage)];
    add(out, program_.before, rank, 0, size_);
    if (stage > 0 && !program_.streams()) {
      out.push_back({.kind = Action::Kind::kReceive, .peer = rank - program_.replicas});
      out.push_back({.kind = Action::Kind::kWait});
    }
    add(out, mine.before, rank, first, program_.replicas);
    if (mine.stream) {
      for (std::int32_t u = 0; u < mine.stream->units[static_cast<std::size_t>(rank - first)]; ++u) {
        if (stage > 0) {
          out.push_back({.kind = Action::Kind::kReceive, .peer = rank - program_.replicas});
          out.push_back({.kind = Action::Kind::kWait});
        }
        out.push_back({.kind = Action::Kind::kWork, .stream = &*mine.stream, .count = 1});
        if (stage + 1 == program_.stages) continue;
        out.push_back({.kind = Action::Kind::kSend, .peer = rank + program_.replicas, .bytes = mine.stream->bytes});
        out.push_back({.kind = Action::Kind::kWait});
      }
    }
    for (const std::vector<Step>& layer : mine.layers) {
      add(out, layer, rank, first, program_.replicas);
      out.push_back({.kind = Action::Kind::kJoin});
      out.push_back({.kind = Action::Kind::kMark});
    }
    add(out, mine.after, rank, first, program_.replicas);
    out.push_back({.kind = Action::Kind::kMark});
    out.push_back({.kind = Action::Kind::kJoin});
    out.push_back({.kind = Action::Kind::kMark});
    out.push_back({.kind = Action::Kind::kJoin});
    add(out, program_.after, rank, 0, size_);
  }

  void add(std::vector<Action>& out, const std::vector<Step>& steps, int rank, int first, int group) const {
    for (const Step& step : steps) {
      if (!step.items.empty()) {
        const std::int32_t count = step.items_of(static_cast<std::size_t>(rank - first));
        const bool behind = placement_.overlap && (step.phase == Phase::kRead || step.phase == Phase::kWrite);
        if (count > 0 && !behind) out.push_back({.kind = Action::Kind::kWork, .step = &step, .count = count});
        for (const Op op : {Op::kRead, Op::kWrite}) {
          const double bytes = step.each[op] * count;
          if (bytes > 0)
            out.push_back(
                {.kind = behind ? Action::Kind::kBehind : Action::Kind::kFiles, .bytes = bytes, .writes = op == Op::kWrite});
        }
        out.push_back({.kind = Action::Kind::kBarrier, .peer = first, .group = group});
      }
      if (step.transfer != Transfer::kNone) transfer(out, step, rank, first, group);
    }
  }

  void ring(std::vector<Action>& out, double bytes, int rank, int first, int group) const {
    const auto place = [&](int r) { return first + (r - first + group) % group; };
    for (int round = 1; round < group; ++round) {
      out.push_back({.kind = Action::Kind::kSend, .peer = place(rank + 1), .bytes = bytes});
      out.push_back({.kind = Action::Kind::kReceive, .peer = place(rank - 1)});
      out.push_back({.kind = Action::Kind::kWait});
    }
  }

  // Pieces between the root and everybody else.
  static void star(std::vector<Action>& out, double bytes, int rank, int first, int group, int root, bool from_root) {
    for (int r = first; r < first + group; ++r) {
      if (r == root || (rank != root && rank != r)) continue;
      const int peer = rank == root ? r : root;
      const bool sends = (rank == root) == from_root;
      out.push_back({.kind = sends ? Action::Kind::kSend : Action::Kind::kReceive, .peer = peer, .bytes = sends ? bytes : 0});
    }
    out.push_back({.kind = Action::Kind::kWait});
  }

  void transfer(std::vector<Action>& out, const Step& step, int rank, int first, int group) const {
    const double piece = step.bytes / group;
    switch (step.transfer) {
      case Transfer::kNone: return;
      case Transfer::kAllGather: return ring(out, piece, rank, first, group);
      case Transfer::kGather: return star(out, piece, rank, first, group, first + step.root, false);
      case Transfer::kReduce:
        ring(out, piece, rank, first, group);
        return star(out, piece, rank, first, group, first + step.root, false);
      case Transfer::kBroadcast:
        star(out, piece, rank, first, group, first + step.root, true);
        return ring(out, piece, rank, first, group);
      case Transfer::kAllToAll:
        for (int k = 1; k < group; ++k) {
          out.push_back(
              {.kind = Action::Kind::kSend, .peer = first + (rank - first + k) % group, .bytes = step.bytes / (group - 1)});
          out.push_back({.kind = Action::Kind::kReceive, .peer = first + (rank - first - k + group) % group});
          out.push_back({.kind = Action::Kind::kWait});
        }
        return;
      case Transfer::kNextStage:
        out.push_back({.kind = Action::Kind::kSend, .peer = rank + group, .bytes = step.bytes});
        out.push_back({.kind = Action::Kind::kWait});
    }
  }

  // Runs a rank from `now` until it has to wait.
  void proceed(int index, double now) {
    Rank& rank = ranks_[static_cast<std::size_t>(index)];
    while (rank.next < rank.actions.size()) {
      const Action& action = rank.actions[rank.next];
      switch (action.kind) {
        case Action::Kind::kWork: ++rank.next; return events_.push({now + work(action), index});
        case Action::Kind::kFiles: {
          if (rank.request_left == 0) rank.request_left = action.bytes;
          const double end = request(index, rank.request_left, action.writes, now);
          if (rank.request_left == 0) ++rank.next;
          return events_.push({end, index});
        }
        case Action::Kind::kBehind: queue(index, action, now); break;
        case Action::Kind::kMark:
          for (Lane* lane : {&rank.reads, &rank.writes}) lane->due = std::exchange(lane->marked, lane->queued);
          break;
        case Action::Kind::kJoin:
          if (!rank.joined()) {
            rank.joining = true;
            return;
          }
          break;
        case Action::Kind::kSend:
        case Action::Kind::kReceive: post(index, action, now); break;
        case Action::Kind::kWait:
          if (rank.posted > 0) {
            rank.waiting = true;
            return;
          }
          ++rank.next;
          return events_.push({std::max(now, rank.ready), index});
        case Action::Kind::kBarrier: ++rank.next; return arrive(action, now);
      }
      ++rank.next;
    }
  }

  void queue(int index, const Action& action, double now) {
    Lane& lane = ranks_[static_cast<std::size_t>(index)].lane(action.writes);
    lane.queue.push_back(action);
    ++lane.queued;
    if (lane.queue.size() == 1) events_.push({now, index, action.writes ? Event::Kind::kWrites : Event::Kind::kReads});
  }

  double work(const Action& action) const {
    Amount each = action.stream != nullptr ? action.stream->each : action.step->each;
    each[Op::kRead] = each[Op::kWrite] = 0;
    const double item = seconds(each, rates_);
    const int threads =
        machine_.accelerated || action.stream != nullptr || action.step->spread == Spread::kSerial ? 1 : program_.threads;
    if (action.step != nullptr && action.step->spread == Spread::kDivisible) return item * action.count / threads;
    std::priority_queue<double, std::vector<double>, std::greater<>> free;  // when each thread is free
    for (int t = 0; t < threads; ++t) free.push(0);
    double end = 0;
    for (std::int32_t i = 0; i < action.count; ++i) {
      const double done = free.top() + item;
      free.pop();
      free.push(done);
      end = std::max(end, done);
    }
    return end;
  }

  // Serves one request of a rank; returns when it is done.
  double request(int index, double& left, bool writes, double now) {
    const double bytes = std::min(left, kRequestBytes);
    left -= bytes;
    Node& node = nodes_[static_cast<std::size_t>(index / placement_.per_node)];
    double end = now + bytes / rates_[writes ? Op::kWrite : Op::kRead];
    const double node_rate = writes ? machine_.node_write : machine_.node_read,
                 total = writes ? machine_.total_write : machine_.total_read;
    if (node_rate > 0) end = std::max(end, (writes ? node.write : node.read).serve(now, bytes / node_rate));
    if (total > 0) end = std::max(end, (writes ? total_write_ : total_read_).serve(now, bytes / total));
    return end;
  }

  // A background of a rank: one request of its queue after the other.
  void serve_behind(int index, bool writes, double now) {
    Rank& rank = ranks_[static_cast<std::size_t>(index)];
    Lane& lane = rank.lane(writes);
    if (lane.left < 0) {  // the last request of the first in the queue is through
      lane.queue.pop_front();
      lane.left = 0;
      ++lane.served;
      if (rank.joining && rank.joined()) {
        rank.joining = false;
        events_.push({now, index});
      }
      if (lane.queue.empty()) return;
    }
    if (lane.left == 0) lane.left = lane.queue.front().bytes;
    const double end = request(index, lane.left, writes, now);
    if (lane.left == 0) lane.left = -1;
    events_.push({end, index, writes ? Event::Kind::kWrites : Event::Kind::kReads});
  }

  // A barrier of a group: the last one to arrive releases all.
  void arrive(const Action& action, double now) {
    auto& here = barriers_[{action.peer, action.group}];
    if (++here < action.group) return;
    here = 0;
    const bool away = action.peer / placement_.per_node != (action.peer + action.group - 1) / placement_.per_node;
    const double rounds = std::bit_width(static_cast<unsigned>(action.group - 1));
    const double end = now + rounds * (away ? machine_.network.latency : machine_.link.latency);
    for (int r = action.peer; r < action.peer + action.group; ++r) events_.push({end, r});
  }

  void post(int index, const Action& action, double now) {
    const bool sends = action.kind == Action::Kind::kSend;
    const auto way = sends ? std::pair(index, action.peer) : std::pair(action.peer, index);
    auto& channel = channels_[way];
    ++ranks_[static_cast<std::size_t>(index)].posted;
    (sends ? channel.sends : channel.receives).push_back(action.bytes);
    if (channel.sends.empty() || channel.receives.empty()) return;
    const double bytes = channel.sends.front();
    channel.sends.pop_front();
    channel.receives.pop_front();
    const double end = move(way.first, way.second, bytes, now);
    for (const int r : {way.first, way.second}) {
      Rank& rank = ranks_[static_cast<std::size_t>(r)];
      rank.ready = std::max(rank.ready, end);
      if (--rank.posted > 0 || !rank.waiting) continue;
      rank.waiting = false;
      ++rank.next;
      events_.push({rank.ready, r});
    }
  }

  // A message through the links of both ranks and, between nodes, through their networks.
  double move(int from, int to, double bytes, double now) {
    Rank &sender = ranks_[static_cast<std::size_t>(from)], &receiver = ranks_[static_cast<std::size_t>(to)];
    const int here = from / placement_.per_node, there = to / placement_.per_node;
    double start = std::max({now, sender.out.free_at, receiver.in.free_at});
    double duration = bytes / machine_.link.bytes_per_second, latency = machine_.link.latency;
    if (here != there) {
      Server &out = nodes_[static_cast<std::size_t>(here)].out, &in = nodes_[static_cast<std::size_t>(there)].in;
      start = std::max({start, out.free_at, in.free_at});
      out.free_at = in.free_at = start + bytes / machine_.network.bytes_per_second;
      duration = std::max(duration, bytes / machine_.network.bytes_per_second);
      latency = machine_.network.latency;
    }
    sender.out.free_at = receiver.in.free_at = start + duration;
    return start + duration + latency;
  }

  struct Channel {
    std::deque<double> sends, receives;  // bytes
  };

  const Program& program_;
  const Machine& machine_;
  const Placement& placement_;
  int size_;
  Amount rates_;
  std::vector<Rank> ranks_;
  std::vector<Node> nodes_;
  Server total_read_, total_write_;
  std::map<std::pair<int, int>, Channel> channels_;  // by sender, receiver
  std::map<std::pair<int, int>, int> barriers_;      // arrived, by first rank and size of the group
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

}  // namespace

Simulation simulate(const Program& program, const Machine& machine, const Placement& placement) {
  return Simulator(program, machine, placement).run();
}

}  // namespace mpiquant
