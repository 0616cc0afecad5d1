// core/epoll_loop.h -- the Loop of the agent, of a program's own broker thread, and beneath AsioLoop.
//
// A round: wait for descriptors, call their watchers, run the timers that are due, run what was posted.
// Thread: the one that calls run() or run_once(); post() from any.
#pragma once

#include <array>
#include <vector>

#include "core/fd.h"
#include "core/loop.h"
#include "core/mutex.h"
#include "core/nonblocking.h"
#include "core/timer_queue.h"

namespace banyan {

class EpollLoop : public Loop {
 public:
  // Aborts when the kernel has not two descriptors left: a context without a loop cannot even report it.
  EpollLoop();
  ~EpollLoop() override;

  // Rounds until stop().
  void run();
  // One round. Waits at most `max_wait`, and only if nothing was posted.
  void run_once(Nanos max_wait);
  // run() returns at the end of this round; before run(): after one. From another thread, post it.
  void stop() { stopped_ = true; }

  Nanos now() const override;
  std::uint64_t random() override;
  void post(Task task) override;
  TimerId after(Nanos delay, Task task) override;
  void cancel(TimerId timer) override;
  WatchId watch(int fd, Interest interest, OnReady on_ready) override;
  void change(WatchId watch, Interest interest) override;
  void unwatch(WatchId watch) override;
  IoResult read(int fd, std::uint8_t* to, std::size_t max) override;
  IoResult write(int fd, const iovec* parts, int count) override;
  void close(int fd) override;

 protected:
  // The parts of a round, for a loop that lives inside another one (parent/api/asio_loop.h).
  int epoll_descriptor() const { return epoll_.get(); }  // readable: a watcher may have to be called
  void serve_descriptors(int wait_ms);
  void run_due_timers();
  void run_posted();
  bool has_posted();
  bool has_always_ready() const;
  TimerQueue timers_;

 private:
  // An id is a serial above the number of the slot, so an event left over from an earlier watch matches none.
  struct Watch {
    WatchId id = 0;  // 0: free
    int fd = -1;
    Interest interest;
    bool in_epoll = false;
    bool is_always_ready = false;  // a file: epoll refuses it, and it never blocks
    OnReady on_ready;
  };
  Watch* find(WatchId watch);
  void apply(Watch& watch);
  void dispatch(WatchId id, Ready ready);
  int wait_for(Nanos max_wait);

  Fd epoll_;
  Fd wake_;
  NonblockingIo io_;
  std::vector<Watch> watches_;
  std::vector<std::uint32_t> free_watches_;
  std::uint64_t next_serial_ = 1;
  std::size_t always_ready_ = 0;  // how many of the watches are
  bool stopped_ = false;

  Mutex mutex_;               // guards the next two
  std::vector<Task> posted_;  // as long as its posters make it: a task cannot be refused
  bool asleep_ = false;
  std::vector<Task> batch_;  // taken from posted_, being run
  std::size_t batch_at_ = 0;

  std::array<std::uint64_t, 32> random_;  // 256 bytes: what getrandom gives whole
  std::size_t random_left_ = 0;
};

}  // namespace banyan
