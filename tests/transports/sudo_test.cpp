// Goal: sudo is started so that it asks nothing and its words can be read, and what it says when it fails
// becomes a class and a remedy, in phase become. Method: exact argument vectors; the texts that sudo 1.9 and
// sudo-rs print, all of what one failure prints at a time.
#include "transports/sudo.h"

#include <catch2/catch.hpp>

#include <cerrno>

#include "core/text.h"
#include "parent/api/stage0.h"

using namespace banyan;

TEST_CASE("sudo runs stage 0 as that user, in a folder open to him, without a question") {
  const Recipe recipe = sudo({"sudo:postgres", "postgres", ""}, 7, "x86_64", 5 * kSecond);
  CHECK(recipe.name == "sudo:postgres");
  CHECK(recipe.method == "sudo");
  CHECK(recipe.boot == Recipe::Boot::kStage0);
  CHECK(recipe.nonce == 7);
  CHECK(recipe.architecture == "x86_64");
  CHECK(recipe.deadlines.total == 5 * kSecond);
  CHECK(recipe.deadlines.until_ready < Deadlines().until_ready);
  CHECK(recipe.argv ==
        std::vector<std::string>{"sudo", "-n", "-H", "-u", "postgres", "--", "/bin/sh", "-c",
                                 cat("cd . 2>/dev/null || cd 2>/dev/null || cd /; unset SUDO_COMMAND OLDPWD "
                                     "SUDO_ASKPASS BANYAN_VISIT; "
                                     "unset LC_ALL; ",
                                     stage0_command(7, "x86_64"))});
  CHECK(recipe.environment == std::vector<std::pair<std::string, std::string>>{{"LC_ALL", "C"}});
}

TEST_CASE("a sudo that may ask does so by its askpass program, with a prompt that is nobody else's") {
  Recipe recipe = sudo({"sudo:postgres", "postgres", ""}, 7, "x86_64");
  const std::vector<std::string> unasked = recipe.argv;
  let_ask(recipe, {"/usr/bin/banyan", "abc", "banyan-7"});
  std::vector<std::string> asking = unasked;
  asking[1] = "-A";
  asking.insert(asking.begin() + 2, {"-p", "banyan-7"});
  CHECK(recipe.argv == asking);
  CHECK(recipe.environment ==
        std::vector<std::pair<std::string, std::string>>{
            {"LC_ALL", "C"}, {"SUDO_ASKPASS", "/usr/bin/banyan"}, {"BANYAN_VISIT", "@banyan:name@ abc"}});
}

TEST_CASE("the locale that sudo was to speak in is not the command's, and only a plain one is handed on") {
  const auto line = [](const char* locale) { return sudo({"s", "ann", locale}, 1, "").argv.back(); };
  CHECK(line("de_DE.UTF-8").find("; export LC_ALL=de_DE.UTF-8; exec sh -c ") != std::string::npos);
  for (const char* odd : {"", "a b", "$(id)", "x;id", "'", "/etc/x"}) {
    CAPTURE(odd);
    CHECK(line(odd).find("; unset LC_ALL; exec sh -c ") != std::string::npos);
  }
}

TEST_CASE("what sudo prints becomes a class and a remedy, in phase become") {
  struct {
    const char* text;
    ErrorClass error_class;
    const char* remedy;
  } table[] = {
      {"sudo: a password is required\n", ErrorClass::kAuth, "(postgres) NOPASSWD: ALL"},
      {"sudo: sorry, a password is required to run sudo\n", ErrorClass::kAuth, "NOPASSWD"},
      {"sudo: unable to resolve host web1: Name or service not known\nsudo: a password is required\n",
       ErrorClass::kAuth, "NOPASSWD"},
      {"ann is not in the sudoers file.\n", ErrorClass::kRefused, "NOPASSWD"},
      {"ann is not in the sudoers file.  This incident will be reported.\n", ErrorClass::kRefused,
       "NOPASSWD"},
      {"Sorry, user ann is not allowed to execute '/bin/sh -c x' as postgres on web1.\n",
       ErrorClass::kRefused, "NOPASSWD"},
      {"Sorry, user ann may not run sudo on web1.\n", ErrorClass::kRefused, "NOPASSWD"},
      {"sudo: unknown user postgres\nsudo: error initializing audit plugin sudoers_audit\n",
       ErrorClass::kRefused, "getent passwd postgres"},
      {"sudo: unknown user: postgres\n", ErrorClass::kRefused, "getent passwd postgres"},
      {"sudo: sorry, you must have a tty to run sudo\n", ErrorClass::kRefused, "requiretty"},
      {"sudo: account validation failure, is your account locked?\nsudo: a password is required\n",
       ErrorClass::kAuth, "chage"},
      {"sudo: Account or password is expired, reset your password and try again\n", ErrorClass::kAuth,
       "chage"},
      {"sudo: Password expired, contact your system administrator\n", ErrorClass::kAuth, "chage"},
      {"sudo: PAM account management error: Permission denied\n", ErrorClass::kAuth, "chage"},
      {"sudo: The \"no new privileges\" flag is set, which prevents sudo from running as root.\nsudo: If "
       "sudo "
       "is running in a container, you may need to adjust the container configuration to disable the flag.\n",
       ErrorClass::kBootstrap, "NoNewPrivileges"},
      {"sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set\n", ErrorClass::kBootstrap,
       "setuid"},
      {"sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set or an "
       "NFS file system without root privileges?\n",
       ErrorClass::kBootstrap, "file system"},
      {"sudo: /etc/sudoers is world writable\nsudo: no valid sudoers sources found, quitting\nsudo: error "
       "initializing audit plugin sudoers_audit\n",
       ErrorClass::kBootstrap, "visudo"},
      {"Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n",
       ErrorClass::kAuth, "check the password"},
      {"sudo: unable to run /proc/1/exe: Permission denied\nsudo: no password was provided\nsudo: a password "
       "is required\n",
       ErrorClass::kBootstrap, "mount /proc"},
      // sudo-rs
      {"sudo: Maximum 3 incorrect authentication attempts\n", ErrorClass::kAuth, "check the password"},
      {"sudo: interactive authentication is required\n", ErrorClass::kAuth, "NOPASSWD"},
      {"sudo: Authentication required but not attempted\n", ErrorClass::kAuth, "NOPASSWD"},
      {"sudo: A terminal is required to authenticate\n", ErrorClass::kAuth, "NOPASSWD"},
      {"sudo: Interaction is required\n", ErrorClass::kAuth, "NOPASSWD"},
      {"sudo: I'm sorry ann. I'm afraid I can't do that\n", ErrorClass::kRefused, "NOPASSWD"},
      {"sudo: user 'postgres' not found\n", ErrorClass::kRefused, "getent"},
      {"sudo: sudo must be owned by uid 0 and have the setuid bit set\n", ErrorClass::kBootstrap, "setuid"},
  };
  const std::vector<Symptom> symptoms = sudo_symptoms("postgres");
  for (const auto& row : table) {
    CAPTURE(row.text);
    const Symptom* symptom = find_symptom(symptoms, row.text);
    REQUIRE(symptom != nullptr);
    CHECK(symptom->phase == Phase::kBecome);
    CHECK(symptom->error_class == row.error_class);
    CHECK(symptom->remedy.find(row.remedy) != std::string::npos);
  }
  CHECK(find_symptom(symptoms, "sudo: unable to resolve host web1: Name or service not known\n") == nullptr);
}

TEST_CASE("a sudo that is not there, or takes too long, has failed to become the user") {
  Error missing{ErrorClass::kBootstrap, Phase::kConnect, "starting sudo: No such file or directory", {}};
  missing.system_error = ENOENT;
  CHECK(error_of_sudo(missing, "ann").phase == Phase::kBecome);
  CHECK(error_of_sudo(missing, "ann").remedy.find("install sudo") != std::string::npos);
  const Error late =
      error_of_sudo({ErrorClass::kTimeout, Phase::kConnect, "nothing came of it within 40 s", {}}, "ann");
  CHECK(late.phase == Phase::kBecome);
  CHECK(late.error_class == ErrorClass::kTimeout);
  CHECK(late.remedy.find("sudo -n -u ann true") != std::string::npos);
}

TEST_CASE("words of sudo that no table has are still a refusal, and those of a shell are none") {
  const auto told = [](const char* text) {
    return error_of_sudo({ErrorClass::kBootstrap, Phase::kShell, text, "see the shell"}, "ann");
  };
  const Error foreign =
      told("the connection ended before the shell was ready; last words: sudo: Ein Passwort ist notwendig");
  CHECK(foreign.phase == Phase::kBecome);
  CHECK(foreign.error_class == ErrorClass::kRefused);
  CHECK(foreign.remedy.find("sudo -n -u ann true") != std::string::npos);
  for (const char* other : {"no directory to write in", "ended; last words: sh: 1: dd: not found",
                            "ended; last words: sudo: unable to resolve host web1"}) {
    CAPTURE(other);
    CHECK(told(other).phase == Phase::kShell);
    CHECK(told(other).remedy == "see the shell");
  }
}

TEST_CASE("of the command that sudo refused only the program is told") {
  const std::string line = cat("Sorry, user ann is not allowed to execute '/bin/sh -c ",
                               stage0_command(7, ""), "' as postgres on web1.");
  const Error told = error_of_sudo({ErrorClass::kRefused, Phase::kBecome, line, "r"}, "postgres");
  CHECK(told.text == "Sorry, user ann is not allowed to execute /bin/sh as postgres on web1.");
}

TEST_CASE("a sudo that wants a terminal is told from one that refuses, and asks there if somebody answers") {
  const Error tty{ErrorClass::kRefused, Phase::kBecome, "sudo: sorry, you must have a tty to run sudo", ""};
  CHECK(wants_terminal(tty));
  CHECK_FALSE(
      wants_terminal(Error{ErrorClass::kRefused, Phase::kBecome, "ann is not in the sudoers file", ""}));
  Error cancelled = tty;
  cancelled.error_class = ErrorClass::kCancelled;
  CHECK_FALSE(wants_terminal(cancelled));
  Recipe asks = sudo({"", "db", ""}, 7, ""), silent = asks;
  put_on_terminal(asks, true);
  put_on_terminal(silent, false);
  CHECK((asks.extra().terminal == Recipe::Terminal::kControlling));
  CHECK(asks.argv.at(1) != "-n");
  CHECK(silent.argv.at(1) == "-n");
}

TEST_CASE(
    "a sudo that cannot run what is to ask for its password is told from one that was given a wrong one") {
  const std::vector<Symptom> symptoms = sudo_symptoms("db");
  for (const char* said : {
           "sudo: unable to run /proc/12/exe: Permission denied\nsudo: no password was provided\n"
           "sudo: a password is required",
           "sudo: no askpass program specified, try setting SUDO_ASKPASS",
           "sudo-rs: Failed to run askpass program /proc/12/exe: No such file or directory\n"
           "sudo-rs: Incorrect authentication attempt",
           "sudo-rs: No askpass program specified in SUDO_ASKPASS",
       }) {
    CAPTURE(said);
    const Symptom* symptom = find_symptom(symptoms, said);
    REQUIRE(symptom != nullptr);
    CHECK(symptom->error_class == ErrorClass::kBootstrap);
    CHECK(wants_terminal(Error{symptom->error_class, symptom->phase, said, symptom->remedy}));
  }
  const char* wrong = "sudo: 1 incorrect password attempt";
  const Symptom* symptom = find_symptom(symptoms, wrong);
  REQUIRE(symptom != nullptr);
  CHECK_FALSE(wants_terminal(Error{symptom->error_class, symptom->phase, wrong, symptom->remedy}));
}
