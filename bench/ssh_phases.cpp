// Where the processor time of a hundred hosts goes, by phase and by process.

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <vector>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/processes.h"
#include "bench/root.h"
#include "bench/server.h"
#include "core/fd.h"
#include "transports/admission.h"
#include "transports/libssh2.h"

namespace banyan::bench {

namespace {

constexpr int kHosts = 100;
constexpr int kRuns = 3;

// Of all hosts together, microseconds.
struct Spent {
  double root = 0, connectors = 0, server = 0, machine = 0;
};

// So many sessions one after the other, as many at a time as banyan admits, through connectors and nothing
// else.
class Sessions {
 public:
  // `expected`: is this how a session shall end?
  using IsExpected = std::function<bool(const Carrier::Ending&)>;
  Sessions(Root& root, SessionSettings settings, IsExpected expected)
      : root_(root), settings_(std::move(settings)), is_expected_(std::move(expected)) {}

  void run() {
    for (std::size_t i = 0; i < kHandshakesMax; ++i) start_next();
    root_.loop().run();
  }

 private:
  struct One final : Carrier::Owner {
    explicit One(Sessions& sessions) : all(sessions) {}
    void on_carrier_phase(Phase) override {}
    void on_carrier_asks(bool) override {}
    void on_carrier_text(std::string_view) override {}
    void on_carrier_end(const Carrier::Ending& ending) override { all.on_end(ending); }
    Sessions& all;
    Fd near_end;
    std::unique_ptr<Carrier> carrier;
  };

  void start_next() {
    if (sessions_.size() == kHosts) return;
    auto pair = make_socketpair();
    if (!pair) die("no socketpair");
    sessions_.push_back(std::make_unique<One>(*this));
    One& one = *sessions_.back();
    one.near_end = std::move(pair->first);
    auto carrier = root_.connectors().open(settings_, "true", std::move(pair->second), one);
    if (!carrier) die(carrier.error().text);
    one.carrier = std::move(*carrier);
  }
  void on_end(const Carrier::Ending& ending) {
    if (!is_expected_(ending))
      die(ending.error ? ending.error->text : "a session ended otherwise than it should");
    if (++ended_ == kHosts) return root_.loop().stop();
    root_.loop().post([this] { start_next(); });
  }

  Root& root_;
  const SessionSettings settings_;
  const IsExpected is_expected_;
  std::vector<std::unique_ptr<One>> sessions_;
  std::size_t ended_ = 0;
};

Spent spend_on_sessions(const Server& server, const SessionSettings& settings,
                        const Sessions::IsExpected& expected) {
  Spent spent;
  const double server_before = server.ended_sessions_us(), machine_before = machine_cpu_us();
  const double own_before = cpu_us(kOurselves), family_before = family_cpu_us();
  {
    Root root;  // its connectors end with it
    Sessions(root, settings, expected).run();
  }
  spent.root = cpu_us(kOurselves) - own_before;
  spent.connectors = family_cpu_us() - family_before - spent.root;
  spent.server = server.ended_sessions_us() - server_before;
  spent.machine = machine_cpu_us() - machine_before;
  return spent;
}

Spent spend_on_run(const Server& server, const Words& words, const std::string& cache) {
  Spent spent;
  const double server_before = server.ended_sessions_us(), machine_before = machine_cpu_us();
  posix_spawn_file_actions_t quietly;
  ::posix_spawn_file_actions_init(&quietly);
  ::posix_spawn_file_actions_addopen(&quietly, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&quietly, 1, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::setenv("BANYAN_CACHE", cache.c_str(), 1);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, argv[0], &quietly, nullptr, argv.data(), environ);
  ::unsetenv("BANYAN_CACHE");
  ::posix_spawn_file_actions_destroy(&quietly);
  if (error != 0) die("cannot start " + words.front());
  siginfo_t ended{};
  retry([&] { return ::waitid(P_PID, id_t(pid), &ended, WEXITED | WNOWAIT); });
  const ProcessorTimes times = processor_times_of(pid);  // of one that has ended and is not reaped yet
  retry([&] { return ::waitpid(pid, nullptr, 0); });
  if (ended.si_status != 0) die("a run on a hundred hosts failed");
  spent.root = times.own;
  spent.connectors = times.reaped;
  spent.server = server.ended_sessions_us() - server_before;
  spent.machine = machine_cpu_us() - machine_before;
  return spent;
}

struct Phases {
  std::vector<Spent> runs;
  double median(double Spent::*part) const {
    Samples samples;
    for (const Spent& spent : runs) samples.add(spent.*part);
    return samples.median();
  }
};

void add_row(Table& table, const std::string& what, const Phases& phases) {
  table.plain(what,
              format("root %.2f, connectors %.2f CPU-s", phases.median(&Spent::root) / 1e6,
                     phases.median(&Spent::connectors) / 1e6),
              format("sshd and below %.2f, machine %.2f", phases.median(&Spent::server) / 1e6,
                     phases.median(&Spent::machine) / 1e6),
              0);
}

std::string login_shell() {
  const passwd* entry = ::getpwuid(::getuid());
  if (entry == nullptr || *entry->pw_shell == '\0') return "/bin/sh";
  return entry->pw_shell;
}

}  // namespace

void measure_ssh_phases() {
  const Server server;
  const std::string config = server.config(Algorithms::kCommon);
  const SessionSettings settings = server.session();
  SessionSettings stranger = settings;
  stranger.known_hosts = {server.path("no_known_hosts")};
  std::ofstream(stranger.known_hosts.front()) << "";
  Table table(
      "Processor time of a hundred hosts, by phase and by process",
      format(
          "Seconds for %d hosts together over libssh2, client and server on this machine, the common "
          "algorithms; each row does what the row above does and more, so their difference is a phase. "
          "Medians of %d runs; only the machine's figure has sshd's forking and processes that sshd does not "
          "wait for, and whatever else ran. Key exchange: sessions that end because the host is not known. "
          "Login "
          "shell: sessions whose command is `true`, without an agent. The whole: `banyan run 'h[1-%d]' "
          "-- true`, known hosts.",
          kHosts, kRuns, kHosts));
  const TemporaryFolder cache;
  const Words words = {beside_us("../banyan"),    "run", "-q",  "--ssh", "libssh2", "-F", config, "-f", "50",
                       format("h[1-%d]", kHosts), "--",  "true"};
  run_program(words, {{"BANYAN_CACHE", cache.path()}});
  Phases key_exchange, shell, whole;
  Samples shells, children;
  for (int run = 0; run < kRuns; ++run) {
    key_exchange.runs.push_back(spend_on_sessions(server, stranger, [](const Carrier::Ending& ending) {
      return ending.error && ending.error->error_class == ErrorClass::kHostKey;
    }));
    shell.runs.push_back(spend_on_sessions(
        server, settings, [](const Carrier::Ending& ending) { return !ending.error && ending.status == 0; }));
    whole.runs.push_back(spend_on_run(server, words, cache.path()));
    double used = family_cpu_us();
    for (int i = 0; i < kHosts; ++i)
      run_program({"env", "-i", "HOME=" + server.path("."), login_shell(), "-c", "true"});
    shells.add(family_cpu_us() - used);
    used = family_cpu_us();
    run_program(
        {beside_us("../banyan"), "run", "-q", "-f", "50", format("local[1-%d]", kHosts), "--", "true"});
    children.add(family_cpu_us() - used);
  }
  add_row(table, "connection, key exchange", key_exchange);
  add_row(table, "+ authentication, login shell", shell);
  add_row(table, "+ upload, agent, command, end", whole);
  table.plain("beside: a hundred login shells that run `true`, here", "",
              format("%.2f CPU-s", shells.median() / 1e6), 0);
  table.plain("beside: `banyan run 'local[1-100]' -- true`", format("%.2f CPU-s", children.median() / 1e6),
              "", 0);
}

}  // namespace banyan::bench
