#pragma once

#include <optional>
#include <string>

namespace mpiquant {

// The right of one process to work on a job. Leases of a job are files FOLDER/lease.1, lease.2, …: the highest number counts. A
// lease that was given back, or whose holder is gone, is followed by the next number; only one process can create that, so no
// two hold a job at once, and a holder that was taken for dead sees that it was replaced.
class Lease {
 public:
  // Takes the job of this folder, or nothing when another process holds it. `replaced` gets a sentence about a holder that is
  // gone.
  static std::optional<Lease> take(const std::string& folder, std::string& replaced);
  // Who holds it, for a person; empty when nobody does.
  static std::string holder(const std::string& folder);

  // Says that the holder lives; to be called every few seconds. False when the lease was taken over.
  bool renew();
  void give_back();

 private:
  Lease(std::string folder, int number) : folder_(std::move(folder)), number_(number) {}

  std::string folder_;
  int number_ = 0;
  double renewed_ = 0;
};

}  // namespace mpiquant
