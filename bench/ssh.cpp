#include <fstream>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/root.h"
#include "bench/server.h"
#include "core/text.h"
#include "transports/openssh.h"

namespace banyan::bench {

namespace {

constexpr int kRuns = 15;
constexpr int kFanOutRuns = 3;
constexpr int kAtOnce = 50;

// One child behind ssh, from the start to hello, and to its reply.
struct Start {
  Samples hello, reply;
};
void bring_up(Start& start, const std::string& config, std::string_view architecture) {
  static std::uint64_t nonce = std::uint64_t(now_us());
  Root root;
  SshOptions options;
  options.config_file = config;
  const Root::Times times = root.bring_up({openssh({"h1", "", "h1", 0}, options, ++nonce, architecture)});
  start.hello.add(times.hello);
  start.reply.add(times.answered);
}

std::string in_ms_short(const Samples& samples) {
  return format("%.1f ms (worst %.1f)", samples.median() / 1e3, samples.quantile(1) / 1e3);
}

void add_row(Table& table, const std::string& what, const Samples& ours, const Samples& peer, Budget budget) {
  const double more = (ours.median() - peer.median()) / 1e3;
  if (budget.must != 0)
    table.within(what, in_ms_short(ours), in_ms_short(peer), more, "ms more", budget);
  else
    table.plain(what, in_ms_short(ours), in_ms_short(peer), ours.median() / peer.median());
}

void measure_start(const Server& server, const std::string& key_exchange) {
  const std::string name = key_exchange.empty() ? "ssh's own choice of key exchange" : key_exchange;
  Table table("A child behind ssh, " + name,
              format("%d runs each, in turns. The peer is `ssh host true`, the whole process, with the same "
                     "configuration. Known: the architecture of the host is in the cache.",
                     kRuns));
  const std::string config = server.config(key_exchange);
  const std::string banyan = beside_us("../banyan");
  Samples peer, run_known, run_unknown;
  Start known, unknown;
  TemporaryFolder warm;
  const Words run = {banyan, "run", "-F", config, "h1", "--", "true"};
  run_program(run, {{"BANYAN_CACHE", warm.path()}});
  for (int i = 0; i < kRuns; ++i) {
    peer.add(run_program({"ssh", "-F", config, "h1", "true"}));
    bring_up(known, config, "x86_64");
    bring_up(unknown, config, "");
    run_known.add(run_program(run, {{"BANYAN_CACHE", warm.path()}}));
    TemporaryFolder cold;
    run_unknown.add(run_program(run, {{"BANYAN_CACHE", cold.path()}}));
  }
  const Budget budget{40, 20};
  add_row(table, "to its first reply, known", known.reply, peer, budget);
  add_row(table, "to its first reply, unknown", unknown.reply, peer, budget);
  add_row(table, "to its hello, known", known.hello, peer, {});
  add_row(table, "to its hello, unknown", unknown.hello, peer, {});
  add_row(table, "banyan run HOST -- true, known", run_known, peer, budget);
  add_row(table, "banyan run HOST -- true, unknown", run_unknown, peer, budget);
}

void measure_fan_out(const Server& server, const std::string& key_exchange) {
  const std::string name = key_exchange.empty() ? "ssh's own choice of key exchange" : key_exchange;
  Table table("Many hosts, " + name,
              format("`banyan run -f %d 'h[1-N]' -- true` against `xargs -P %d ssh`, all on this machine; "
                     "architectures known; %d runs each, in turns. Processor time is the whole machine's.",
                     kAtOnce, kAtOnce, kFanOutRuns));
  const std::string config = server.config(key_exchange);
  const std::string banyan = beside_us("../banyan");
  TemporaryFolder cache;
  for (const int count : {1, 10, 50, 100}) {
    const Words ours = {
        banyan, "run", "-q", "-F", config, "-f", format("%d", kAtOnce), format("h[1-%d]", count),
        "--",   "true"};
    const Words theirs = {
        "sh", "-c",
        format("seq -f h%%.0f %d | xargs -P %d -I{} ssh -F %s {} true", count, kAtOnce, config.c_str())};
    run_program(ours, {{"BANYAN_CACHE", cache.path()}});
    Samples our_time, their_time, our_cpu, their_cpu;
    for (int i = 0; i < kFanOutRuns; ++i) {
      double used = machine_cpu_us();
      their_time.add(run_program(theirs));
      their_cpu.add(machine_cpu_us() - used);
      used = machine_cpu_us();
      our_time.add(run_program(ours, {{"BANYAN_CACHE", cache.path()}}));
      our_cpu.add(machine_cpu_us() - used);
    }
    auto shown = [](const Samples& time, const Samples& cpu) {
      return format("%.2f s (%.1f CPU-s)", time.median() / 1e6, cpu.median() / 1e6);
    };
    const std::string what = format("%d hosts", count);
    const double ratio = our_time.median() / their_time.median();
    if (count == 100)
      table.at_most(what, shown(our_time, our_cpu), shown(their_time, their_cpu), ratio, {1.3, 1.1});
    else
      table.plain(what, shown(our_time, our_cpu), shown(their_time, their_cpu), ratio);
  }
}

}  // namespace

void measure_ssh() {
  const Server server;
  for (const char* key_exchange : {"", "curve25519-sha256"}) measure_start(server, key_exchange);
  for (const char* key_exchange : {"", "curve25519-sha256"}) measure_fan_out(server, key_exchange);
}

}  // namespace banyan::bench
