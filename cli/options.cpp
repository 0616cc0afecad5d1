#include "cli/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "cli/help.h"
#include "cli/printable.h"
#include "core/text.h"
#include "transports/connectors.h"

namespace banyan::cli {
namespace {

constexpr double kDurationMaxSeconds =
    366.0 * 24 * 3600;  // longer is a slip; and nanoseconds must not overflow

// As they stand on the command line, before they mean anything.
struct Words {
  std::string verb, targets, targets_option, exclude, shell_line, timeout, connect_timeout, color = "auto";
  std::string user, identity, known_hosts, config_file, back_end = "auto";
  std::size_t fan_out = 64;
  std::uint16_t port = 0;
  bool help = false, version = false, no_stdin = false, maximum = false, json = false, raw = false,
       quiet = false, ipv4 = false, ipv6 = false, accept_new = false, fold = false, ask_password = false,
       no_ask = false;
  int verbosity = 0;
};

void declare(CLI::App& app, Words& words) {
  app.set_help_flag();  // ours below: CLI11's would be printed before the verb is known
  app.add_flag("-h,--help", words.help);
  app.add_flag("--version", words.version);
  app.add_option("verb", words.verb);
  app.add_option("targets", words.targets);
  app.add_option("-w,-H,--hosts", words.targets_option)
      ->multi_option_policy(CLI::MultiOptionPolicy::Join)
      ->delimiter(',');
  app.add_option("-x,--exclude", words.exclude)
      ->multi_option_policy(CLI::MultiOptionPolicy::Join)
      ->delimiter(',');
  app.add_option("-f,--fan-out", words.fan_out)->check(CLI::Range(std::size_t{1}, kFanOutMax));
  app.add_flag("-n", words.no_stdin);
  app.add_flag("-q,--quiet", words.quiet);
  app.add_flag("-v,--verbose", words.verbosity);
  app.add_option("--sh", words.shell_line);
  app.add_option("--timeout", words.timeout);
  app.add_option("--connect-timeout", words.connect_timeout);
  app.add_flag("-S", words.maximum);
  app.add_flag("--json", words.json);
  app.add_flag("--raw", words.raw);
  app.add_flag("--fold,!--no-fold", words.fold);
  app.add_option("--color", words.color)->check(CLI::IsMember({"auto", "always", "never"}));
  app.add_option("-F", words.config_file);
  app.add_option("-l", words.user);
  app.add_option("--port", words.port)->check(CLI::Range(1, 65535));
  app.add_option("--identity", words.identity);
  app.add_option("--known-hosts", words.known_hosts);
  app.add_flag("-4", words.ipv4);
  app.add_flag("-6", words.ipv6);
  app.add_flag("--accept-new", words.accept_new);
  app.add_flag("-k,--ask-pass", words.ask_password);
  app.add_flag("--no-ask", words.no_ask);
  app.add_option("--ssh", words.back_end)->check(CLI::IsMember({"auto", "libssh2", "openssh"}));
  for (CLI::Option* option : app.get_options()) {
    // The later one wins, so that an alias can be overridden.
    const bool adds_up = option->get_name() == "--exclude" || option->get_name() == "--hosts";
    if (!adds_up && option->get_items_expected_max() > 0) option->take_last();
  }
}

// A file that ssh will be told to read: a slip is found here, before anything is contacted.
void check_file(std::string_view option, const std::string& path) {
  if (path.empty()) return;
  std::string ignored;
  if (!quote_ssh_path(path, ignored))
    throw UsageError(cat(option, ": ssh cannot take such a file name: ", printable(path)));
  if (access(path.c_str(), R_OK) != 0)
    throw UsageError(cat(option, " ", printable(path), ": ", std::strerror(errno)));
}

SshOptions ssh_options(const CLI::App& app, const Words& words) {
  SshOptions ssh;
  if (!words.user.empty()) check_user(words.user);
  if (words.config_file != "none") check_file("-F", words.config_file);
  check_file("--identity", words.identity);
  check_file("--known-hosts", words.known_hosts);
  ssh.config_file = words.config_file;
  ssh.user = words.user;
  ssh.port = words.port;
  ssh.identity = words.identity;
  ssh.known_hosts = words.known_hosts;
  if (words.ipv4 && words.ipv6) throw UsageError("-4 or -6, not both");
  if (words.ipv4 || words.ipv6) ssh.family = words.ipv4 ? AddressFamily::kIpv4 : AddressFamily::kIpv6;
  ssh.accept_new = words.accept_new;
  if (app.count("--connect-timeout") > 0) ssh.connect_timeout = parse_duration(words.connect_timeout);
  return ssh;
}

BackEndWish back_end_wish(const Words& words) {
  if (words.back_end == "openssh") return BackEndWish::kOpenssh;
  if (words.back_end == "auto") return BackEndWish::kAuto;
  if (!has_connector()) throw UsageError("--ssh libssh2: banyan-connector is not there: auto or openssh");
  return BackEndWish::kLibssh2;
}

void take_command(const CLI::App& app, const Words& words, std::vector<std::string> after_dashes,
                  Options& options) {
  options.shell = app.count("--sh") > 0;
  if (!options.shell) {
    if (after_dashes.empty()) throw UsageError("no command: banyan run TARGETS -- COMMAND [ARGUMENT...]");
    if (after_dashes[0].empty()) throw UsageError("the command's name is empty");
    options.command = std::move(after_dashes);
    return;
  }
  if (words.shell_line.empty()) throw UsageError("--sh: the line is empty");
  options.command.push_back(words.shell_line);
  if (after_dashes.empty()) return;
  options.command.emplace_back("sh");  // $0; what follows the dashes is $1 and on
  for (std::string& argument : after_dashes) options.command.push_back(std::move(argument));
}

// The verbs that run no command.
void check_takes_no_command(const CLI::App& app, const std::string& verb,
                            const std::vector<std::string>& after_dashes) {
  if (!after_dashes.empty()) throw UsageError(cat(verb, " takes no command"));
  for (const char* name : {"--sh", "--timeout", "-S", "-n", "--fold"}) {
    if (app.count(name) > 0) throw UsageError(cat(verb, " takes no ", name));
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

// "--timeout: 1 required TEXT missing", as CLI11 says it.
std::string missing_argument(std::string_view complaint) {
  const std::string_view name = complaint.substr(0, complaint.find(':'));
  if (name == "--timeout" || name == "--connect-timeout") return cat(name, " wants a duration");
  if (name == "--hosts" || name == "--exclude") return cat(name, " wants targets");
  return printable(complaint);
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

Options parse_options(const std::vector<std::string>& arguments) {
  auto dashes = std::ranges::find(arguments, "--");
  std::vector<std::string> before(arguments.begin(), dashes);
  std::vector<std::string> after;
  const bool has_dashes = dashes != arguments.end();
  if (has_dashes) after.assign(dashes + 1, arguments.end());

  CLI::App app;
  app.allow_extras();  // said below, once the verb is known to be one
  Words words;
  declare(app, words);
  std::ranges::reverse(before);  // as CLI11 wants them
  try {
    app.parse(std::move(before));
  } catch (const CLI::ArgumentMismatch& error) {
    throw UsageError(missing_argument(error.what()));
  } catch (const CLI::ParseError& error) {
    throw UsageError(printable(error.what()));
  }

  if (words.version) return help(Verb::kVersion, version_text());
  if (words.verb == "help") return help(Verb::kHelp, help_text(words.targets));
  if (words.help) return help(Verb::kHelp, help_text(words.verb));
  if (words.verb.empty()) throw UsageError("no verb: banyan run TARGETS -- COMMAND, or banyan --help");

  Options options;
  if (words.verb == "run") {
    options.verb = Verb::kRun;
  } else if (words.verb == "tree" || words.verb == "plan" || words.verb == "doctor") {
    options.verb = words.verb == "tree" ? Verb::kTree : words.verb == "plan" ? Verb::kPlan : Verb::kDoctor;
    check_takes_no_command(app, words.verb, after);
  } else {
    throw UsageError(
        cat("'", printable(words.verb), "' is not a verb of this version: run, tree, plan, doctor, help"));
  }
  refuse_leftovers(app.remaining(), words.verb == "run" && !has_dashes);
  if (!words.targets.empty() && !words.targets_option.empty()) {
    throw UsageError("targets stand after the verb or after -w, not both");
  }
  if (words.targets.empty()) words.targets = words.targets_option;
  if (app.count("-x") > 0 && words.exclude.empty()) throw UsageError("-x: no targets");
  options.targets = parse_targets(words.targets, words.exclude);
  if (options.verb == Verb::kRun) take_command(app, words, std::move(after), options);
  options.fan_out = words.fan_out;
  if (app.count("--timeout") > 0) options.timeout = parse_duration(words.timeout);
  options.no_stdin = words.no_stdin;
  if (words.ask_password && words.no_ask) throw UsageError("--ask-pass and --no-ask: one of them");
  options.ask_password = words.ask_password;
  options.no_ask = words.no_ask;
  options.maximum = words.maximum;
  options.json = words.json;
  options.raw = words.raw;
  if (app.count("--fold") > 0) options.fold = words.fold;
  if (options.fold == true && options.json) throw UsageError("--fold or --json, not both");
  options.quiet = words.quiet;
  options.verbosity = words.verbosity;
  options.color = words.color == "always"  ? Color::kAlways
                  : words.color == "never" ? Color::kNever
                                           : Color::kAuto;
  options.ssh = ssh_options(app, words);
  options.back_end = back_end_wish(words);
  return options;
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
