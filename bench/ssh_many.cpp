// `true` on many hosts, cold, beside other programs that do that.

#include <functional>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/server.h"

namespace banyan::bench {

namespace {

constexpr int kRuns = 3;
constexpr int kSlowRuns = 1;  // of those that take ten times as long
constexpr int kAtOnce = 50;
constexpr int kCounts[] = {1, 10, 50, 100};

using Environment = std::vector<std::pair<std::string, std::string>>;

bool is_installed(const std::string& program) {
  const Words words = {"sh", "-c", "command -v " + program + " >/dev/null && echo yes || echo no"};
  return output_of(words) == "yes\n";
}

struct Way {
  std::string name;
  int runs = kRuns;
  std::function<Words(int hosts)> words;
  Environment environment = {};
  bool is_ours = false, forgets = false;  // forgets: each run with an empty cache
};

struct Taken {
  Samples time, cpu;
};

std::string shown(const Taken& taken) {
  return format("%.2f s (%.1f CPU-s)", taken.time.median() / 1e6, taken.cpu.median() / 1e6);
}

void measure(const Way& way, int hosts, Taken& taken) {
  const TemporaryFolder empty;
  Environment environment = way.environment;
  if (way.forgets) environment.emplace_back("BANYAN_CACHE", empty.path());
  const double used = machine_cpu_us();
  taken.time.add(run_program(way.words(hosts), environment));
  taken.cpu.add(machine_cpu_us() - used);
}

Words banyan_words(const std::string& config, const char* back_end, int hosts) {
  return {
      beside_us("../banyan"),   "run", "-q",  "--ssh", back_end, "-F", config, "-f", format("%d", kAtOnce),
      format("h[1-%d]", hosts), "--",  "true"};
}

std::vector<Way> our_ways(const std::string& config, const std::string& cache) {
  const Environment warm = {{"BANYAN_CACHE", cache}};
  auto by = [config](const char* back_end) {
    return [config, back_end](int hosts) { return banyan_words(config, back_end, hosts); };
  };
  return {
      {.name = "banyan (auto: libssh2)", .words = by("auto"), .environment = warm, .is_ours = true},
      {.name = "banyan (auto: libssh2), empty caches", .words = by("auto"), .is_ours = true, .forgets = true},
      {.name = "banyan --ssh openssh", .words = by("openssh"), .environment = warm, .is_ours = true},
  };
}

Way xargs(const std::string& config) {
  return {.name = "xargs -P ssh", .words = [config](int hosts) -> Words {
            return {"sh", "-c",
                    format("seq -f h%%.0f %d | xargs -P %d -I{} ssh -F %s {} true", hosts, kAtOnce,
                           config.c_str())};
          }};
}

// Those that are there; the others are named in `missing`.
std::vector<Way> other_ways(const std::string& config, std::string& missing) {
  const std::string at_once = format("%d", kAtOnce);
  auto group = [](int hosts) { return hosts == 1 ? std::string("h1") : format("h[1-%d]", hosts); };
  auto script = [config, at_once](const char* name) {
    return [config, at_once, name](int hosts) -> Words {
      return {kDebianPython, std::string(BANYAN_BENCH_PEERS) + "/" + name, config, format("%d", hosts),
              at_once};
    };
  };
  std::vector<Way> ways;
  auto add = [&](bool is_there, const char* package, Way way) {
    if (is_there)
      ways.push_back(std::move(way));
    else
      missing += (missing.empty() ? "" : ", ") + std::string(package);
  };
  add(is_installed("pdsh"), "pdsh",
      {.name = "pdsh -f " + at_once,
       .words = [=](int hosts) -> Words {
         return {"pdsh", "-S", "-R", "ssh", "-f", at_once, "-w", group(hosts), "true"};
       },
       .environment = {{"PDSH_SSH_ARGS_APPEND", "-F " + config}}});
  add(is_installed("clush"), "clustershell",
      {.name = "clush -f " + at_once, .words = [=](int hosts) -> Words {
         return {"clush", "-n", "-S", "-q", "-f", at_once, "-o", "-F " + config, "-w", group(hosts), "true"};
       }});
  add(python_has("mitogen"), "python3-mitogen",
      {.name = "a Mitogen script", .runs = kSlowRuns, .words = script("mitogen_true.py")});
  add(python_has("execnet"), "python3-execnet",
      {.name = "an execnet script", .runs = kSlowRuns, .words = script("execnet_true.py")});
  return ways;
}

}  // namespace

void measure_ssh_many() {
  const Server server;
  const std::string config = server.config(Algorithms::kCommon);
  const TemporaryFolder cache;
  std::string missing;
  const std::vector<Way> ours = our_ways(config, cache.path()), others = other_ways(config, missing);
  const Way peer = xargs(config);

  Table table(
      "Many hosts, cold, the same key exchange",
      format("`banyan run -f %d 'h[1-N]' -- true`; the peer is `seq ... | xargs -P %d -I{} ssh {} "
             "true`, and the rows of other programs are compared with it too. All on this machine, "
             "server and clients, with curve25519-sha256, aes128-ctr and hmac-sha2-256; %d runs each, in "
             "turns (Mitogen and execnet: %d). banyan remembers from an earlier run the architecture "
             "of the hosts and what `ssh -G` says of them, except in rows that say empty caches. "
             "Processor time is the whole machine's.",
             kAtOnce, kAtOnce, kRuns, kSlowRuns));
  if (!missing.empty()) table.note("Not installed, so not measured: " + missing + ".");
  for (const Way& way : ours)
    if (!way.forgets) run_program(way.words(100), way.environment);  // fills the cache
  for (const int hosts : kCounts) {
    Taken peer_taken;
    std::vector<Taken> ours_taken(ours.size()), others_taken(others.size());
    for (int run = 0; run < kRuns; ++run) {
      measure(peer, hosts, peer_taken);
      for (std::size_t i = 0; i < ours.size(); ++i) measure(ours[i], hosts, ours_taken[i]);
      for (std::size_t i = 0; i < others.size(); ++i)
        if (run < others[i].runs) measure(others[i], hosts, others_taken[i]);
    }
    const std::string count = format("%d: ", hosts);
    auto ratio = [&](const Taken& taken) { return taken.time.median() / peer_taken.time.median(); };
    for (std::size_t i = 0; i < ours.size(); ++i) {
      if (hosts == 100 && !ours[i].forgets)
        table.at_most(count + ours[i].name, shown(ours_taken[i]), shown(peer_taken), ratio(ours_taken[i]),
                      {1.3, 1.1});
      else
        table.plain(count + ours[i].name, shown(ours_taken[i]), shown(peer_taken), ratio(ours_taken[i]));
    }
    for (std::size_t i = 0; i < others.size(); ++i)
      table.plain(count + others[i].name + ", as peer", "", shown(others_taken[i]), ratio(others_taken[i]));
  }
}

}  // namespace banyan::bench
