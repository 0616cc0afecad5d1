#include "cli/help.h"

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
         and lists of these with commas between them.

  banyan run local -- uname -a
  banyan run 'web[1-20]' -- uptime
  banyan run db1 --timeout 30s --sh 'ps aux | grep -c postgres'
)";

constexpr std::string_view kRun = R"(banyan run TARGETS [OPTIONS] -- COMMAND [ARGUMENT...]
banyan run TARGETS [OPTIONS] --sh 'LINE' [-- ARGUMENT...]

Runs a command on each target. The command is an argument vector: no shell reads it, unless --sh asks for one.
One target is transparent: its output as it comes, its exit code ours, our standard input its own. Many give
lines with the target in front, and on a terminal hosts that said the same are shown once, at the end; standard input
is not read then.

  --sh LINE              a line for /bin/sh; arguments after -- are its $1, $2, ...
  --timeout DUR          end the command, and all it started, after this long
  -n                     do not read standard input
  -S                     exit with the largest code of any target
  --fold                 show hosts that said the same once, at the end, also into a pipe
  --no-fold              lines with the target in front, as they come, also on a terminal

Exit code, one target: the command's; 128+N killed by signal N; 124 --timeout; 126 cannot be executed;
  127 not found; 255 not reached or lost.
Exit code, many: 0 all succeeded; 1 some command failed, was not found or cannot be executed; 3 some timed out or
  could have no process there; 4 some not reached or lost.
Always: 2 wrong usage, nothing was contacted; 129, 130, 143 after SIGHUP, Ctrl-C, SIGTERM; 141 when nobody reads our
  output.
)";

constexpr std::string_view kTree = R"(banyan tree TARGETS [OPTIONS]

Connects to each target and draws the tree of contexts: id, name, how it was reached, architecture, process,
round-trip time and resident memory of each.
)";

constexpr std::string_view kPlan = R"(banyan plan TARGETS [OPTIONS]

Says how each target would be reached: the hops, the settings that matter with where each comes from (the target, an
option, ssh's configuration, a default), and which program speaks SSH and why. Nothing is contacted; ssh is asked for
its settings (ssh -G), which runs what a Match exec of its configuration says.

Exit code: 0; where ssh's configuration cannot be read, 255 for one target, 4 for many.
)";

constexpr std::string_view kDoctor = R"(banyan doctor TARGETS [OPTIONS]

Walks every step of the way to each target: settings, name, connection, host key, login, shell, the program that is
sent, its first word, one question, its end. A line a step: ok, FAILED or not reached, the time it took, and what was
found; below it, what to do about the step that fails. Nothing is left there.

Exit code: 0 all is well; 255 for one target that is not, 4 for one of many.
)";

constexpr std::string_view kCommon = R"(
  -w, -H TARGETS         the targets, for those who are used to it
  -x TARGETS             leave these out
  -f N                   so many at once (64, at most 10000)
  --connect-timeout DUR  give up reaching a target after this long
  -F FILE                ssh's configuration file
  -l USER                log in as USER, where the target does not say
  --port N               the port, where the target does not say
  --identity FILE        the private key to offer first; none of the key agent's others
  --known-hosts FILE     the host keys; no other file is believed
  --accept-new           believe the key of a host that none is known of, write it down, and say so
  -k, --ask-pass         ask for one password, for every host that wants one; without it each host's is asked for
  --no-ask               ask nothing: a host that wants a password or a passphrase fails
  -4, -6                 IPv4 only, IPv6 only
  --ssh auto|libssh2|openssh
                         who speaks SSH: ssh itself, banyan-connector, or that where it can (banyan plan tells)
  --json                 one JSON object a line on standard output, and nothing else
  --raw                  no escaping of control characters on a terminal
  --color auto|always|never
  -q                     no progress line, no summary, no word about commands that failed
  -v                     say when each context is up, and more of what contexts log; -vv: also every
                         frame's header; -vvv: all that is logged

Long names: --hosts, --exclude, --fan-out, --quiet, --verbose, --help.
DUR is 30s, 5m, 250ms, 2h, 1d or a number of seconds; 0 is no limit. BANYAN_CACHE names the folder where architectures of
hosts are remembered.
)";

}  // namespace

std::string version_text() {
  return cat("banyan ", std::string_view(BANYAN_VERSION), "\n");
}

std::string help_text(std::string_view verb) {
  if (verb.empty() || verb == "help") return std::string(kOverview);
  if (verb == "run") return cat(kRun, kCommon);
  if (verb == "tree") return cat(kTree, kCommon);
  if (verb == "plan") return cat(kPlan, kCommon);
  if (verb == "doctor") return cat(kDoctor, kCommon);
  throw UsageError(
      cat("'", printable(verb), "' is not a verb of this version: run, tree, plan, doctor, help"));
}

}  // namespace banyan::cli
