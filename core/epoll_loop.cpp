#include "core/epoll_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "core/assert.h"

namespace banyan {

namespace {

constexpr int kEventsPerRoundMax = 64;   // more stay ready, and come next round in turn
constexpr int kTasksPerRoundMax = 1024;  // then descriptors are looked at again, however much is posted
constexpr int kSlotBits = 24;            // more descriptors than Linux allows a process by far
constexpr Loop::WatchId kWake = 0;       // epoll data of the wake-up descriptor: no watch has this id

}  // namespace

EpollLoop::EpollLoop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  ASSERT(epoll_ && wake_);
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kWake;
  ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
}

EpollLoop::~EpollLoop() = default;

Nanos EpollLoop::now() const {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return Nanos(time.tv_sec) * kSecond + time.tv_nsec;
}

// Handles are drawn from here, and whoever could guess one could answer for another: so the kernel's
// randomness.
std::uint64_t EpollLoop::random() {
  if (random_left_ == 0) {
    ASSERT(::getrandom(random_.data(), sizeof random_, 0) == ssize_t(sizeof random_));
    random_left_ = random_.size();
  }
  return std::exchange(random_[--random_left_], 0);
}

void EpollLoop::post(Task task) {
  bool must_wake;
  {
    MutexLock lock(mutex_);
    posted_.push_back(std::move(task));
    must_wake = std::exchange(asleep_, false);
  }
  // Outside the lock, or the woken thread would run into it. On the loop's own thread nobody is asleep.
  if (must_wake) {
    const std::uint64_t one = 1;
    [[maybe_unused]] auto written = ::write(wake_.get(), &one, sizeof one);
  }
}

Loop::TimerId EpollLoop::after(Nanos delay, Task task) {
  return timers_.add(now() + std::max<Nanos>(delay, 0), std::move(task));
}

void EpollLoop::cancel(TimerId timer) {
  timers_.cancel(timer);
}

EpollLoop::Watch* EpollLoop::find(WatchId id) {
  const std::size_t slot = id & ((1u << kSlotBits) - 1);
  if (id == 0 || slot >= watches_.size() || watches_[slot].id != id) return nullptr;
  return &watches_[slot];
}

Loop::WatchId EpollLoop::watch(int fd, Interest interest, OnReady on_ready) {
  io_.learn(fd);
  std::uint32_t slot;
  if (free_watches_.empty()) {
    slot = std::uint32_t(watches_.size());
    ASSERT(slot >> kSlotBits == 0);
    watches_.emplace_back();
  } else {
    slot = free_watches_.back();
    free_watches_.pop_back();
  }
  Watch& watch = watches_[slot];
  watch.id = next_serial_++ << kSlotBits | slot;
  watch.fd = fd;
  watch.interest = interest;
  watch.on_ready = std::move(on_ready);
  apply(watch);
  return watch.id;
}

void EpollLoop::change(WatchId id, Interest interest) {
  Watch* watch = find(id);
  if (watch == nullptr || watch->interest == interest) return;
  watch->interest = interest;
  apply(*watch);
}

// Tells epoll what the watch is interested in. Not interested is not registered: epoll would report a hang-up
// all the same, and the loop would spin.
void EpollLoop::apply(Watch& watch) {
  if (watch.is_always_ready) return;
  epoll_event event = {};
  event.data.u64 = watch.id;
  if (watch.interest.read) event.events |= EPOLLIN;
  if (watch.interest.write) event.events |= EPOLLOUT;
  const bool wanted = event.events != 0;
  if (!wanted && !watch.in_epoll) return;
  const int operation = !wanted ? EPOLL_CTL_DEL : watch.in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (::epoll_ctl(epoll_.get(), operation, watch.fd, &event) == 0) {
    watch.in_epoll = wanted;
    return;
  }
  // EPERM: a file. ENOMEM, ENOSPC: no watches left; asking each round costs time, but works.
  ASSERT(errno == EPERM || errno == ENOMEM || errno == ENOSPC);
  watch.is_always_ready = true;
  ++always_ready_;
}

void EpollLoop::unwatch(WatchId id) {
  Watch* watch = find(id);
  if (watch == nullptr) return;
  if (watch->in_epoll) ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watch->fd, nullptr) == 0);
  if (watch->is_always_ready) --always_ready_;
  // Destroyed only after the tables are right again: what it owned may call back.
  const OnReady on_ready = std::move(watch->on_ready);
  *watch = Watch();
  free_watches_.push_back(std::uint32_t(watch - watches_.data()));
}

void EpollLoop::dispatch(WatchId id, Ready ready) {
  Watch* watch = find(id);
  if (watch == nullptr) return;  // unwatched by an earlier watcher of this round
  ready.read = ready.read && watch->interest.read;
  ready.write = ready.write && watch->interest.write;
  if (!ready.read && !ready.write) return;
  // Taken out for the call, so that it may unwatch itself, or make the table move.
  OnReady on_ready = std::move(watch->on_ready);
  on_ready(ready);
  if (Watch* still = find(id)) still->on_ready = std::move(on_ready);
}

bool EpollLoop::has_always_ready() const {
  if (always_ready_ == 0) return false;
  for (const Watch& watch : watches_)
    if (watch.is_always_ready && watch.interest != Interest{}) return true;
  return false;
}

void EpollLoop::run_posted() {
  for (int left = kTasksPerRoundMax; left > 0; --left) {
    if (batch_at_ == batch_.size()) {
      batch_.clear();
      batch_at_ = 0;
      MutexLock lock(mutex_);
      batch_.swap(posted_);
    }
    if (batch_.empty()) return;
    const Task task = std::move(batch_[batch_at_++]);
    task();
  }
}

bool EpollLoop::has_posted() {
  MutexLock lock(mutex_);
  return batch_at_ < batch_.size() || !posted_.empty();
}

// How many milliseconds the round may wait, rounded up: a timer never fires early. Tells post() if it is
// long.
int EpollLoop::wait_for(Nanos max_wait) {
  if (batch_at_ < batch_.size() || has_always_ready()) return 0;
  if (!timers_.empty()) max_wait = std::min(max_wait, timers_.earliest() - now());
  if (max_wait <= 0) return 0;
  MutexLock lock(mutex_);
  if (!posted_.empty()) return 0;
  asleep_ = true;
  return int(std::min<Nanos>((max_wait - 1) / kMillisecond + 1, INT_MAX));
}

void EpollLoop::serve_descriptors(int wait_ms) {
  epoll_event events[kEventsPerRoundMax];
  const int count = ::epoll_wait(epoll_.get(), events, kEventsPerRoundMax, wait_ms);
  ASSERT(count >= 0 || errno == EINTR);
  if (wait_ms > 0) {
    MutexLock lock(mutex_);
    asleep_ = false;
  }
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[i];
    if (event.data.u64 == kWake) {
      std::uint64_t drained;
      [[maybe_unused]] auto bytes = ::read(wake_.get(), &drained, sizeof drained);
      continue;
    }
    const bool failed = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
    dispatch(event.data.u64,
             {failed || (event.events & EPOLLIN) != 0, failed || (event.events & EPOLLOUT) != 0});
  }
  for (std::size_t i = 0; i < watches_.size() && always_ready_ > 0; ++i)
    if (watches_[i].is_always_ready) dispatch(watches_[i].id, {true, true});
}

void EpollLoop::run_due_timers() {
  if (!timers_.empty()) timers_.run_due(now());
}

void EpollLoop::run_once(Nanos max_wait) {
  serve_descriptors(wait_for(max_wait));
  run_due_timers();
  run_posted();
}

void EpollLoop::run() {
  while (!stopped_) run_once(INT64_MAX);
  stopped_ = false;
}

IoResult EpollLoop::read(int fd, std::uint8_t* to, std::size_t max) {
  return io_.read(fd, to, max);
}

IoResult EpollLoop::write(int fd, const iovec* parts, int count) {
  return io_.write(fd, parts, count);
}

void EpollLoop::close(int fd) {
  io_.forget(fd);
  Fd(fd).reset();
}

}  // namespace banyan
