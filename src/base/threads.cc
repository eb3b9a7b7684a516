#include "src/base/threads.h"

#include "src/base/error.h"

namespace mpiquant {

ThreadPool::ThreadPool(int threads) {
  expect(threads >= 1, "a thread pool of {} threads", threads);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::for_each(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  std::unique_lock lock(mutex_);
  expect(body_ == nullptr, "nested ThreadPool::for_each");
  body_ = &body;
  next_ = 0;
  count_ = count;
  start_.notify_all();
  drain(lock);
  done_.wait(lock, [this] { return running_ == 0; });
  body_ = nullptr;
  if (const std::exception_ptr error = std::exchange(error_, nullptr)) std::rethrow_exception(error);
}

void ThreadPool::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [this] { return stop_ || (body_ != nullptr && next_ < count_); });
    if (stop_) return;
    drain(lock);
  }
}

// Takes items until none is left; after an error the remaining items are dropped.
void ThreadPool::drain(std::unique_lock<std::mutex>& lock) {
  while (body_ != nullptr && next_ < count_) {
    const std::int64_t item = next_++;
    const auto& body = *body_;
    ++running_;
    lock.unlock();
    std::exception_ptr error;
    try {
      body(item);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --running_;
    if (error) {
      if (!error_) error_ = error;
      next_ = count_;
    }
    if (running_ == 0 && next_ >= count_) done_.notify_all();
  }
}

}  // namespace mpiquant
