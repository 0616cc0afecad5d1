#include "parent/api/asio_loop.h"

#include <boost/asio/post.hpp>
#include <chrono>

namespace banyan {

namespace asio = boost::asio;

AsioLoop::AsioLoop(asio::io_context& context)
    : context_(context), descriptor_(context, epoll_descriptor()), timer_(context) {
  wait_for_descriptors();
}

AsioLoop::~AsioLoop() {
  *self_ = nullptr;
  descriptor_.release();  // EpollLoop closes it
}

void AsioLoop::wait_for_descriptors() {
  descriptor_.async_wait(asio::posix::descriptor_base::wait_read,
                         [self = self_](const boost::system::error_code& error) {
                           if (*self == nullptr || error) return;
                           (*self)->run_round(true);
                           if (*self != nullptr) (*self)->wait_for_descriptors();
                         });
}

void AsioLoop::run_round(bool descriptors) {
  in_round_ = true;
  is_scheduled_ = true;  // what is posted from here on needs no round of its own
  if (descriptors || has_always_ready()) serve_descriptors(0);
  run_due_timers();
  run_posted();
  in_round_ = false;
  arm_timer();
  is_scheduled_ = false;
  if (has_posted() || has_always_ready()) schedule_round();
}

// A round of its own, without descriptors: Asio brings those when they are ready, whatever else there is to
// do.
void AsioLoop::schedule_round() {
  if (is_scheduled_.exchange(true)) return;
  asio::post(context_, [self = self_] {
    if (*self != nullptr) (*self)->run_round(false);
  });
}

void AsioLoop::arm_timer() {
  if (in_round_ || timers_.empty()) return;
  const Nanos deadline = timers_.earliest();
  // One that fires too early costs less than setting it anew for each timer cancelled.
  if (armed_for_ != 0 && armed_for_ <= deadline) return;
  armed_for_ = deadline;
  timer_.expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline)));
  timer_.async_wait([self = self_](const boost::system::error_code& error) {
    if (*self == nullptr || error) return;
    (*self)->armed_for_ = 0;
    (*self)->run_round(false);
  });
}

void AsioLoop::post(Task task) {
  EpollLoop::post(std::move(task));
  schedule_round();
}

Loop::TimerId AsioLoop::after(Nanos delay, Task task) {
  const TimerId timer = EpollLoop::after(delay, std::move(task));
  arm_timer();
  return timer;
}

Loop::WatchId AsioLoop::watch(int fd, Interest interest, OnReady on_ready) {
  const WatchId id = EpollLoop::watch(fd, interest, std::move(on_ready));
  if (has_always_ready()) schedule_round();
  return id;
}

void AsioLoop::change(WatchId watch, Interest interest) {
  EpollLoop::change(watch, interest);
  if (has_always_ready()) schedule_round();
}

}  // namespace banyan
