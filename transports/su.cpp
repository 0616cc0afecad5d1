#include "transports/su.h"

#include <utility>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/transport_terminal.h"
#include "transports/stage0_recipe.h"

namespace banyan {
namespace {

constexpr std::string_view kAccount = "see about the account, on that machine: chage -l USER";
constexpr std::string_view kPassword = "check the password, by hand, on that machine";
constexpr std::string_view kNoTerminal = "see that /dev/pts is mounted on that machine: it wants a terminal";
constexpr std::string_view kInstallation =
    "on that machine it must belong to root, be setuid, and lie on a file system that allows that";

}  // namespace

std::vector<std::string> su_argv(std::string_view user, std::string_view line) {
  ASSERT(!user.empty() && user.front() != '-');
  return {"su", "-s", "/bin/sh", "-c", std::string(line), std::string(user)};
}

std::vector<std::string> doas_argv(std::string_view user, std::string_view line) {
  ASSERT(!user.empty() && user.front() != '-');
  return {"doas", "-n", "-u", std::string(user), "/bin/sh", "-c", std::string(line)};
}

Recipe su(const SudoTarget& target, std::uint64_t nonce, std::string_view architecture,
          Nanos connect_timeout) {
  Recipe recipe = become_recipe(target.name, "su", nonce, architecture, connect_timeout);
  recipe.argv = su_argv(target.user, cat("exec <&", kLinkDescriptor, " ", kLinkDescriptor, "<&-; ",
                                         become_prelude(target), stage0_command(nonce, architecture)));
  recipe.extra().terminal = Recipe::Terminal::kInput;
  const std::string name = cat("check the name, on that machine: getent passwd ", target.user);
  const Complaint complaints[] = {
      {"does not exist", ErrorClass::kRefused, name},
      {"Unknown id", ErrorClass::kRefused, name},
      {"account has expired", ErrorClass::kAuth, kAccount},
      {"account expired", ErrorClass::kAuth, kAccount},
      {"uthentication token", ErrorClass::kAuth, kAccount},
      {"uthentication failure", ErrorClass::kAuth, kPassword},
      {"ncorrect password", ErrorClass::kAuth, kPassword},
      {"must be run from a terminal", ErrorClass::kRefused,
       "PAM on that machine wants another terminal for su"},
      {"exec: su: Permission", ErrorClass::kBootstrap, kInstallation},  // as a shell says it
      {"/dev/pts/", ErrorClass::kBootstrap, kNoTerminal},
      {"ermission denied", ErrorClass::kRefused,
       "PAM on that machine does not let this user do that (pam_wheel?)"},
      {"must be suid", ErrorClass::kBootstrap, kInstallation},
      {"annot set groups", ErrorClass::kBootstrap, kInstallation},
      {"su: not found", ErrorClass::kBootstrap,  // as a shell says it
       "install su on that machine, or see that it is in PATH"},
  };
  recipe.symptoms = become_symptoms(complaints);
  return recipe;
}

Recipe doas(const SudoTarget& target, std::uint64_t nonce, std::string_view architecture,
            Nanos connect_timeout) {
  Recipe recipe = become_recipe(target.name, "doas", nonce, architecture, connect_timeout);
  recipe.argv = doas_argv(target.user, cat(become_prelude(target), stage0_command(nonce, architecture)));
  const std::string allow =
      cat("allow it in doas.conf on that machine: permit nopass LOGIN as ", target.user);
  const std::string ask = cat("start it where somebody can be asked, or ", allow);
  const Complaint complaints[] = {
      {"unknown user", ErrorClass::kRefused, "check the name, on that machine"},
      {"Operation not permitted", ErrorClass::kRefused, allow},
      {"not enabled", ErrorClass::kRefused, allow},
      {"uthentication required", ErrorClass::kAuth, ask},
      {"uthorization required", ErrorClass::kAuth, ask},
      {"tty is required", ErrorClass::kAuth, ask},
      {"uthentication failed", ErrorClass::kAuth, kPassword},
      {"uthorization failed", ErrorClass::kAuth, kPassword},
      {"not installed setuid", ErrorClass::kBootstrap, kInstallation},
      {"exec: doas: Permission", ErrorClass::kBootstrap, kInstallation},
      {"/dev/pts/", ErrorClass::kBootstrap, kNoTerminal},
      {"doas: not found", ErrorClass::kBootstrap,  // as a shell says it
       "install doas on that machine, or see that it is in PATH"},
  };
  recipe.symptoms = become_symptoms(complaints);
  return recipe;
}

void let_doas_ask(Recipe& recipe) {
  ASSERT(recipe.argv.at(1) == "-n");
  recipe.argv.erase(recipe.argv.begin() + 1);
  recipe.extra().terminal = Recipe::Terminal::kControlling;
}

Error error_of_su(Error error, std::string_view method, std::string_view user) {
  // What has no phase of its own before the shell answers.
  if (error.phase < Phase::kShell) error.phase = Phase::kBecome;
  if (error.system_error == ENOENT)
    error.remedy = cat("install ", method, " on that machine, or see that it is in PATH");
  // Other words than those of the table: another version's, or another language's.
  if (error.phase == Phase::kShell &&
      error.text.find(cat("last words: ", method, ": ")) != std::string::npos) {
    error.phase = Phase::kBecome;
    error.error_class = ErrorClass::kRefused;
    error.remedy.clear();
  }
  if (error.phase == Phase::kBecome && error.remedy.empty() && error.error_class != ErrorClass::kCancelled)
    error.remedy = cat("see what it says by hand, on that machine: ",
                       method == "su" ? cat("su ", user, " -c true") : cat("doas -u ", user, " true"));
  return error;
}

}  // namespace banyan
