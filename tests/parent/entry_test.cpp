// Goal: only what an engine means to say is taken for a process, and only its own cgroups for a container's.
// Method: texts as engines and kernels print them, and what is none.
#include "parent/entry.h"

#include <catch2/catch.hpp>

using namespace banyan;

TEST_CASE("an engine's answer is a number, a mark and a user in numbers, in the order in which it has them") {
  struct {
    const char* said;
    int pid;
    const char* mark;
    std::uint32_t uid, gid;
  } table[] = {
      {"42 9f86d081884c \n", 42, "9f86d081884c", 0, 0},
      {"42 9f86d081884c 1000\n", 42, "9f86d081884c", 1000, 0},
      {"42 9f86d081884c 1000:50\n", 42, "9f86d081884c", 1000, 50},
      {"systemd-nspawn@m.service\n42\n", 42, "systemd-nspawn@m.service", 0, 0},
      {"42\n", 42, "", 0, 0},
      {"0 9f86d081884c", 0, "9f86d081884c", 0, 0},
      {"999999999", 999'999'999, "", 0, 0},
  };
  for (const auto& row : table) {
    CAPTURE(row.said);
    Leader leader;
    REQUIRE(parse_leader(row.said, leader));
    CHECK(leader.pid == row.pid);
    CHECK(leader.mark == row.mark);
    CHECK(leader.uid == row.uid);
    CHECK(leader.gid == row.gid);
  }
}

TEST_CASE("what names no process, or a user that only the container knows, is no answer") {
  for (const char* said :
       {"", "\n", "paused\n", "a b 42", "42 9f86 ann", "42 9f86 1000:", "42 9f86 1000:staff", "42 9f86 :50",
        "42 9f86 1000 1000", "42 9f86 4294967295", "42 9f86 -1", "1234567890", "-42", "0x2a",
        "42 9f86 99999999999999999999999", "99999999999999999999999"}) {
    CAPTURE(said);
    Leader leader;
    CHECK_FALSE(parse_leader(said, leader));
  }
}

TEST_CASE("the cgroups that are not ours too are found, whichever version they are of") {
  const char* ours = "2:pids:/user\n1:name=systemd:/user\n0::/user\n";
  std::string_view theirs = "2:pids:/docker/x\n1:name=systemd:/user\n0::/docker/x\n", line;
  REQUIRE(next_foreign_cgroup(ours, theirs, line));
  CHECK(line == "2:pids:/docker/x");
  REQUIRE(next_foreign_cgroup(ours, theirs, line));
  CHECK(line == "0::/docker/x");
  CHECK_FALSE(next_foreign_cgroup(ours, theirs, line));
}

TEST_CASE("a line of /proc/PID/cgroup has one folder, and none outside of what we may see") {
  struct {
    const char* line;
    bool has_unified;
    const char* folder;
  } table[] = {
      {"0::/docker/x", false, "/sys/fs/cgroup/docker/x"},
      {"0::/docker/x", true, "/sys/fs/cgroup/unified/docker/x"},
      {"4:cpu,cpuacct:/docker/x", true, "/sys/fs/cgroup/cpu,cpuacct/docker/x"},
      {"1:name=systemd:/a:b", false, "/sys/fs/cgroup/systemd/a:b"},
      {"0::/", false, "/sys/fs/cgroup/"},
      {"0::/../other", false, ""},
      {"0::/a/../../b", false, ""},
      {"4:../..:/etc", false, ""},
      {"0::relative", false, ""},
      {"0:", false, ""},
      {"", false, ""},
  };
  for (const auto& row : table) {
    CAPTURE(row.line);
    CHECK(cgroup_folder(row.line, row.has_unified) == row.folder);
  }
}

TEST_CASE("a process is an engine's if a folder of its cgroups is called so, and not by chance") {
  const std::string id(64, 'a');
  CHECK(is_marked("4:memory:/docker/" + id + "\n", id));
  CHECK(is_marked("0::/\n1:name=systemd:/system.slice/docker-" + id + ".scope\n", id));
  CHECK(is_marked("0::/system.slice/docker-" + id + ".scope/init\n", id));
  CHECK(is_marked("0::/machine.slice/systemd-nspawn@m.service\n", "systemd-nspawn@m.service"));
  CHECK_FALSE(is_marked("0::/docker/x" + id + "\n", id));
  CHECK_FALSE(is_marked("0::/docker/" + id + "a\n", id));
  CHECK_FALSE(is_marked("0::/user.slice\n", "/"));
  CHECK_FALSE(is_marked("0::/user.slice\n", "s"));
  CHECK_FALSE(is_marked("0::/user.slice\n", ""));
  CHECK_FALSE(is_marked("", id));
}

TEST_CASE("a user without a group, and numbers that are none, are told apart") {
  Leader leader;
  REQUIRE(parse_leader("42 9f86d081884c 1000", leader));
  CHECK(leader.lacks_group);
  leader = {};
  REQUIRE(parse_leader("42 9f86d081884c 1000:50", leader));
  CHECK_FALSE(leader.lacks_group);
  leader = {};
  REQUIRE(parse_leader("42 9f86d081884c", leader));
  CHECK_FALSE(leader.lacks_group);
  CHECK_FALSE(parse_leader("42 9f86d081884c 18446744073709551616", leader));  // 2^64 is not 0
}

TEST_CASE("a line of /proc/PID/limits has two limits, and what is none does not become a limit of nothing") {
  struct {
    const char* line;
    std::uint64_t soft, hard;
  } table[] = {
      {"Max cpu time              unlimited            unlimited            seconds   ", UINT64_MAX,
       UINT64_MAX},
      {"Max open files            1024                 524288               files     ", 1024, 524'288},
      {"Max nice priority         0                    0                    ", 0, 0},
      {"Max stack size            8388608              unlimited            bytes     ", 8'388'608,
       UINT64_MAX},
      {"Max address space         18446744073709551614 18446744073709551614 bytes     ", UINT64_MAX - 1,
       UINT64_MAX - 1},
  };
  for (const auto& row : table) {
    CAPTURE(row.line);
    Limit limit;
    CHECK(parse_limit(row.line, limit));
    CHECK(limit.soft == row.soft);
    CHECK(limit.hard == row.hard);
  }
  for (const char* line :
       {"", "Max open files", "Max open files            1024                 ",
        "Max open files            none                 524288               files     ",
        "Max open files            1024                 -1                   files     ",
        "Max open files            1024                 1023                 files     "}) {
    CAPTURE(line);
    Limit limit;
    CHECK_FALSE(parse_limit(line, limit));
  }
}
