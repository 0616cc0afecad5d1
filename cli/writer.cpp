#include "cli/writer.h"

#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "cli/quiet_thread.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kBatchItemsMax = 64;          // of one writev: enough to gather lines of many hosts
constexpr std::size_t kBatchBytesMax = 256 * 1024;  // charges are given back after each batch

struct Item {
  int fd = -1;
  std::string bytes;
};

// Writes all of the batch, waiting as long as it takes. 0, or errno.
int write_batch(std::vector<Item>& batch) {
  std::vector<iovec> parts;
  for (Item& item : batch) {
    if (!item.bytes.empty()) parts.push_back({item.bytes.data(), item.bytes.size()});
  }
  std::size_t at = 0;
  while (at < parts.size()) {
    ssize_t written = ::writev(batch[0].fd, parts.data() + at, int(parts.size() - at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // whoever shares it with us made it non-blocking
      pollfd wait = {batch[0].fd, POLLOUT, 0};
      ::poll(&wait, 1, -1);
      continue;
    }
    if (written < 0) return errno;
    for (std::size_t left = std::size_t(written); at < parts.size() && left > 0;) {
      std::size_t take = std::min(left, parts[at].iov_len);
      parts[at].iov_base = static_cast<char*>(parts[at].iov_base) + take;
      parts[at].iov_len -= take;
      left -= take;
      if (parts[at].iov_len == 0) ++at;
    }
  }
  return 0;
}

}  // namespace

// What both threads see. The writing thread keeps it alive when it is left behind.
struct Writer::Shared {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Item> queue;
  std::size_t done = 0;          // items finished and not yet collected
  std::map<int, int> failed;     // descriptor -> errno, not yet told
  std::function<void()> notify;  // posts to the loop; empty: nobody listens any more
  bool notified = false;
  bool writing = false;
  bool stop = false;
  std::thread thread;

  void run() {
    std::map<int, int> broken;
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [this] { return stop || !queue.empty(); });
      if (stop) return;
      std::vector<Item> batch;
      std::size_t bytes = 0;
      do {
        bytes += queue.front().bytes.size();
        batch.push_back(std::move(queue.front()));
        queue.pop_front();
      } while (!queue.empty() && queue.front().fd == batch[0].fd && batch.size() < kBatchItemsMax &&
               bytes + queue.front().bytes.size() <= kBatchBytesMax);
      if (!broken.contains(batch[0].fd)) {
        writing = true;
        lock.unlock();
        int error = write_batch(batch);
        lock.lock();
        writing = false;
        if (error != 0) broken[batch[0].fd] = failed[batch[0].fd] = error;
      }
      done += batch.size();
      if (!notified && notify) {
        notified = true;
        notify();
      }
    }
  }
};

Writer::Writer(Loop& loop, OnFailed on_failed)
    : loop_(loop), on_failed_(std::move(on_failed)), shared_(std::make_shared<Shared>()) {
  // The task may run when the writer is gone: it holds what it needs, and the destructor empties `notify`.
  shared_->notify = [this, shared = std::weak_ptr<Shared>(shared_)] {
    loop_.post([this, shared] {
      std::shared_ptr<Shared> alive = shared.lock();
      if (!alive) return;
      {
        std::lock_guard lock(alive->mutex);
        if (!alive->notify) return;
      }
      on_progress();
    });
  };
  shared_->thread = start_quiet_thread([shared = shared_] { shared->run(); });
}

Writer::~Writer() {
  bool stuck = false;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
    shared_->notify = nullptr;
    shared_->queue.clear();
    stuck = shared_->writing;
  }
  shared_->wake.notify_one();
  if (stuck) {
    shared_->thread.detach();
  } else {
    shared_->thread.join();
  }
}

void Writer::write(int fd, std::string bytes, Charge charge) {
  if (bytes.empty()) return;
  add(fd, std::move(bytes), {std::move(charge), nullptr});
}

void Writer::when_written(std::function<void()> then) {
  add(-1, {}, {Charge(), std::move(then)});
}

void Writer::add(int fd, std::string bytes, Entry entry) {
  entries_.push_back(std::move(entry));
  {
    std::lock_guard lock(shared_->mutex);
    shared_->queue.push_back({fd, std::move(bytes)});
  }
  shared_->wake.notify_one();
}

void Writer::discard() {
  std::size_t dropped = 0;
  {
    std::lock_guard lock(shared_->mutex);
    dropped = shared_->queue.size();
    shared_->queue.clear();
  }
  std::vector<Entry> gone;
  for (; dropped > 0; --dropped) {
    gone.push_back(std::move(entries_.back()));
    entries_.pop_back();
  }
  for (auto it = gone.rbegin(); it != gone.rend(); ++it) {
    if (it->then) loop_.post(std::move(it->then));
  }
}

void Writer::on_progress() {
  std::size_t done = 0;
  std::map<int, int> failed;
  {
    std::lock_guard lock(shared_->mutex);
    done = std::exchange(shared_->done, 0);
    failed = std::exchange(shared_->failed, {});
    shared_->notified = false;
  }
  std::vector<Entry> finished;
  for (; done > 0; --done) {
    finished.push_back(std::move(entries_.front()));
    entries_.pop_front();
  }
  // The callbacks may end us: nothing of ours is touched after the first.
  OnFailed on_failed = on_failed_;
  for (Entry& entry : finished) entry.charge.settle();
  for (auto [fd, error] : failed) on_failed(fd, error);
  for (Entry& entry : finished) {
    if (entry.then) entry.then();
  }
}

}  // namespace banyan::cli
