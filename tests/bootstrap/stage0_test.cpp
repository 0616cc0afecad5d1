// Goal: stage 0 brings an image up behind every login shell, over every wire, or says why not; and leaves no
// file. Method: real shells, each given the command as sshd gives it; an image that tells what it sees and
// echoes.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "tests/bootstrap/far_end.h"
#include "tests/support/not_tested.h"

using namespace banyan;
using namespace banyan::test;

namespace {

using State = Handshake::State;

std::string machine() {
  utsname name{};
  ::uname(&name);
  return name.machine;
}

bool has_shell(const std::string& name) {
  if (::access(cat("/usr/bin/", name).c_str(), X_OK) == 0) return true;
  not_tested(name, cat("there is no /usr/bin/", name));
  return false;
}

// Login shells; those that are not here are said and passed over.
std::vector<std::vector<std::string>> login_shells() {
  std::vector<std::vector<std::string>> found;
  for (const char* name : {"bash", "dash", "busybox", "ksh93", "mksh", "zsh", "tcsh", "fish"}) {
    if (!has_shell(name)) continue;
    found.push_back({cat("/usr/bin/", name), "-c"});
    if (std::string_view(name) == "busybox") found.back().insert(found.back().begin() + 1, "ash");
  }
  return found;
}

// What "sh" may be.
std::vector<std::string> inner_shells() {
  std::vector<std::string> found;
  for (const char* name : {"bash", "dash", "busybox", "ksh93", "mksh", "zsh"})
    if (has_shell(name)) found.push_back(name);
  return found;
}

// Links to programs by their names: from busybox where that is the shell, so that its own ones are tried too.
std::vector<std::string> tools(const std::string& shell, std::vector<std::string> names) {
  std::vector<std::string> links = {cat("/usr/bin/", shell, ":sh")};
  for (const auto& name : names)
    links.push_back(cat("/usr/bin/", shell == "busybox" ? shell : name, ":", name));
  return links;
}

const std::vector<std::string> kAllTools = {"chmod", "rm", "uname", "dd", "stty"};

Start shell_start(std::vector<std::string> argv, Wire wire) {
  Start start;
  start.argv = std::move(argv);
  start.wire = wire;
  return start;
}

void check_booted(const Booted& booted, const std::string& payload, const Folder& folder) {
  INFO("error: " << booted.error.text);
  CHECK(booted.state == State::kLinked);
  CHECK(booted.banner ==
        cat("banyan-agent ", hex64(nonce_of_test()), " /memfd:banyan (deleted) ", 027, " 3"));
  CHECK(booted.echo == payload);
  CHECK(booted.status == 0);
  CHECK(folder.left_behind() == std::vector<std::string>());
}

void check_failed(const Booted& booted, Phase phase, const std::string& text, const Folder& folder) {
  CHECK(booted.state == State::kFailed);
  CHECK(booted.error.phase == phase);
  CHECK_THAT(booted.error.text, Catch::Contains(text));
  CHECK(booted.banner.empty());
  CHECK(folder.left_behind() == std::vector<std::string>());
}

// A mount namespace of its own for a child that is about to execute. False: this machine does not allow it.
bool own_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool mount_noexec(const std::string& folder) {
  return ::mount("tmpfs", folder.c_str(), "tmpfs", MS_NOEXEC, nullptr) == 0;
}

}  // namespace

TEST_CASE("every login shell boots an image over a pipe, a socket pair and a terminal") {
  const std::string payload = random_bytes(300'000, 1);
  for (const auto& argv : login_shells())
    for (Wire wire : kWires) {
      INFO(argv[0] << " over a " << name_of(wire));
      Folder folder;
      check_booted(boot(shell_start(argv, wire), {.payload = payload}, folder), payload, folder);
    }
}

TEST_CASE("every shell that may be called sh boots an image over every wire") {
  const std::string payload = random_bytes(100'000, 2);
  for (const auto& shell : inner_shells())
    for (Wire wire : kWires) {
      INFO("sh is " << shell << " over a " << name_of(wire));
      Folder folder;
      Start start = shell_start({"/usr/bin/bash", "-c"}, wire);
      start.path = folder.make_path("bin", tools(shell, kAllTools));
      check_booted(boot(start, {.payload = payload}, folder), payload, folder);
    }
}

TEST_CASE("with the architecture known, loader, image and what follows may all be sent at once") {
  const std::string payload = random_bytes(100'000, 3);
  for (const auto& argv : login_shells())
    for (Wire wire : {Wire::kPipe, Wire::kSocketpair}) {
      INFO(argv[0] << " over a " << name_of(wire));
      Folder folder;
      Booted booted =
          boot(shell_start(argv, wire), {.expected_architecture = machine(), .payload = payload}, folder);
      check_booted(booted, payload, folder);
    }
}

TEST_CASE("a wrong guess at the architecture is refused before anything is executed") {
  const std::string other = machine() == "x86_64" ? "aarch64" : "x86_64";
  for (const auto& shell : inner_shells()) {
    INFO("sh is " << shell);
    Folder folder;
    Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
    start.path = folder.make_path("bin", tools(shell, kAllTools));
    Booted booted = boot(start, {.expected_architecture = other, .payload = "x"}, folder);
    CHECK(booted.error.text.find("taken for") != std::string::npos);
    check_failed(booted, Phase::kShell, machine(), folder);
  }
}

TEST_CASE("small pieces, as a slow network delivers them, are put together") {
  const std::string payload = random_bytes(1'000, 4);
  for (const auto& shell : inner_shells())
    for (Wire wire : kWires) {
      INFO("sh is " << shell << " over a " << name_of(wire));
      Folder folder;
      Start start = shell_start({"/usr/bin/bash", "-c"}, wire);
      start.path = folder.make_path("bin", tools(shell, kAllTools));
      check_booted(boot(start, {.payload = payload, .pieces_of = 333}, folder), payload, folder);
    }
}

TEST_CASE("without dd the loader comes through printf, over every wire") {
  const std::string payload = random_bytes(10'000, 5);
  for (const auto& shell : inner_shells())
    for (Wire wire : kWires) {
      INFO("sh is " << shell << " over a " << name_of(wire));
      Folder folder;
      Start start = shell_start({"/usr/bin/bash", "-c"}, wire);
      start.path = folder.make_path("bin", tools(shell, {"chmod", "rm", "uname", "stty", "printf"}));
      check_booted(boot(start, {.payload = payload}, folder), payload, folder);
    }
}

TEST_CASE("a dd that does not know fullblock reads byte by byte") {
  const std::string payload = random_bytes(10'000, 6);
  for (Wire wire : kWires) {
    INFO(name_of(wire));
    Folder folder;
    folder.write_script("dd", "#!/bin/sh\ncase \"$*\" in *iflag*) exit 1;; esac\nexec /usr/bin/dd \"$@\"\n");
    Start start = shell_start({"/usr/bin/dash", "-c"}, wire);
    start.path =
        folder.make_path("bin", tools("dash", {"chmod", "rm", "uname", "stty"})) + ":" + folder.path();
    check_booted(boot(start, {.payload = payload, .pieces_of = 1000}, folder), payload, folder);
  }
}

TEST_CASE("what is missing is named, and nothing is left") {
  for (const std::string missing : {"chmod", "rm", "uname"})
    for (const auto& shell : inner_shells()) {
      INFO("sh is " << shell << " without " << missing);
      Folder folder;
      std::vector<std::string> names = kAllTools;
      std::erase(names, missing);
      auto links = tools(shell, names);
      // A busybox shell finds its own commands without any file.
      if (shell == "busybox") continue;
      Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
      start.path = folder.make_path("bin", links);
      Booted booted = boot(start, {}, folder);
      CHECK(booted.error.phase == Phase::kShell);
      CHECK_THAT(booted.error.text, Catch::Contains("no " + missing));
      // Without rm nothing can be taken away: nothing may have been made.
      CHECK(folder.left_behind() == std::vector<std::string>());
    }

  Folder folder;
  Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
  start.path =
      folder.make_path("bin", tools("mksh", {"chmod", "rm", "uname"}));  // no printf inside, no dd beside
  check_failed(boot(start, {}, folder), Phase::kShell, "no dd", folder);

  Folder terminal;
  start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPty);
  start.path = terminal.make_path("bin", tools("dash", {"chmod", "rm", "uname", "dd"}));
  check_failed(boot(start, {}, terminal), Phase::kShell, "no stty", terminal);
}

TEST_CASE("a first directory that does not allow execution is passed over") {
  for (const auto& shell : inner_shells())
    for (Wire wire : kWires) {
      INFO("sh is " << shell << " over a " << name_of(wire));
      Folder folder;
      Start start = shell_start({"/usr/bin/bash", "-c"}, wire);
      start.path = folder.make_path("bin", tools(shell, kAllTools));
      start.in_child = [&] {
        if (!own_mounts() || !mount_noexec(folder.path() + "/runtime dir")) ::_exit(122);
      };
      Booted booted = boot(start, {.payload = "over"}, folder);
      if (WIFEXITED(booted.status) && WEXITSTATUS(booted.status) == 122) {
        not_tested("mounts", "a mount namespace, which this needs, is only for root");
        return;
      }
      check_booted(booted, "over", folder);
    }
}

TEST_CASE(
    "what somebody puts where the file is to be, on reading our command line, is neither used nor changed") {
  for (const auto& shell : inner_shells()) {
    if (shell == "busybox") continue;  // its uname is its own
    INFO("sh is " << shell);
    Folder folder;
    Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
    start.path = folder.make_path("bin", tools(shell, {"chmod", "rm", "dd", "stty"}));
    const std::string pipe = folder.path() + "/work/pipe", uname = folder.path() + "/bin/uname";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    // The attacker is quick: here it is a program that stage 0 runs before it makes the file.
    std::ofstream(uname) << "#!/usr/bin/bash\nfor p in $PPID $(/usr/bin/cut -d' ' -f4 /proc/$PPID/stat); do\n"
                         << "  /usr/bin/ln -s '" << pipe << "' '" << folder.path() << "/runtime dir/.banyan-"
                         << hex64(nonce_of_test()) << ".'$p\ndone\nexec /usr/bin/uname \"$@\"\n";
    REQUIRE(::chmod(uname.c_str(), 0755) == 0);
    const Booted booted = boot(start, {.payload = "elsewhere"}, folder);
    INFO("error: " << booted.error.text);
    CHECK(booted.state == State::kLinked);
    CHECK(booted.echo == "elsewhere");
    struct stat after {};
    REQUIRE(::stat(pipe.c_str(), &after) == 0);
    CHECK((after.st_mode & 07777) == 0600);
    ::unlink(pipe.c_str());
  }
}

TEST_CASE("where no directory allows execution, those that were tried are named") {
  for (const auto& shell : inner_shells()) {
    INFO("sh is " << shell);
    Folder folder;
    Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
    start.path = folder.make_path("bin", tools(shell, kAllTools));
    const std::string path = folder.path();
    start.in_child = [path] {
      if (!own_mounts()) ::_exit(122);
      for (const char* name : {"/runtime dir", "/home", "/work"})
        if (!mount_noexec(path + name)) ::_exit(122);
      // Not /tmp itself, where the links to the shells are: its mount is changed, not covered.
      for (const char* name : {"/dev/shm", "/tmp", "/var/tmp"}) {
        ::mount(name, name, nullptr, MS_BIND, nullptr);
        if (::mount(nullptr, name, nullptr, MS_REMOUNT | MS_BIND | MS_NOEXEC, nullptr) != 0) ::_exit(122);
      }
      if (::chdir((path + "/work").c_str()) != 0) ::_exit(122);
    };
    Booted booted = boot(start, {}, folder);
    if (WIFEXITED(booted.status) && WEXITSTATUS(booted.status) == 122) {
      not_tested("mounts", "a mount namespace, which this needs, is only for root");
      return;
    }
    check_failed(booted, Phase::kShell,
                 cat("tried ", path, "/runtime dir /dev/shm /tmp /var/tmp ", path, "/home ."), folder);
  }
}

TEST_CASE("a connection that breaks during the upload leaves no file, wherever it breaks") {
  for (const auto& shell : inner_shells())
    for (Wire wire : kWires)
      for (std::size_t after : {std::size_t(1), loader_bytes() / 2, loader_bytes() - 1, loader_bytes() + 5}) {
        INFO("sh is " << shell << " over a " << name_of(wire) << ", cut after " << after);
        Folder folder;
        Start start = shell_start({"/usr/bin/bash", "-c"}, wire);
        start.path = folder.make_path("bin", tools(shell, kAllTools));
        Booted booted = boot(start, {.cut_after = after}, folder);
        CHECK(booted.state != State::kLinked);
        if (wire != Wire::kPty) {
          CHECK(booted.error.phase == Phase::kUpload);
          CHECK_THAT(booted.error.text, Catch::Contains(after < loader_bytes() ? "loader did not arrive whole"
                                                                               : "ended before the image"));
        }
        CHECK(booted.status != 0);
        CHECK(folder.left_behind() == std::vector<std::string>());
      }
}

TEST_CASE("the printf way leaves no file either when it breaks") {
  for (const auto& shell : inner_shells()) {
    INFO("sh is " << shell);
    Folder folder;
    Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
    start.path = folder.make_path("bin", tools(shell, {"chmod", "rm", "uname", "printf"}));
    check_failed(boot(start, {.cut_after = 20'000}, folder), Phase::kUpload, "did not arrive whole", folder);
  }
}

TEST_CASE("a loader that may not be executed is one clear error, and gone") {
  for (const auto& shell : inner_shells()) {
    INFO("sh is " << shell);
    Folder folder;
    // Takes the permission away again, as a security module would: after the test with the empty file.
    folder.write_script(
        "dd",
        "#!/usr/bin/bash\n/usr/bin/dd \"$@\"\nfor a; do case $a in of=*) chmod 600 \"${a#of=}\";; "
        "esac; done\n");
    Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
    start.path = folder.path() + ":" + folder.make_path("bin", tools(shell, {"chmod", "rm", "uname"}));
    if (shell == "busybox") continue;  // its own dd comes before any other
    check_failed(boot(start, {}, folder), Phase::kUpload, "could not execute the loader (exec 126)", folder);
  }
}

TEST_CASE("the noise of start-up files is borne, and quoted when they end the shell") {
  Folder folder;
  folder.write_script(
      "noisy", "for ((i = 0; i < 900; i++)); do printf 'notice %d: %050d\\n' $i 0; done\nprintf prompt\n");
  Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPipe);
  start.environment = {cat("BASH_ENV=", folder.path(), "/noisy")};
  check_booted(boot(start, {.payload = "loud"}, folder), "loud", folder);

  folder.write_script("ends", "echo This account is not available.; exit 1\n");
  start.environment = {cat("BASH_ENV=", folder.path(), "/ends")};
  check_failed(boot(start, {}, folder), Phase::kShell, "This account is not available.", folder);
}

TEST_CASE("a terminal that echoes the command and hangs up while stage 0 waits leaves nothing") {
  for (const auto& shell : inner_shells()) {
    INFO("sh is " << shell);
    Folder folder;
    Start start = shell_start({"/usr/bin/bash", "-c"}, Wire::kPty);
    start.path = folder.make_path("bin", tools(shell, kAllTools));
    start.argv.push_back(stage0_command(nonce_of_test(), {}));
    Process process = test::start(start, folder);
    std::string heard;
    pollfd polled{process.out.get(), POLLIN, 0};
    while (heard.find("BANYAN-READY") == std::string::npos && ::poll(&polled, 1, 60'000) == 1) {
      char part[4096];
      auto count = ::read(process.out.get(), part, sizeof part);
      if (count <= 0) break;
      heard.append(part, std::size_t(count));
    }
    CHECK_THAT(heard, Catch::Contains("BANYAN-READY"));
    CHECK(end_of(process) != 0);
    CHECK(folder.left_behind() == std::vector<std::string>());
  }
}

TEST_CASE("an echo of the command is not mistaken for its output") {
  Handshake handshake(echo_images(), ImageKind::kAgent, nonce_of_test(), {});
  std::string command = stage0_command(nonce_of_test(), {});
  handshake.feed(as_bytes(command + "\r\n" + command + "\n"));
  CHECK(handshake.state() == State::kWaitingForReady);
}

TEST_CASE("the command is one line without anything a login shell treats specially inside quotes") {
  std::string command = stage0_command(0x1234, "x86_64");
  CHECK(command.starts_with("exec sh -c '"));
  CHECK(command.find_first_of("'\\!\n\r", 12) == command.size() - 1);
  CHECK(command.find('@') == std::string::npos);
  CHECK(command.find("0000000000001234") != std::string::npos);
  CHECK(command.size() < 2048);
}
