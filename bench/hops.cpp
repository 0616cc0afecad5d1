// Hosts behind hosts: what it takes to get to them, and to and fro, beside ssh in ssh and beside Mitogen.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/server.h"
#include "core/fd.h"
#include "tests/support/chain.h"

namespace banyan::bench {

namespace {

using test::Chain;

constexpr std::size_t kDepthMax = 4;
constexpr int kRuns = 7;
constexpr int kWarmTrips = 50, kTrips = 1'000;
constexpr std::size_t kSiblings = 20;
constexpr int kSiblingRuns = 3;
// A folder that has Mitogen's package, `mitogen`: a checkout of its sources, say.
constexpr const char* kMitogenVariable = "BANYAN_MITOGEN";

std::string mitogen_folder() {
  const char* folder = ::getenv(kMitogenVariable);
  return folder != nullptr ? folder : "";
}

// Dies where there can be none, as everything here does.
template <class Measure>
void with_chain(Chain::Options options, const Measure& measure) {
  if (const std::string lacks = test::lacks_for_chains(); !lacks.empty()) {
    std::printf("\nhops: not measured: %s\n", lacks.c_str());
    return;
  }
  options.server = find_sshd();
  options.has_keys_on_hops = true;
  options.folders["/opt/banyan"] = beside_us("..");
  options.folders["/opt/peers"] = BANYAN_BENCH_PEERS;
  if (!mitogen_folder().empty()) options.folders["/opt/mitogen"] = mitogen_folder();
  try {
    Chain chain(options);
    measure(chain);
  } catch (const std::runtime_error& error) {
    die(error.what());
  }
}

Words on_home(Chain& chain, const Words& words) {
  Words all = chain.home().starter();
  all.push_back("BANYAN_CACHE=/root/.cache/banyan");
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

Words banyan(const char* config, const std::string& target, const Words& command) {
  Words words = {"/opt/banyan/banyan", "run", "-q", "-F", config, target, "--"};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

// ssh in ssh: each hop runs the next one's.
Words nested_ssh(std::size_t depth, const Words& command) {
  Words words = {"ssh", "-F", Chain::kRelay, "A"};
  for (std::size_t i = 1; i < depth; ++i) {
    words.push_back("ssh");
    words.push_back(std::string(1, char('A' + i)));
  }
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

// "A/B/C", as `between` says.
std::string path_to(std::size_t depth, char between) {
  std::string path = "A";
  for (std::size_t i = 1; i < depth; ++i) path += {between, char('A' + i)};
  return path;
}

// A program with cat at its far end, and a byte there and back again and again.
void bounce(const Words& words, Samples& trips) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Result<FdPair> in = make_pipe(), out = make_pipe();
  if (!in || !out) die("no pipe");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in->first.get(), 0);
    ::dup2(out->second.get(), 1);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  in->first.reset();
  out->second.reset();
  for (int i = 0; i < kWarmTrips + kTrips; ++i) {
    const double began = now_us();
    char byte = 'x';
    if (::write(in->second.get(), &byte, 1) != 1 ||
        retry([&] { return ::read(out->first.get(), &byte, 1); }) != 1)
      die(words[0] + ": the byte does not come back");
    if (i >= kWarmTrips) trips.add(now_us() - began);
  }
  in->second.reset();
  int status = 0;
  retry([&] { return ::waitpid(pid, &status, 0); });
  if (status != 0) die(words[0] + ": cat did not end well");
}

// As `banyan tree` has it, in microseconds.
double round_trip(Chain& chain, const std::string& target) {
  const std::string said =
      output_of(on_home(chain, {"/opt/banyan/banyan", "tree", "--json", "-F", Chain::kRelay, target}));
  // The last context is the one at the end.
  const std::size_t at = said.rfind("\"rtt_us\":");
  if (at == said.npos) die("tree says something else than expected: " + said);
  return std::atof(said.c_str() + at + 9);
}

bool has_mitogen() {
  return !mitogen_folder().empty() && ::access(kDebianPython, X_OK) == 0;
}

Words mitogen(Chain& chain, const Words& script) {
  Words words = on_home(chain, {"PYTHONPATH=/opt/mitogen", "PYTHONDONTWRITEBYTECODE=1", kDebianPython});
  words.insert(words.end(), script.begin(), script.end());
  return words;
}

void note_without_mitogen(Table& table) {
  table.note(
      format("MITOGEN WAS NOT MEASURED: %s is to name a folder that has its package, and %s to be there.",
             kMitogenVariable, kDebianPython));
}

struct Mitogen {
  Samples up, trip;
};

void run_mitogen(Chain& chain, std::size_t depth, Mitogen& taken) {
  std::istringstream out(output_of(mitogen(
      chain, {"/opt/peers/mitogen_chain.py", path_to(depth, ','), format("%d", kTrips), Chain::kRelay})));
  double up = 0, trip = 0;
  if (!(out >> up >> trip)) die("mitogen_chain.py says something else than expected");
  taken.up.add(up * 1e3);
  taken.trip.add(trip);
}

std::string shown_ms(const Samples& samples) {
  return format("%.0f ms (worst %.0f)", samples.median() / 1e3, samples.quantile(1) / 1e3);
}

void measure_depth(Chain& chain) {
  const bool has_peer = has_mitogen();
  Samples single;
  struct Depth {
    Samples nested, relay, tunnel, call, bounced, bounced_by_us;
    Mitogen mitogen;
  } depths[kDepthMax];
  for (int run = 0; run < kRuns; ++run) {
    single.add(run_program(on_home(chain, nested_ssh(1, {"true"}))));
    for (std::size_t depth = 1; depth <= kDepthMax; ++depth) {
      Depth& taken = depths[depth - 1];
      const std::string path = path_to(depth, '/'), last(1, path.back());
      taken.nested.add(run_program(on_home(chain, nested_ssh(depth, {"true"}))));
      taken.relay.add(run_program(on_home(chain, banyan(Chain::kRelay, path, {"true"}))));
      taken.tunnel.add(run_program(on_home(chain, banyan(Chain::kTunnel, last, {"true"}))));
      taken.call.add(round_trip(chain, path));
      if (has_peer) run_mitogen(chain, depth, taken.mitogen);
    }
  }
  for (std::size_t depth = 1; depth <= kDepthMax; ++depth) {
    Depth& taken = depths[depth - 1];
    bounce(on_home(chain, nested_ssh(depth, {"cat"})), taken.bounced);
    bounce(on_home(chain, banyan(Chain::kRelay, path_to(depth, '/'), {"cat"})), taken.bounced_by_us);
  }

  Table table(
      "Hosts behind hosts",
      format("Machines made of namespaces, each reached from the one before alone, a real sshd on each; %d "
             "runs each, "
             "in turns. `banyan run A/B/C/D -- true`, the whole program, beside `ssh A ssh B ssh C ssh D "
             "true`, for which "
             "each hop has a key to the next (ours needs none there). A byte: given to `cat` at the far end, "
             "until it is "
             "back, %d times. Call: as `banyan tree` measures it, once a run. curve25519-sha256 for all.",
             kRuns, kTrips));
  const auto row = [&](const std::string& what, const Samples& ours, const Samples& peer, auto& shown) {
    table.plain(what, shown(ours), shown(peer), ours.median() / peer.median());
  };
  for (std::size_t depth = 1; depth <= kDepthMax; ++depth) {
    const Depth& taken = depths[depth - 1];
    const std::string what = format("%zu deep: ", depth);
    row(what + "`true`, relay", taken.relay, taken.nested, shown_ms);
    row(what + "`true`, tunnel (ProxyJump)", taken.tunnel, taken.nested, shown_ms);
    row(what + "a byte there and back", taken.bounced_by_us, taken.bounced, in_us);
    if (!has_peer) continue;
    row(what + "`true`, relay; Mitogen to its first reply", taken.relay, taken.mitogen.up, shown_ms);
    row(what + "a call; Mitogen's", taken.call, taken.mitogen.trip, in_us);
  }
  const double fourfold = kDepthMax * single.median();
  table.at_most(format("%zu deep: `true`, relay; %zu times `ssh A true`", kDepthMax, kDepthMax),
                shown_ms(depths[kDepthMax - 1].relay), format("%.0f ms", fourfold / 1e3),
                depths[kDepthMax - 1].relay.median() / fourfold, {1.1, 0});
  if (!has_peer) note_without_mitogen(table);
}

void measure_siblings(Chain& chain) {
  const Words serial = {
      "sh", "-ec", format("for i in $(seq %zu); do ssh -F %s h$i true; done", kSiblings, Chain::kTunnel)};
  const Words at_once = {
      "sh", "-c",
      format("seq %zu | xargs -P %zu -I{} ssh -F %s h{} true", kSiblings, kSiblings, Chain::kTunnel)};
  std::string names = "h1";
  for (std::size_t i = 2; i <= kSiblings; ++i) names += format(",h%zu", i);
  const std::string hosts = format("h[1-%zu]", kSiblings);
  Samples one, each, all, by_relay, by_relay_one, by_tunnel, by_mitogen;
  for (int run = 0; run < kSiblingRuns; ++run) {
    one.add(run_program(on_home(chain, {"ssh", "-F", Chain::kTunnel, "h1", "true"})));
    each.add(run_program(on_home(chain, serial)));
    all.add(run_program(on_home(chain, at_once)));
    by_relay.add(run_program(on_home(chain, banyan(Chain::kRelay, "A/" + hosts, {"true"}))));
    by_relay_one.add(run_program(on_home(chain, banyan(Chain::kRelay, "A/h1", {"true"}))));
    by_tunnel.add(run_program(on_home(chain, banyan(Chain::kTunnel, hosts, {"true"}))));
    if (has_mitogen())
      by_mitogen.add(1e3 * std::atof(output_of(mitogen(chain, {"/opt/peers/mitogen_siblings.py", "A", names,
                                                               Chain::kRelay}))
                                         .c_str()));
  }
  Table table(
      format("%zu hosts beneath one hop", kSiblings),
      format("Machines as above, side by side behind one hop, each on a wire of its own. The peers go "
             "through `ssh -J A`, one host after the other or all at once; %d runs each, in turns. "
             "Mitogen: to the last one's first reply, as one program asks for them.",
             kSiblingRuns));
  const auto row = [&](const std::string& what, const Samples& ours, const Samples& peer) {
    table.plain(what, shown_ms(ours), shown_ms(peer), ours.median() / peer.median());
  };
  row("relay; one after the other", by_relay, each);
  row("relay; all at once (xargs)", by_relay, all);
  row("tunnel; one after the other", by_tunnel, each);
  row("tunnel; all at once (xargs)", by_tunnel, all);
  if (has_mitogen())
    row("relay; Mitogen, one after the other", by_relay, by_mitogen);
  else
    note_without_mitogen(table);
  row("relay; one host", by_relay, one);
  row("relay to one host; one host", by_relay_one, one);
}

}  // namespace

void measure_hops_depth() {
  with_chain({.length = kDepthMax}, [](Chain& chain) { measure_depth(chain); });
}

void measure_hops_siblings() {
  with_chain({.length = 1, .leaves = kSiblings}, [](Chain& chain) { measure_siblings(chain); });
}

}  // namespace banyan::bench
