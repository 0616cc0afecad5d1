// Goal: a target of sudo is that user on this machine, as if one had typed sudo oneself; where sudo says no,
// that is told in phase become with what to do; and nothing is left. Method: the real program and the real
// sudo, with accounts, sudoers and PAM of their own in a mount namespace for each run, beside sudo without
// us. The machine's own files are never changed.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/other_users.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// What a line says that sudo itself runs there.
std::string without_us(const World& world, const std::string& line) {
  Words words = world.starter();
  // The program is a shell here: ${1%/*} and ${1##*/} are of its path.
  words.insert(words.end(), {"/bin/sh", "-c", cat("exec sudo -n -H -u db -- /bin/sh -c '", line, "'")});
  std::string command = "exec";
  for (const std::string& word : words) {
    command += " '";
    for (const char c : word) command += c == '\'' ? std::string("'\\''") : std::string(1, c);
    command += "'";
  }
  command += " </dev/null";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string said;
  char bytes[4096];
  for (std::size_t got; (got = std::fread(bytes, 1, sizeof bytes, pipe)) > 0;) said.append(bytes, got);
  CHECK(::pclose(pipe) == 0);
  return said;
}

}  // namespace

TEST_CASE("whoever may become another user without a password runs commands as that one") {
  if (!can_test()) return;
  for (const char* user : {"root", "ann"}) {
    CAPTURE(user);
    World world;
    world.user = user;
    const Finished got = run_in(
        world, {"run", "sudo:db", "--", "sh", "-c", "id -un; cat; echo e >&2; exit 7"}, "what was given\n");
    CHECK(got.code == 7);
    CHECK(got.out == "db\nwhat was given\n");
    CHECK(got.err == "e\n");
    CHECK(nobody_is_left());
  }
}

TEST_CASE("beneath a hop sudo makes another user of it, and what lies beneath is that user too") {
  if (!can_test()) return;
  const Finished got = run_in({}, {"run", "local/sudo:db,local/sudo:db/local,sudo:db/local/local", "--sh",
                                   "id -un; cat >/dev/null; exit 7"});
  CAPTURE(got.err);
  CHECK(got.code == 1);
  for (const char* target : {"local/sudo:db", "local/sudo:db/local", "sudo:db/local/local"})
    CHECK(contains(got.out, cat(std::string_view(target), ": db\n")));
  CHECK(nobody_is_left());
}

TEST_CASE(
    "where sudo says no beneath a hop, that is told with the hop, and what else is beneath it goes on") {
  if (!can_test()) return;
  const Finished got = run_in({}, {"run", "local/sudo:nosuch,local/local", "--", "id", "-un"});
  CHECK(got.code == 4);
  CHECK(got.out == "local/local: ann\n");
  CHECK(contains(got.err, "local/sudo:nosuch  become: sudo: "));
  CHECK(contains(got.err, "by way of local"));
  CHECK(nobody_is_left());
}

TEST_CASE("sudo alone is root, as far as the machine itself lets us") {
  if (!has_sudo()) return;
  if (::geteuid() != 0 && std::system("sudo -n true 2>/dev/null") != 0)
    return not_tested("users", "who runs this may not become root without a password");
  for (const char* target : {"sudo", "sudo:root"}) {
    CAPTURE(target);
    const Finished got = run_program({"run", target, "--", "id", "-u"});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "0\n");
  }
}

TEST_CASE("a megabyte goes to another user and back as it was, also where sudo logs what passes") {
  if (!can_test()) return;
  const std::string bytes = random_bytes(1 << 20);
  for (const char* logs : {"", "Defaults log_input, log_output, iolog_dir=/mnt/log\n"}) {
    CAPTURE(logs);
    World world;
    world.sudoers = cat(std::string_view(logs), kUsualSudoers);
    const Finished got = run_in(world, {"run", "sudo:db", "--", "cat"}, bytes);
    CHECK(got.code == 0);
    CHECK((got.out == bytes));
    CHECK(nobody_is_left());
  }
}

TEST_CASE("a command finds what it would find with sudo by hand: environment, folder, mask, groups") {
  if (!can_test()) return;
  const std::string line =
      "pwd; umask; id; ulimit -n; env | grep -v \"^SUDO_COMMAND=\\|^_=\\|^OLDPWD=\\|^SHLVL=\" | sort";
  for (const char* folder : {"/", "/usr"}) {
    CAPTURE(folder);
    World world;
    world.folder = folder;
    world.setpriv = "env LC_TIME=C.UTF-8 FOO=bar";
    const Finished got = run_in(world, {"run", "sudo:db", "--sh", line});
    CHECK(got.code == 0);
    CHECK(got.out == without_us(world, line));
    CHECK(got.out.starts_with(cat(std::string_view(folder), "\n")));
    CHECK(contains(got.out, "\nHOME=/mnt/db\n"));
    CHECK(contains(got.out, "\nLC_TIME=C.UTF-8\n"));
    CHECK_FALSE(contains(got.out, "FOO"));
  }
}

TEST_CASE("in a folder that is closed to the new user a command begins at home") {
  if (!can_test()) return;
  World world;
  world.folder = "/mnt/ann";
  const Finished got = run_in(world, {"run", "sudo:db", "--", "pwd"});
  CHECK(got.code == 0);
  CHECK(got.out == "/mnt/db\n");
  CHECK(got.err == "");
}

TEST_CASE("the locale of a command is the caller's, whatever sudo was to speak") {
  if (!can_test()) return;
  World world;
  world.setpriv = "env LC_ALL=C.UTF-8";
  CHECK(run_in(world, {"run", "sudo:db", "--", "printenv", "LC_ALL"}).out == "C.UTF-8\n");
}

TEST_CASE("all of stage 0, which sudo has in its environment, is in no command's") {
  if (!can_test()) return;
  const Finished got = run_in({}, {"run", "sudo:db", "--", "printenv", "SUDO_COMMAND"});
  CHECK(got.code == 1);
  CHECK(got.out == "");
}

TEST_CASE(
    "where the new user's shell is not what this machine's should be, it is asked before it is sent "
    "anything") {
  if (!can_test()) return;
  World world;
  world.setup = "mount --bind /dev/null \"$(readlink -f \"$(command -v dd)\")\"\n";
  const Finished got = run_in(world, {"run", "sudo:db", "--", "id", "-un"});
  CHECK(got.err == "");
  CHECK(got.code == 0);
  CHECK(got.out == "db\n");
  CHECK(nobody_is_left());
}

TEST_CASE("a signal that ends a command there is told as one") {
  if (!can_test()) return;
  CHECK(run_in({}, {"run", "sudo:db", "--sh", "kill -KILL $$"}).code == 137);
  CHECK(run_in({}, {"run", "sudo:db", "--timeout", "200ms", "--", "sleep", "1000"}).code == 124);
  CHECK(nobody_is_left());
}

TEST_CASE("Ctrl-C, or the end of the program itself, ends what runs as another user") {
  if (!can_test()) return;
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    CAPTURE(signal);
    const World world;
    Program program({"run", "sudo:db", "--sh", "echo begun; sleep 1000 & sleep 1000"}, Program::Shape::kPipes,
                    {}, world.starter());
    REQUIRE(program.wait_for("begun"));
    CHECK_FALSE(processes_of(kDb).empty());
    program.signal(signal);
    if (signal == SIGINT) {
      REQUIRE(program.wait_for_error("running"));
      program.signal(signal);
    }
    const Finished got = program.finish();
    CHECK(got.code == (signal == SIGKILL ? 1000 + SIGKILL : 128 + signal));
    CHECK(nobody_is_left());
  }
}

TEST_CASE("where sudo says no, that is told in phase become with what to do") {
  if (!can_test()) return;
  struct Row {
    const char* what;
    World world;
    const char* target;
    const char* error_class;
    const char* error;
    const char* remedy;
  };
  const auto sudoers = [](const char* lines) {
    World world;
    world.sudoers = lines;
    return world;
  };
  const auto changed = [](auto change) {
    World world;
    change(world);
    return world;
  };
  const Row table[] = {
      {"a password", sudoers("ann ALL=(ALL) ALL\n"), "sudo:db", "auth", "a password is required",
       "LOGIN ALL=(db) NOPASSWD: ALL"},
      {"a password, another locale", changed([](World& world) {
         world.sudoers = "ann ALL=(ALL) ALL\n";
         world.setpriv = "env LC_ALL=C.UTF-8 LANGUAGE=de";
       }),
       "sudo:db", "auth", "a password is required", "NOPASSWD"},
      {"no rule", sudoers("Defaults !authenticate\nroot ALL=(ALL) ALL\n"), "sudo:db", "refused",
       "ann is not in the sudoers file", "NOPASSWD"},
      {"another program", sudoers("Defaults !authenticate\nann ALL=(ALL) NOPASSWD: /bin/ls\n"), "sudo",
       "refused", "is not allowed to execute /bin/sh as root", "LOGIN ALL=(root) NOPASSWD: ALL"},
      {"unknown user", World(), "sudo:nosuch", "refused", "unknown user", "getent passwd nosuch"},
      {"no new privileges", changed([](World& world) { world.setpriv = "--no-new-privs"; }), "sudo:db",
       "bootstrap", "no new privileges", "NoNewPrivileges"},
      {"not setuid", changed([](World& world) {
         world.setup = "cp $sudo /mnt/sudo\nchmod 755 /mnt/sudo\nmount --bind /mnt/sudo $sudo\n";
       }),
       "sudo:db", "bootstrap", "setuid bit", "setuid"},
      {"nosuid", changed([](World& world) {
         world.setup =
             "mkdir /mnt/n\nmount -t tmpfs -o nosuid none /mnt/n\ncp $sudo /mnt/n/sudo\nchmod 4755 "
             "/mnt/n/sudo\nmount --bind /mnt/n/sudo $sudo\n";
       }),
       "sudo:db", "bootstrap", "effective uid is not 0", "file system"},
      {"account", changed([](World& world) { world.account = "pam_deny.so"; }), "sudo:db", "auth",
       "account validation failure", "chage"},
      {"no sudo", changed([](World& world) { world.path = "/mnt"; }), "sudo:db", "bootstrap", "No such file",
       "install sudo"},
  };
  for (const Row& row : table) {
    CAPTURE(row.what);
    const Finished got = run_in(row.world, {"run", row.target, "--json", "--", "true"});
    CAPTURE(got.err);
    CHECK(got.code == 255);
    REQUIRE_FALSE(lines_of(got.out).empty());
    const nlohmann::json fail = nlohmann::json::parse(lines_of(got.out).at(0));
    REQUIRE(fail.at("event") == "fail");
    CHECK(fail.at("phase") == "become");
    CHECK(fail.at("class") == row.error_class);
    CHECK(fail.at("started") == "no");
    CHECK(fail.at("error").get<std::string>().find(row.error) != std::string::npos);
    CHECK(fail.at("error").get<std::string>().size() < 200);
    REQUIRE(fail.at("remedy").is_string());
    CHECK(fail.at("remedy").get<std::string>().find(row.remedy) != std::string::npos);
  }
  CHECK(nobody_is_left());
}

TEST_CASE("a sudo that does not come to an end is ended when time is up, and leaves nothing") {
  if (!can_test()) return;
  World world;
  // It waits for an answer of PAM. What PAM started is not ours, and here ends with sudo.
  world.setup =
      "printf '#!/bin/sh\\nwhile [ -d /proc/$PPID ]; do sleep 0.05; done\\n' >/mnt/wait\nchmod 755 "
      "/mnt/wait\n";
  world.account = "pam_exec.so /mnt/wait";
  const Finished got =
      run_in(world, {"run", "sudo:db", "--json", "--connect-timeout", "500ms", "--", "true"});
  CHECK(got.code == 255);
  CHECK(contains(got.out, "\"phase\":\"become\",\"class\":\"timeout\""));
  CHECK(got.seconds < 30);
}

TEST_CASE("what another user's context starts beneath itself is that user too") {
  if (!can_test()) return;
  const Finished got = run_in({}, {"run", "sudo:db/local[1-2]", "--", "id", "-un"});
  CHECK(got.code == 0);
  CHECK(contains(got.out, "sudo:db/local1: db\n"));
  CHECK(contains(got.out, "sudo:db/local2: db\n"));
  CHECK(nobody_is_left());
}

TEST_CASE("the tree names sudo, the doctor has a step for it, and what fails there has its remedy") {
  if (!can_test()) return;
  const Finished tree = run_in({}, {"tree", "sudo:db", "--json"});
  CHECK(tree.code == 0);
  REQUIRE(lines_of(tree.out).size() >= 2);
  const nlohmann::json context = nlohmann::json::parse(lines_of(tree.out)[1]);
  CHECK(context.at("name") == "sudo:db");
  CHECK(context.at("method") == "sudo");

  const Finished well = run_in({}, {"doctor", "sudo:db"});
  CHECK(well.code == 0);
  CHECK(contains(well.out, "sudo:db: all is well"));
  CHECK(contains(well.out, "as db, by sudo"));
  CHECK(contains(well.out, cat("uid ", kDb)));

  World closed;
  closed.sudoers = "ann ALL=(ALL) ALL\n";
  const Finished ill = run_in(closed, {"doctor", "sudo:db"});
  CHECK(ill.code == 255);
  CHECK(contains(ill.out, "sudo:db: fails at become"));
  CHECK(contains(ill.out, "-> start it where somebody can be asked"));
  CHECK(nobody_is_left());
}

TEST_CASE("a plan says what sudo would run, and runs nothing") {
  const Finished got = run_program({"plan", "sudo:db", "--json"}, {}, {"PATH=/nonexistent"});
  CHECK(got.code == 0);
  const nlohmann::json step = nlohmann::json::parse(lines_of(got.out).at(0)).at("route").at(0);
  CHECK(step.at("method") == "sudo");
  CHECK(step.at("user") == "db");
  CHECK(step.at("command") == "sudo -H -u db -- /bin/sh -c ...");
}

TEST_CASE("a sudo that wants a terminal has one, and the link is not on it") {
  if (!can_test()) return;
  World world;
  world.sudoers = "Defaults requiretty\nann ALL=(ALL) NOPASSWD: ALL\n";
  for (const char* target : {"sudo:db", "local/sudo:db"}) {
    for (const char* more : {"", "Defaults use_pty\n"}) {
      CAPTURE(target, more);
      world.sudoers = cat("Defaults requiretty\n", more, "ann ALL=(ALL) NOPASSWD: ALL\n");
      const Finished got =
          run_in(world, {"run", target, "--", "sh", "-c", "id -un; head -c 1000000 /dev/zero | cksum"});
      CAPTURE(got.err);
      CHECK(got.code == 0);
      CHECK(got.out == "db\n1345294785 1000000\n");
    }
  }
}
