#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/root.h"
#include "bench/server.h"
#include "parent/api/stage0.h"
#include "parent/image_header.h"
#include "transports/local.h"

namespace banyan::bench {

namespace {

constexpr double kKib = 1024;
constexpr int kMany = 100;
constexpr double kPatienceUs = 30e6;  // for a hundred agents to be up

std::string in_bytes(double bytes) {
  return bytes < 10 * kKib ? format("%.0f bytes", bytes) : format("%.1f KiB", bytes / kKib);
}

void measure_upload() {
  Table table("Bytes sent to a new host", "As this program carries them.");
  for (const std::string_view architecture : embedded_images().architectures()) {
    const Image& image = *embedded_images().find(architecture, ImageKind::kAgent);
    const double loader = double(image.loader.size());
    const double agent = double(image.compressed.size() + kImageHeaderBytes);
    const std::string name(architecture);
    table.plain(name + ": loader", in_bytes(loader), "", 0);
    table.plain(name + ": agent, compressed", in_bytes(agent), "", 0);
    table.within(name + ": loader and agent", in_bytes(loader + agent), "", (loader + agent) / kKib, "KiB",
                 {64, 40});
  }
  table.plain("stage 0, a command", in_bytes(double(stage0_command(1, "x86_64").size())), "", 0);
}

// Counted between the client and the server, ssh's own packets included.
void measure_wire() {
  Table table(
      "Bytes on the wire of one ssh connection",
      "To the server + back, counted by a relay in between: `banyan run HOST -- true` and `ssh HOST true`.");
  const Server server;
  CountingRelay relay(server.port());
  const std::string config = server.config(Algorithms::kOwnChoice, relay.port());
  const Words run = {beside_us("../banyan"), "run", "-F", config, "h1", "--", "true"};
  TemporaryFolder cache;
  auto count = [&](const Words& argv) {
    run_program(argv, {{"BANYAN_CACHE", cache.path()}});
    return relay.take();
  };
  const CountingRelay::Counted unknown = count(run), known = count(run),
                               bare = count({"ssh", "-F", config, "h1", "true"});
  auto shown = [](const CountingRelay::Counted& counted) {
    return format("%.1f + %.1f KiB", double(counted.to_server) / kKib, double(counted.to_client) / kKib);
  };
  auto more = [&](const CountingRelay::Counted& ours) {
    return format(", %.1f more",
                  double(ours.to_server + ours.to_client - bare.to_server - bare.to_client) / kKib);
  };
  table.plain("architecture not known" + more(unknown), shown(unknown), shown(bare), 0);
  table.plain("architecture known" + more(known), shown(known), shown(bare), 0);
}

double memory_kib(std::int64_t pid, const char* name, const std::string& field) {
  return kib_in(format("/proc/%lld/%s", static_cast<long long>(pid), name), field);
}

double own_kib(std::int64_t pid) {
  return memory_kib(pid, "smaps_rollup", "Private_Dirty") + memory_kib(pid, "smaps_rollup", "Private_Clean");
}

void measure_agent_memory(Table& table) {
  Root root;
  root.bring_up({local("one")}, [&](const std::vector<Child>& children) {
    const std::int64_t pid = children.front().hello.pid;
    table.within("an idle agent, alone: its own pages", format("%.0f KiB", own_kib(pid)), "",
                 own_kib(pid) / kKib, "MiB", {1, 0.5});
  });
  std::vector<Recipe> many;
  for (int i = 0; i < kMany; ++i) many.push_back(local("one of many"));
  root.bring_up(std::move(many), [&](const std::vector<Child>& children) {
    const std::int64_t pid = children.front().hello.pid;
    table.plain("an idle agent among a hundred: its own pages", format("%.0f KiB", own_kib(pid)), "", 0);
    table.plain("the same, with its share of common pages",
                format("%.0f KiB", memory_kib(pid, "smaps_rollup", "Pss")), "", 0);
  });
}

// The program with as many agents, each running a command.
void measure_root_memory(Table& table) {
  const std::string program = beside_us("../banyan");
  const char* argv[] = {program.c_str(), "run", "-q",    "-f", "100",
                        "local[1-100]",  "--",  "sleep", "60", nullptr};
  posix_spawn_file_actions_t quietly;
  ::posix_spawn_file_actions_init(&quietly);
  ::posix_spawn_file_actions_addopen(&quietly, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&quietly, 2, "/dev/null", O_WRONLY, 0);  // we end it, and it says so
  pid_t pid = -1;
  if (::posix_spawn(&pid, program.c_str(), &quietly, nullptr, const_cast<char**>(argv), environ) != 0)
    die("cannot start " + program);
  ::posix_spawn_file_actions_destroy(&quietly);
  const double began = now_us();
  auto commands = [&] {  // agents that have a guard below them
    std::ifstream file(format("/proc/%d/task/%d/children", pid, pid));
    std::size_t count = 0;
    for (pid_t child = 0; file >> child;) count += has_children(child) ? 1 : 0;
    return count;
  };
  while (commands() < kMany && now_us() - began < kPatienceUs) ::usleep(20'000);
  const double resident = memory_kib(pid, "status", "VmRSS"), own = own_kib(pid);
  const bool all_up = commands() == kMany;
  ::kill(pid, SIGTERM);
  retry([&] { return ::waitpid(pid, nullptr, 0); });
  if (!all_up) die("a hundred agents did not come up");
  table.within("the root with 100 children: resident", format("%.1f MiB", resident / kKib), "",
               resident / kKib, "MiB", {16, 0});
  table.plain("the same: its own pages", format("%.1f MiB", own / kKib), "", 0);
}

}  // namespace

void measure_bytes() {
  measure_upload();
  measure_wire();
  Table table("Memory",
              "Local agents; own pages are the private ones of smaps_rollup. The root is `banyan run`.");
  measure_agent_memory(table);
  measure_root_memory(table);
}

}  // namespace banyan::bench
