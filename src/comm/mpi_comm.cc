#include "src/comm/mpi_comm.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "src/comm/launch_env.h"
#include "src/comm/local_comm.h"
#include "src/comm/mpi_engine.h"

namespace mpiquant {
namespace {

constexpr int kGatherTag = Communicator::kMaxTag + 1;
constexpr int kAllToAllTag = Communicator::kMaxTag + 2;
constexpr std::size_t kLongestMessage = std::size_t{64} << 20;  // bytes; Open MPI 4.1 has no large counts

MPI_Datatype type_of(Element element) {
  switch (element) {
    case Element::kInt64: return MPI_INT64_T;
    case Element::kUint64: return MPI_UINT64_T;
    case Element::kFloat: return MPI_FLOAT;
    case Element::kDouble: return MPI_DOUBLE;
  }
  fail(ExitCode::kInternal, "unknown element {}", static_cast<int>(element));
}

// Calls use(offset, count) for pieces of at most `limit` that cover [0, total).
template <typename Use>
void for_pieces(std::size_t total, std::size_t limit, const Use& use) {
  for (std::size_t at = 0; at < total; at += limit) use(at, static_cast<int>(std::min(limit, total - at)));
}

class MpiComm final : public Communicator {
 public:
  // Owns comm.
  MpiComm(std::shared_ptr<MpiEngine> engine, MPI_Comm comm, const CommOptions& options)
      : Communicator(options), engine_(std::move(engine)), group_(std::make_shared<MpiGroup>(comm)) {
    expect(options.message_limit >= 16 && options.message_limit <= kLongestMessage, "messages of {} bytes",
           options.message_limit);
    engine_->add(group_);
    check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(comm, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm, &size_), "MPI_Comm_size");
  }

  // Freeing is collective: left out when this rank is failing.
  ~MpiComm() override {
    MPI_Comm comm = group_->comm();
    if (!engine_->broken() && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

 private:
  using State = std::shared_ptr<PendingState>;
  using Operation = std::shared_ptr<MpiOperation>;

  Operation operation() const {
    engine_->expect_usable();
    return std::make_shared<MpiOperation>(engine_);
  }
  State begin(const Operation& operation) {
    group_->begin_collective(operation);
    return operation;
  }
  State begin_transfer(const Operation& operation) {
    group_->begin_transfer(operation);
    return operation;
  }
  std::size_t limit() const { return options().message_limit; }

  // MPI's split blocks, so a barrier, which has a deadline, goes first.
  std::unique_ptr<Communicator> do_split(int color, int key) override {
    barrier();
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(group_->comm(), color, key, &part), "MPI_Comm_split");
    return std::make_unique<MpiComm>(engine_, part, options());
  }

  State do_barrier() override {
    const Operation op = operation();
    op->add([comm = group_->comm()](MPI_Request* request) { check_mpi(MPI_Ibarrier(comm, request), "MPI_Ibarrier"); });
    return begin(op);
  }

  void add_broadcast(const Operation& op, std::span<std::byte> data, int root) const {
    for_pieces(data.size(), limit(), [&](std::size_t at, int count) {
      op->add([comm = group_->comm(), piece = data.data() + at, count, root](MPI_Request* request) {
        check_mpi(MPI_Ibcast(piece, count, MPI_BYTE, root, comm, request), "MPI_Ibcast");
      });
    });
  }

  State do_broadcast(std::span<std::byte> data, int root) override {
    const Operation op = operation();
    add_broadcast(op, data, root);
    return begin(op);
  }

  State do_reduce(Elements data, ReduceOp reduce, int root) override {
    const Operation op = operation();
    const bool is_root = rank_ == root;
    for_pieces(data.count, limit() / data.width(), [&](std::size_t at, int count) {
      op->add([=, this, piece = data.data + at * data.width()](MPI_Request* request) {
        check_mpi(MPI_Ireduce(is_root ? MPI_IN_PLACE : piece, piece, count, type_of(data.element), mpi_op(reduce), root,
                              group_->comm(), request),
                  "MPI_Ireduce");
      });
    });
    return begin(op);
  }

  State do_all_reduce(Elements data, ReduceOp reduce) override {
    const Operation op = operation();
    for_pieces(data.count, limit() / data.width(), [&](std::size_t at, int count) {
      op->add([=, comm = group_->comm(), piece = data.data + at * data.width()](MPI_Request* request) {
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, piece, count, type_of(data.element), mpi_op(reduce), comm, request),
                  "MPI_Iallreduce");
      });
    });
    return begin(op);
  }

  // Small gathers are one message; large ones a broadcast of each rank's piece, as MPI's displacements are ints.
  State do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all) override {
    const Operation op = operation();
    const bool small = all.size() <= limit();
    const auto lengths = std::make_shared<std::vector<int>>();
    const auto offsets = std::make_shared<std::vector<int>>();
    std::size_t at = 0;
    for (std::size_t r = 0; r < counts.size(); ++r) {
      const std::span<std::byte> place = all.subspan(at, counts[r]);
      if (static_cast<int>(r) == rank_) copy_own(mine, place);
      if (small) {
        lengths->push_back(static_cast<int>(place.size()));
        offsets->push_back(static_cast<int>(at));
      } else {
        add_broadcast(op, place, static_cast<int>(r));
      }
      at += counts[r];
    }
    if (small) {
      op->keep(lengths);
      op->keep(offsets);
      op->add([comm = group_->comm(), all, lengths = lengths->data(), offsets = offsets->data()](MPI_Request* request) {
        check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, all.data(), lengths, offsets, MPI_BYTE, comm, request),
                  "MPI_Iallgatherv");
      });
    }
    return begin(op);
  }

  State do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all,
                    int root) override {
    const Operation op = operation();
    if (rank_ != root) {
      add_send(op, mine, root, kGatherTag);
      return begin_transfer(op);
    }
    for (std::size_t r = 0; r < counts.size(); ++r) {
      const std::span<std::byte> place = all.first(counts[r]);
      all = all.subspan(counts[r]);
      if (static_cast<int>(r) == rank_) {
        copy_own(mine, place);
      } else {
        add_recv(op, place, static_cast<int>(r), kGatherTag);
      }
    }
    return begin_transfer(op);
  }

  State do_all_to_all_v(std::span<const std::byte> give, std::span<const std::size_t> give_counts, std::span<std::byte> get,
                        std::span<const std::size_t> get_counts) override {
    const Operation op = operation();
    for (std::size_t r = 0; r < give_counts.size(); ++r) {
      const std::span<const std::byte> given = give.first(give_counts[r]);
      const std::span<std::byte> place = get.first(get_counts[r]);
      give = give.subspan(given.size());
      get = get.subspan(place.size());
      if (static_cast<int>(r) == rank_) {
        copy_own(given, place);
      } else {
        add_recv(op, place, static_cast<int>(r), kAllToAllTag);
        add_send(op, given, static_cast<int>(r), kAllToAllTag);
      }
    }
    return begin_transfer(op);
  }

  State do_send(std::span<const std::byte> data, int peer, int tag) override {
    const Operation op = operation();
    add_send(op, data, peer, tag);
    return begin_transfer(op);
  }

  State do_recv(std::span<std::byte> data, int peer, int tag) override {
    const Operation op = operation();
    add_recv(op, data, peer, tag);
    return begin_transfer(op);
  }

  void add_send(const Operation& op, std::span<const std::byte> data, int peer, int tag) const {
    for_pieces(data.size(), limit(), [&](std::size_t at, int count) {
      op->add([=, comm = group_->comm(), piece = data.data() + at](MPI_Request* request) {
        check_mpi(MPI_Isend(piece, count, MPI_BYTE, peer, tag, comm, request), "MPI_Isend");
      });
    });
  }

  void add_recv(const Operation& op, std::span<std::byte> data, int peer, int tag) const {
    for_pieces(data.size(), limit(), [&](std::size_t at, int count) {
      const auto issue = [=, comm = group_->comm(), piece = data.data() + at](MPI_Request* request) {
        check_mpi(MPI_Irecv(piece, count, MPI_BYTE, peer, tag, comm, request), "MPI_Irecv");
      };
      op->add(issue, static_cast<std::size_t>(count));
    });
  }

  static MPI_Op mpi_op(ReduceOp op) { return op == ReduceOp::kSum ? MPI_SUM : MPI_MAX; }
  static void copy_own(std::span<const std::byte> mine, std::span<std::byte> place) {
    if (!mine.empty() && mine.data() != place.data()) std::memcpy(place.data(), mine.data(), mine.size());
  }

  std::shared_ptr<MpiEngine> engine_;
  std::shared_ptr<MpiGroup> group_;
  int rank_ = 0;
  int size_ = 1;
};

// Open MPI's default for large non-blocking reductions on few ranks passes 8 KiB at a time, each waiting for a poll of its peer:
// 64 MiB took 10 s where the tree takes 0.3 s. A setting of the user's wins; other MPI libraries ignore it.
void prefer_trees() {
  setenv("OMPI_MCA_coll_libnbc_ireduce_algorithm", "binomial", 0);
  setenv("OMPI_MCA_coll_libnbc_ibcast_algorithm", "binomial", 0);
}

// A rank of Open MPI that is still inside MPI_Init can crash on a message that comes over TCP (seen with 4.1.4 in some percent of
// the starts by srun; open-mpi/ompi#12495 is alike), so ranks on several nodes begin a moment later.
void let_others_initialise(int size) {
  const std::optional<std::string> on_this_node = process_env("OMPI_COMM_WORLD_LOCAL_SIZE");
  if (size > 1 && on_this_node != std::to_string(size)) std::this_thread::sleep_for(std::chrono::milliseconds(250));
}

}  // namespace

struct MpiSession::State {
  std::shared_ptr<MpiEngine> engine;  // null when MPI is not initialised
  int exceptions = std::uncaught_exceptions();
};

MpiSession::MpiSession() : state_(std::make_unique<State>()) {
  int size = 1;
  if (launched_in_job(process_env)) {
    prefer_trees();
    int provided = MPI_THREAD_SINGLE;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    check(provided >= MPI_THREAD_FUNNELED, ExitCode::kEnvironment,
          "this MPI library allows no threads beside the one that communicates (level {}) use one built with thread support",
          provided);
    state_->engine = std::make_shared<MpiEngine>();
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
    let_others_initialise(size);
  }
  check_world_size(process_env, size);
}

MpiSession::~MpiSession() {
  const bool unwinding = std::uncaught_exceptions() > state_->exceptions;
  if (state_->engine && !state_->engine->broken() && !unwinding) MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world(const CommOptions& options) const {
  if (!state_->engine) return make_local_comm(options);
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  return std::make_unique<MpiComm>(state_->engine, comm, options);
}

void MpiSession::abort(ExitCode code) {
  leave_exit_code(process_env, code);
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::_Exit(static_cast<int>(code));
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  const std::string version(text.data(), static_cast<std::size_t>(length));
  return version.substr(0, version.find(','));
}

}  // namespace mpiquant
