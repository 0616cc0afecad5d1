#include "cli/input.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "cli/quiet_thread.h"
#include "core/fd.h"

namespace banyan::cli {

struct InputReader::Shared {
  std::mutex mutex;
  std::condition_variable wake;
  // Posts to the loop; empty: nobody listens any more.
  std::function<void(Buffer, int error)> deliver;
  bool wanted = true;
  bool stop = false;
  bool reading = false;  // inside read(2), where only input or its end wakes the thread
  int fd = -1;
  Fd stop_event;  // so that a wait for input can be ended
  std::thread thread;

  void run() {
    Buffer room(kPieceMax);  // once: what comes is mostly a pipe's 64 KiB
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [this] { return stop || wanted; });
      if (stop) return;
      wanted = false;
      lock.unlock();
      pollfd wait[] = {{fd, POLLIN, 0}, {stop_event.get(), POLLIN, 0}};
      retry([&] { return ::poll(wait, 2, -1); });
      lock.lock();
      if (stop) return;
      reading = true;
      lock.unlock();
      const ssize_t got = retry([&] { return ::read(fd, room.data(), room.size()); });
      const int error = got < 0 ? errno : 0;
      Buffer piece(room.begin(), room.begin() + std::max<ssize_t>(got, 0));
      lock.lock();
      reading = false;
      if (stop) return;
      if (error == EAGAIN) {  // shared with somebody who made it non-blocking, or who was quicker
        wanted = true;
        continue;
      }
      deliver(std::move(piece), error);
      if (got <= 0) return;
    }
  }
};

InputReader::InputReader(Loop& loop, int fd, std::function<void(Buffer)> on_piece,
                         std::function<void(int error)> on_failed)
    : shared_(std::make_shared<Shared>()) {
  shared_->fd = fd;
  shared_->stop_event = Fd(::eventfd(0, EFD_CLOEXEC));
  auto use = std::make_shared<std::function<void(Buffer)>>(std::move(on_piece));
  auto fail = std::make_shared<std::function<void(int)>>(std::move(on_failed));
  std::weak_ptr<Shared> weak = shared_;
  shared_->deliver = [&loop, weak, use, fail](Buffer piece, int error) {
    loop.post([weak, use, fail, error, piece = std::move(piece)]() mutable {
      std::shared_ptr<Shared> alive = weak.lock();
      if (!alive) return;
      {
        std::lock_guard lock(alive->mutex);
        if (alive->stop) return;
      }
      if (error != 0) return (*fail)(error);
      (*use)(std::move(piece));
    });
  };
  shared_->thread = start_quiet_thread([shared = shared_] { shared->run(); });
}

InputReader::~InputReader() {
  bool stuck = false;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
    shared_->deliver = nullptr;
    stuck = shared_->reading;
  }
  shared_->wake.notify_one();
  const std::uint64_t one = 1;
  (void)!::write(shared_->stop_event.get(), &one, sizeof one);
  // Another process may have taken the input between our poll and our read: then the thread sleeps on.
  if (stuck) {
    shared_->thread.detach();
  } else {
    shared_->thread.join();
  }
}

void InputReader::go_on() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->wanted = true;
  }
  shared_->wake.notify_one();
}

}  // namespace banyan::cli
