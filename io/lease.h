#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace mpiquant {

// The right of one process to work on something. Its leases are files FOLDER/lease.1, lease.2, …: the highest number counts, and
// names its holder: host, process, batch job, times. A lease that was given back, or whose holder is gone, is followed by the
// next number; only one process can create that, so no two hold it at once, and a holder that was taken for dead sees that it was
// replaced. Relies on links and renames alone, no locks, so that it works on network file systems.
class Lease {
 public:
  // To be renewed so often.
  static constexpr std::chrono::seconds kRenewal{20};
  // One of another host that was not renewed for so long is stale. Clocks of hosts may differ by a part of it.
  static constexpr std::chrono::seconds kLifetime{300};

  struct Taken;
  // Takes the lease of this folder unless another process holds it that is not known to be dead: one of this host that is there,
  // or one of another host that renews it and is no earlier start of this batch job. force: takes it from anybody.
  static Taken take(const std::string& folder, bool force = false);
  // Who holds it, for a person; empty when nobody does.
  static std::string holder(const std::string& folder);
  // Removes them all, of a job that is about to end.
  static void remove_all(const std::string& folder);

  // Says that the holder lives; does nothing while the last time is not kRenewal ago. False when the lease was taken over.
  bool renew();
  void give_back();
  // The same, and leaves no file, for work so long that nobody still looks at an older lease.
  void discard();

 private:
  Lease(std::string folder, int number);
  std::string text(bool held) const;

  std::string folder_;
  int number_;
  double began_, renewed_;
};

struct Lease::Taken {
  std::optional<Lease> lease;  // nothing when another holds it
  std::string other;           // who holds it, or who was followed and why: "process 7 on node3, since …"
  bool other_is_here = false;  // the holder is a process of this host
};

}  // namespace mpiquant
