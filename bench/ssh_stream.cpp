// Bytes to a command on a host and from it: through both back ends, through ssh, and through libssh2 alone.

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/processes.h"
#include "bench/server.h"
#include "tests/support/delay_proxy.h"

namespace banyan::bench {

namespace {

constexpr int kRuns = 3;
constexpr int kLongRuns = 2;
constexpr std::size_t kMib = 1 << 20;
constexpr std::size_t kShortBytes = 256 * kMib;
// The long wire: to the host no peer gets more than 40 MB/s; back, windows take some of it to open.
constexpr std::size_t kLongBytesUp = 48 * kMib, kLongBytesDown = 256 * kMib;
constexpr std::chrono::milliseconds kRoundTrip{50};

// In a process of its own: its work is on no processor time of ours.
class LongWire {
 public:
  explicit LongWire(int to_port) {
    children_.start([&] {
      const test::DelayProxy proxy(test::DelayProxy::round_trip(std::uint16_t(to_port), kRoundTrip));
      __atomic_store_n(port_.at(0), proxy.port(), __ATOMIC_RELEASE);
      for (;;) ::pause();
    });
    while (__atomic_load_n(port_.at(0), __ATOMIC_ACQUIRE) == 0) ::usleep(1'000);
  }
  int port() const { return int(*port_.at(0)); }

 private:
  SharedCounters port_{1};
  Children children_;
};

enum class Direction { kUp, kDown };

struct Client {
  std::string words;  // up to the command
  bool takes_words;   // else a line for a shell over there
};

// A shell line in which a client runs a command that takes so many bytes, or gives them.
std::string line_of(const Client& client, Direction direction, std::size_t bytes) {
  if (direction == Direction::kDown) return client.words + format(" head -c %zu /dev/zero </dev/null", bytes);
  return format("head -c %zu /dev/zero | ", bytes) + client.words +
         (client.takes_words ? " sh -c 'cat >/dev/null'" : " 'cat >/dev/null'");
}

// One that moves bytes: microseconds for so many, the start of its session not counted.
using Mover = std::function<double(Direction, std::size_t bytes)>;

double run_line(const std::string& line, const std::string& cache) {
  return run_program({"sh", "-c", line}, {{"BANYAN_CACHE", cache}});
}

// What a start costs is measured anew each time, with no bytes, and taken off.
Mover by_client(const Client& client, const std::string& cache) {
  return [client, cache](Direction direction, std::size_t bytes) {
    const double start = run_line(line_of(client, direction, 0), cache);
    return std::max(run_line(line_of(client, direction, bytes), cache) - start, 1.0);
  };
}

Mover by_libssh2_alone(const Server& server, int port) {
  const SessionSettings settings = server.session(port);
  return [settings](Direction direction, std::size_t bytes) {
    const std::string took = output_of({beside_us("bench_libssh2"), format("%d", int(settings.port)),
                                        settings.user, settings.identities.front(),
                                        direction == Direction::kUp ? "up" : "down", format("%zu", bytes)});
    return std::max(std::strtod(took.c_str(), nullptr), 1.0);
  };
}

struct Moved {
  Samples rate;  // MB/s
  Samples cpu;   // of the whole machine, microseconds a MiB, starts included
};

void move(const Mover& mover, Direction direction, std::size_t bytes, Moved& moved) {
  const double used = machine_cpu_us();
  moved.rate.add(double(bytes) / mover(direction, bytes));
  moved.cpu.add((machine_cpu_us() - used) / double(bytes / kMib));
}

std::string shown(const Moved& moved) {
  return format("%.0f MB/s (%.1f ms/MiB)", moved.rate.median(), moved.cpu.median() / 1e3);
}

struct Contest {
  std::string wire;
  int runs;
  std::size_t bytes_up, bytes_down;
  int port;  // 0: the server's
};

void compare(const Server& server, const Contest& contest, Table& table, bool against_alone) {
  const std::string config = server.config(Algorithms::kCommon, contest.port);
  const TemporaryFolder cache;
  auto banyan = [&](const char* back_end) {
    return by_client(
        {beside_us("../banyan") + " run -q --ssh " + back_end + " -F " + config + " h1 --", true},
        cache.path());
  };
  const Mover libssh2 = banyan("libssh2"), openssh = banyan("openssh"),
              ssh = by_client({"ssh -F " + config + " h1", false}, cache.path()),
              alone = by_libssh2_alone(server, contest.port);
  for (const Direction direction : {Direction::kUp, Direction::kDown}) {
    const std::size_t bytes = direction == Direction::kUp ? contest.bytes_up : contest.bytes_down;
    Moved by_libssh2, by_openssh, by_ssh, by_alone;
    for (int run = 0; run < contest.runs; ++run) {
      move(ssh, direction, bytes, by_ssh);
      move(libssh2, direction, bytes, by_libssh2);
      move(alone, direction, bytes, by_alone);
      move(openssh, direction, bytes, by_openssh);
    }
    const std::string what =
        contest.wire + (direction == Direction::kUp ? ", to the host: " : ", from the host: ");
    const std::string to_ssh = shown(by_ssh) + " ssh", to_alone = shown(by_alone) + " libssh2 alone";
    auto row = [&](const char* back_end, const Moved& ours, const std::string& peer, const Moved& theirs,
                   double must) {
      const double ratio = ours.rate.median() / theirs.rate.median();
      if (must != 0)
        table.at_least(what + back_end, shown(ours), peer, ratio, {must, 0});
      else
        table.plain(what + back_end, shown(ours), peer, ratio);
    };
    row("libssh2", by_libssh2, to_ssh, by_ssh, against_alone ? 0 : 0.87);
    row("libssh2", by_libssh2, to_alone, by_alone, against_alone ? 0.8 : 0);
    row("openssh", by_openssh, to_ssh, by_ssh, against_alone ? 0 : 0.87);
  }
}

}  // namespace

void measure_ssh_stream() {
  const Server server;
  {
    Table table(
        "A stream over ssh",
        format("%zu MiB, `banyan run HOST -- sh -c 'cat >/dev/null'` and `banyan run HOST -- head -c N "
               "/dev/zero`; the peers are ssh with the same commands, and a bare blocking loop over "
               "libssh2 with a window of 16 MiB (bench/peers/libssh2_stream.cpp). All use aes128-ctr and "
               "hmac-sha2-256. The time of the same command without bytes is taken off. %d runs each, in "
               "turns. In brackets the whole machine's processor time, starts included.",
               kShortBytes / kMib, kRuns));
    compare(server, {"loopback", kRuns, kShortBytes, kShortBytes, 0}, table, false);
  }
  const LongWire wire(server.port());
  Table table(
      "A stream over a long wire",
      format(
          "As above with %zu MiB to the host and %zu MiB from it, through a proxy that holds each byte for "
          "half "
          "of a round trip of %lld ms and has no other limit; %d runs each, in turns. The budget is against "
          "libssh2 alone: ssh's and sshd's own windows of 2 MiB let no more than 40 MB/s over such a wire, "
          "from the "
          "host through ssh, and to the host through anything.",
          kLongBytesUp / kMib, kLongBytesDown / kMib, static_cast<long long>(kRoundTrip.count()), kLongRuns));
  compare(server,
          {format("%lld ms", static_cast<long long>(kRoundTrip.count())), kLongRuns, kLongBytesUp,
           kLongBytesDown, wire.port()},
          table, true);
}

}  // namespace banyan::bench
