#include "cli/options.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "cli/command_line.h"
#include "cli/help.h"
#include "cli/jumps.h"
#include "cli/printable.h"
#include "core/text.h"
#include "transports/connectors.h"

namespace banyan::cli {
namespace {

constexpr std::string_view kVerbs[] = {"run", "tree", "plan", "doctor"};
constexpr std::size_t kVerbosityMax = 10;  // there is nothing more to say
constexpr double kDurationMaxSeconds =
    366.0 * 24 * 3600;  // longer is a slip; and nanoseconds must not overflow

// A file that ssh will be told to read: a slip is found here, before anything is contacted.
void check_file(std::string_view option, const std::string& path) {
  if (path.empty()) return;
  std::string ignored;
  if (!quote_ssh_path(path, ignored))
    throw UsageError(cat(option, ": ssh cannot take such a file name: ", printable(path)));
  if (access(path.c_str(), R_OK) != 0)
    throw UsageError(cat(option, " ", printable(path), ": ", std::strerror(errno)));
}

// Verbs, for people: "run", "run and tree", "run, tree and doctor".
std::string listed(const std::vector<std::string_view>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += cat(i == 0 ? "" : i + 1 == names.size() ? " and " : ", ", names[i]);
  return text;
}

// Nothing: the option was not given.
template <class Number>
std::optional<Number> number(const CommandLine& line, std::string_view option, Number most) {
  if (!line.has(option)) return std::nullopt;
  const std::string text = line.value(option);
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > most)
    throw UsageError(cat(line.typed(option), " ", printable(text), ": not a number from 1 to ", most));
  return value;
}

// "auto" if it was not given. Its words are those of the table.
std::string one_of(const CommandLine& line, std::string_view option,
                   std::initializer_list<std::string_view> words) {
  if (!line.has(option)) return "auto";
  std::string value = line.value(option);
  if (std::ranges::find(words, value) == words.end())
    throw UsageError(cat(line.typed(option), " ", printable(value), ": none of ", listed(words)));
  return value;
}

Nanos duration(const CommandLine& line, std::string_view option) {
  if (!line.has(option)) return 0;
  try {
    return parse_duration(line.value(option));
  } catch (const UsageError& error) {
    throw UsageError(cat(option, ": ", error.what()));
  }
}

SshOptions ssh_options(const CommandLine& line) {
  SshOptions ssh;
  ssh.user = line.value("-l");
  ssh.config_file = line.value("-F");
  ssh.identity = line.value("--identity");
  ssh.known_hosts = line.value("--known-hosts");
  if (!ssh.user.empty()) check_user(ssh.user);
  if (ssh.config_file != "none") check_file("-F", ssh.config_file);
  check_file("--identity", ssh.identity);
  check_file("--known-hosts", ssh.known_hosts);
  if (line.has("-J")) ssh.jumps = check_jumps(line.value("-J"));
  ssh.port = number(line, "--port", std::uint16_t{65535}).value_or(0);
  if (line.has("-4") && line.has("-6")) throw UsageError("-4 or -6, not both");
  if (line.has("-4")) ssh.family = AddressFamily::kIpv4;
  if (line.has("-6")) ssh.family = AddressFamily::kIpv6;
  ssh.accept_new = line.has("--accept-new");
  ssh.connect_timeout = duration(line, "--connect-timeout");
  return ssh;
}

BackEndWish back_end_wish(const CommandLine& line) {
  const std::string wish = one_of(line, "--ssh", {"auto", "libssh2", "openssh"});
  if (wish == "openssh") return BackEndWish::kOpenssh;
  if (wish == "auto") return BackEndWish::kAuto;
  if (!has_connector()) throw UsageError("--ssh libssh2: banyan-connector is not there: auto or openssh");
  return BackEndWish::kLibssh2;
}

void take_command(const CommandLine& line, Options& options) {
  std::vector<std::string> after_dashes = line.after_dashes().value_or(std::vector<std::string>());
  options.shell = line.has("--sh");
  if (!options.shell) {
    if (after_dashes.empty()) throw UsageError("no command: banyan run TARGETS -- COMMAND [ARGUMENT...]");
    if (after_dashes[0].empty()) throw UsageError("the command's name is empty");
    options.command = std::move(after_dashes);
    return;
  }
  if (line.value("--sh").empty()) throw UsageError("--sh: the line is empty");
  options.command.push_back(line.value("--sh"));
  if (after_dashes.empty()) return;
  options.command.emplace_back("sh");  // $0; what follows the dashes is $1 and on
  for (std::string& argument : after_dashes) options.command.push_back(std::move(argument));
}

// What the verb does not obey it must not seem to.
void check_takes_options(const CommandLine& line) {
  for (std::string_view name : line.given()) {
    if (takes_option(line.verb(), name)) continue;
    std::vector<std::string_view> verbs;
    for (std::string_view verb : kVerbs)
      if (takes_option(verb, name)) verbs.push_back(verb);
    throw UsageError(cat(line.verb(), " takes no ", line.typed(name), ": that is for ", listed(verbs)));
  }
}

// What is neither an option nor in its place, in the order typed.
void refuse_leftovers(const std::vector<std::string>& words, bool lacks_dashes) {
  if (words.empty()) return;
  std::string text;
  if (lacks_dashes && !words.front().starts_with('-')) {
    text = "not expected:";
    for (const std::string& word : words) text += cat(" ", printable(word));
  } else {
    const auto option =
        std::ranges::find_if(words, [](const std::string& word) { return word.starts_with('-'); });
    const std::string& word = option == words.end() ? words.front() : *option;
    text = option == words.end() ? cat("not expected: ", printable(word))
                                 : cat(printable(word), " is not known to this version");
    if (word.starts_with("-p")) text += ": write --port";
  }
  if (lacks_dashes) text += "; before the command stands --: banyan run TARGETS -- COMMAND";
  throw UsageError(text);
}

Options help(Verb verb, std::string text) {
  Options options;
  options.verb = verb;
  options.help = std::move(text);
  return options;
}

}  // namespace

bool has_connector() {
  static const bool there = ::access(Connectors::default_program().c_str(), X_OK) == 0;
  return there;
}

namespace {

// -b, and how.
void become(const CommandLine& line, TargetSet& targets) {
  for (const char* how : {"--become-user", "--become-method"})
    if (line.has(how) && !line.has("-b")) throw UsageError(cat(how, " is for -b"));
  if (!line.has("-b")) return;
  const std::string word =
      line.has("--become-method") ? one_of(line, "--become-method", {"sudo", "su", "doas"}) : "sudo";
  const Method method = word == "su" ? Method::kSu : word == "doas" ? Method::kDoas : Method::kSudo;
  become_everywhere(targets, method, line.has("--become-user") ? line.value("--become-user") : "root");
}

// An option that a target would not obey must not seem to be obeyed: the command would run somewhere else, or
// as somebody else, than was meant.
void check_are_hosts(const CommandLine& line, const TargetSet& set) {
  const auto is_here = [](const Target& target) { return first_of(target).method != Method::kSsh; };
  const auto here = std::ranges::find_if(set.targets, is_here);
  if (here == set.targets.end()) return;
  const std::string& name = shown_name(*here);
  if (line.has("-J"))
    throw UsageError(
        cat("-J: '", printable(name), "' is on this machine; on a host it is HOST/", printable(name)));
  if (!std::ranges::all_of(set.targets, is_here)) return;
  for (const char* option : {"-l", "--port", "--identity"})
    if (line.has(option))
      throw UsageError(cat(option, " is for hosts, and '", printable(name), "' is on this machine"));
}

Options options_of(const CommandLine& line) {
  Options options;
  const std::string& verb = line.verb();
  options.verb = verb == "run"    ? Verb::kRun
                 : verb == "tree" ? Verb::kTree
                 : verb == "plan" ? Verb::kPlan
                                  : Verb::kDoctor;
  const bool is_run = options.verb == Verb::kRun;
  if (!is_run && line.after_dashes() && !line.after_dashes()->empty())
    throw UsageError(cat(verb, " takes no command"));
  refuse_leftovers(line.leftovers(), is_run && !line.after_dashes());
  check_takes_options(line);
  if (!line.complaint().empty()) throw UsageError(line.complaint());
  if (!line.targets().empty() && !line.value("-w").empty())
    throw UsageError("targets stand after the verb or after -w, not both");
  if (line.has("-x") && line.value("-x").empty()) throw UsageError("-x: no targets");
  options.targets =
      parse_targets(line.targets().empty() ? line.value("-w") : line.targets(), line.value("-x"));
  check_are_hosts(line, options.targets);
  become(line, options.targets);
  if (options.verb == Verb::kDoctor) add_hops(options.targets);  // a ladder for each context
  if (is_run) take_command(line, options);
  options.fan_out = number(line, "-f", kFanOutMax).value_or(options.fan_out);
  options.timeout = duration(line, "--timeout");
  options.no_stdin = line.has("-n");
  options.ask_password = line.has("-k");
  options.no_ask = line.has("--no-ask");
  options.ask_become_password = line.has("-K");
  if (options.ask_password && options.no_ask) throw UsageError("--ask-pass and --no-ask: one of them");
  if (options.ask_become_password && options.no_ask)
    throw UsageError("--ask-become-pass and --no-ask: one of them");
  options.maximum = line.has("-S");
  options.json = line.has("--json");
  options.raw = line.has("--raw");
  if (line.has("--fold") || line.has("--no-fold")) options.fold = line.has("--fold");
  if (options.fold == true && options.json) throw UsageError("--fold or --json, not both");
  options.quiet = line.has("-q");
  options.verbosity = int(std::min<std::size_t>(line.count("-v"), kVerbosityMax));
  const std::string color = one_of(line, "--color", {"auto", "always", "never"});
  options.color = color == "always" ? Color::kAlways : color == "never" ? Color::kNever : Color::kAuto;
  options.ssh = ssh_options(line);
  options.back_end = back_end_wish(line);
  options.trusts_hops = line.has("--trust-hop");
  return options;
}

}  // namespace

Options parse_options(const std::vector<std::string>& arguments) {
  const CommandLine line(arguments);
  const bool is_verb = std::ranges::find(kVerbs, line.verb()) != std::end(kVerbs);
  try {
    if (line.has("--version")) return help(Verb::kVersion, version_text());
    if (line.verb() == "help") return help(Verb::kHelp, help_text(line.targets()));
    if (line.has("-h")) return help(Verb::kHelp, help_text(line.verb()));
    if (!is_verb) {
      refuse_leftovers(line.verb().empty() ? line.leftovers() : std::vector<std::string>(), false);
      throw UsageError(line.verb().empty() ? "no verb: banyan run TARGETS -- COMMAND"
                                           : not_a_verb(line.verb()));
    }
    return options_of(line);
  } catch (const UsageError& error) {
    throw UsageError(cat(
        error.what(), is_verb ? cat(" (banyan ", line.verb(), " --help)") : std::string(" (banyan --help)")));
  }
}

Nanos parse_duration(std::string_view text) {
  double number = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string_view unit = text.substr(std::size_t(end - text.data()));
  double seconds = unit == "ms"                  ? 0.001
                   : unit == "s" || unit.empty() ? 1
                   : unit == "m"                 ? 60
                   : unit == "h"                 ? 3600
                   : unit == "d"                 ? 86400
                                                 : 0;
  number *= seconds;
  if (error != std::errc() || seconds == 0 || !(number >= 0) || number > kDurationMaxSeconds) {
    throw UsageError(
        cat("'", printable(text), "' is not a duration: 30s, 5m, 250ms, 2h or a number of seconds"));
  }
  const Nanos time = std::llround(number * 1e9);
  // As 0 it would mean the opposite.
  if (number > 0 && time == 0) throw UsageError(cat("'", printable(text), "' is less than a nanosecond"));
  return time;
}

}  // namespace banyan::cli
