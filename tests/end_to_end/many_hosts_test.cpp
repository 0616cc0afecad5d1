// Goal: two hundred hosts are no harder than one: all come up, what they cost us is bounded, and those that
// are dead hold up nobody. Method: the real program over both back ends against aliases of one real sshd, and
// ports of the test's own for the dead; the program and its connectors are looked at in /proc while they run.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <thread>

#include "tests/end_to_end/ssh.h"
#include "tests/support/fake_server.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr int kHosts = 200, kAtOnce = 50;
constexpr long kRootPeakMaxKib = 32 * 1024, kConnectorPeakMaxKib = 48 * 1024;
// For each host that is being reached: three pipes and a process's own; a socket and a channel.
constexpr std::size_t kRootDescriptorsMax = 6 * kAtOnce + 64, kConnectorDescriptorsMax = 4 * kAtOnce + 64;

std::size_t descriptors_of(pid_t pid) {
  std::error_code error;
  std::size_t count = 0;
  for (auto it = std::filesystem::directory_iterator(cat("/proc/", pid, "/fd"), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error))
    ++count;
  return count;
}

struct Most {
  long root_kib = 0, connector_kib = 0;
  std::size_t root_descriptors = 0, connector_descriptors = 0, connectors = 0;
};

// Looks again and again until it is told to stop.
class Watch {
 public:
  explicit Watch(pid_t root) : thread_([this, root] { run(root); }) {}
  Most stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
    return most_;
  }
  ~Watch() { stop(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  void run(pid_t root) {
    std::set<pid_t> connectors;
    for (int round = 0; !stopped_; ++round) {
      if (round % 10 == 0)
        for (pid_t pid : descendants_of(root))
          if (read_file(cat("/proc/", pid, "/comm")) == "banyan-connecto\n") connectors.insert(pid);
      most_.connectors = std::max(most_.connectors, connectors.size());
      most_.root_kib = std::max(most_.root_kib, peak_kib(root));
      most_.root_descriptors = std::max(most_.root_descriptors, descriptors_of(root));
      for (pid_t pid : connectors) {
        most_.connector_kib = std::max(most_.connector_kib, peak_kib(pid));
        most_.connector_descriptors = std::max(most_.connector_descriptors, descriptors_of(pid));
      }
      ::poll(nullptr, 0, 10);
    }
  }
  std::atomic<bool> stopped_ = false;
  Most most_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("two hundred hosts come up cold, and memory, descriptors and connectors stay bounded") {
  if (!has_sshd()) return;
  const Sshd server;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    Program program(over(server, cat("db[1-", kHosts, "]"),
                         {"-f", std::to_string(kAtOnce), "--", "echo", "here"}, back_end));
    Watch watch(program.pid());
    const Finished got = program.finish();
    const Most most = watch.stop();
    CAPTURE(got.err, got.seconds, most.root_kib, most.connector_kib, most.root_descriptors,
            most.connector_descriptors, most.connectors);
    CHECK(got.code == 0);
    std::vector<std::string> lines = lines_of(got.out);
    std::sort(lines.begin(), lines.end());
    CHECK(lines.size() == kHosts);
    CHECK(std::unique(lines.begin(), lines.end()) == lines.end());
    CHECK(most.root_descriptors > 10);  // it was looked at
    CHECK(most.root_descriptors < kRootDescriptorsMax);
    CHECK(most.connector_descriptors < kConnectorDescriptorsMax);
    if (kMemoryIsOurs) CHECK(most.root_kib < kRootPeakMaxKib);
    if (kMemoryIsOurs) CHECK(most.connector_kib < kConnectorPeakMaxKib);
    const bool is_ssh = std::string_view(back_end) == "openssh";
    CHECK(most.connectors >= (is_ssh ? 0U : 1U));
    CHECK(most.connectors <= (is_ssh ? 0U : std::max(1U, std::thread::hardware_concurrency())));
  }
}

TEST_CASE("sessions of many hosts share what may be on its way to us: each window is its part of 64 MiB") {
  if (!has_sshd()) return;
  const Sshd server({.server_lines = "LogLevel DEBUG2\n"});
  // What a session gives the server at first, its channel opened, says how wide its window is.
  const auto widest = [&](const std::string& log) {
    std::size_t most = 0;
    const std::string word = "rcvd adjust ";
    for (std::size_t at = log.find(word); at != log.npos; at = log.find(word, at + 1))
      most = std::max(most, std::size_t(std::strtoull(log.c_str() + at + word.size(), nullptr, 10)));
    return most;
  };
  const Finished one = run_program(over(server, "db1", {"--", "true"}, "libssh2"));
  CAPTURE(one.err);
  CHECK(one.code == 0);
  const std::string before = server.log();
  CHECK(widest(before) > 1024 * 1024);
  const Finished many = run_program(over(server, "db[1-64]", {"-f", "64", "--", "true"}, "libssh2"));
  CAPTURE(many.err);
  CHECK(many.code == 0);
  const std::size_t most = widest(server.log().substr(before.size()));
  CHECK(most > 512 * 1024);
  CHECK(most <= 1024 * 1024);
}

TEST_CASE("a hundred dead hosts of two hundred hold up none of the others") {
  if (!has_sshd()) return;
  const Sshd server;
  // Each silent host is one of its own: none waits for another's turn.
  std::vector<std::unique_ptr<FakeServer>> silent;
  std::string ports;
  for (int i = 1; i <= kAtOnce; ++i) {
    silent.push_back(std::make_unique<FakeServer>("", FakeServer::Then::kSilence));
    ports += cat("Host silent", i, "\nPort ", silent.back()->port(), "\n");
  }
  const std::string config = server.folder() + "/with_dead";
  std::ofstream(config) << "Host closed*\nPort 1\n"
                        << ports << "Host *\nHostName 127.0.0.1\nHost web db* closed* silent*\nInclude "
                        << server.client_config() << "\n";
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const std::string mark = fresh_mark();
    // The dead come first in the order they are begun in, and have longer than the test.
    Program program({"run", "-F", config, "--ssh", back_end, "--json", "--connect-timeout", "60s", "-f",
                     std::to_string(kAtOnce), "silent[1-50],closed[1-50],db[1-100]", "--", "echo", "here"},
                    Program::Shape::kPipes, {mark});
    for (int i = 1; i <= 100; ++i) {
      CAPTURE(i);
      REQUIRE(program.wait_for(cat("\"event\":\"exit\",\"target\":\"db", i, "\"")));
    }
    program.signal(SIGTERM);
    const Finished got = program.finish();
    CAPTURE(got.seconds, got.err);
    CHECK(got.code == 143);
    CHECK(got.seconds < 60);
    int refused = 0, late = 0;
    for (const nlohmann::json& event : events_of(got.out)) {
      if (event.value("event", "") != "fail") continue;
      const std::string target = event["target"], error_class = event["class"];
      if (target.starts_with("closed")) refused += error_class == "unreachable";
      if (error_class == "timeout") ++late;
    }
    CHECK(refused == 50);
    CHECK(late == 0);
    CHECK(all_gone(mark));
  }
}

TEST_CASE("a server that drops connections at random is got into all the same") {
  if (!has_sshd()) return;
  const Sshd server({.server_lines = "MaxStartups 2:50:4"});
  for (const char* back_end : kBackEnds) {
    const Finished got = run_program(over(server, "db[1-40]", {"-f", "20", "--", "echo", "here"}, back_end));
    CAPTURE(back_end, got.err, got.seconds);
    CHECK(got.code == 0);
    CHECK(lines_of(got.out).size() == 40);
  }
  INFO(server.log().substr(0, 6000));
  CHECK(contains(server.log(), "MaxStartups"));
}
