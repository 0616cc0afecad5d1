#include "cli/writer.h"

#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "cli/progress.h"
#include "cli/quiet_thread.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kBatchItemsMax = 64;          // of one writev: enough to gather lines of many hosts
constexpr std::size_t kBatchBytesMax = 256 * 1024;  // charges are given back after each batch
constexpr std::size_t kBiteBytes = 4 * 1024;        // of a write, once output was discarded

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kStatusEvery{100};  // more is not seen
constexpr std::chrono::milliseconds kStandsStill{50};   // a reader who takes nothing so long does not read

// With spaces, which every terminal understands.
std::string erasing(std::string_view status) {
  return cat("\r", std::string(columns_of(status) + kEchoColumns, ' '), "\r");
}

}  // namespace

struct Writer::Item {
  int fd = -1;
  std::string bytes = {};
  std::shared_ptr<StreamFormat> format = {};  // of output; null: the bytes go as they are
  std::shared_ptr<TextSource> source = {};
  bool is_output = false;  // discard() throws it away
  bool is_end = false;     // of what `format` holds back
  bool is_cut = false;     // it was thrown away
};

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
  std::condition_variable rested;        // nothing is queued or being written
  int status_fd = -1;                    // of the status line
  std::string status_wanted, status_on;  // and what stands there
  bool status_dropped = false;           // for good
  Clock::time_point next_status;
  std::atomic<std::uint64_t> discards = 0;  // so that one is noticed in the middle of a batch
  std::atomic<std::uint64_t> written = 0;
  std::thread thread;

  static void write_if_it_takes_it(int fd, const std::string& text) {
    pollfd room = {fd, POLLOUT, 0};
    if (::poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0)
      (void)!::write(fd, text.data(), text.size());
  }

  // Writes all of it, waiting as long as it takes. 0, or errno.
  int write_texts(int fd, std::vector<std::string>& texts) {
    std::vector<iovec> parts;
    for (std::string& text : texts) {
      if (!text.empty()) parts.push_back({text.data(), text.size()});
    }
    std::size_t at = 0;
    while (at < parts.size()) {
      const bool bites = discards != 0;
      const ssize_t now = bites ? ::write(fd, parts[at].iov_base, std::min(parts[at].iov_len, kBiteBytes))
                                : ::writev(fd, parts.data() + at, int(parts.size() - at));
      if (now < 0 && errno == EINTR) continue;
      if (now < 0 && errno == EAGAIN) {  // whoever shares it with us made it non-blocking
        pollfd wait = {fd, POLLOUT, 0};
        ::poll(&wait, 1, -1);
        continue;
      }
      if (now < 0) return errno;
      written += std::uint64_t(now);
      for (std::size_t left = std::size_t(now); at < parts.size() && left > 0;) {
        std::size_t take = std::min(left, parts[at].iov_len);
        parts[at].iov_base = static_cast<char*>(parts[at].iov_base) + take;
        parts[at].iov_len -= take;
        left -= take;
        if (parts[at].iov_len == 0) ++at;
      }
    }
    texts.clear();
    return 0;
  }

  // The same for items of one descriptor, whose text is made as it is needed. `discards_seen`: when they were
  // taken from the queue.
  int write_batch(std::vector<Item>& batch, std::uint64_t discards_seen) {
    std::vector<std::string> texts;
    std::size_t bytes = 0;
    auto add = [&](std::string text) {
      bytes += text.size();
      texts.push_back(std::move(text));
      if (bytes < kBatchBytesMax) return 0;
      bytes = 0;
      return write_texts(batch[0].fd, texts);
    };
    for (Item& item : batch) {
      auto unwanted = [&] { return item.is_cut || (item.is_output && discards != discards_seen); };
      int error = 0;
      if (item.source) {
        for (std::string text; error == 0 && item.source->next(text); text.clear())
          error = add(std::move(text));
      } else if (!item.format && !unwanted()) {
        error = add(std::move(item.bytes));
      }
      if (item.format) {
        for (std::string_view left = item.bytes; error == 0 && !left.empty() && !unwanted();) {
          std::string text;
          left.remove_prefix(item.format->take(left, text));
          error = add(std::move(text));
        }
        if (unwanted()) item.format->cut();
        if (error == 0 && item.is_end) error = add(item.format->finish());
      }
      if (error != 0) return error;
    }
    return write_texts(batch[0].fd, texts);
  }

  // Waits until there is something to write; draws the status line meanwhile. False: stop.
  bool wait_for_item(std::unique_lock<std::mutex>& lock) {
    for (;;) {
      if (stop || !queue.empty()) return !stop;
      if (status_on == status_wanted || status_dropped) {
        wake.wait(lock);
      } else if (!status_wanted.empty() && Clock::now() < next_status) {
        wake.wait_until(lock, next_status);
      } else {
        replace_status(lock, status_wanted);
        next_status = Clock::now() + kStatusEvery;
      }
    }
  }

  void replace_status(std::unique_lock<std::mutex>& lock, const std::string& with) {
    std::vector<std::string> texts;
    if (!status_on.empty()) texts.push_back(erasing(status_on));
    texts.push_back(with);
    status_on = with;
    if (texts.size() == 1 && with.empty()) return;
    writing = true;
    const int fd = status_fd;
    lock.unlock();
    write_texts(fd, texts);  // a terminal that is gone is noticed by what matters
    lock.lock();
    writing = false;
    rested.notify_all();
  }

  void run() {
    std::map<int, int> broken;
    std::unique_lock lock(mutex);
    for (;;) {
      if (!wait_for_item(lock)) {
        if (!status_on.empty()) write_if_it_takes_it(status_fd, erasing(std::exchange(status_on, {})));
        return;
      }
      replace_status(lock, "");
      if (queue.empty() || stop) continue;
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
        const std::uint64_t discards_seen = discards;
        lock.unlock();
        int error = write_batch(batch, discards_seen);
        lock.lock();
        writing = false;
        if (error != 0) broken[batch[0].fd] = failed[batch[0].fd] = error;
      }
      done += batch.size();
      if (queue.empty()) rested.notify_all();
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
  add({.fd = fd, .bytes = std::move(bytes)}, {std::move(charge), nullptr});
}

void Writer::write_output(int fd, std::shared_ptr<StreamFormat> format, std::string bytes, Charge charge) {
  if (bytes.empty()) return;
  add({.fd = fd, .bytes = std::move(bytes), .format = std::move(format), .is_output = true},
      {std::move(charge), nullptr});
}

void Writer::finish_output(int fd, std::shared_ptr<StreamFormat> format) {
  if (format)
    add({.fd = fd, .format = std::move(format), .is_output = true, .is_end = true}, {Charge(), nullptr});
}

void Writer::write_source(int fd, std::shared_ptr<TextSource> source) {
  add({.fd = fd, .source = std::move(source)}, {Charge(), nullptr});
}

void Writer::set_status(int fd, std::string line) {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->status_fd = fd;
    if (shared_->status_wanted == line) return;
    shared_->status_wanted = std::move(line);
  }
  shared_->wake.notify_one();
}

void Writer::drop_status() {
  std::unique_lock lock(shared_->mutex);
  shared_->status_dropped = true;
  shared_->rested.wait_for(lock, kStandsStill, [this] { return !shared_->writing; });
  if (!shared_->status_on.empty())
    Shared::write_if_it_takes_it(shared_->status_fd, erasing(std::exchange(shared_->status_on, {})));
}

void Writer::wait_written(Nanos most) {
  const Clock::time_point end = Clock::now() + std::chrono::nanoseconds(most);
  std::unique_lock lock(shared_->mutex);
  auto is_done = [this] { return shared_->queue.empty() && !shared_->writing; };
  for (std::uint64_t before = written(); !is_done(); before = written()) {
    shared_->rested.wait_for(lock, kStandsStill, is_done);
    if (written() == before || Clock::now() > end) return;
  }
}

void Writer::when_written(std::function<void()> then) {
  add({}, {Charge(), std::move(then)});
}

void Writer::add(Item item, Entry entry) {
  entries_.push_back(std::move(entry));
  {
    std::lock_guard lock(shared_->mutex);
    shared_->queue.push_back(std::move(item));
  }
  shared_->wake.notify_one();
}

void Writer::discard() {
  std::vector<Charge> charges;  // end last: giving back calls others
  {
    std::lock_guard lock(shared_->mutex);
    ++shared_->discards;
    std::size_t entry = entries_.size() - shared_->queue.size();
    for (Item& item : shared_->queue) {
      if (item.is_output) {
        item.is_cut = true;
        std::string().swap(item.bytes);
        charges.push_back(std::move(entries_[entry].charge));
      }
      ++entry;
    }
  }
}

std::uint64_t Writer::written() const {
  return shared_->written;
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
