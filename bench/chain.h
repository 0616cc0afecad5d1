// bench/chain.h -- contexts in a row, 0 - 1 - 2 - ..., each a process with a router on an EpollLoop; 0 is us.
//
// Nothing but core: no agent, no exec. What is measured through it is what every context pays for a message.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "bench/processes.h"
#include "core/epoll_loop.h"
#include "core/router.h"

namespace banyan::bench {

// What each context beneath us listens to, for anyone.
constexpr Handle kEcho = 2'000;   // replies with what it was sent
constexpr Handle kTake = 2'001;   // replies with nothing
constexpr Handle kSink = 2'002;   // takes a stream, and throws it away
constexpr Handle kTaken = 2'003;  // [bytes u64]: replies when kSink has taken that many since the last time

class Chain {
 public:
  explicit Chain(ContextId length);
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  ~Chain();

  EpollLoop& loop() { return loop_; }
  Router& router() { return router_; }
  // Context i runs on processors[i % processors.size()], 0 included.
  void place(const std::vector<int>& processors);
  double processor_time_us() const;  // of all of them, us included
  std::uint64_t calls_of_system() const;

 private:
  Children children_;
  SharedCounters counters_;  // system calls, by context
  EpollLoop loop_;
  Router router_;
};

}  // namespace banyan::bench
