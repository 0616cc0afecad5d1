// Goal: along a chain of machines a password is given once, to the sudo or su that was ordered, whatever else
// looks like a prompt before it and after it; and it is nowhere but where that asked for it. Method: real
// sudo and su, whose PAM notes what it is given; on two machines the server's banner, the login shell's start
// file, ssh and a shell in front of sudo ask as sudo and su do, by every way they have, and note what they
// hear; then processes and files of all machines are searched.
#include "tests/end_to_end/chain.h"
#include "tests/end_to_end/other_users.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// Its standard input may be the way on which a password would come; nothing is to be there.
constexpr const char* kAsk = R"(
ask() {
  printf '[sudo] password for ann: ' >&2
  printf 'Password: '
  timeout 0.2 dd bs=1000 count=1 2>/dev/null >>/opt/heard
  printf '\nSorry, try again.\n[sudo] password for db: ' >&2
  echo >>/opt/asked
}
ask
)";

// In front of sudo or su: on its terminal too, if it has one. Once something is in /opt/cue, as the real one
// does: by its askpass, which still descends from it, and on its terminal without an echo.
constexpr const char* kAskMore = R"(
if true </dev/tty; then ask </dev/tty >/dev/tty 2>&1; fi 2>/dev/null
{
  trap '' HUP
  until [ -s /opt/cue ]; do sleep 0.02; done
  "$SUDO_ASKPASS" "$3" >>/opt/heard
  "$SUDO_ASKPASS" 'Password: ' >>/opt/heard
  stty -echo </dev/tty && ask </dev/tty >/dev/tty 2>&1
  : >/opt/asked_again
} 2>/dev/null &
)";

struct Attacked : TestedChain {
  Attacked()
      : TestedChain({.user = "ann",
                     .server_lines = "Banner /opt/banner",
                     .sudoers = "Defaults timestamp_timeout=0, lecture=never\nann ALL=(ALL) ALL\n"}) {
    home().write("/opt/person",
                 cat("#!/bin/sh\necho \"asked: $1\" >&2\necho '", std::string_view(kBecomePassword), "'\n"),
                 0755);
    for (char name = 'A'; name <= 'D'; ++name) give_passwords((*this)[name]);
    for (const char name : {'B', 'D'}) {
      Machine& machine = (*this)[name];
      machine.write("/opt/banner", "[sudo] password for ann: \nPassword: ", 0644);
      machine.write("/home/ann/.bashrc", kAsk, 0644);
      replace(machine, "ssh", cat(kAsk, "exec /opt/ssh \"$@\"\n"));
      for (const char* program : {"sudo", "su"})
        replace(machine, program, cat(kAsk, kAskMore, "exec /opt/", program, " \"$@\"\n"));
    }
    remember_files();
  }

  static void give_passwords(Machine& machine) {
    machine.run(cat("sed -i '/^ann:/s,/bin/sh,/bin/bash,' /etc/passwd\numask 077\ncat >/etc/shadow <<END\n",
                    "root:*:19000:0:99999:7:::\nann:", kBecomeHash, ":19000:0:99999:7:::\ndb:", kBecomeHash,
                    ":19000:0:99999:7:::\nEND\numask 022; : >/opt/tried; : >/opt/heard; chmod 666 "
                    "/opt/heard; chmod 777 /opt"));
    machine.write("/opt/note", "#!/bin/sh\ntr -d '\\0' >>/opt/tried; echo >>/opt/tried\n", 0755);
    for (const char* service : {"sudo", "su"})
      machine.write(cat("/etc/pam.d/", service),
                    "auth optional pam_exec.so expose_authtok quiet seteuid /opt/note\n"
                    "auth required pam_unix.so try_first_pass\naccount required pam_unix.so\n"
                    "session required pam_permit.so\n",
                    0644);
  }
};

// Where the password is, on all of the machines, but where the test itself has put it.
std::vector<std::string> traces_in(Attacked& chain) {
  std::vector<std::string> found;
  const auto search = [&](Machine& machine) {
    for (const Machine::Process& process : machine.processes())
      for (const char* file : {"cmdline", "environ"})
        if (contains(read_file(cat("/proc/", process.pid, "/", file)), kBecomePassword))
          found.push_back(cat(machine.name(), ": ", file, " of ", process.name));
    for (const std::string& line : lines_of(machine.run(
             cat("grep -rslF -D skip --exclude-dir=banyan --exclude=tried --exclude=person '",
                 std::string_view(kBecomePassword), "' /etc /home /root /run /tmp /var /dev/shm /opt || :"))))
      found.push_back(cat(machine.name(), ": ", line));
  };
  search(chain.home());
  for (char name = 'A'; name <= 'D'; ++name) search(chain[name]);
  return found;
}

const Words kPerson = {"SSH_ASKPASS=/opt/person", "SSH_ASKPASS_REQUIRE=force"};

void check_given_once(Attacked& chain, const Finished& got) {
  CAPTURE(got.err);
  CHECK(count_of(got.err, "asked: ") == 1);
  CHECK_FALSE(contains(got.err, kBecomePassword));
  for (char name = 'A'; name <= 'D'; ++name) {
    CAPTURE(name);
    CHECK(read_file(chain[name].outside("/opt/heard")) == "");
    CHECK(lines_of(read_file(chain[name].outside("/opt/tried"))) ==
          (name == 'D' ? std::vector<std::string>{kBecomePassword} : std::vector<std::string>{}));
  }
  CHECK(chain.is_quiet());
  CHECK(traces_in(chain) == std::vector<std::string>{});
}

struct Way {
  const char *config, *target;
  int asks;  // at the last machine, before it and on its terminal
};
constexpr Way kWays[] = {{Chain::kRelay, "A/B/C/D/sudo:db", 2},
                         {Chain::kRelay, "A/B/C/D/su:db", 3},
                         {Chain::kTunnel, "D/sudo:db", 2}};

}  // namespace

TEST_CASE("along a chain a password is given to who was ordered to want it, and to nobody else who asks") {
  if (!has_chain() || !has_sudo()) return;
  Attacked chain;
  for (const Way& way : kWays) {
    CAPTURE(way.target);
    chain.last().run(": >/opt/tried; rm -f /opt/asked* /opt/cue");
    RunAtHome run(chain, {"run", "-F", way.config, way.target, "-n", "--sh", "id -un; echo up; sleep 600"},
                  kPerson);
    CHECK(count_of(read_file(chain.last().outside("/opt/asked")), "\n") == std::size_t(way.asks));
    CHECK(traces_in(chain) == std::vector<std::string>{});
    chain.last().run(
        "echo now >/opt/cue; timeout 20 sh -c 'until [ -e /opt/asked_again ]; do sleep 0.05; done'; pkill -x "
        "sleep");
    const Finished got = run.program.finish();
    CHECK(::access(chain.last().outside("/opt/asked_again").c_str(), F_OK) == 0);
    CHECK(got.code == 128 + SIGTERM);
    CHECK(got.out == "db\nup\n");
    check_given_once(chain, got);
  }
}

TEST_CASE("along a chain who asks again as soon as a password was given is given nothing") {
  if (!has_chain() || !has_sudo()) return;
  Attacked chain;
  for (const Way& way : kWays) {
    CAPTURE(way.target);
    chain.last().run(": >/opt/tried; rm -f /opt/asked* /opt/cue; ln -s tried /opt/cue");
    const Finished got =
        run_at_home(chain, {"run", "-F", way.config, way.target, "--json", "--", "true"}, {}, kPerson);
    // Who asks again is taken for one whose password was wrong, unless it is too late for that.
    if (got.code != 0) CHECK(failure_in(got).value("class", "") == "auth");
    check_given_once(chain, got);
  }
}
