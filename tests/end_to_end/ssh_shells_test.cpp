// Goal: whatever the account's login shell is, whatever its start-up files print and wherever it may write, a
// command runs there and its bytes arrive as they are; or one line says why not. Method: a real server in a
// mount namespace of its own, with accounts of its own, each with another login shell. For root only.
#include "tests/end_to_end/ssh.h"
#include "tests/support/not_tested.h"

using namespace banyan::test;
using banyan::cat;

namespace {

struct Shell {
  const char *name, *path, *start_up;  // the file it reads also when it is given a command
};
// The name is that of the account too; busybox is ash when it is called so, which a link sees to.
constexpr Shell kShells[] = {
    {"bash", "/usr/bin/bash", ".bashrc"}, {"dash", "/usr/bin/dash", ""},
    {"ash", "/usr/bin/busybox", ""},      {"ksh93", "/usr/bin/ksh93", ""},
    {"mksh", "/usr/bin/mksh", ""},        {"zsh", "/usr/bin/zsh", ".zshenv"},
    {"tcsh", "/usr/bin/tcsh", ".tcshrc"}, {"fish", "/usr/bin/fish", ".config/fish/config.fish"},
};

// Those that are installed; the others are said.
std::vector<Shell> installed_shells() {
  std::vector<Shell> found;
  for (const Shell& shell : kShells) {
    if (::access(shell.path, X_OK) == 0) {
      found.push_back(shell);
    } else {
      not_tested(shell.name, banyan::cat("there is no ", std::string_view(shell.path)));
    }
  }
  return found;
}

std::vector<Sshd::Account> accounts_of(const std::vector<Shell>& shells) {
  std::vector<Sshd::Account> accounts;
  for (const Shell& shell : shells)
    accounts.push_back({shell.name, std::string_view(shell.name) == "ash" ? "/srv/ash/ash" : shell.path});
  return accounts;
}

constexpr const char* kLinkAsh = "ln -s /usr/bin/busybox /srv/ash/ash\n";

Words at(const Sshd& server, std::string_view account, const Words& rest,
         const std::string& back_end = "openssh") {
  return over(server, cat(account, "@web"), rest, back_end);
}

// A command's words and its bytes, to and fro.
void check_works(const Sshd& server, std::string_view account, std::string_view err = "") {
  for (const char* back_end : kBackEnds) {
    CAPTURE(account, back_end);
    const std::string bytes = random_bytes(300'000);
    const Finished words = run_program(at(server, account, {"-n", "--sh", "id -un; pwd; exit 7"}, back_end));
    CAPTURE(words.err);
    CHECK(words.code == 7);
    CHECK(words.out == cat(account, "\n", Sshd::home(std::string(account)), "\n"));
    CHECK(words.err == err);
    const Finished echoed = run_program(at(server, account, {"--", "cat"}, back_end), bytes);
    CHECK(echoed.code == 0);
    CHECK((echoed.out == bytes));
    CHECK(echoed.err == err);
  }
}

// A command there is not begun, and one event says why; nothing stays.
void check_refused(const Sshd& server, std::string_view account, const Failing& expected) {
  for (const char* back_end : kBackEnds) {
    CAPTURE(account, back_end);
    const Finished got = run_program(at(server, account, {"--json", "--", "true"}, back_end));
    CAPTURE(got.out);
    check_failed(got, expected);
    CHECK(server.leftovers().empty());
  }
}

// PATH is a folder with these tools alone, beside what `extra` puts there.
Sshd::Options only_with(const Words& tools, const std::string& extra = "") {
  Sshd::Options options{.server_lines = "SetEnv PATH=/srv/guest/bin",
                        .accounts = {{"guest", "/bin/sh"}},
                        .setup = "mkdir /srv/guest/bin\nln -s /bin/sh /srv/guest/bin/sh\n"};
  for (const std::string& tool : tools)
    options.setup += cat("ln -s \"$(command -v ", tool, ")\" /srv/guest/bin/", tool, "\n");
  options.setup += extra;
  return options;
}

// One whose uname says that the machine is another.
Sshd::Options claiming_to_be(const std::string& machine) {
  return only_with({"chmod", "rm", "dd"},
                   cat("printf '#!/bin/sh\\necho ", machine,
                       "\\n' >/srv/guest/bin/uname\nchmod 755 /srv/guest/bin/uname\n"));
}

// Directories of which none allows execution, but for the home.
constexpr const char* kOnlyHome =
    "mount -o remount,noexec /dev/shm\nmount -o remount,noexec /var/tmp\n"
    "mount --bind /tmp /tmp\nmount -o remount,bind,noexec /tmp\n";

}  // namespace

TEST_CASE("a command runs behind every login shell, and its bytes arrive as they are") {
  if (!has_sshd() || !has_namespaces()) return;
  const auto shells = installed_shells();
  const Sshd server({.accounts = accounts_of(shells), .setup = kLinkAsh});
  for (const Shell& shell : shells) check_works(server, shell.name);
}

TEST_CASE("banners, greetings and junk from start-up files are passed over, whatever the shell") {
  if (!has_sshd() || !has_namespaces()) return;
  std::string banner;  // as long as libssh2 takes one; ssh_wire_test has a longer one
  while (banner.size() < 30 * 1024)
    banner += "Authorised use only. \033[31mEverything\033[0m is Permission denied (logged).\n";
  // 20 KB of lines, half a line, and bytes of every kind; the same line works in all of them.
  const std::string junk = random_bytes(20'000);
  const std::string noise = "cat ~/greeting ~/junk\necho to stderr too >/dev/stderr\n";
  std::string greeting;
  while (greeting.size() < 20'000)
    greeting += "Welcome! BANYAN-READY 0123456789abcdef x86_64 dd - - is what you will not read.\n";
  const auto shells = installed_shells();
  Sshd::Options options{
      .server_lines = "Banner /srv/banner", .accounts = accounts_of(shells), .setup = kLinkAsh};
  for (const Shell& shell : shells) {
    options.files.push_back({shell.name, "greeting", greeting});
    options.files.push_back({shell.name, "junk", junk});
    options.files.push_back({shell.name, "banner", banner});
    if (*shell.start_up != '\0') options.files.push_back({shell.name, shell.start_up, noise});
  }
  options.setup += cat("cp /srv/", std::string_view(shells[0].name), "/banner /srv/banner\n");
  const Sshd server(options);
  for (const Shell& shell : shells) {
    check_works(server, shell.name);
    if (*shell.start_up == '\0') continue;
    const std::string line = cat("ssh -T -F '", server.client_config(), "' ", std::string_view(shell.name),
                                 "@web : 2>&1 >'", server.folder(), "/heard' | grep -q 'Authorised use'");
    CHECK(std::system(line.c_str()) == 0);
    CHECK(contains(read_file(server.folder() + "/heard"), "Welcome! BANYAN-READY"));
    CHECK(contains(read_file(server.folder() + "/heard"), junk));
  }
}

TEST_CASE("start-up files that print without end are told as such in bounded time") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server({.accounts = {{"chatter", "/bin/bash"}},
                     .files = {{"chatter", ".bashrc", "while :; do echo 'never ends'; done\n"}}});
  check_refused(server, "chatter", {"shell", "bootstrap", "never ends"});
}

TEST_CASE("start-up files that never end cost --connect-timeout and no more, and Ctrl-C ends the wait") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(
      {.accounts = {{"sleeper", "/bin/bash"}}, .files = {{"sleeper", ".bashrc", "sleep 300\n"}}});
  const std::string mark = fresh_mark();
  const Finished got =
      run_program(at(server, "sleeper", {"--json", "--connect-timeout", "1s", "--", "true"}), {}, {mark});
  CAPTURE(got.out);
  CHECK(got.code == 255);
  CHECK(got.seconds < 10);
  CHECK(the_event(got.out, "fail").value("class", "") == "timeout");
  CHECK(the_event(got.out, "fail").value("started", "") == "no");
  CHECK(the_event(got.out, "fail").value("error", "") == "not up after 1s, as --connect-timeout says");
  CHECK(the_event(got.out, "fail").value("remedy", "") ==
        cat("try ssh -F ", server.client_config(), " -l sleeper web true"));

  // ssh does not tell how far it is.
  for (const auto& [back_end, phase] : {std::pair{"openssh", "connect"}, std::pair{"libssh2", "shell"}}) {
    const std::string fresh = fresh_mark();
    Program program(at(server, "sleeper", {"--", "true"}, back_end), Program::Shape::kPipes, {fresh});
    const Stopwatch waiting;
    while (marked(fresh, "sleep") < 0 && waiting.seconds() < 20) ::poll(nullptr, 0, 5);
    program.signal(SIGINT);
    REQUIRE(program.wait_for(cat("still running: sleeper@web (", std::string_view(phase), " ")));
    const Stopwatch since;
    program.signal(SIGINT);
    const Finished ended = program.finish();
    CAPTURE(back_end, ended.err);
    CHECK(ended.code == 130);
    CHECK(since.seconds() < 5);
    // That sleep is the account's own: as with ssh, nobody over there knows that we have gone.
    for (pid_t pid : processes_marked(fresh)) ::kill(pid, SIGKILL);
  }
  for (pid_t pid : processes_marked(mark)) ::kill(pid, SIGKILL);
}

TEST_CASE("the first directory that allows execution is taken, and nothing stays in any") {
  if (!has_sshd() || !has_namespaces()) return;
  // One after the other is made useless, in the order they are tried.
  struct {
    const char *what, *setup;
  } table[] = {
      {"/dev/shm noexec", "mount -o remount,noexec /dev/shm\n"},
      {"/dev/shm read-only", "mount -o remount,ro /dev/shm\n"},
      {"only the home", kOnlyHome},
  };
  for (const auto& row : table) {
    CAPTURE(row.what);
    const Sshd server({.accounts = {{"guest", "/bin/sh"}}, .setup = row.setup});
    check_works(server, "guest");
    CHECK(server.leftovers().empty());
  }
}

TEST_CASE("XDG_RUNTIME_DIR is the first directory that is tried, unless it allows no execution") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* option : {"exec", "noexec"}) {
    CAPTURE(option);
    const Sshd server(
        {.server_lines = "SetEnv XDG_RUNTIME_DIR=/srv/guest/runtime",
         .accounts = {{"guest", "/bin/sh"}},
         .setup = cat("mkdir /srv/guest/runtime\nmount -t tmpfs -o mode=1777,", std::string_view(option),
                      " none /srv/guest/runtime\n"
                      // Where only one is left to be used, that it works says which.
                      "test ",
                      std::string_view(option), " = noexec || {\n", std::string_view(kOnlyHome),
                      "chmod 555 /srv/guest\n}\n")});
    check_works(server, "guest");
    CHECK(server.leftovers().empty());
  }
}

TEST_CASE("a host where nothing may be written and executed is told in one line with a remedy") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(
      {.accounts = {{"guest", "/bin/sh"}},
       .setup = "mount -o remount,noexec /dev/shm\nmount -o remount,ro /var/tmp\n"
                "mount --bind /tmp /tmp\nmount -o remount,bind,noexec /tmp\nchmod 555 /srv/guest\n"});
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(at(server, "guest", {"--json", "--", "true"}, back_end));
    CAPTURE(got.out);
    CHECK(got.code == 255);
    CHECK(got.seconds < 10);
    const nlohmann::json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["phase"] == "shell");
    CHECK(fail["class"] == "bootstrap");
    CHECK(fail["started"] == "no");
    for (const char* folder : {"/dev/shm", "/tmp", "/var/tmp", "/srv/guest"})
      CHECK(contains(fail["error"].get<std::string>(), folder));
    CHECK(contains(fail["remedy"].get<std::string>(), "noexec"));
    CHECK(lines_of(run_program(at(server, "guest", {"--", "true"}, back_end)).err).size() == 1);
  }
}

TEST_CASE("a terminal on the connection changes no byte, whatever the shell") {
  if (!has_sshd() || !has_namespaces()) return;
  const auto shells = installed_shells();
  const Sshd server({.client_lines = "RequestTTY force", .accounts = accounts_of(shells), .setup = kLinkAsh});
  for (const Shell& shell : shells) check_works(server, shell.name);
}

TEST_CASE("a login shell that is none of ours is told with what it said") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(
      {.accounts = {{"menu", "/srv/menu/shell"}},
       .setup = "chmod 755 /srv/menu/shell\n",
       .files = {{"menu", "shell", "#!/bin/sh\necho 'Please choose: 1) backup 2) restore'\nexit 1\n"}}});
  check_refused(server, "menu", {"shell", "bootstrap", "Please choose"});
}

TEST_CASE("a host without dd receives the loader through printf") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(only_with({"chmod", "rm", "uname"}));
  const std::string bytes = random_bytes(300'000);
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(at(server, "guest", {"--", "/bin/cat"}, back_end), bytes);
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK((got.out == bytes));
    CHECK(server.leftovers().empty());
  }
}

TEST_CASE("a host without a tool that is needed is told in one line that names it") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(only_with({"rm", "uname", "dd"}));
  check_refused(server, "guest", {"shell", "bootstrap", "the host has no chmod"});
}

TEST_CASE("a host of an architecture nobody has an image for is told in one line that names it") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(claiming_to_be("pdp11"));
  check_refused(server, "guest",
                {"shell", "bootstrap", "the host is pdp11; this program carries images for "});
}

TEST_CASE("a host that lies about its architecture is told as one that cannot execute the loader") {
  if (!has_sshd() || !has_namespaces()) return;
  const std::string other = other_architecture();
  if (::access(cat("/proc/sys/fs/binfmt_misc/qemu-", other).c_str(), F_OK) == 0) {
    not_tested("binfmt", banyan::cat("this machine does execute programs for ", other));
    return;
  }
  const Sshd server(claiming_to_be(other));
  check_refused(server, "guest", {"shell upload hello", "bootstrap"});
}
