// Calls through real agents: one after another, and a thousand at a time.

#include <array>

#include "bench/groups.h"
#include "bench/system_calls.h"
#include "bench/tree_path.h"

namespace banyan::bench {

namespace {

constexpr std::size_t kWays = TreePath::kRelaysMax + 1;
constexpr int kRounds = 10;
constexpr int kTripsPerRound = 1'000;
constexpr int kOutstanding = 1'000;
constexpr int kCallsPerRound = 50'000;
constexpr std::size_t kBatch = 64 << 10;

std::array<BarePingPong, kWays> bare_rows() {
  return {BarePingPong(0), BarePingPong(1), BarePingPong(2), BarePingPong(3)};
}

}  // namespace

void measure_tree_trips() {
  Table table(
      "A call through a tree",
      format(
          "From the root to an agent behind so many others, each a process started by the one above it. The "
          "agent is asked to end a child that it does not have, and says when that is done: a request of %zu "
          "bytes with its header, a reply of %zu. The peer's relays read and write between two sockets with "
          "an epoll, and pass %zu bytes to and fro.",
          TreePath::call_wire_bytes(), kHeaderBytes, TreePath::call_wire_bytes()));
  TreePath path;
  std::array<BarePingPong, kWays> bare = bare_rows();
  for (const TreePlace& place : tree_places()) {
    const bool is_one = place.processors.size() == 1;
    path.place(place.processors);
    std::array<Samples, kWays> ours, peer;
    Samples warm_up;
    path.round_trips(TreePath::kRelaysMax, kTripsPerRound, warm_up);
    for (int round = 0; round < kRounds; ++round)
      for (std::size_t relays = 0; relays < kWays; ++relays) {
        bare[relays].place(place.processors);
        bare[relays].round_trips(TreePath::call_wire_bytes(), kTripsPerRound, peer[relays]);
        path.round_trips(relays, kTripsPerRound, ours[relays]);
      }
    for (std::size_t relays = 0; relays < kWays; ++relays) {
      const std::string what = format("%s, relays: %zu", place.what, relays);
      const double ratio = ours[relays].median() / peer[relays].median();
      if (relays == 0)
        table.at_most(what, in_us(ours[0]), in_us(peer[0]), ratio, is_one ? Budget{2, 0} : Budget{1.2, 0});
      else
        table.plain(what, in_us(ours[relays]), in_us(peer[relays]), ratio);
    }
    auto added = [](const std::array<Samples, kWays>& samples) {
      return (samples[kWays - 1].median() - samples[0].median()) / double(kWays - 1);
    };
    table.at_most(format("%s, added by each relay", place.what), format("%.1f us", added(ours)),
                  format("%.1f us", added(peer)), added(ours) / added(peer), {1.6, 0});
  }
}

void measure_tree_calls() {
  Table table(
      "A thousand calls outstanding through a tree",
      "The same call. The peer's row passes as many bytes to and fro in batches of 64 KiB, of which nobody "
      "looks "
      "at one: the least that the kernel wants for them. Processor time of all processes together. On two "
      "processors, in turn.");
  TreePath path;
  std::array<BarePingPong, kWays> bare = bare_rows();
  const std::vector<int> processors = tree_places().back().processors;
  const int batches = int(kCallsPerRound * TreePath::call_wire_bytes() / kBatch);
  path.place(processors);
  std::array<Samples, kWays> rate, cost, calls_of_root, peer_cost;
  Samples ignored;
  for (std::size_t relays = 0; relays < kWays; ++relays)
    path.many_calls(relays, kOutstanding, kCallsPerRound / 4);
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t relays = 0; relays < kWays; ++relays) {
      bare[relays].place(processors);
      const double bare_used = bare[relays].processor_time_us();
      bare[relays].round_trips(kBatch, batches, ignored);
      peer_cost[relays].add((bare[relays].processor_time_us() - bare_used) / kCallsPerRound);
      const double used = path.processor_time_us();
      const std::uint64_t counted = system_calls();
      const double began = now_us();
      path.many_calls(relays, kOutstanding, kCallsPerRound);
      rate[relays].add(kCallsPerRound / (now_us() - began) * 1e6);
      cost[relays].add((path.processor_time_us() - used) / kCallsPerRound);
      calls_of_root[relays].add(double(system_calls() - counted) / kCallsPerRound);
    }
  for (std::size_t relays = 0; relays < kWays; ++relays) {
    const std::string what = format("relays: %zu, ", relays);
    table.plain(what + "calls a second", format("%.0f", rate[relays].median()), "", 0);
    const std::string ours = format("%.2f us", cost[relays].median()),
                      peer = format("%.2f us", peer_cost[relays].median());
    const double ratio = cost[relays].median() / peer_cost[relays].median();
    if (relays == 0)
      table.at_most(what + "processor time for a call", ours, peer, ratio, {3, 2});
    else
      table.plain(what + "processor time for a call", ours, peer, ratio);
  }
  table.within("system calls of the root for a call", format("%.3f", calls_of_root[0].median()), "",
               calls_of_root[0].median(), "calls", {0.1, 0});
}

}  // namespace banyan::bench
