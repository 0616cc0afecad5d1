// Goal: a sudo that wants a password is given it once, by whoever was asked; a wrong one locks no account;
// nobody else is given it, and nothing is left. Method: the real program and the real sudo, with accounts,
// sudoers and PAM of their own; PAM writes down what it was given. Stand-ins for a sudo that lies, and for
// one that is another.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/passwords.h"
#include "tests/end_to_end/person.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// 0: there is none.
pid_t hop_of(pid_t root) {
  for (const pid_t pid : descendants_of(root))
    if (parent_of(pid) == root && read_file(cat("/proc/", pid, "/comm")) == "banyan-agent\n") return pid;
  return 0;
}

struct Mapping {
  std::uint64_t from = 0, to = 0;
  bool is_left_out_of_cores = false;
};

// Where a process's memory holds the text.
std::vector<Mapping> places_of(std::string_view text, pid_t pid) {
  std::vector<Mapping> places;
  const banyan::Fd memory(::open(cat("/proc/", pid, "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  Mapping mapping;
  for (const std::string& line : lines_of(read_file(cat("/proc/", pid, "/smaps")))) {
    std::uint64_t from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) mapping = {from, to};
    if (!line.starts_with("VmFlags:")) continue;
    mapping.is_left_out_of_cores = contains(line, " dd");
    std::string bytes(mapping.to - mapping.from, '\0');
    const ssize_t got = ::pread(memory.get(), bytes.data(), bytes.size(), off_t(mapping.from));
    if (got > 0 && contains(bytes, text)) places.push_back(mapping);
  }
  return places;
}

}  // namespace

TEST_CASE("a sudo that wants a password is given it, once, here and beneath a hop") {
  if (!can_test()) return;
  for (const char* target : {"sudo:db", "local/sudo:db", "local/local/sudo:db", "local/sudo:db/local"}) {
    CAPTURE(target);
    const Scene scene;
    const Finished got = scene.run({"run", target, "--", "id", "-un"});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "db\n");
    CHECK(count_of(got.err, "asked: ") == 1);
    CHECK(contains(got.err, "asked: [sudo] password of ann for "));
    CHECK(scene.tried() == std::vector<std::string>{kBecomePassword});
    CHECK(nobody_is_left());
  }
}

TEST_CASE("where no password is wanted nobody is asked for one") {
  if (!can_test()) return;
  Scene scene;
  scene.world.sudoers = kUsualSudoers;
  const Finished got = scene.run({"run", "sudo:db,local/sudo:db", "--", "id", "-un"});
  CHECK(got.code == 0);
  CHECK(got.err == "");
  CHECK(scene.tried().empty());
}

TEST_CASE("a wrong password is tried once, however often sudo would ask, and refused in phase become") {
  if (!can_test()) return;
  for (const char* line : {"", "Defaults passwd_tries=1\n", "Defaults passwd_tries=10\n"}) {
    for (const char* target : {"sudo:db", "local/sudo:db"}) {
      CAPTURE(line, target);
      Scene scene;
      scene.world.sudoers += line;
      scene.world.answer = "falsch";
      const Finished got = scene.run({"run", target, "--json", "--", "true"});
      CAPTURE(got.err);
      CHECK(got.code == 255);
      const nlohmann::json fail = nlohmann::json::parse(lines_of(got.out).at(0));
      CHECK(fail.at("phase") == "become");
      CHECK(fail.at("class") == "auth");
      CHECK(fail.at("started") == "no");
      CHECK(contains(fail.at("error"), "the password was refused"));
      CHECK(count_of(got.err, "asked: ") == 1);
      CHECK(scene.tried() == std::vector<std::string>{"falsch"});
    }
  }
  CHECK(nobody_is_left());
}

TEST_CASE(
    "one password is asked for all who are asked the same, and one that was refused is given to none of "
    "them any more") {
  if (!can_test()) return;
  for (const char* answer : {kBecomePassword, "falsch"}) {
    CAPTURE(answer);
    Scene scene;
    scene.world.answer = answer;
    const Finished got = scene.run({"run", "local[1-3]/sudo:db,sudo,local4/sudo", "--", "id", "-un"});
    CAPTURE(got.err);
    const bool is_right = answer == std::string_view(kBecomePassword);
    CHECK(got.code == (is_right ? 0 : 4));
    CHECK(count_of(got.err, "asked: ") == 1);
    CHECK(contains(got.err, " and 4 more: "));
    CHECK(scene.tried().size() == (is_right ? 5 : 1));
    CHECK(count_of(got.err, "so it is not tried here") == (is_right ? 0 : 4));
    CHECK(nobody_is_left());
  }
}

TEST_CASE("with -K the password is asked for before anything starts, also where none is wanted in the end") {
  if (!can_test()) return;
  Scene scene;
  CHECK(scene.run({"run", "-K", "local/sudo:db", "--", "id", "-un"}).out == "db\n");
  scene.world.sudoers = kUsualSudoers;
  const Finished none = scene.run({"run", "-K", "sudo:db", "--", "id", "-un"});
  CHECK(none.out == "db\n");
  CHECK(count_of(none.err, "asked: ") == 1);
  CHECK(scene.tried().size() == 1);

  const Finished nobody = scene.run({"run", "-K", "sudo:db", "--", "id", "-un"}, {});
  CHECK(nobody.code == 2);
  CHECK(nobody.out == "");
  CHECK(contains(nobody.err, "-K: there is nobody to ask"));
  const Finished both = scene.run({"run", "-K", "--no-ask", "sudo:db", "--", "id", "-un"});
  CHECK(both.code == 2);
}

TEST_CASE("where nobody can be asked, or somebody says no, that is told, and sudo is given nothing") {
  if (!can_test()) return;
  Scene scene;
  for (const char* target : {"sudo:db", "local/sudo:db"}) {
    CAPTURE(target);
    const Finished unasked = scene.run({"run", target, "--no-ask", "--", "true"});
    CHECK(unasked.code == 255);
    CHECK(contains(unasked.err, "become: sudo: a password is required"));
    CHECK(contains(unasked.err, "where somebody can be asked"));
    CHECK_FALSE(contains(unasked.err, "asked: "));
    Scene declines;
    declines.world.answer = "";
    const Finished declined = declines.run({"run", target, "--", "true"});
    CHECK(declined.code == 255);
    CHECK(contains(declined.err, "become: a password was asked for, and not given"));
    CHECK(declines.tried().empty());
  }
  CHECK(nobody_is_left());
}

TEST_CASE("whoever may not become another user is told so, after his password as without one") {
  if (!can_test()) return;
  Scene scene;
  scene.world.sudoers = "root ALL=(ALL) ALL\n";
  const Finished got = scene.run({"run", "local/sudo:db,sudo:db", "--", "true"});
  CHECK(got.code == 4);
  CHECK(count_of(got.err, "ann is not in the sudoers file") == 2);
  CHECK(count_of(got.err, "asked: ") == 1);
}

TEST_CASE("Ctrl-C while a person is asked ends all of it") {
  if (!can_test()) return;
  for (const char* target : {"sudo:db", "local/sudo:db"}) {
    CAPTURE(target);
    Scene scene;
    scene.world.setup +=
        "printf '#!/bin/sh\\necho asked >&2\\nexec sleep 1000\\n' >/mnt/thinks\nchmod 755 /mnt/thinks\n";
    Program program({"run", target, "--", "id", "-un"}, Program::Shape::kPipes,
                    {"SSH_ASKPASS=/mnt/thinks", "SSH_ASKPASS_REQUIRE=force"}, scene.world.starter());
    REQUIRE(program.wait_for_error("asked"));
    program.signal(SIGINT);
    const Finished got = program.finish();
    CHECK(got.code == 130);
    CHECK(scene.tried().empty());
    CHECK(nobody_is_left());
  }
}

TEST_CASE("a person at a terminal sees who wants what, and not what is typed") {
  if (!can_test()) return;
  const Scene scene;
  OnTerminal terminal({"run", "local/sudo:db", "--", "id", "-un"}, {}, scene.world.starter());
  REQUIRE(terminal.wait_for("[sudo] password of ann for local/sudo:db: "));
  CHECK_FALSE(terminal.echoes());
  terminal.type(cat(std::string_view(kBecomePassword), "\n"));
  REQUIRE(terminal.wait_for("db"));
  CHECK(terminal.finish() == 0);
  CHECK(terminal.echoes());
  CHECK_FALSE(contains(terminal.shown(), kBecomePassword));
  CHECK(nobody_is_left());
}

TEST_CASE(
    "the password is in nobody's arguments or environment, and in no file, while it is used and after") {
  if (!can_test()) return;
  const Scene scene;
  for (const char* target : {"sudo:db", "local/sudo:db"}) {
    CAPTURE(target);
    Program program({"run", target, "--sh", "env; echo begun; exec sleep 1000"}, Program::Shape::kPipes,
                    kPerson, scene.world.starter());
    REQUIRE(program.wait_for("begun"));
    CHECK_FALSE(program.has_said("BANYAN_VISIT"));
    CHECK_FALSE(program.has_said("ASKPASS"));
    std::error_code error;
    for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
      struct stat status = {};
      if (::stat(process.path().c_str(), &status) != 0 || (status.st_uid != kAnn && status.st_uid != kDb))
        continue;
      for (const char* file : {"cmdline", "environ"})
        CHECK_FALSE(contains(read_file(process.path().string() + "/" + file), kBecomePassword));
    }
    for (const char* folder : {"/tmp", "/var/tmp", "/dev/shm"})
      for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
        struct stat status = {};
        if (::stat(file.path().c_str(), &status) == 0 && (status.st_uid == kAnn || status.st_uid == kDb))
          FAIL_CHECK(file.path());
      }
    program.signal(SIGTERM);
    CHECK(program.finish().code == 143);
    CHECK(nobody_is_left());
  }
}

TEST_CASE("what only looks like a prompt is given nothing, wherever it is printed") {
  if (!can_test()) return;
  for (const char* target : {"sudo:ann", "local/sudo:ann"}) {
    CAPTURE(target);
    Scene scene;
    stand_in(scene.world, cat("prompt=$3\nprintf '[sudo] password for ann: ' >&2\nprintf \"$prompt\" >&2\n"
                              "echo \"$prompt\"\necho 'Password: '\n",
                              kSkipOptions, "exec \"$@\""));
    const Finished got = scene.run({"run", target, "--", "id", "-un"});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "ann\n");
    CHECK_FALSE(contains(got.err, "asked: "));
  }
  CHECK(nobody_is_left());
}

TEST_CASE("who asks again after success, without the token, or as a stranger, is given nothing") {
  if (!can_test()) return;
  struct Row {
    const char* what;
    std::string script;
    int asked;
  };
  const std::string run = cat(kSkipOptions, "exec \"$@\"");
  const std::string note = "grep -q . && echo got it >&2\n";
  const Row table[] = {
      {"again", cat("\"$SUDO_ASKPASS\" \"$3\" >/dev/null\n\"$SUDO_ASKPASS\" \"$3\" | ", note, run), 1},
      {"no token",
       cat("BANYAN_VISIT=\"${BANYAN_VISIT% *} 0123456789abcdef\" \"$SUDO_ASKPASS\" \"$3\" | ", note, run), 0},
      {"no token at all", cat("BANYAN_VISIT=\"${BANYAN_VISIT% *}\" \"$SUDO_ASKPASS\" \"$3\" | ", note, run),
       0},
      {"a stranger",
       cat("setsid sh -c 'while [ -d /proc/$1 ]; do sleep 0.02; done; \"$SUDO_ASKPASS\" \"$2\" | ",
           "grep -q . && echo got it >&2' sh $$ \"$3\" &\n", kSkipOptions, "exit 1"),
       0},
  };
  for (const Row& row : table) {
    CAPTURE(row.what);
    Scene scene;
    stand_in(scene.world, row.script);
    const Finished got = scene.run({"run", "local/sudo:ann", "--", "id", "-un"});
    CAPTURE(got.err);
    CHECK(count_of(got.err, "asked: ") == std::size_t(row.asked));
    CHECK_FALSE(contains(got.err, "got it"));
    CHECK(nobody_is_left());
  }
}

TEST_CASE("a sudo that dresses up the prompt, as sudo-rs does, is given the password by its mark in it") {
  if (!can_test()) return;
  Scene scene;
  stand_in(scene.world, cat("said=$(\"$SUDO_ASKPASS\" \"[sudo: $3] Passwort:\")\n[ \"$said\" = '",
                            kBecomePassword, "' ] || exit 1\n", kSkipOptions, "exec \"$@\""));
  const Finished got = scene.run({"run", "local/sudo:ann", "--", "id", "-un"});
  CHECK(got.out == "ann\n");
  CHECK(contains(got.err, "asked: [sudo] password of ann for local/sudo:ann: "));
}

TEST_CASE("a question of PAM that is not for the password goes to the person as it is") {
  if (!can_test()) return;
  Scene scene;
  scene.world.answer = "123456";
  stand_in(scene.world,
           cat("said=$(\"$SUDO_ASKPASS\" 'Verification code: ')\n[ \"$said\" = 123456 ] || exit 1\n",
               kSkipOptions, "exec \"$@\""));
  const Finished got = scene.run({"run", "local/sudo:ann", "--", "id", "-un"});
  CHECK(got.out == "ann\n");
  CHECK(contains(got.err, "asked: (local/sudo:ann) Verification code:"));
}

TEST_CASE("where /proc hides others' processes sudo still finds who answers") {
  if (!can_test()) return;
  Scene scene;
  scene.world.setup += "mount -t proc -o hidepid=2 proc /proc\n";
  for (const char* target : {"sudo:db", "local/sudo:db"}) {
    CAPTURE(target);
    const Finished got = scene.run({"run", target, "--", "id", "-un"});
    CAPTURE(got.err);
    CHECK(got.out == "db\n");
  }
}

TEST_CASE("a sudo that wants a terminal has one, and is given the password there, once") {
  if (!can_test()) return;
  for (const char* target : {"sudo:db", "local/sudo:db"}) {
    CAPTURE(target);
    Scene scene;
    scene.world.sudoers = cat("Defaults requiretty\n", scene.world.sudoers);
    const Finished got = scene.run({"run", target, "--", "id", "-un"});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "db\n");
    CHECK(count_of(got.err, "asked: ") == 1);
    CHECK(scene.tried() == std::vector<std::string>{kBecomePassword});

    Scene wrong;
    wrong.world.sudoers = cat("Defaults requiretty\n", wrong.world.sudoers);
    wrong.world.answer = "falsch";
    const Finished refused = wrong.run({"run", target, "--", "true"});
    CHECK(contains(refused.err, "the password was refused"));
    CHECK(wrong.tried() == std::vector<std::string>{"falsch"});
    const Finished unasked = wrong.run({"run", target, "--no-ask", "--", "true"});
    CHECK(contains(unasked.err, "become: sudo: a password is required"));
  }
  CHECK(nobody_is_left());
}

TEST_CASE("a sudo that cannot run what is to ask for its password asks on a terminal, once") {
  if (!can_test()) return;
  struct Row {
    const char* target;
    bool has_proc;
  };
  const Row table[] = {
      {"sudo:db", false},
      {"local/sudo:db", false},
      {"local/sudo:db", true},
  };
  for (const Row& row : table) {
    for (const char* answer : {kBecomePassword, "falsch"}) {
      CAPTURE(row.target, row.has_proc, answer);
      Scene scene;
      scene.world.answer = answer;
      if (row.has_proc) {
        // The hop has a right that what ann's sudo runs has not, and so is closed to that.
        scene.world.inherited += ",+net_raw";
        scene.world.setpriv = "--ambient-caps=+net_raw";
      } else {
        scene.world.setup += "mount -t tmpfs none /proc\n";
      }
      const Finished got = scene.run({"run", row.target, "--", "id", "-un"});
      CAPTURE(got.err);
      CHECK(count_of(got.err, "asked: ") == 1);
      CHECK(scene.tried() == std::vector<std::string>{answer});
      const bool is_right = answer == std::string_view(kBecomePassword);
      CHECK(got.out == (is_right ? "db\n" : ""));
      CHECK(contains(got.err, "the password was refused") == !is_right);
    }
  }
  CHECK(nobody_is_left());
}

// Attack A16.
TEST_CASE("a password is in no core file of the hop that it passed through") {
  if (!can_test()) return;
  const std::string pattern = read_file("/proc/sys/kernel/core_pattern");
  // Of what is longer than what comes later some is left in memory that was given back.
  const std::string piece = "Kanarienvogel ";
  const bool is_found = pattern.find_first_of("/|@") == pattern.npos;
  for (const char* defaults : {"", "Defaults requiretty\n"}) {
    CAPTURE(defaults);
    const TemporaryFolder cores;
    std::filesystem::permissions(cores.path(), std::filesystem::perms::all);
    Scene scene;
    scene.world.sudoers += defaults;
    scene.world.setup += "ulimit -c unlimited\n";
    scene.world.auth = "auth required pam_exec.so expose_authtok quiet /bin/true\n";  // whatever it is
    scene.world.answer.clear();
    for (int i = 0; i < 20; ++i) scene.world.answer += piece;
    scene.world.folder = cores.path();
    Program program({"run", "local/sudo:db", "--sh", "echo begun; exec sleep 1000"}, Program::Shape::kPipes,
                    kPerson, scene.world.starter());
    REQUIRE(program.wait_for("begun"));
    const pid_t hop = hop_of(program.pid());
    REQUIRE(hop > 0);
    CHECK_FALSE(places_of(piece, hop).empty());
    for (const Mapping& place : places_of(piece, hop)) CHECK(place.is_left_out_of_cores);

    REQUIRE(::kill(hop, SIGSEGV) == 0);
    CHECK(program.finish().code != 0);
    if (!is_found) {
      not_tested("core-pattern", "core files go elsewhere (kernel.core_pattern)");
      continue;
    }
    std::string core;
    for (const auto& file : std::filesystem::directory_iterator(cores.path())) core += read_file(file.path());
    CHECK(contains(core, "banyan-agent"));  // there is one, and its stack is in it
    CHECK_FALSE(contains(core, piece));
  }
  CHECK(nobody_is_left());
}
