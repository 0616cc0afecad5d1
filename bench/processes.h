// bench/processes.h -- the processes a measurement forks, and memory they share with it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace banyan::bench {

// Killed and waited for at the end: they hold nothing that needs a farewell, and perhaps copies of
// descriptors whose closing others wait for.
class Children {
 public:
  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children();

  // Runs `main` in a fork of this process, which then ends.
  void start(const std::function<void()>& main);
  std::size_t count() const { return pids_.size(); }
  pid_t pid(std::size_t index) const { return pids_[index]; }

 private:
  std::vector<pid_t> pids_;
};

// Us on processors[0], the children on the next ones in turn; kAnywhere lets the kernel choose.
void place_all(const Children& children, const std::vector<int>& processors);

// Of any process, looked up in /proc.
bool has_children(pid_t pid);
struct ProcessorTimes {
  double own = 0, reaped = 0;  // user and system, in hundredths of a second; reaped: of ended descendants
};
ProcessorTimes processor_times_of(pid_t pid);
// A field of /proc/meminfo, /proc/PID/status and the like, in KiB; 0: it is not there.
double kib_in(const std::string& path, const std::string& field);

// Numbers on a page that forks share; each is written by one process.
class SharedCounters {
 public:
  explicit SharedCounters(std::size_t count);
  SharedCounters(const SharedCounters&) = delete;
  SharedCounters& operator=(const SharedCounters&) = delete;
  ~SharedCounters();
  std::uint64_t* at(std::size_t index) const { return counters_ + index * kStride; }
  std::uint64_t sum() const;

 private:
  static constexpr std::size_t kStride = 8;  // a cache line each
  std::size_t count_;
  std::uint64_t* counters_;
};

}  // namespace banyan::bench
