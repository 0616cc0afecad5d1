#include "cli/doctor_ladder.h"

#include <algorithm>

#include "core/frame.h"
#include "core/text.h"
#include "transports/openssh_log.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kNoiseShown = 160;  // bytes of what a login shell prints: enough to know it again

using State = LadderStep::State;

// What the reader can do where nobody who knew more has said it.
struct StepInfo {
  std::string_view name, remedy;
};
constexpr StepInfo kSteps[] = {
    {"hop", "see the steps of that hop"},
    {"settings", "see what ssh -G says about this host, and what banyan plan does"},
    {"resolve",
     "check how the name is written, and that this machine knows it (DNS, /etc/hosts, ssh's configuration)"},
    {"connect", "check the address and the port, that sshd runs there, and that no firewall stands between"},
    {"kex",
     "see that sshd listens on that port, and what ssh says about the host's key when you connect by hand"},
    {"auth", "check the user (-l) and the key (--identity, ssh-add -l)"},
    {"become", "see what sudo says by hand on that machine: sudo -n -u USER true"},
    {"shell",
     "log in by hand with ssh: the account's login shell, or a start-up file of it, ends at once or waits "
     "for something"},
    {"stage0",
     "the account needs chmod, rm, uname and dd, and one directory where it may write a file and execute it"},
    {"upload", "check that the disk there is not full, and that the connection holds"},
    {"execute",
     "allow execution from memory (vm.memfd_noexec) or from a directory the account can write to, or look "
     "for a "
     "security module"},
    {"hello",
     "look in the log of that machine for a security module, a limit of memory, or the out-of-memory killer"},
    {"call",
     "it came up and then fell silent: check the connection and the load of that machine, and try again"},
    {"shutdown", "log in by hand and look for processes called banyan-agent"},
};

std::string quoted(std::string_view text) {
  return cat('"', text.substr(0, kNoiseShown), text.size() > kNoiseShown ? "...\"" : "\"");
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += cat(all.empty() ? "" : ", ", word);
  return all;
}

// The folder of a path.
std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == path.npos ? "." : path.substr(0, slash);
}

class Maker {
 public:
  explicit Maker(const Seen& seen) : seen_(seen), way_(*seen.way), journal_(seen.way->journal.get()) {
    if (journal_ == nullptr) return;
    for (const StartJournal::Said& said : journal_->said) log_.feed(said.text, said.at);
    report_ = parse_stage0_report(journal_->report);
  }

  DoctorReport make() {
    DoctorReport report;
    report.target = seen_.target;
    report.took = seen_.took;
    report.error = seen_.error;
    const std::string_view failed = failed_step();
    bool is_before = true;
    for (const StepInfo& info : kSteps) {
      if (!has_step(info.name)) continue;
      LadderStep step;
      step.name = info.name;
      if (info.name == failed) is_before = false;
      step.state = info.name == failed ? State::kFailed : is_before ? State::kOk : State::kNotReached;
      // What had to be told to end is ended also where something failed.
      if (info.name == "shutdown" && failed != "shutdown" && seen_.farewell) step.state = State::kOk;
      if (step.state != State::kNotReached) fill(step);
      // The target itself nobody has come to.
      if (const std::string jump = failed_jump();
          step.state == State::kOk && is_of_ssh(info.name) && !jump.empty()) {
        step.found = cat("that of ", jump);
        step.facts.clear();
      }
      if (step.state == State::kFailed) {
        step.found = report.error->text;
        if (const std::string more = beside(info.name, step.found); !more.empty()) {
          while (step.found.ends_with('.')) step.found.pop_back();
          step.found += more;
        }
        std::string& remedy = report.error->remedy;
        if (remedy.empty() || remedy.starts_with("try ssh ")) remedy = info.remedy;
      }
      report.steps.push_back(std::move(step));
    }
    return report;
  }

 private:
  static bool is_of_ssh(std::string_view step) {
    return step == "resolve" || step == "connect" || step == "kex" || step == "auth";
  }
  // "jump gw", as errors of libssh2's way begin where a jump fails; empty: none has.
  std::string failed_jump() const {
    if (!seen_.error || !seen_.error->text.starts_with("jump ")) return "";
    return seen_.error->text.substr(0, seen_.error->text.find(": "));
  }
  // What is seen of a step that failed, where its error does not say it.
  std::string beside(std::string_view step, const std::string& error) const {
    const OpensshProgress& ssh = log_.progress();
    if (step == "kex" && !ssh.host_key_type.empty() && error.find(ssh.host_key_fingerprint) == error.npos)
      return cat("; it shows ", ssh.host_key_type, " ", ssh.host_key_fingerprint);
    if (step == "auth" && !ssh.offered.empty() && error.find("; refused: ") == error.npos)
      return cat("; offered: ", joined(ssh.offered));
    return "";
  }
  bool has_step(std::string_view name) const {
    if (name == "hop") return !seen_.hop.empty();
    if (name == "shutdown" && seen_.is_hop) return !seen_.left.empty();
    // Of what a hop starts, it tells the step that fails, and not what stage 0 reports there.
    if (name == "stage0" && is_started_by_hop()) return false;
    const bool is_everywhere =
        name == "settings" || name == "execute" || name == "hello" || name == "call" || name == "shutdown";
    switch (seen_.method) {
      case Method::kSsh:
        return name != "become";
      case Method::kLocal:
        return is_everywhere;
      case Method::kSudo:
      case Method::kSu:
      case Method::kDoas:
        return is_everywhere || name == "become" || name == "stage0" || name == "upload";
      case Method::kContainer:
        return is_everywhere || name == "become" || (is_by_exec() && (name == "stage0" || name == "upload"));
    }
    return true;
  }
  bool is_started_by_hop() const { return !seen_.hop.empty() && journal_ == nullptr; }
  bool has_report() const { return journal_ != nullptr && !journal_->report.empty(); }
  // Of a container: nobody has entered it, or it is not known yet whether somebody can.
  bool is_by_exec() const { return has_report(); }
  bool is_openssh() const { return way_.choice && way_.choice->back_end == BackEnd::kOpenssh; }

  // Empty: none.
  std::string_view failed_step() const {
    if (!seen_.error) return "";
    const Error& error = *seen_.error;
    if (seen_.child) return seen_.farewell && !seen_.left.empty() ? "shutdown" : "call";
    if (way_.hop_failed) return "hop";
    if (was_not_started()) return "settings";
    Phase phase = error.phase;
    // openssh's phases are one to the runner; its own words tell them apart.
    const Phase told = log_.progress().phase();
    if (is_openssh() && phase == Phase::kConnect && error.error_class == ErrorClass::kTimeout) phase = told;
    // Of a connection that is reset it does not say whether keys had been exchanged, but the steps do.
    if (is_openssh() && phase == Phase::kKex && error.error_class == ErrorClass::kLost)
      phase = std::max(phase, told);
    if (error.error_class == ErrorClass::kCancelled) phase = furthest();
    if (seen_.method != Method::kSsh && seen_.method != Method::kLocal &&
        (phase < Phase::kUpload || phase == Phase::kBecome))
      return has_report() ? "stage0" : "become";
    const bool is_local = seen_.method == Method::kLocal;
    switch (phase) {
      case Phase::kResolve:
        return is_local ? "execute" : "resolve";
      case Phase::kConnect:
        return is_local ? "execute" : "connect";
      case Phase::kKex:
        return "kex";
      case Phase::kAuth:
        return "auth";
      case Phase::kShell:
        return has_report() ? "stage0" : "shell";
      case Phase::kUpload:
        if (is_local || error.text.find("(exec ") != std::string::npos) return "execute";
        return "upload";
      case Phase::kHello:
        return error.text.find("(execute ") != std::string::npos ? "execute" : "hello";
      default:
        return "call";
    }
  }

  // It was not to be had what to start, or it must not be.
  bool was_not_started() const {
    if (!is_started_by_hop()) return journal_ == nullptr;
    return seen_.method == Method::kSsh && way_.attempts == 0;
  }

  Phase furthest() const {
    if (journal_ == nullptr) return seen_.error->phase;
    if (is_openssh() && journal_->reported == 0) return log_.progress().phase();
    return journal_->phases.empty() ? Phase::kResolve : journal_->phases.back().phase;
  }

  // When a phase began, as far as it is known; 0: it is not.
  Nanos entered(Phase phase) const {
    if (journal_ == nullptr) return 0;
    const OpensshProgress& ssh = log_.progress();
    if (is_openssh() && phase < Phase::kUpload) {
      switch (phase) {
        case Phase::kResolve:
          return journal_->began;
        case Phase::kConnect:
          return ssh.connecting;
        case Phase::kKex:
          return ssh.connected;
        case Phase::kAuth:
          return ssh.keyed;
        default:
          return ssh.authenticated;
      }
    }
    // The host's own: jumps before it had phases of that name as well.
    Nanos at = 0;
    for (const StartJournal::Entered& one : journal_->phases)
      if (one.phase == phase) at = one.at;
    return at;
  }
  static std::optional<Nanos> between(Nanos from, Nanos to) {
    if (from == 0 || to == 0) return std::nullopt;
    return std::max<Nanos>(to - from, 0);
  }
  std::optional<Nanos> time_of(Phase phase, Phase next) const {
    const Nanos end = entered(next);
    return between(entered(phase), end != 0 ? end : end_of_way());
  }
  // Of one that failed: when it did.
  Nanos end_of_way() const { return seen_.child ? 0 : way_.began + seen_.took; }

  void fill(LadderStep& step) {
    if (step.name == "hop") step.found = seen_.hop;
    if (step.name == "settings") settings(step);
    if (step.name == "resolve") step.took = time_of(Phase::kResolve, Phase::kConnect);
    if (step.name == "resolve") resolve(step);
    if (step.name == "connect") connect(step);
    if (step.name == "kex") host_key(step);
    if (step.name == "auth") authentication(step);
    if (step.name == "become") become(step);
    if (step.name == "shell") shell(step);
    if (step.name == "stage0") stage0(step);
    if (step.name == "upload") upload(step);
    if (step.name == "execute") execute(step);
    if (step.name == "hello") hello(step);
    if (step.name == "call") call(step);
    if (step.name == "shutdown") shutdown(step);
  }

  void settings(LadderStep& step) const {
    if (seen_.method != Method::kSsh) {
      step.found = seen_.hop.empty() ? "this machine, over a pipe" : "the same machine, over a pipe";
      return;
    }
    step.took = between(way_.began, way_.answered);
    if (!way_.settings) return;
    const SshSettings& settings = *way_.settings;
    step.found = cat(settings.user, "@", settings.hostname, " port ", settings.port);
    step.facts = {
        {"host", settings.hostname}, {"user", settings.user}, {"port", std::int64_t{settings.port}}};
    if (is_started_by_hop()) step.found += cat(", by the ssh of ", seen_.hop);
    if (!way_.choice) return;
    const BackEndChoice& choice = *way_.choice;
    const std::string because = cat(choice.setting, choice.setting.empty() ? "" : ": ", choice.because);
    step.found += cat(", by ", banyan::name_of(choice.back_end), because.empty() ? "" : " (", because,
                      because.empty() ? "" : ")");
    step.facts.emplace_back("backend", std::string(banyan::name_of(choice.back_end)));
    step.facts.emplace_back("because", because);
  }

  void resolve(LadderStep& step) const {
    if (log_.progress().is_shared)
      step.found = "a shared connection of ssh's was open";
    else if (log_.progress().is_by_proxy)
      step.found = is_openssh() ? "left to the proxy" : "left to the jumps before it";
    else
      step.found = log_.progress().address;
    if (!log_.progress().address.empty()) step.facts.emplace_back("address", log_.progress().address);
  }

  void connect(LadderStep& step) const {
    step.took = time_of(Phase::kConnect, Phase::kKex);
    const OpensshProgress& ssh = log_.progress();
    if (way_.settings) step.found = cat("port ", way_.settings->port);
    if (way_.attempts > 1) {
      step.found += cat(", at attempt ", way_.attempts);
      step.facts.emplace_back("attempts", std::int64_t{way_.attempts});
    }
    if (!ssh.server.empty()) {
      step.found += cat(", ", ssh.server);
      step.facts.emplace_back("server", ssh.server);
    }
  }

  void host_key(LadderStep& step) const {
    step.took = time_of(Phase::kKex, Phase::kAuth);
    const OpensshProgress& ssh = log_.progress();
    std::vector<std::string> known;
    for (const KnownHostKey& key : way_.known_keys) known.push_back(key.type);
    if (!ssh.host_key_type.empty()) {
      step.found = cat("host key ", ssh.host_key_type, " ", ssh.host_key_fingerprint);
      step.facts = {{"host_key_type", ssh.host_key_type}, {"host_key_fingerprint", ssh.host_key_fingerprint}};
    } else if (!known.empty()) {
      step.found = cat("the host's key is known: ", joined(known));
    }
    step.facts.emplace_back("known_host_key_types", known);
  }

  void authentication(LadderStep& step) const {
    step.took = time_of(Phase::kAuth, Phase::kShell);
    const OpensshProgress& ssh = log_.progress();
    if (!ssh.method.empty()) {
      step.found = ssh.method;
      step.facts.emplace_back("method", ssh.method);
    }
    if (!ssh.key.empty() && !ssh.method.empty()) {
      step.found += cat(": ", ssh.key, " ", ssh.key_type, " ", ssh.key_fingerprint);
      step.facts.emplace_back("key", ssh.key);
      step.facts.emplace_back("key_fingerprint", ssh.key_fingerprint);
    }
    if (!ssh.offered.empty()) step.facts.emplace_back("offered", ssh.offered);
    if (!ssh.methods_left.empty()) step.facts.emplace_back("server_takes", ssh.methods_left);
    if (step.found.empty() && way_.settings) step.found = cat("as ", way_.settings->user);
  }

  void become(LadderStep& step) const {
    if (journal_ != nullptr)
      step.took = between(journal_->began, journal_->reported != 0 ? journal_->reported
                                           : seen_.child           ? entered(Phase::kLink)
                                                                   : end_of_way());
    if (seen_.method == Method::kContainer) {
      const std::string_view engine = banyan::name_of(seen_.engine);
      step.found = cat("into ", seen_.container, seen_.user.empty() ? "" : cat(" as ", seen_.user));
      step.facts = {{"container", seen_.container}};
      if (!is_started_by_hop()) {
        step.found +=
            cat(", by ", is_by_exec() ? cat("the exec of ", engine) : std::string("its namespaces"));
        step.facts.emplace_back("way", std::string(is_by_exec() ? "exec" : "namespaces"));
      }
      if (!seen_.user.empty()) step.facts.emplace_back("user", seen_.user);
      return;
    }
    step.found = cat("as ", seen_.user, ", by ", method_name(seen_.method));
    step.facts = {{"user", seen_.user}};
  }

  void shell(LadderStep& step) const {
    if (journal_ == nullptr) return;
    const Nanos began = entered(Phase::kShell);
    step.took = between(began, journal_->reported != 0 ? journal_->reported : end_of_way());
    std::string noise = journal_->noise;
    if (noise.ends_with('\n')) noise.pop_back();  // stage 0's own, so that its marker begins a line
    std::string_view shown = noise;
    while (shown.starts_with('\n') || shown.starts_with('\r')) shown.remove_prefix(1);
    step.found = shown.empty() ? "nothing printed before our marker"
                               : cat(noise.size(), " bytes printed before our marker: ", quoted(shown));
    step.facts = {{"noise_bytes", std::int64_t(noise.size())}, {"noise", noise.substr(0, kNoiseShown)}};
  }

  void stage0(LadderStep& step) const {
    const std::string folder = report_.file.empty() ? "" : folder_of(report_.file);
    step.found = report_.machine;
    step.facts.emplace_back("arch", report_.machine);
    if (!folder.empty()) {
      step.found += cat(", ", folder);
      step.facts.emplace_back("directory", folder);
    }
    std::vector<std::string> passed_over;
    if (seen_.look) {
      for (const Look::Directory& one : seen_.look->directories) {
        if (one.path == folder) break;
        passed_over.push_back(cat(one.path, ": ", one.state));
      }
    } else if (folder.empty()) {
      passed_over = report_.tried;
    }
    if (!passed_over.empty() && !folder.empty()) step.found += cat(" (not ", joined(passed_over), ")");
    step.facts.emplace_back("passed_over", passed_over);
    const std::string how = report_.receiver != "dd"                      ? "printf"
                            : seen_.look && seen_.look->dd == "bytewise"  ? "dd, byte by byte"
                            : seen_.look && seen_.look->dd == "fullblock" ? "dd in full blocks"
                                                                          : "dd";
    step.found += cat(", ", how);
    step.facts.emplace_back("receiver", how);
    if (!report_.missing.empty()) step.facts.emplace_back("missing", report_.missing);
  }

  void upload(LadderStep& step) const {
    if (journal_ == nullptr) return;
    step.took =
        between(journal_->reported, entered(Phase::kHello) != 0 ? entered(Phase::kHello) : end_of_way());
    step.found = cat(journal_->bytes_sent, " bytes");
    step.facts = {{"bytes", std::int64_t(journal_->bytes_sent)}};
  }

  void execute(LadderStep& step) const {
    if (!seen_.look || seen_.look->program.empty()) return;
    const std::string& program = seen_.look->program;
    const bool in_memory = program.starts_with("/memfd:");
    step.found = in_memory ? "from memory" : cat("from a file in ", folder_of(program), ", gone since");
    step.facts = {{"from", std::string(in_memory ? "memory" : "file")}};
  }

  void hello(LadderStep& step) const {
    step.took = between(entered(Phase::kHello), seen_.child ? entered(Phase::kLink) : end_of_way());
    if (!seen_.child) return;
    const Hello& hello = seen_.child->hello;
    if (!step.took) step.took = seen_.child->took;
    step.found = cat(hello.kernel, ", ", hello.architecture, ", protocol ", kProtocolVersion, ", pid ",
                     hello.pid, ", uid ", hello.uid);
    step.facts = {{"kernel", hello.kernel},
                  {"arch", hello.architecture},
                  {"host_name", hello.host_name},
                  {"protocol", std::int64_t{kProtocolVersion}},
                  {"pid", hello.pid},
                  {"uid", std::int64_t{hello.uid}}};
    if (!seen_.info) return;
    step.found += cat(", ", seen_.info->rss_kib, " KiB");
    step.facts.emplace_back("rss_kib", std::int64_t(seen_.info->rss_kib));
  }

  void call(LadderStep& step) const {
    step.took = seen_.round_trip;
    if (!seen_.round_trip) return;
    step.found = "asked and answered";
    step.facts = {{"rtt_us", *seen_.round_trip / kMicrosecond}};
  }

  void shutdown(LadderStep& step) const {
    step.took = seen_.farewell;
    // Of what a hop starts it is not known which file stage 0 has made, and so it is not looked for.
    if (is_started_by_hop() && seen_.method != Method::kLocal) return;
    step.found = seen_.left.empty() ? "nothing is left there" : seen_.left;
    step.facts.emplace_back("left", seen_.left);
  }

  const Seen& seen_;
  const WayRecord& way_;
  const StartJournal* const journal_;  // null: nothing was started
  OpensshLog log_;
  Stage0Report report_;
};

}  // namespace

DoctorReport make_ladder(const Seen& seen) {
  return Maker(seen).make();
}

}  // namespace banyan::cli
