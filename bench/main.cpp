// banyan_bench [GROUP...] -- what banyan costs beside the least it could cost, as Markdown
// tables. docs/performance.md keeps a copy of what it prints, and explains.

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "bench/groups.h"
#include "bench/measure.h"

namespace {

struct Group {
  std::string_view name;
  void (*measure)();
};

constexpr Group kGroups[] = {
    {"local", banyan::bench::measure_local},
    {"frames/trips", banyan::bench::measure_round_trips},
    {"frames/hops", banyan::bench::measure_hops},
    {"frames/streams", banyan::bench::measure_streams},
    {"frames/calls", banyan::bench::measure_many_calls},
    {"tree/trips", banyan::bench::measure_tree_trips},
    {"tree/calls", banyan::bench::measure_tree_calls},
    {"tree/streams", banyan::bench::measure_tree_streams},
    {"tree/mitogen", banyan::bench::measure_tree_mitogen},
    {"tree/flood", banyan::bench::measure_tree_flood},
    {"tree/thousand", banyan::bench::measure_tree_thousand},
    {"tree/scale", banyan::bench::measure_tree_scale},
    {"ssh/start", banyan::bench::measure_ssh_start},
    {"ssh/many", banyan::bench::measure_ssh_many},
    {"ssh/phases", banyan::bench::measure_ssh_phases},
    {"ssh/stream", banyan::bench::measure_ssh_stream},
    {"ssh/warm", banyan::bench::measure_ssh_warm},
    {"hops/depth", banyan::bench::measure_hops_depth},
    {"hops/siblings", banyan::bench::measure_hops_siblings},
    {"shm/push", banyan::bench::measure_shm_push},
    {"shm/latency", banyan::bench::measure_shm_latency},
    {"bytes", banyan::bench::measure_bytes},
};

// "frames" stands for all that begin with "frames/".
bool is_meant(const Group& group, std::string_view name) {
  return group.name == name ||
         (group.name.starts_with(name) && group.name.substr(name.size()).starts_with('/'));
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string_view> wanted(argv + 1, argv + argc);
  for (const std::string_view name : wanted) {
    if (std::any_of(std::begin(kGroups), std::end(kGroups),
                    [&](const Group& g) { return is_meant(g, name); }))
      continue;
    std::fprintf(stderr,
                 "usage: banyan_bench [GROUP...], the groups being local frames tree ssh hops shm bytes, or "
                 "one of:\n");
    for (const Group& group : kGroups) std::fprintf(stderr, "  %s\n", std::string(group.name).c_str());
    return 2;
  }
  std::printf("`./dev bench");
  for (const std::string_view name : wanted) std::printf(" %s", std::string(name).c_str());
  std::printf("` on %s; load at the start %.2f\n", banyan::bench::machine().c_str(), banyan::bench::load());
  for (const Group& group : kGroups) {
    const bool is_wanted = std::any_of(wanted.begin(), wanted.end(),
                                       [&](std::string_view name) { return is_meant(group, name); });
    if (wanted.empty() || is_wanted) group.measure();
  }
  return 0;
}
