// cli/options.h -- the command line, taken apart. The grammar: docs/cli.md.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/targets.h"
#include "core/loop.h"
#include "transports/back_end.h"
#include "transports/openssh.h"

namespace banyan::cli {

constexpr std::size_t kFanOutMax = 10'000;  // each is a process or two here

// The program that speaks SSH through libssh2 is there.
bool has_connector();

enum class Verb { kHelp, kVersion, kRun, kTree, kPlan, kDoctor };
enum class Color { kAuto, kAlways, kNever };

struct Options {
  Verb verb = Verb::kHelp;
  std::string help;  // kHelp, kVersion: what to print
  TargetSet targets;

  std::vector<std::string> command;  // argument vector, or with `shell` a line and its $0, $1, ...
  bool shell = false;
  std::size_t fan_out = 64;    // running at once, and connecting, but for those that are idle
  std::size_t idle_max = 256;  // on their way beyond these, and waiting
  Nanos timeout = 0;           // of the command; 0: none
  bool no_stdin = false;
  bool ask_password = false;         // -k: one for all
  bool ask_become_password = false;  // -K: before anything starts
  bool no_ask = false;               // nobody is asked anything
  bool maximum = false;              // -S: exit with the largest code
  bool json = false;
  bool raw = false;
  std::optional<bool> fold;  // --fold, --no-fold; else as the terminal suggests
  bool quiet = false;
  int verbosity = 0;  // how many -v
  Color color = Color::kAuto;
  SshOptions ssh;
  BackEndWish back_end = BackEndWish::kAuto;  // --ssh
  bool trusts_hops = false;                   // --trust-hop
};

// `arguments` without the program's name. Throws UsageError.
Options parse_options(const std::vector<std::string>& arguments);

// "30s", "5m", "250ms", "2h", "1.5" (seconds); 0: no limit. Throws UsageError.
Nanos parse_duration(std::string_view text);

}  // namespace banyan::cli
