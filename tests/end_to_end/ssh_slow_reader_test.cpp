// Goal: output that nobody reads fast enough waits in the command, not in anybody's memory.
// Method: 50 MB of random bytes over a real server to a reader who first takes nothing, then a little at a
// time; the most memory that banyan, ssh, the agent and the guard ever had stands in /proc.
#include <cstdio>
#include <fstream>
#include <map>

#include "tests/end_to_end/ssh.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr std::size_t kMuch = 50'000'000;
constexpr long kGrowthMaxKib = 8 * 1024;  // of any process: windows, a pipe, a batch of the writer

// Bytes it has read so far.
std::size_t bytes_read_by(pid_t pid) {
  const std::string io = read_file(cat("/proc/", pid, "/io"));
  return std::size_t(std::atoll(io.c_str() + io.find("rchar: ") + 7));
}

// Everything on the way is full once the command has not moved for a while; how far it got.
std::size_t wait_until_stuck(pid_t command) {
  std::size_t before = 0;
  for (int same = 0; same < 10;) {
    ::poll(nullptr, 0, 50);
    const std::size_t now = bytes_read_by(command);
    same = now == before ? same + 1 : 0;
    before = now;
  }
  return before;
}

}  // namespace

TEST_CASE("a slow reader slows the command on an SSH host, costs no memory, and gets every byte") {
  if (!has_sshd()) return;
  const Sshd server;
  for (const auto& [back_end, carrier] :
       {std::pair{"openssh", "ssh"}, std::pair{"libssh2", "banyan-connecto"}}) {
    CAPTURE(back_end);
    const std::string mark = fresh_mark(), file = server.folder() + "/much";
    const std::string bytes = random_bytes(kMuch);
    std::ofstream(file, std::ios::binary) << bytes;
    Program program(
        over(server, "web", {"--ssh", back_end, "--sh", "echo up; read go; exec cat '" + file + "'"}),
        Program::Shape::kPipes, {mark});
    REQUIRE(program.read_output(3));
    std::map<std::string, std::pair<pid_t, long>> idle;  // name -> pid, its memory when nothing happens
    for (const char* name : {"banyan", carrier, "banyan-agent", "banyan-guard"}) {
      const pid_t pid = marked(mark, name);
      REQUIRE(pid > 0);
      idle[name] = {pid, peak_kib(pid)};
    }
    const pid_t command = marked(mark, "sh");
    REQUIRE(command > 0);

    program.write("go\n");
    const std::size_t stuck_at = wait_until_stuck(command);
    CHECK(stuck_at < kMuch / 2);
    for (std::size_t taken = 0; taken < kMuch / 2; taken += 1'000'000) {
      REQUIRE(program.read_output(taken));
      ::poll(nullptr, 0, 5);
    }
    for (const auto& [name, process] : idle) {
      const long now = peak_kib(process.first);
      std::printf("50 MB to a slow reader: %-12s %5ld KiB idle, %5ld KiB at most\n", name.c_str(),
                  process.second, now);
      if (kMemoryIsOurs) CHECK(now - process.second < kGrowthMaxKib);
    }
    std::printf("50 MB to a slow reader: %zu KiB were on the way when nobody read\n", stuck_at / 1024);
    const Finished got = program.finish();
    CHECK(got.code == 0);
    CHECK((got.out == "up\n" + bytes));
  }
}
