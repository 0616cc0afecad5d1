#include "transports/sudo.h"

#include <algorithm>
#include <cerrno>
#include <initializer_list>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/back_channel.h"
#include "parent/visitor.h"
#include "transports/stage0_recipe.h"

namespace banyan {
namespace {

constexpr std::string_view kAccount =
    "see about the account that asks, and the one it asks for, on that machine: chage -l USER";
constexpr std::string_view kTerminal =
    "allow it without a terminal, in sudoers on that machine: Defaults:LOGIN !requiretty";
constexpr std::string_view kInstallation =
    "sudo on that machine must belong to root, be setuid, and lie on a file system that allows that";
constexpr std::string_view kSudoers = "have it looked at there: visudo -c";
constexpr std::string_view kForbidden =
    "what runs us there forbids it: a container (allowPrivilegeEscalation), a service (NoNewPrivileges)";
constexpr std::string_view kLastWords = "last words: ";  // as parent/runner_job.cpp begins them
// sudo names what it would have run, and that is all of stage 0.
constexpr std::string_view kCommandBegins = "'/bin/sh ", kCommandEnds = "' as ";
// It runs for nobody without a terminal (requiretty).
constexpr std::string_view kMustHaveTerminal = "must have a tty";
// It could not run the program that was to ask. The first is sudo's; the second sudo's where the program has
// no path, and sudo-rs's in both cases.
constexpr std::string_view kCannotRunAsker = "unable to run /", kNoAsker = "askpass program";
// A warning, and never why it failed.
constexpr std::string_view kNoHostName = "unable to resolve host";

// The words of a locale that no shell reads as anything else.
bool is_plain_locale(std::string_view locale) {
  return !locale.empty() && std::ranges::all_of(locale, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_.@-").find(c) != std::string_view::npos;
  });
}

}  // namespace

// What is done as the new user before stage 0. sudo keeps the folder it was started in, which may be closed
// to that user: then home, as after a login. LC_ALL was for sudo's own words and it hands that on, and all of
// stage 0 as SUDO_COMMAND; with what it was to ask by, where sudoers keeps the environment.
std::string become_prelude(const SudoTarget& target) {
  const std::string locale =
      is_plain_locale(target.locale) ? cat("export LC_ALL=", target.locale) : std::string("unset LC_ALL");
  return cat("cd . 2>/dev/null || cd 2>/dev/null || cd /; unset SUDO_COMMAND OLDPWD SUDO_ASKPASS ",
             kVisitVariable, "; ", locale, "; ");
}

std::vector<std::string> sudo_argv(std::string_view user, std::string_view line) {
  ASSERT(!user.empty() && user.front() != '-');
  return {"sudo", "-n", "-H", "-u", std::string(user), "--", "/bin/sh", "-c", std::string(line)};
}

std::vector<Symptom> sudo_symptoms(std::string_view user) {
  using C = ErrorClass;
  const std::string rule = cat("in sudoers on that machine: LOGIN ALL=(", user, ") NOPASSWD: ALL");
  const std::string allow = cat("allow it ", rule);
  const std::string password =
      cat("start it where somebody can be asked, or allow it without one, ", rule, "; or log in as ", user);
  const std::string wrong = "check the password, on that machine: sudo -k; sudo true";
  const std::string program =
      cat("sudo there could not run what was to ask for its password: mount /proc, or allow it without one, ",
          rule);
  const std::string name = cat("check the name, on that machine: getent passwd ", user);
  // Of sudo, and of sudo-rs where that has other words. The first that is found counts: after its verdict on
  // an account sudo complains about the password as well.
  const Complaint complaints[] = {
      {"no new privileges", C::kBootstrap, kForbidden},
      {"effective uid is not 0", C::kBootstrap, kInstallation},
      {"have the setuid bit set", C::kBootstrap, kInstallation},
      {"must be setuid root", C::kBootstrap, kInstallation},
      {"no valid sudoers sources found", C::kBootstrap, kSudoers},
      {"invalid configuration", C::kBootstrap, kSudoers},
      {"unable to initialize PAM", C::kBootstrap, kSudoers},
      {"unable to execute", C::kBootstrap, "/bin/sh on that machine must be there for every user"},
      {"unknown user", C::kRefused, name},
      {"sudo: user '", C::kRefused, name},  // 'x' not found
      {"you do not exist in", C::kRefused, kAccount},
      {kMustHaveTerminal, C::kRefused, kTerminal},
      {kCannotRunAsker, C::kBootstrap, program},
      {kNoAsker, C::kBootstrap, program},
      {"ccount validation failure", C::kAuth, kAccount},
      {"ccount or password is expired", C::kAuth, kAccount},
      {"assword expired", C::kAuth, kAccount},
      {"PAM account management error", C::kAuth, kAccount},
      {"is not in the sudoers file", C::kRefused, allow},
      {"is not allowed to", C::kRefused, allow},
      {"may not run", C::kRefused, allow},
      {"I'm afraid I can't do that", C::kRefused, allow},
      {"incorrect password attempt", C::kAuth, wrong},
      {"incorrect authentication attempt", C::kAuth, wrong},
      {"password is required", C::kAuth, password},
      {"uthentication is required", C::kAuth, password},
      {"uthentication required", C::kAuth, password},
      {"terminal is required", C::kAuth, password},
      {"nteraction is required", C::kAuth, password},
  };
  return become_symptoms(complaints);
}

Recipe sudo(const SudoTarget& target, std::uint64_t nonce, std::string_view architecture,
            Nanos connect_timeout) {
  Recipe recipe = become_recipe(target.name, "sudo", nonce, architecture, connect_timeout);
  recipe.argv = sudo_argv(target.user, cat(become_prelude(target), stage0_command(nonce, architecture)));
  recipe.symptoms = sudo_symptoms(target.user);
  return recipe;
}

void let_ask(Recipe& recipe, const SudoAsks& asks) {
  ASSERT(recipe.argv.at(1) == "-n");
  recipe.argv[1] = "-A";
  recipe.argv.insert(recipe.argv.begin() + 2, {"-p", asks.prompt});
  recipe.environment.emplace_back("SUDO_ASKPASS", asks.program);
  recipe.environment.emplace_back(kVisitVariable, cat(kNamePlace, " ", asks.token));
}

Error error_of_sudo(Error error, std::string_view user) {
  // What has no phase of its own before the shell answers.
  if (error.phase < Phase::kShell) error.phase = Phase::kBecome;
  if (error.system_error == ENOENT) error.remedy = "install sudo on that machine, or see that it is in PATH";
  // Other words than those of the table: another sudo's, or another language's.
  const std::string own_words = cat(kLastWords, "sudo: ");
  if (error.phase == Phase::kShell && error.text.find(own_words) != std::string::npos &&
      error.text.find(kNoHostName) == std::string::npos) {
    error.phase = Phase::kBecome;
    error.error_class = ErrorClass::kRefused;
    error.remedy.clear();
  }
  if (const std::size_t begin = error.text.find(kCommandBegins); begin != std::string::npos)
    if (const std::size_t end = error.text.rfind(kCommandEnds); end != std::string::npos && end > begin)
      error.text.replace(begin, end + 1 - begin, "/bin/sh");
  if (error.phase == Phase::kBecome && error.remedy.empty() && error.error_class != ErrorClass::kCancelled)
    error.remedy = cat("see what it says by hand, on that machine: sudo -n -u ", user, " true");
  return error;
}

bool wants_terminal(const Error& error) {
  if (error.phase != Phase::kBecome || error.error_class == ErrorClass::kCancelled) return false;
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{kMustHaveTerminal, kCannotRunAsker, kNoAsker},
      [&](std::string_view words) { return error.text.find(words) != std::string::npos; });
}

void put_on_terminal(Recipe& recipe, bool may_ask) {
  ASSERT(recipe.argv.at(1) == "-n");
  if (may_ask) recipe.argv.erase(recipe.argv.begin() + 1);
  recipe.extra().terminal = Recipe::Terminal::kControlling;
}

}  // namespace banyan
