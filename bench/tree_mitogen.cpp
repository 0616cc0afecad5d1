// Beside Mitogen, whose tree of Python processes ours is after.

#include <array>
#include <sstream>

#include "bench/groups.h"
#include "bench/tree_path.h"

namespace banyan::bench {

namespace {

constexpr std::size_t kWays = TreePath::kRelaysMax + 1;
constexpr int kRounds = 3;
constexpr int kTrips = 2'000, kCalls = 50'000, kOutstanding = 1'000;
constexpr std::size_t kBytes = 128 << 20;

struct Taken {
  Samples trip, late, calls, rate;
};

void run_mitogen(std::size_t relays, Taken& taken) {
  std::istringstream out(output_of(
      {kDebianPython, std::string(BANYAN_BENCH_PEERS) + "/mitogen_tree.py", format("%zu", relays)}));
  double trip = 0, late = 0, calls = 0, rate = 0;
  if (!(out >> trip >> late >> calls >> rate)) die("mitogen_tree.py says something else than expected");
  taken.trip.add(trip);
  taken.late.add(late);
  taken.calls.add(calls);
  taken.rate.add(rate);
}

void run_ours(TreePath& path, std::size_t relays, Taken& taken) {
  Samples trips;
  path.round_trips(relays, kTrips, trips);
  taken.trip.add(trips.median());
  taken.late.add(trips.p99());
  const double began = now_us();
  path.many_calls(relays, kOutstanding, kCalls);
  taken.calls.add(kCalls / (now_us() - began) * 1e6);
  taken.rate.add(path.command_stream(relays, kBytes).rate);
}

std::string trip_text(const Taken& taken) {
  return format("%.1f us (p99 %.1f)", taken.trip.median(), taken.late.median());
}

}  // namespace

void measure_tree_mitogen() {
  Table table("Beside Mitogen",
              "Contexts of this machine, so many of them in between; a call of a function that does nothing "
              "(ours: as "
              "above); calls a second, a thousand of them outstanding; and bytes upward: Mitogen sends 64 "
              "MiB in messages of "
              "128 KiB to a receiver that reads, we have a command's 128 MiB. Each program where the kernel "
              "puts it; medians "
              "of 3 runs, in turns.");
  if (!python_has("mitogen")) {
    table.note("Not installed, so not measured: python3-mitogen.");
    return;
  }
  TreePath path;
  path.place({kAnywhere});
  std::array<Taken, kWays> ours, peer;
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t relays = 0; relays < kWays; ++relays) {
      run_mitogen(relays, peer[relays]);
      run_ours(path, relays, ours[relays]);
    }
  for (std::size_t relays = 0; relays < kWays; ++relays) {
    const Taken &us = ours[relays], &they = peer[relays];
    const std::string what = format("relays: %zu, ", relays);
    table.plain(what + "round trip", trip_text(us), trip_text(they), us.trip.median() / they.trip.median());
    table.plain(what + "calls a second", format("%.0f", us.calls.median()),
                format("%.0f", they.calls.median()), us.calls.median() / they.calls.median());
    table.plain(what + "bytes upward", format("%.0f MB/s", us.rate.median()),
                format("%.0f MB/s", they.rate.median()), us.rate.median() / they.rate.median());
  }
}

}  // namespace banyan::bench
