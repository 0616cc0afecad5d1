// tests/support/delay_proxy.h -- a long, thin or bad wire: a TCP proxy on the loopback interface that delays,
// limits the rate, and flips or cuts bytes.
//
// One thread of its own, ended with the object; connections that are open then are closed. Not more than
// Wire::buffer_bytes of a direction of a connection are held: who sends more has to wait, as on a real wire.
// Without Catch, so that benchmarks can use it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace banyan::test {

// One direction of each connection.
struct Wire {
  std::chrono::nanoseconds delay{0};
  std::uint64_t bytes_per_second = 0;   // 0: without limit
  std::size_t buffer_bytes = 32 << 20;  // what is on its way at most: at least rate times delay, to fill it
  std::uint64_t flip_at = 0;            // the byte of that number, counted from 1, arrives changed; 0: none
  std::uint64_t cut_at = 0;             // after that many bytes the connection is closed, both ways; 0: never
};

class DelayProxy {
 public:
  struct Options {
    std::uint16_t port = 0;  // on 127.0.0.1, where connections go on to
    Wire up, down;           // to it; back
  };
  // A round trip of that long, and a rate for each direction.
  static Options round_trip(std::uint16_t port, std::chrono::nanoseconds time,
                            std::uint64_t bytes_per_second = 0) {
    return {port,
            {.delay = time / 2, .bytes_per_second = bytes_per_second},
            {.delay = time / 2, .bytes_per_second = bytes_per_second}};
  }

  explicit DelayProxy(const Options& options);
  ~DelayProxy();
  DelayProxy(const DelayProxy&) = delete;
  DelayProxy& operator=(const DelayProxy&) = delete;

  std::uint16_t port() const;           // to connect to
  std::uint64_t connections() const;    // so far
  std::size_t most_bytes_held() const;  // of one direction of one connection, so far

 private:
  class Pump;
  std::unique_ptr<Pump> pump_;
};

}  // namespace banyan::test
