// Goal: what another user of a machine puts where stage 0 makes its file, beneath hops and at one of them, is
// neither used nor changed nor waited for: we come up elsewhere or say why not, and nothing is left. Method:
// a chain of machines; on two of them `uname`, which stage 0 runs before it makes the file, tells its name to
// another user, who puts something there, at once or later, in all folders that are open to him.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr uid_t kOther = 24002;  // db

// The shell's number is part of the name, and is that of uname's parent or of the one above. The programs in
// /opt/other have the other user's rights. What /opt/put does, with $1 the name and $2 the folder, is the
// attack.
constexpr const char* kLearnName = R"(
umask 0
nonce=$(tr '\0' '\n' </proc/$PPID/cmdline | sed -n 's/.*\.banyan-\([0-9a-f]*\)\..*/\1/p' | head -n 1)
for pid in $PPID $(cut -d' ' -f4 /proc/$PPID/stat); do
  for folder in /dev/shm /tmp /var/tmp; do
    name=$folder/.banyan-$nonce.$pid
    echo $name >>/opt/names
    /opt/put $name $folder >/dev/null 2>&1 </dev/null
  done
done
exec /opt/uname "$@"
)";

class Attacked : public TestedChain {
 public:
  Attacked() : TestedChain({.user = "ann"}) {
    for (Machine* machine : attacked_) {
      machine->run(
          "mkdir /opt/other; for tool in ln mkfifo cp mkdir rm; do cp /usr/bin/$tool /opt/other; done\n"
          "chown db /opt/other/*; chmod 4755 /opt/other/*; mkfifo -m 666 /opt/pipe; : >/opt/empty\n"
          "echo untouched >/opt/victim; : >/opt/names; chmod 777 /opt; chmod 666 /opt/[env]*");
      machine->write("/opt/evil", "#!/bin/sh\necho ran >>/opt/victim\n", 0777);
      replace(*machine, "uname", kLearnName);
    }
    remember_files();
  }

  Finished run_attacked(const std::string& put) {
    for (Machine* machine : attacked_) {
      machine->write("/opt/put", cat("#!/bin/sh\nname=$1\n", put, "\n"), 0755);
      machine->run(": >/opt/names");
    }
    return run_at_home(*this, {"run", "-F", Chain::kRelay, "A/B/C/D", "--json", "--", "true"});
  }
  // What the other user put there is there, and his: how many. It is taken away.
  std::size_t take_what_was_put() {
    CHECK(is_quiet());
    std::size_t found = 0;
    for (Machine* machine : attacked_) {
      CAPTURE(machine->name());
      CHECK((read_file(machine->outside("/opt/victim")) == "untouched\n"));
      CHECK(::access(machine->outside("/opt/none").c_str(), F_OK) != 0);
      const std::vector<std::string> names = lines_of(read_file(machine->outside("/opt/names")));
      // None on a machine that the start did not come to.
      CHECK((names.size() == kNames || (names.empty() && machine == attacked_[1])));
      for (const std::string& name : names) {
        struct stat status = {};
        if (::lstat(machine->outside(name).c_str(), &status) != 0) continue;
        ++found;
        CHECK(status.st_uid == kOther);
        CHECK(std::filesystem::remove(machine->outside(name)));
      }
    }
    CHECK(leftovers() == std::vector<std::string>{});
    return found;
  }
  // False: this machine's kernel does not know that.
  bool forbid_memory() {
    for (Machine* machine : attacked_)
      if (machine->run("echo 2 2>/dev/null >/proc/sys/vm/memfd_noexec && echo yes || :") != "yes\n")
        return false;
    return true;
  }
  // The attack has said so, on one of them.
  bool was_in_time() const {
    return std::ranges::any_of(
        attacked_, [](Machine* machine) { return read_file(machine->outside("/opt/empty")) != ""; });
  }
  std::size_t all_names() const { return std::size(attacked_) * kNames; }

 private:
  static constexpr std::size_t kNames = 2 * 3;  // two numbers, in three folders
  Machine* const attacked_[2] = {&(*this)['B'], &(*this)['D']};
};

}  // namespace

TEST_CASE("along a chain what another user puts where stage 0 makes its file is neither used nor changed") {
  if (!has_chain()) return;
  Attacked chain;
  struct Row {
    const char *in_shm, *in_tmp, *in_var_tmp;
  };
  const Row table[] = {
      {"ln -s /opt/victim $name", "ln -s /opt/none $name", "mkfifo -m 666 $name"},
      {"ln -s /opt/pipe $name", "cp /opt/evil $name", "cp /opt/empty $name"},
      {"mkdir -m 777 $name", "ln -s /dev/null $name", "ln -s /opt/evil $name"},
  };
  for (const Row& row : table) {
    CAPTURE(row.in_shm);
    const Finished got =
        chain.run_attacked(cat("case $2 in\n/dev/shm) /opt/other/", row.in_shm, ";;\n/tmp) /opt/other/",
                               row.in_tmp, ";;\n*) /opt/other/", row.in_var_tmp, ";;\nesac"));
    CAPTURE(got.out, got.err);
    CHECK(got.code == 0);
    CHECK(chain.take_what_was_put() == chain.all_names());
  }
}

TEST_CASE("along a chain another user who races stage 0 for the place of its file changes and runs nothing") {
  if (!has_chain()) return;
  Attacked chain;
  const Finished got = chain.run_attacked(
      "for i in 1 2 3 4 5 6 7 8 9 10; do\n/opt/other/ln -sf /opt/victim $name\n/opt/other/rm -f $name\n"
      "/opt/other/cp /opt/evil $name\n/opt/other/rm -f $name\ndone &");
  CAPTURE(got.out, got.err);
  if (got.code != 0) CHECK(failure_in(got).value("class", "") == "bootstrap");
  CHECK(chain.take_what_was_put() == 0);
}

TEST_CASE(
    "along a chain, where memory may not be executed, what another user puts where the image goes is not "
    "used") {
  if (!has_chain()) return;
  Attacked chain;
  if (!chain.forbid_memory()) return not_tested("memfd-noexec", "vm.memfd_noexec cannot be set here");
  CHECK(chain.run_attacked(":").code == 0);
  chain.take_what_was_put();
  // The loader takes its own file away first, and makes that of the image once it is there. Who comes between
  // the two is lucky, so it is tried some times.
  for (int tries = 0; !chain.was_in_time(); ++tries) {
    REQUIRE(tries < 20);
    const Finished got = chain.run_attacked(
        "[ $2 = /dev/shm ] || exit 0\n"
        "for i in $(seq 200); do if [ -e $name ]; then break; fi; sleep 0.01; done && [ -e $name ] && {\n"
        "while [ -e $name ]; do :; done; /opt/other/ln -s /opt/victim $name && echo yes >/opt/empty; } &");
    CAPTURE(got.out, got.err);
    if (got.code != 0) CHECK(failure_in(got).value("class", "") == "bootstrap");
    chain.take_what_was_put();
  }
}
