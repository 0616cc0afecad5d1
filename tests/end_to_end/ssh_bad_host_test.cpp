// Goal: a host that cannot take us, or that damages what it is sent, costs one line with the phase, the class
// and the remedy, in bounded time, and nothing is left there; and a key agent that hangs costs its own hosts
// only. Method: the real program over both back ends, against a real sshd in a mount namespace of its own,
// where disks are full or read-only and login shells change what they pass on. For root only, but for the key
// agents.
#include <sys/stat.h>

#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/support/key_agent.h"

using namespace banyan::test;
using banyan::cat;

TEST_CASE("a host with a full disk, or one that can be written nowhere, is told with what is missing") {
  if (!has_sshd() || !has_namespaces()) return;
  const struct {
    const char* name;
    const char* setup;
    const char* phases;
    const char* said;
    const char* remedy;
  } table[] = {
      {"full",
       "for d in /dev/shm /var/tmp /srv/guest; do mount -t tmpfs -o size=4k,mode=1777 none $d; done\n"
       "mount --bind /tmp /tmp\nmount -o remount,bind,noexec /tmp\n",
       "upload", "did not arrive whole", "full disk"},
      {"read-only",
       "mount -o remount,ro /dev/shm\nmount -o remount,ro /var/tmp\nmount --bind /tmp /tmp\n"
       "mount -o remount,bind,ro /tmp\nmount --bind $here $here\nmount -o remount,bind,rw $here\nmount "
       "--bind /srv/guest /srv/guest\nmount -o remount,bind,ro "
       "/srv/guest\n",
       "shell", "/dev/shm", "noexec"},
  };
  for (const auto& row : table) {
    const Sshd server({.accounts = {{"guest", "/bin/sh"}}, .setup = row.setup});
    for (const char* back_end : kBackEnds) {
      const Finished got = run_program(over(server, "guest@web", {"--json", "--", "true"}, back_end));
      CAPTURE(row.name, back_end, got.out);
      check_failed(got, {row.phases, "bootstrap", row.said, row.remedy, 3});
      CHECK(server.leftovers().empty());
    }
  }
}

TEST_CASE("an upload that arrives changed or cut is noticed, and nothing of it runs or stays") {
  if (!has_sshd() || !has_namespaces()) return;
  // What is sent: the loader, then a header and the image. The account's shell lets the first bytes pass,
  // then does something to the next.
  const struct {
    const char* name;
    const char* then;
    int bytes;
  } table[] = {
      {"the loader's first bytes", "printf X; head -c 1 >/dev/null; cat", 1},
      {"the image's header", "printf X; head -c 1 >/dev/null; cat", 24'577},
      {"the image", "printf XXXX; head -c 4 >/dev/null; cat", 40'000},
      {"cut in the loader", "true", 10'000},
      {"cut in the image", "true", 40'000},
  };
  for (const auto& row : table) {
    const Sshd server({.accounts = {{"guest", "/srv/guest/shell"}},
                       .setup = "chmod 755 /srv/guest/shell\n",
                       .files = {{"guest", "shell",
                                  cat("#!/bin/sh\n{ head -c ", row.bytes, "; ", std::string_view(row.then),
                                      "; } | /bin/sh -c \"$2\"\n")}}});
    for (const char* back_end : kBackEnds) {
      const Finished got = run_program(
          over(server, "guest@web", {"--json", "--connect-timeout", "8s", "--", "true"}, back_end));
      CAPTURE(row.name, back_end, got.out);
      check_failed(got, {"upload hello", "bootstrap protocol", "", "", 3});
      CHECK(server.leftovers().empty());
    }
  }
}

TEST_CASE("a key agent that never answers costs the hosts that ask it, and no others") {
  if (!has_sshd()) return;
  const Sshd server;
  const SilentSocket agent(server.folder() + "/silent");
  const std::string config = server.folder() + "/with_agent";
  std::ofstream(config) << "Host db1\nIdentityAgent " << agent.path() << "\nHost *\nInclude "
                        << server.client_config() << "\n";
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program({"run", "-F", config, "--ssh", back_end, "--json", "--connect-timeout",
                                      "6s", "db[1-8]", "--", "echo", "here"});
    CAPTURE(got.out, got.err);
    int fine = 0;
    for (const nlohmann::json& event : events_of(got.out)) {
      if (event.value("event", "") != "exit") continue;
      ++fine;
      if (event["target"] != "db1") CHECK(event["seconds"].get<double>() < 1 + kSlack / 2);
    }
    const bool is_ssh = std::string_view(back_end) == "openssh";
    // ssh waits for the agent for ever; a connector does without it after a while, and takes the key file.
    CHECK(fine == (is_ssh ? 7 : 8));
    CHECK(got.code == (is_ssh ? 4 : 0));
    if (is_ssh) CHECK(the_event(got.out, "fail").value("class", "") == "timeout");
  }
}

TEST_CASE("a key agent that never answers, and no other key, is told as what was not usable") {
  if (!has_sshd()) return;
  const Sshd server;
  const SilentSocket agent(server.folder() + "/silent");
  const std::string config = server.folder() + "/with_agent";
  std::ofstream(config) << "Host web\nHostName 127.0.0.1\nPort " << server.port() << "\nIdentityAgent "
                        << agent.path() << "\nIdentityFile /none\nUserKnownHostsFile " << server.known_hosts()
                        << "\n";
  const Finished got = run_program({"run", "-F", config, "--ssh", "libssh2", "--json", "web", "--", "true"});
  CAPTURE(got.out);
  check_failed(got, {"auth", "auth", "key agent", "", 4});
}
