#pragma once

#include <cstddef>
#include <map>
#include <optional>

namespace mpiquant {

// Places in one region of memory that several in-order queues of operations use. A place given back while operations of a queue
// may still touch it can be taken again by that queue at once, because its next operation comes after them, and by others once
// the queue has settled. Not thread-safe; holds numbers only.
class Arena {
 public:
  static constexpr int kNoQueue = -1;
  static constexpr std::size_t kAlignment = 512;

  explicit Arena(std::size_t bytes);

  // The offset of a place of at least `bytes` for operations of this queue, the smallest that fits; nothing if there is none.
  std::optional<std::size_t> take(std::size_t bytes, int queue);
  // kNoQueue: no operation touches it any more.
  void give(std::size_t offset, int queue);
  // All operations of the queue have ended.
  void settle(int queue);

  std::size_t bytes() const { return bytes_; }
  std::size_t used() const { return used_; }
  std::size_t peak() const { return peak_; }
  std::size_t largest_free() const;

 private:
  static constexpr int kUsed = -2;
  struct Place {
    std::size_t bytes;
    int owner;  // kUsed, kNoQueue when free, or the queue that may take it
  };
  using Places = std::map<std::size_t, Place>;  // by offset, without gaps

  void join_neighbours(Places::iterator place);

  std::size_t bytes_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  Places places_;
};

}  // namespace mpiquant
