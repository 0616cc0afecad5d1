// Goal: a container at the end of a chain of hops that is entered by us finds nothing of us that it could
// write to, neither what enters nor what runs there then, and nothing of the machine in its hands. Method: a
// chain of machines; on the last one a shell with a root of its own stands for a container, and it has all
// rights: it looks at each process that comes, opens its program for writing, keeps it open, and tries to
// write to it again and again, when that process has ended too.
#include <filesystem>
#include <set>

#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// All programs of its own are in /mine. What it finds is in /found, a line each.
constexpr const char* kAttack = R"(
kept=()
while :; do
  for process in /proc/[0-9]*; do
    image=$(readlink $process/exe) || continue
    [[ $image != /mine/* ]] || continue
    echo "program $image"
    echo x 1<>$process/exe && echo "written while it ran"
    [[ ${#kept[@]} -gt 100 ]] || { exec {file}<$process/exe && kept+=($file); }
    for file in $process/fd/*; do
      [[ ! -L $file ]] || { file=$(readlink $file) && echo "open $file"; }
    done
  done
  for file in "${kept[@]}"; do
    echo x 1<>/proc/self/fd/$file && echo "written when it had ended"
  done
  echo "looked"
done >>/found 2>/dev/null
)";

// With tmpfs as its root, and in namespaces of its own.
constexpr const char* kMake = R"(
mkdir /opt/room
unshare --fork --kill-child --mount --pid --uts --ipc --net sh -ec '
  mount -t tmpfs -o mode=755 none /opt/room
  cd /opt/room
  mkdir proc dev old mine
  for program in bash readlink sleep umount; do
    cp -L $(command -v $program) mine/$program
    for library in $(ldd mine/$program | grep -o "/[^ ]*"); do
      mkdir -p .${library%/*}
      cp -L $library .$library
    done
  done
  touch dev/null
  mount --bind /dev/null dev/null
  mount -t proc proc proc
  cp /opt/attack mine/attack
  pivot_root . old
  export PATH=/mine
  umount -l /old
  exec bash mine/attack
' </dev/null >/opt/said 2>&1 &
)";

class Container {
 public:
  explicit Container(Machine& machine) {
    machine.write("/opt/attack", kAttack);
    machine.run(kMake);
    keeper_ = machine.wait_for("unshare");
    const auto leads = [&] {
      const std::string child = read_file(cat("/proc/", keeper_, "/task/", keeper_, "/children"));
      leader_ = child.empty() ? 0 : std::atoi(child.c_str());
      return read_file(cat("/proc/", leader_, "/comm")) == "bash\n";
    };
    const Stopwatch since;
    while (!leads() && since.seconds() < 20 + kSlack) ::poll(nullptr, 0, 5);
    INFO(read_file(machine.outside("/opt/said")));
    REQUIRE(leads());
  }
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  ~Container() { ::kill(keeper_, SIGKILL); }

  // As its machine knows it: the second of its numbers.
  std::string target() const {
    const std::string status = read_file(cat("/proc/", leader_, "/status"));
    const std::size_t ours = status.find("\nNSpid:\t") + 8, theirs = status.find('\t', ours) + 1;
    return cat("nsenter:", std::atoi(status.c_str() + theirs));
  }
  std::string found() const { return read_file(cat("/proc/", leader_, "/root/found")); }
  // Until it has looked at all that there is now.
  bool has_looked() const {
    const std::size_t before = count_of(found(), "looked\n");
    const Stopwatch since;
    while (count_of(found(), "looked\n") < before + 2 && since.seconds() < 20 + kSlack)
      ::poll(nullptr, 0, 20);
    return count_of(found(), "looked\n") >= before + 2;
  }

 private:
  pid_t keeper_ = -1, leader_ = 0;
};

// The bytes of all programs of ours there that still run.
std::set<std::string> images_on(const Machine& machine) {
  std::set<std::string> images;
  for (const Machine::Process& process : machine.processes())
    if (process.name == "banyan-agent") images.insert(read_file(cat("/proc/", process.pid, "/exe")));
  return images;
}

}  // namespace

TEST_CASE(
    "at the end of a chain a container that we enter cannot write to us, and holds nothing of the machine") {
  if (!has_chain()) return;
  TestedChain chain;
  Container container(chain['D']);
  RunAtHome run(chain, {"run", "-F", Chain::kRelay, cat("A/B/C/D/", container.target()), "-n", "--",
                        "/mine/bash", "-c", "echo up; exec /mine/sleep 600"});
  const std::set<std::string> images = images_on(chain['D']);
  CHECK(images.size() == 1);
  // Others come and go meanwhile.
  for (const char* more : {"", "/local"})
    CHECK(run_at_home(chain, {"run", "-F", Chain::kRelay, cat("A/B/C/D/", container.target(), more), "--",
                              "/mine/sleep", "0.1"})
              .code == 0);
  CHECK(container.has_looked());
  CHECK((images_on(chain['D']) == images));
  run.signal(chain.home().the("banyan"), SIGTERM);
  CHECK(run.program.finish().code == 128 + SIGTERM);
  CHECK(container.has_looked());

  std::set<std::string> found;
  for (const std::string& line : lines_of(container.found()))
    found.insert(line.starts_with("open ") ? line.substr(0, line.find(":[")) : line);
  CHECK(found.erase("program /memfd:banyan (deleted)") == 1);
  for (const char* harmless : {"looked", "open socket", "open pipe", "open anon_inode", "open /dev/null",
                               "open /memfd:banyan (deleted)"})
    found.erase(harmless);
  CHECK(found == std::set<std::string>{});
}
