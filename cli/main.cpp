// The banyan program: parts are built here and handed to each other.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/ask.h"
#include "cli/doctor.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pause.h"
#include "cli/plan.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "cli/terminal.h"
#include "cli/tree.h"
#include "core/text.h"
#include "parent/api/asio_loop.h"
#include "parent/image_service.h"
#include "parent/log_sink.h"
#include "parent/visitor.h"
#include "transports/jump.h"
#include "transports/remedies.h"

namespace banyan::cli {
namespace {

// Descriptors of ours for each target at a time, with room; and for everything else.
constexpr rlim_t kFilesPerTarget = 8, kFilesOfOurs = 64;

// For many targets at once, if they take long enough to be read; for one when somebody begins to wonder.
constexpr Nanos kProgressOfMany = 100 * kMillisecond, kProgressOfOne = kSecond;
constexpr Nanos kLastWords = 250 * kMillisecond;  // of one who leaves at once

// A descriptor 0, 1 or 2 that is closed would be given to the next socket, and be written to as standard
// output.
void fill_standard_descriptors() {
  int fd = ::open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 2) fd = ::dup(fd);
  if (fd > 2) ::close(fd);
}

// The usual soft limit of 1,024 is less than a large fan-out needs. How many fit at once.
std::size_t raise_file_limit(std::size_t fan_out) {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fan_out;
  const rlim_t needed = kFilesOfOurs + kFilesPerTarget * fan_out;
  if (limit.rlim_cur < needed) {
    limit.rlim_cur = std::min(needed, limit.rlim_max);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur >= needed) return fan_out;
  return std::max<std::size_t>(1,
                               (limit.rlim_cur - std::min(limit.rlim_cur, kFilesOfOurs)) / kFilesPerTarget);
}

// Ignored by whoever started us (nohup, a shell's background job): then it stays so.
bool is_ignored(int signal) {
  struct sigaction action;
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

std::string own_path() {
  std::string path(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
  path.resize(std::size_t(std::max<ssize_t>(length, 0)));
  return path;
}

class Program {
 public:
  explicit Program(Options options)
      : options_(std::move(options)),
        loop_(context_),
        router_(loop_, root_config()),
        ask_(loop_, terminal_, options_.no_ask ? AskEnvironment() : ask_environment(terminal_)),
        secrets_(loop_, ask_),
        connectors_(loop_, Connectors::default_program(), &secrets_),
        askpass_(loop_, secrets_, own_path(), [this](const std::string& text) { output_.notice(text); }),
        become_secrets_(loop_, secrets_),
        becoming_(loop_, become_secrets_, own_path(), options_.ssh.user),
        ids_(router_, kAllIds),
        routes_(router_, ids_),
        runner_(loop_, router_, embedded_images(), ids_, routes_),
        images_(router_, embedded_images()),
        cache_(ArchCache::default_folder()),
        output_(loop_, Output::style_for(options_), [this](int error) { on_stdout_failed(error); }),
        log_(router_, [this](ContextId origin, LogLevel level,
                             std::string_view text) { on_record(origin, level, text); }),
        signals_(context_) {
    // From when we hold a secret: no core file, and nobody of the same user reads it through /proc.
    secrets_.on_first_secret([] { ::prctl(PR_SET_DUMPABLE, 0); });
    ask_.set_hooks(
        {.on_begin = [this](std::function<void()> then) { output_.hide_progress(std::move(then)); },
         .on_end = [this] { output_.show_progress(); }});
    // Warnings always, and a level more for each -v.
    const int level = std::min(int(LogLevel::kWarning) + options_.verbosity, int(LogLevel::kTrace));
    runner_.set_log_level(std::uint8_t(options_.quiet ? int(LogLevel::kError) : level));
    if (options_.verbosity >= 2) {
      runner_.watch_frames([this](std::string_view child, bool outgoing, const Header& header) {
        output_.notice(cat(child, outgoing ? " < " : " > ", describe(header)));
      });
    }
  }

  // Returns the exit code. What is not written by then nobody wants: is_idle().
  int run() {
    std::unique_ptr<FanOut> verb;
    auto on_over = [this](int exit_code) {
      exit_code_ = exit_code;
      context_.stop();
    };
    const Machinery machinery{loop_,    router_,   runner_, routes_, connectors_, secrets_,
                              askpass_, becoming_, cache_,  output_, options_};
    if (options_.verb == Verb::kTree) {
      verb = std::make_unique<Tree>(machinery, on_over);
    } else if (options_.verb == Verb::kDoctor) {
      verb = std::make_unique<Doctor>(machinery, on_over);
    } else {
      verb = std::make_unique<Run>(machinery, on_over);
    }
    verb_ = verb.get();
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP}) {
      if (!is_ignored(signal)) signals_.add(signal);
    }
    if (output_.style().progress) {
      signals_.add(SIGWINCH);
      progress_ = std::make_unique<Progress>(
          loop_, STDERR_FILENO, options_.targets.one ? kProgressOfOne : kProgressOfMany,
          [this] { return verb_->progress(); },
          [this](const std::string& line) { output_.set_progress(line); });
    }
    wait_for_signal();
    loop_.post([this] { begin(); });
    context_.run();
    leave();
    if (!output_.is_idle()) ::_exit(exit_code_);  // a thread of ours waits for a reader who does not read
    return exit_code_;
  }

 private:
  static RouterConfig root_config() {
    RouterConfig config;
    config.sideways = Sideways::kVertical;
    return config;
  }

  void begin() {
    const bool is_over_ssh = std::ranges::any_of(options_.targets.targets, [](const Target& target) {
      return first_of(target).method == Method::kSsh;
    });
    if (!options_.ask_password || !is_over_ssh) return ask_to_become();
    secrets_.ask_common([this](const Asker::Answer& answer) {
      if (is_password_there("-k", answer)) ask_to_become();
    });
  }

  void ask_to_become() {
    if (!options_.ask_become_password || !becoming_.is_expected()) return verb_->begin();
    become_secrets_.ask_all([this](const Asker::Answer& answer) {
      if (is_password_there("-K", answer)) verb_->begin();
    });
  }

  bool is_password_there(std::string_view option, const Asker::Answer& answer) {
    if (verb_->is_ending()) return false;
    if (answer.outcome == Asker::Outcome::kAnswered) return true;
    std::string why = "no password was given";
    if (answer.outcome == Asker::Outcome::kNobody) why = cat("there is nobody to ask: ", kNobodyRemedy);
    if (answer.outcome == Asker::Outcome::kFailed) why = cat(answer.problem, ": ", kAskerRemedy);
    output_.notice(cat("banyan: ", option, ": ", why));
    verb_->end_all(kExitUsage);
    return false;
  }

  void wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      on_signal(signal);
      wait_for_signal();
    });
  }

  void on_signal(int signal) {
    if (signal == SIGWINCH) return progress_->redraw();
    if (signal == SIGTSTP) return pause_.begin();
    const int exit_code = kExitSignalBase + signal;
    const bool was_asking = ask_.is_asking();
    if (was_asking || signal != SIGINT || verb_->is_ending()) ask_.close();
    if (was_asking || signal != SIGINT) return verb_->end_all(exit_code);
    // Only a person is impatient: a terminal that closes can say SIGHUP twice, a service manager both.
    if (!verb_->is_ending()) return verb_->interrupt();
    verb_->abandon(exit_code);
    leave();
    ::_exit(exit_code);  // the agents see our end and end themselves
  }

  // What stays of us on the terminal is what was said.
  void leave() {
    output_.last_words(kLastWords);
    terminal_.restore();
  }

  void on_record(ContextId origin, LogLevel level, std::string_view text) {
    output_.notice(cat(verb_->name_of(origin), ": ", name_of(level), ": ", text));
  }

  void on_stdout_failed(int error) {
    output_.hush();
    verb_->end_all(error == EPIPE ? kExitSignalBase + SIGPIPE : kExitUnreachable);
    if (error != EPIPE)
      output_.notice(cat("banyan: standard output: ", std::string_view(std::strerror(error))));
  }

  const Options options_;
  boost::asio::io_context context_{1};
  AsioLoop loop_;
  Router router_;
  Terminal terminal_;
  Ask ask_;
  Secrets secrets_;
  Connectors connectors_;  // outlives the children
  Askpass askpass_;        // as well
  BecomeSecrets become_secrets_;
  Becoming becoming_;
  IdSource ids_;
  RouteMonitor routes_;
  Runner runner_;
  ImageService images_;  // for hops
  ArchCache cache_;
  Output output_;
  LogSink log_;
  Pause pause_{loop_, router_, output_, terminal_, [this] {
                 if (progress_) progress_->redraw();
                 ask_.resume();
               }};
  std::unique_ptr<Progress> progress_;
  boost::asio::signal_set signals_;
  FanOut* verb_ = nullptr;
  int exit_code_ = 0;
};

int run_program(int argc, char** argv) {
  fill_standard_descriptors();
  ::signal(SIGPIPE, SIG_IGN);
  Options options;
  try {
    options = parse_options({argv + 1, argv + argc});
  } catch (const UsageError& error) {
    std::fprintf(stderr, "banyan: %s\n", error.what());
    return kExitUsage;
  }
  if (options.verb == Verb::kHelp || options.verb == Verb::kVersion) {
    const bool written = std::fputs(options.help.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
    return written ? 0 : 1;
  }
  for (const std::string& item : options.targets.not_excluded)
    std::fprintf(stderr, "banyan: -x %s: not among the targets\n", item.c_str());
  if (options.verb == Verb::kPlan) return run_plan(options);
  const std::size_t targets = options.targets.targets.size(), wanted = std::min(options.fan_out, targets);
  const std::size_t fit = raise_file_limit(std::min(wanted + options.idle_max, targets));
  options.fan_out = std::min(wanted, fit);
  options.idle_max = fit - options.fan_out;
  if (options.fan_out < wanted && !options.quiet) {
    std::fprintf(stderr,
                 "banyan: %zu at once instead of %zu: the limit of open files (ulimit -n) allows no more\n",
                 options.fan_out, wanted);
  }
  return Program(std::move(options)).run();
}

}  // namespace
}  // namespace banyan::cli

int main(int argc, char** argv) {
  // Started by an ssh or a sudo that we started, with its question; a command line of ours has more words, or
  // begins with a dash.
  const char* socket = std::getenv(banyan::kAskpassVariable);
  if (socket != nullptr && argc == 2 && argv[1][0] != '-') return banyan::ask_through_socket(socket, argv[1]);
  if (const char* where = banyan::visits(argc, argv)) return banyan::visit(where, argv[1]);
  const char* heeds = std::getenv(banyan::kJumpVariable);
  if (heeds != nullptr && banyan::is_call_of_ssh(argc, argv)) return banyan::become_ssh(argc, argv, heeds);
  return banyan::cli::run_program(argc, argv);
}
