// tests/simulation/sim_loop.h -- many loops in one thread, under one clock, with one seed for all that chance
// decides in the real world.
//
// A SimWorld holds the clock, the wires and the loops ("nodes"). The seed decides whose round is next, which
// of the ready descriptors are served and in which order, where reads and writes are cut short, how bytes are
// split on the way and how late they come, and what is lost when a wire breaks. Whatever code does that a
// kernel would not forgive (a descriptor closed while watched, closed twice, watched twice) asserts.
//
// The same seed and the same program give the same trace_hash(). Lifetime: the world outlives all that uses
// its loops.
#pragma once

#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/loop.h"
#include "core/timer_queue.h"

namespace banyan {

class SimWorld;

// What a wire is like, each way.
struct SimWire {
  Nanos latency_min = 10 * kMicrosecond;
  Nanos latency_max = 2 * kMillisecond;  // drawn anew for each piece; order is kept
  std::size_t capacity = 64 * 1024;      // written and not read
  std::uint64_t bytes_per_second = 0;    // 0: no limit
  bool is_rough = true;  // false: no short reads and writes, no pieces, nothing would block in vain
};

class SimLoop final : public Loop {
 public:
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

  std::size_t open_descriptors() const;
  std::uint32_t index() const { return index_; }

 private:
  friend class SimWorld;
  enum class Condition : std::uint8_t { kRunning, kStopped, kKilled };
  struct Watch {
    WatchId id = 0;  // 0: free
    int fd = -1;
    Interest interest;
    OnReady on_ready;
  };
  struct Descriptor {
    bool is_open = false;
    std::uint32_t in = 0, out = 0;  // pipes of the world
    WatchId watch = 0;
  };

  SimLoop(SimWorld& world, std::uint32_t index);
  int open(std::uint32_t in, std::uint32_t out);
  Descriptor& at(int fd);
  Watch* find(WatchId watch);
  Ready readiness(const Watch& watch) const;
  bool run_round();
  void die();

  SimWorld& world_;
  const std::uint32_t index_;
  const Nanos clock_offset_;  // clocks of different hosts have nothing to do with each other
  Condition condition_ = Condition::kRunning;
  bool maybe_ready_ = false;  // stands in the world's list
  TimerQueue timers_;
  std::vector<Task> posted_;
  std::size_t posted_at_ = 0;
  std::vector<Watch> watches_;
  std::vector<Descriptor> descriptors_;
  std::uint64_t next_serial_ = 1;
};

class SimWorld {
 public:
  explicit SimWorld(std::uint64_t seed);
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;
  ~SimWorld();

  SimLoop& add_loop();
  // A two-way wire; .first is a descriptor of `a`, .second of `b`. The lowest free numbers, as a kernel
  // would.
  std::pair<int, int> make_pair(SimLoop& a, SimLoop& b, const SimWire& wire = {});

  // Breaks the wire behind a descriptor: what is on its way is lost from some byte on, perhaps in the middle
  // of a frame, and each end learns of it in its own time, as an end or as an error.
  void cut(SimLoop& loop, int fd);
  // Breaks it so that neither end learns of it: nothing arrives any more.
  void cut_silently(SimLoop& loop, int fd);
  // SIGSTOP, SIGCONT: the clock goes on meanwhile.
  void stop(SimLoop& loop);
  void resume(SimLoop& loop);
  // SIGKILL: no callback runs any more, the kernel closes its descriptors, and whatever its objects still do
  // as they are destroyed is without effect.
  void kill(SimLoop& loop);

  // One round of one loop, or else the next event. False: there is nothing to do until `limit`.
  bool step(Nanos limit = INT64_MAX);
  void run_for(Nanos duration);
  // Until no loop has anything to do and nothing is on its way; timers in the future are not waited for.
  // False if that was not so within `max`: something goes round in circles.
  bool run_until_idle(Nanos max = 3600 * kSecond);
  // Until `condition` holds, timers included; false if it does not within `max`.
  template <class Condition>
  bool run_until(Condition condition, Nanos max = 3600 * kSecond) {
    const Nanos limit = now_ + max;
    while (!condition())
      if (!step(limit)) return false;
    return true;
  }

  Nanos now() const { return now_; }
  std::uint64_t random();
  std::uint64_t below(std::uint64_t end) { return random() % end; }  // REQUIRES: end > 0
  bool one_in(std::uint64_t n) { return below(n) == 0; }

  std::uint64_t trace_hash() const { return trace_hash_; }
  std::uint64_t events() const { return events_; }
  // How long a round of a loop takes. With 0 time passes on the wires alone, and everybody works at once:
  // only for those who come to rest by themselves.
  void set_round_cost(Nanos cost) { round_cost_ = cost; }
  // Every event as a line, for reading what a seed did; nullptr: none.
  void trace_to(std::FILE* file) { trace_file_ = file; }

 private:
  friend class SimLoop;
  // One direction of a wire. The other one's index differs in the lowest bit.
  struct Pipe {
    SimWire wire;
    SimLoop* reader;
    SimLoop* writer;
    Buffer data;  // what was written and not read, from begin
    std::size_t begin = 0;
    std::size_t visible = 0;  // how much of it has arrived
    Nanos last_arrival = 0;
    Nanos wire_free = 0;
    bool lost = false;    // what is written from now on arrives nowhere,
    bool silent = false;  // and nobody is told
    bool reader_closed = false;
    bool ended = false;  // the reader has been told: end, or error
    int error = 0;
    bool broken = false;  // the writer has been told
  };
  struct Event {
    enum class Kind : std::uint8_t { kArrival, kEnd, kTimer };
    Nanos time;
    std::uint64_t order;
    Kind kind;
    std::uint32_t index;  // of a pipe or a loop
    std::uint64_t value;  // bytes; errno
  };
  static bool is_later(const Event& a, const Event& b);

  void schedule(Event::Kind kind, Nanos time, std::uint32_t index, std::uint64_t value);
  void handle(const Event& event);
  void handle_due();
  void wake(SimLoop& loop);
  void send(std::uint32_t pipe, std::size_t bytes);
  void send_end(std::uint32_t pipe, int error);
  void lose_some_in_flight(Pipe& pipe);
  void close_end(std::uint32_t in, std::uint32_t out);
  void trace(const char* what, std::uint64_t who, std::uint64_t a, std::uint64_t b);

  std::uint64_t random_state_;
  Nanos now_ = 0;
  Nanos round_cost_ = kMicrosecond;  // so that time goes on even if a loop never rests
  std::vector<std::unique_ptr<SimLoop>> loops_;
  std::vector<SimLoop*> maybe_ready_;
  std::vector<Pipe> pipes_;
  std::vector<Event> heap_;
  std::vector<Loop::WatchId> scratch_;
  std::uint64_t next_order_ = 1;
  std::size_t in_flight_ = 0;  // events that are not timers
  std::uint64_t trace_hash_ = 0;
  std::uint64_t events_ = 0;
  std::FILE* trace_file_ = nullptr;
};

}  // namespace banyan
