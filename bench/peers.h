// bench/peers.h -- the least that the same work can cost: what banyan is measured against.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "bench/processes.h"
#include "core/fd.h"

namespace banyan::bench {

// posix_spawn() of a static program that does nothing, waited for: one after another, or all at once.
constexpr const char* kStaticProgram = "bench_true";      // with a C library, which has a start of its own
constexpr const char* kWithoutLibrary = "bench_nothing";  // what the kernel alone takes
double spawn_in_a_row_us(const char* program, int count);
double spawn_at_once_us(const char* program, int count);

// Processes in a row behind socketpairs, each with an epoll of its own; the last sends back what it gets, the
// others pass on. No frames, no routes, no windows.
class BarePingPong {
 public:
  explicit BarePingPong(int relays);
  void place(const std::vector<int>& processors);  // as Chain::place
  // One after another; times in microseconds.
  void round_trips(std::size_t bytes, int count, Samples& samples);
  double processor_time_us() const;

 private:
  Children children_;  // declared first: they end when our end is closed
  Fd epoll_;
  Fd socket_;
};

// One process writes blocks of 128 KiB, one reads them, with processes between that pass them on by splice();
// placed as in Chain::place. MB (10^6 bytes) a second.
double bare_stream_rate(int relays, const std::vector<int>& processors, std::size_t bytes);

constexpr const char* kWriter = "bench_writer";  // writer.c
constexpr std::size_t kBlockBytes = 128 * 1024;  // that streams are written in, where nothing else is said
struct StreamCost {
  double rate = 0;        // MB a second
  double us_per_mib = 0;  // processor time of all that took part
};
// The same program as a command behind a row of processes: it writes to a pipe as wide as an agent makes one,
// the last of the row splices that into its socket, those between splice from socket to socket, and we read
// blocks.
StreamCost bare_command_stream(int relays, const std::vector<int>& processors, std::size_t bytes);

}  // namespace banyan::bench
