#include "cli/help.h"

#include <algorithm>

#include "cli/command_line.h"
#include "cli/printable.h"
#include "cli/usage_error.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::string_view kOverview = R"(banyan: run commands on machines that have nothing but a shell.

  banyan run  TARGETS [OPTIONS] -- COMMAND [ARGUMENT...]   run a command on each
  banyan run  TARGETS [OPTIONS] --sh 'LINE'                the same, a line for /bin/sh
  banyan tree TARGETS [OPTIONS]                            connect, and draw the tree
  banyan plan TARGETS [OPTIONS]                            say how each would be reached, and why
  banyan doctor TARGETS [OPTIONS]                          walk the way to each: which step fails, and what to do
  banyan help VERB    banyan --version

TARGETS  local  local[1-20]  host  user@host:port  [::1]:22  web[1-20]  web[01:20]  web1..20
         sudo:USER  sudo: that user, or root, by sudo; su:USER and doas:USER as well; a host of that name is ssh:sudo
         docker:NAME  docker:USER@NAME  podman:NAME  kubectl:NAMESPACE:POD:CONTAINER  lxc:NAME  lxd:NAME  incus:NAME
         nspawn:NAME  nsenter:PID: a container of this machine, or the namespaces of a process
         gw/db1: a host that gw reaches; web1/local[1-3]  web1/sudo:USER  web1/docker:NAME: contexts on web1
         and lists of these with commas between them.

  banyan run local -- uname -a
  banyan run 'web[1-20]' -- uptime
  banyan run db1 --timeout 30s --sh 'ps aux | grep -c postgres'
)";

constexpr std::string_view kRun = R"(banyan run TARGETS [OPTIONS] -- COMMAND [ARGUMENT...]
banyan run TARGETS [OPTIONS] --sh 'LINE' [-- ARGUMENT...]

Runs a command on each target. The command is an argument vector: no shell reads it, unless --sh asks for one.
One target is transparent: its output as it comes, its exit code ours, our standard input its own if it is no terminal.
Many give lines with the target in front, and on a terminal hosts that said the same are shown once, at the end;
standard input is not read then.

Exit code, one target: the command's; 128+N killed by signal N; 124 --timeout; 126 cannot be executed;
  127 not found; 255 not reached or lost.
Exit code, many: 0 all succeeded; 1 some command failed, was not found or cannot be executed; 3 some timed out or
  could have no process there; 4 some not reached or lost.
Always: 2 wrong usage, nothing was contacted; 129, 130, 143 after SIGHUP, Ctrl-C, SIGTERM; 141 when nobody reads our
  output.
)";

constexpr std::string_view kTree = R"(banyan tree TARGETS [OPTIONS]

Connects to each target and draws the tree of contexts, hops among them: id, name, how it was reached, architecture,
process, round-trip time from here and resident memory of each.
)";

constexpr std::string_view kPlan = R"(banyan plan TARGETS [OPTIONS]

Says how each target would be reached: the hops, the settings that matter with where each comes from (the target, an
option, ssh's configuration, a default), and which program speaks SSH and why. Nothing is contacted; ssh is asked for
its settings (ssh -G), which runs what a Match exec of its configuration says.

Exit code: 0; where ssh's configuration cannot be read, 255 for one target, 4 for many.
)";

constexpr std::string_view kDoctor = R"(banyan doctor TARGETS [OPTIONS]

Walks every step of the way to each target, and to each hop before it: settings, name, connection, host key, login,
shell, the program that is sent, its first word, one question, its end. A line a step: ok, FAILED or not reached, the
time it took, and what was found; below it, what to do about the step that fails. Nothing is left there.

Exit code: 0 all is well; 255 for one target that is not, 4 for one of many.
)";

constexpr std::string_view kEnd =
    "\nBANYAN_CACHE names the folder where architectures of hosts and ssh's answers are remembered.\n";
constexpr std::string_view kDurations =
    "\nDUR is 30s, 5m, 250ms, 2h, 1d or a number of seconds; 0 is no limit.";

constexpr std::size_t kHelpColumn = 25;

// The options that the verb obeys.
std::string options_text(std::string_view verb) {
  std::string text = "\n";
  bool has_duration = false;
  for (const OptionRow& row : option_rows()) {
    if (!row.verbs.empty() && std::ranges::find(row.verbs, verb) == row.verbs.end()) continue;
    has_duration = has_duration || row.value == "DUR";
    std::string line = " ";
    for (std::string_view name : row.names) line += cat(name == row.names[0] ? " " : ", ", name);
    if (!row.value.empty()) line += cat(" ", row.value);
    if (line.size() + 2 > kHelpColumn) {
      text += cat(line, "\n");
      line.clear();
    }
    for (std::string_view help = row.help; !help.empty(); line.clear()) {
      const std::size_t end = std::min(help.find('\n'), help.size());
      line.resize(kHelpColumn, ' ');
      text += cat(line, help.substr(0, end), "\n");
      help.remove_prefix(std::min(end + 1, help.size()));
    }
  }
  return cat(text, has_duration ? kDurations : "", kEnd);
}

}  // namespace

std::string version_text() {
  return cat("banyan ", std::string_view(BANYAN_VERSION), "\n");
}

std::string not_a_verb(std::string_view word) {
  return cat("'", printable(word), "' is not a verb of this version: run, tree, plan, doctor, help");
}

std::string help_text(std::string_view verb) {
  if (verb.empty() || verb == "help") return std::string(kOverview);
  if (verb == "run") return cat(kRun, options_text(verb));
  if (verb == "tree") return cat(kTree, options_text(verb));
  if (verb == "plan") return cat(kPlan, options_text(verb));
  if (verb == "doctor") return cat(kDoctor, options_text(verb));
  throw UsageError(not_a_verb(verb));
}

}  // namespace banyan::cli
