// A command on each of a hundred hosts that are up, beside so many processes started here.

#include <memory>
#include <vector>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/peers.h"
#include "bench/root.h"
#include "bench/server.h"
#include "parent/command.h"
#include "transports/libssh2.h"

namespace banyan::bench {

namespace {

constexpr int kHosts = 100;
constexpr int kRuns = 15;

// Asks them all at once; until the last has told how it ended.
double run_everywhere_us(Root& root, const std::vector<Child>& hosts, const std::string& program) {
  std::vector<std::unique_ptr<Command>> commands;
  std::size_t running = hosts.size();
  const double began = now_us();
  for (const Child& host : hosts) {
    ExecRequest request;
    request.argv = {program};
    Command::Callbacks callbacks;
    callbacks.on_done = [&](Result<ExecOutcome> outcome) {
      if (!outcome) die("a command was lost: " + outcome.error().text);
      if (outcome->kind != ExecOutcome::Kind::kExited || outcome->code != 0) die("a command failed");
      if (--running == 0) root.loop().stop();
    };
    commands.push_back(
        std::make_unique<Command>(root.router(), host.id, std::move(request), std::move(callbacks)));
  }
  root.loop().run();
  return now_us() - began;
}

}  // namespace

void measure_ssh_warm() {
  const Server server;
  Table table(
      "A hundred hosts that are up",
      format("A command in each of %d contexts at once, over libssh2, from the first request to the last "
             "outcome; the peer is posix_spawn() of a static program that does nothing, as often, waited "
             "for. %d runs each, in turns.",
             kHosts, kRuns));
  Root root;
  std::vector<Recipe> recipes;
  std::uint64_t nonce = std::uint64_t(now_us());
  for (int i = 0; i < kHosts; ++i)
    recipes.push_back(libssh2("h", server.session(), {}, ++nonce, "x86_64", root.connectors()));
  Samples usual, least, one_by_one, at_once, cpu;
  root.bring_up(std::move(recipes), [&](const std::vector<Child>& hosts) {
    for (int run = 0; run < kRuns; ++run) {
      const double used = machine_cpu_us();
      usual.add(run_everywhere_us(root, hosts, "true"));
      cpu.add(machine_cpu_us() - used);
      at_once.add(spawn_at_once_us(kStaticProgram, kHosts));
      least.add(run_everywhere_us(root, hosts, beside_us(kStaticProgram)));
      one_by_one.add(spawn_in_a_row_us(kStaticProgram, kHosts));
    }
  });
  auto row = [&](const char* what, const Samples& ours, const Samples& peer, const char* how, Budget budget) {
    const double ratio = ours.median() / peer.median();
    if (budget.must != 0)
      table.at_most(what, in_ms(ours), in_ms(peer) + how, ratio, budget);
    else
      table.plain(what, in_ms(ours), in_ms(peer) + how, ratio);
  };
  row("`true`", usual, at_once, " all at once", {1.6, 0});
  row("`true`", usual, one_by_one, " one by one", {});
  row("the peer's program", least, at_once, " all at once", {});
  table.plain("processor time of the machine for `true`", format("%.0f ms", cpu.median() / 1e3), "", 0);
}

}  // namespace banyan::bench
