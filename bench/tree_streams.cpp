// What a command writes at the end of a path of real agents, until the root has it.

#include <array>

#include "bench/groups.h"
#include "bench/tree_path.h"

namespace banyan::bench {

namespace {

constexpr std::size_t kWays = TreePath::kRelaysMax + 1;
constexpr std::size_t kBytes = 128 << 20;
constexpr int kRounds = 10;

struct Streams {
  Samples rate, cost;
  void add(const StreamCost& stream) {
    rate.add(stream.rate);
    cost.add(stream.us_per_mib);
  }
  std::string shown() const { return format("%.0f MB/s (%.0f us/MiB)", rate.median(), cost.median()); }
};

}  // namespace

void measure_tree_streams() {
  Table table("The output of a command at the end of a path",
              "128 MiB that a command writes in blocks of 128 KiB, until the root has them and has thrown "
              "them away. The "
              "peer runs the same program behind a row of as many processes: the last splice()s its pipe "
              "into a socket, "
              "those between splice() from socket to socket, and the reader reads blocks of 128 KiB. So both "
              "have the "
              "command, its pipe of 256 KiB, and a process for each context. Ours copies the bytes into "
              "frames and out of "
              "them, checks each frame at each hop, and keeps windows; the stream begins with 64 KiB of "
              "window, and what "
              "it takes to grow counts. In brackets the processor time of all processes together, the "
              "command's too.");
  TreePath path;
  for (const TreePlace& place : tree_places()) {
    std::array<Streams, kWays> ours, peer;
    path.place(place.processors);
    path.command_stream(TreePath::kRelaysMax, kBytes);  // warms up
    for (int round = 0; round < kRounds; ++round)
      for (std::size_t relays = 0; relays < kWays; ++relays) {
        peer[relays].add(bare_command_stream(int(relays), place.processors, kBytes));
        ours[relays].add(path.command_stream(relays, kBytes));
      }
    for (std::size_t relays = 0; relays < kWays; ++relays)
      table.at_least(format("%s, relays: %zu", place.what, relays), ours[relays].shown(),
                     peer[relays].shown(), ours[relays].rate.median() / peer[relays].rate.median(),
                     {relays == 0 ? 0.4 : 0.5, 0});
  }
}

}  // namespace banyan::bench
